"""How an endpoint is reached: options, key, address and one HTTP exchange."""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import json
import logging
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mminstruct.models import faults
from mminstruct.models.completion import FINISH
from mminstruct.models.faults import Fault, Secret
from mminstruct.models.model import Finish, Model
from mminstruct.models.prices import Price, price_of
from mminstruct.models.structured import How

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI = "https://api.openai.com/v1"


@dataclass(kw_only=True)
class Settings:
    """``model.options`` of the ``openai`` backend."""

    concurrency: dict[str, int] = field(default_factory=dict)
    """Requests at once: ``start`` (16), ``max`` (512), ``min`` (1); equal numbers switch adaptation off."""
    timeout: float = 120.0
    """Seconds for one whole exchange, last byte included."""
    retries: dict[str, float] = field(default_factory=dict)
    """``attempts`` for one row's faults (6), ``backoff`` seconds of the first pause (0.5), ``patience`` seconds with
    an endpoint that answers nothing (600)."""
    budget: float | None = None
    """US dollars for the whole run, all its workers and resumptions together; in YAML ``{usd: 20}``."""
    price: dict[str, float] | None = None
    """US dollars for a million tokens, over ``conf/prices.yaml``: ``{input: 0.4, output: 1.6}``."""
    azure: dict[str, str] | None = None
    """``{api_version: ...}`` for Azure's own paths; ``url`` is then the resource, ``name`` the deployment."""
    mode: Literal["live", "batch"] = "live"
    batch: dict[str, float] = field(default_factory=dict)
    """``requests`` (50000) and ``megabytes`` (190) of one batch at most, ``poll`` seconds (30), ``answers`` (1024):
    mebibytes of one file of answers at most, unpacked."""
    megabytes: float = 16.0
    """Mebibytes of one reply at most, unpacked; what is larger is not read to its end."""
    finish: dict[str, Finish] = field(default_factory=dict)
    """What more finish reasons mean, over ``completion.FINISH``: ``{done: stop, cut: length}``; ``null`` is none."""
    body: dict[str, Any] = field(default_factory=dict)
    """More fields for each request; null takes one of ours out (``{max_tokens: null, max_completion_tokens: 512}``)."""
    json: How = "schema"
    """What the endpoint understands of JSON schemas: ``schema``, ``object`` or ``prompt`` (nothing)."""

    start = property(lambda self: int(self.concurrency.get("start", min(16, self.most))))
    most = property(lambda self: int(self.concurrency.get("max", 512)))
    least = property(lambda self: int(self.concurrency.get("min", 1)))
    attempts = property(lambda self: int(self.retries.get("attempts", 6)))
    backoff = property(lambda self: float(self.retries.get("backoff", 0.5)))
    patience = property(lambda self: float(self.retries.get("patience", 600.0)))

    @classmethod
    def of(cls, model: Model) -> Settings:
        """Read and check *model*'s options; ValueError where one is unknown or cannot work."""
        options = {name: value for name, value in model.options.items() if name != "threads"}  # of models in here
        money = options.pop("budget", None)
        if money is not None:
            _known(money, ("usd",), f"{model.name}: options.budget")
            options["budget"] = money.get("usd")
        _known(options, tuple(item.name for item in dataclasses.fields(cls)), f"{model.name}: options")
        made = cls(**options)
        _known(made.concurrency, ("start", "max", "min"), f"{model.name}: options.concurrency")
        _known(made.retries, ("attempts", "backoff", "patience"), f"{model.name}: options.retries")
        _known(made.batch, ("requests", "megabytes", "poll", "answers"), f"{model.name}: options.batch")
        _known(made.azure or {}, ("api_version",), f"{model.name}: options.azure")
        if made.mode not in ("live", "batch"):
            raise ValueError(f"{model.name}: options.mode is live or batch, not {made.mode!r}")
        if made.json not in ("schema", "object", "prompt"):
            raise ValueError(f"{model.name}: options.json is schema, object or prompt, not {made.json!r}")
        for reason, meaning in made.finish.items():
            if meaning not in ("stop", "length", "filtered"):
                raise ValueError(f"{model.name}: options.finish.{reason} is stop, length or filtered, not {meaning!r}")
        made.finish = FINISH | {str(reason).lower(): meaning for reason, meaning in made.finish.items()}
        if made.megabytes <= 0 or made.batch.get("answers", 1) <= 0:
            raise ValueError(f"{model.name}: options.megabytes and options.batch.answers are above 0")
        if made.timeout <= 0 or made.attempts < 1 or made.backoff <= 0:
            raise ValueError(f"{model.name}: timeout and backoff are seconds above 0, attempts 1 or more")
        return made


def _known(given: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            raise ValueError(f"{where} has no {key!r}; " + (f"did you mean {near[0]}?" if near else f"it has {names}"))


@dataclass(frozen=True, slots=True)
class Answer:
    """A body of JSON that came with a 200, or as a line of a batch."""

    data: Any
    size: int
    """Bytes."""


class Connection:
    """One endpoint: its client, whom messages call it, and what it charges."""

    def __init__(self, client: AsyncOpenAI, key: Secret, who: str, price: Price | None) -> None:
        self.client, self.who, self.price, self.key = client, who, price, key
        self.paid = not price.free if price else bool(key.reveal())
        """Whether replies cost money, as far as one can tell: an unpriced endpoint that wants a key does."""

    async def post(self, body: dict[str, Any], timeout: float) -> Answer | Fault:
        """One chat completion's JSON, of whatever shape, or why there is none."""
        import httpx2

        try:
            async with asyncio.timeout(timeout):
                answer = await self.client.post("/chat/completions", cast_to=httpx2.Response, body=body)
        except Exception as error:
            return self.fault(error)
        try:
            return Answer(json.loads(answer.content), len(answer.content))
        except (ValueError, RecursionError):
            said = f"HTTP {answer.status_code} with {len(answer.content)} bytes that are no JSON"
            return Fault("garbage", said, cost=None)

    def fault(self, error: Exception) -> Fault:
        """What *error* means, without the key; an error that is not the endpoint's is raised, without it too."""
        try:
            return self.scrubbed(faults.of_exception(error, who=self.who))
        except Exception as other:
            said = str(other)
            if said == self.key.scrub(said):
                raise
        raise RuntimeError(f"{type(error).__name__}: {self.key.scrub(said)}") from None

    def scrubbed(self, fault: Fault) -> Fault:
        return dataclasses.replace(fault, said=self.key.scrub(fault.said))


def connect(model: Model, settings: Settings) -> Connection:
    """Client for *model*'s endpoint; nothing is sent yet.

    Raises:
        ValueError: for a key or address that cannot be used, or a budget without a price.
    """
    import httpx2
    import openai

    from mminstruct.models.capped import Client

    logging.getLogger("httpcore2").setLevel(logging.INFO)  # its DEBUG is the headers of replies, which may echo a key
    url = model.url or OPENAI
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{model.name}: url is http(s)://host[:port]/v1, and this one is no such address")
    if parts.username or parts.password or parts.query:
        raise ValueError(f"{model.name}: a key never goes into url; name its environment variable in key_env")
    key = _key(model)
    price = price_of(model.name, parts.hostname, settings.price)
    if settings.budget is not None and price is None:
        raise ValueError(
            f"{model.name}: a budget needs a price, and conf/prices.yaml has none for it at {parts.hostname}; "
            "say options.price: {input: .., output: ..} in US dollars for a million tokens"
        )
    common: dict[str, Any] = {
        # An empty key would make the client look for one of its own in the environment and send it here.
        "api_key": key.reveal() or "none",
        "max_retries": 0,
        "http_client": Client(
            int(settings.megabytes * 2**20),
            settings.most,
            httpx2.Timeout(settings.timeout, connect=min(10.0, settings.timeout), pool=None),
        ),
    }
    client: AsyncOpenAI
    if settings.azure is not None:
        client = openai.AsyncAzureOpenAI(azure_endpoint=url, api_version=settings.azure["api_version"], **common)
    else:
        client = openai.AsyncOpenAI(base_url=url, **common)
    return Connection(client, key, f"{model.name} at {parts.hostname}", price)


def _key(model: Model) -> Secret:
    name = model.key_env or ("OPENAI_API_KEY" if model.url is None else None)
    if name is None:
        return Secret("")
    value = os.environ.get(name, "").strip()
    if value and not (value.isascii() and value.isprintable() and " " not in value):
        raise ValueError(
            f"{model.name}: the key in {name} (key_env) has a blank, a line end or another character that no HTTP"
            " header may hold"
        )
    if value:
        return Secret(value)
    if not re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", name):  # maybe the key itself: never repeat it
        raise ValueError(f"{model.name}: key_env is the NAME of a set environment variable, like OPENAI_API_KEY")
    raise ValueError(f"{model.name}: the environment variable {name} (key_env) is not set on this worker")
