"""An endpoint: its options, its key and address, and one HTTP exchange with it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import difflib
import json
import logging
import os
import re
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mminstruct.models import faults
from mminstruct.models.completion import FINISH
from mminstruct.models.faults import Fault, Secret
from mminstruct.models.model import Finish, Model
from mminstruct.models.prices import Price, price_of
from mminstruct.models.structured import JsonSupport

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from mminstruct.models.capped import Poster

_T = TypeVar("_T")
OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """Requests in flight, of all workers together that use the endpoint with one key; equal numbers switch adaptation
    off.
    """

    start: int = 16
    """At the beginning; ``max`` where that is smaller."""
    max: int = 512
    min: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How long a request is tried."""

    attempts: int = 6
    """For faults of one request (5xx, timeouts)."""
    backoff: float = 0.5
    """Seconds of the first pause; each further one is twice as long."""
    patience: float = 600.0
    """Seconds without any reply after which the run stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """Limits of one batch in batch mode."""

    requests: int = 50_000
    megabytes: float = 190.0
    """10**6 bytes of its request file."""
    poll: float = 30.0
    """Seconds between two looks at its status."""
    answers: float = 1024.0
    """Mebibytes of its output file, decompressed; a larger file is an error."""


@dataclass(kw_only=True)
class Settings:
    """``model.options`` of the ``openai`` backend."""

    concurrency: Concurrency = field(default_factory=Concurrency)
    timeout: float = 120.0
    """Seconds for one whole exchange, to its last byte."""
    retries: Retries = field(default_factory=Retries)
    budget: float | None = None
    """US dollars for the whole run, over all workers and resumptions; in YAML ``{usd: 20}``."""
    price: dict[str, float] | None = None
    """US dollars for a million tokens, instead of those in ``conf/prices.yaml``: ``{input: 0.4, output: 1.6}``."""
    azure: dict[str, str] | None = None
    """``{api_version: ...}`` for Azure's own paths; ``url`` is then the resource, ``name`` the deployment."""
    mode: Literal["live", "batch"] = "live"
    batch: BatchLimits = field(default_factory=BatchLimits)
    megabytes: float = 16.0
    """Largest reply, MiB, decompressed; a larger one is not read to its end."""
    finish: dict[str, Finish] = field(default_factory=dict)
    """Meanings of further finish reasons, added to ``completion.FINISH``: ``{done: stop, cut: length}``; ``null``
    means that there is none."""
    body: dict[str, Any] = field(default_factory=dict)
    """Extra fields for each request; null removes one of ours (``{max_tokens: null, max_completion_tokens: 512}``)."""
    json: JsonSupport = "schema"
    """JSON support of the endpoint: ``schema``, ``object`` or ``prompt`` (none)."""

    @classmethod
    def of(cls, model: Model) -> Settings:
        """Read and check *model*'s options.

        Raises:
            ValueError: for an unknown option, or a value that cannot work.
        """
        where = f"{model.name}: options"
        options = {name: value for name, value in model.options.items() if name != "threads"}  # of local models
        money = options.pop("budget", None)
        if money is not None:
            _check_keys(money, ("usd",), f"{where}.budget")
            options["budget"] = money.get("usd")
        _check_keys(options, [item.name for item in dataclasses.fields(cls)], where)
        _check_keys(options.get("azure") or {}, ("api_version",), f"{where}.azure")
        for name, kind in (("concurrency", Concurrency), ("retries", Retries), ("batch", BatchLimits)):
            options[name] = _group(kind, options.get(name) or {}, f"{where}.{name}")
        made = cls(**options)
        if "start" not in (model.options.get("concurrency") or {}):
            first = min(made.concurrency.start, made.concurrency.max)
            made.concurrency = dataclasses.replace(made.concurrency, start=first)
        if made.mode not in ("live", "batch"):
            raise ValueError(f"{where}.mode is live or batch, not {made.mode!r}")
        if made.json not in ("schema", "object", "prompt"):
            raise ValueError(f"{where}.json is schema, object or prompt, not {made.json!r}")
        for reason, meaning in made.finish.items():
            if meaning not in ("stop", "length", "filtered"):
                raise ValueError(f"{where}.finish.{reason} is stop, length or filtered, not {meaning!r}")
        made.finish = FINISH | {str(reason).lower(): meaning for reason, meaning in made.finish.items()}
        if made.megabytes <= 0 or made.batch.answers <= 0:
            raise ValueError(f"{where}.megabytes and {where}.batch.answers must be above 0")
        if made.timeout <= 0 or made.retries.attempts < 1 or made.retries.backoff <= 0:
            raise ValueError(
                f"{where}: timeout and retries.backoff must be above 0 seconds, retries.attempts at least 1"
            )
        return made


def _group(kind: type[_T], given: Mapping[str, Any], where: str) -> _T:
    """*given* as a dataclass of numbers."""
    kinds: dict[str, Any] = {item.name: type(item.default) for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    _check_keys(given, list(kinds), where)
    read = {}
    for name, value in given.items():
        try:
            read[name] = kinds[name](value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{where}.{name} is a number, not {value!r}") from None
    return kind(**read)


def _check_keys(given: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for key in given:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}"
            raise ValueError(f"{where} has no {key!r}; {hint}")


@dataclass(frozen=True, slots=True)
class Answer:
    """The JSON of a response with status 200, or of a line of a batch."""

    data: Any
    size: int
    """Bytes."""


class Connection:
    """One endpoint: its client for files and batches, its poster of chat completions, its name, price and key."""

    def __init__(self, client: AsyncOpenAI, poster: Poster, key: Secret, who: str, price: Price | None) -> None:
        self.client, self._poster, self.who, self.price, self.key = client, poster, who, price, key
        self.paid = not price.free if price else bool(key.reveal())
        """Whether replies cost money; assumed of an endpoint that needs a key and has no known price."""

    async def post(self, body: dict[str, Any], timeout: float) -> Answer | Fault:
        """The JSON of one chat completion, unchecked, or why there is none."""
        try:
            async with asyncio.timeout(timeout):
                status, headers, data = await self._poster.post(body)
        except Exception as error:
            return self.fault(error)
        if not 200 <= status < 300:
            return self.scrubbed(faults.of_status(status, headers, data, who=self.who))
        try:
            return Answer(json.loads(data), len(data))
        except (ValueError, RecursionError):
            return Fault("garbage", f"HTTP {status} with {len(data)} bytes that are no JSON", cost=None)

    async def close(self) -> None:
        await self._poster.close()
        await self.client.close()

    def fault(self, error: Exception) -> Fault:
        """The fault that *error* means; other errors are raised. The key is removed from either."""
        try:
            return self.scrubbed(faults.of_exception(error, who=self.who))
        except Exception as other:
            said = str(other)
            if said == self.key.scrub(said):
                raise
        raise RuntimeError(f"{type(error).__name__}: {self.key.scrub(said)}") from None

    def scrubbed(self, fault: Fault) -> Fault:
        return dataclasses.replace(fault, message=self.key.scrub(fault.message))


def connect(model: Model, settings: Settings) -> Connection:
    """The connection to *model*'s endpoint; nothing is sent yet.

    Raises:
        ValueError: for a key or address that cannot be used, or a budget without a price.
    """
    import httpx2
    import openai

    from mminstruct.models.capped import Client, Poster

    logging.getLogger("httpcore2").setLevel(logging.INFO)  # its DEBUG lines hold response headers, which may echo a key
    url = model.url or OPENAI
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{model.name}: url must be http(s)://host[:port]/v1, and this one is not")
    if parts.username or parts.password or parts.query:
        raise ValueError(f"{model.name}: a key must not be in url; name its environment variable in key_env")
    key = _key(model)
    price = price_of(model.name, parts.hostname, settings.price)
    if settings.budget is not None and price is None:
        raise ValueError(
            f"{model.name}: a budget needs a price, and conf/prices.yaml has none at {parts.hostname}; "
            "set options.price: {input: .., output: ..} in US dollars for a million tokens"
        )
    largest, connect = int(settings.megabytes * 2**20), min(10.0, settings.timeout)
    common: dict[str, Any] = {
        # with an empty key, the client would take one from the environment and send it here
        "api_key": key.reveal() or "none",
        "max_retries": 0,
        "http_client": Client(
            largest, settings.concurrency.max, httpx2.Timeout(settings.timeout, connect=connect, pool=None)
        ),
    }
    client: AsyncOpenAI
    if settings.azure is not None:
        version = settings.azure["api_version"]
        client = openai.AsyncAzureOpenAI(azure_endpoint=url, api_version=version, **common)
        path = f"deployments/{urllib.parse.quote(model.name, safe='')}/chat/completions?api-version={version}"
        header = {"api-key": common["api_key"]}
    else:
        client = openai.AsyncOpenAI(base_url=url, **common)
        path, header = "chat/completions", client.auth_headers
    headers = {name: value for name, value in (client.default_headers | header).items() if isinstance(value, str)}
    poster = Poster(f"{client.base_url}{path}", headers, largest, settings.concurrency.max, connect)
    return Connection(client, poster, key, f"{model.name} at {parts.hostname}", price)


def disconnect(connection: Connection, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Close *connection* and its *loop*, and end the *thread* of both."""
    if not thread.is_alive():  # after a fork
        return

    async def close() -> None:
        try:
            await connection.close()
        finally:
            loop.call_soon(loop.stop)

    closing = asyncio.run_coroutine_threadsafe(close(), loop)
    if threading.current_thread() is not thread:  # a collector may run there
        with contextlib.suppress(TimeoutError, RuntimeError):  # it is busy: it ends with the process
            closing.result(5)
            thread.join(5)
            loop.close()


def _key(model: Model) -> Secret:
    name = model.key_env or ("OPENAI_API_KEY" if model.url is None else None)
    if name is None:
        return Secret("")
    value = os.environ.get(name, "").strip()
    if value and not (value.isascii() and value.isprintable() and " " not in value):
        raise ValueError(
            f"{model.name}: the key in {name} (key_env) has a space, a line end or another character that an HTTP"
            " header cannot hold"
        )
    if value:
        return Secret(value)
    if not re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", name):  # it may be the key itself: do not repeat it
        raise ValueError(f"{model.name}: key_env is the NAME of a set environment variable, like OPENAI_API_KEY")
    raise ValueError(f"{model.name}: the environment variable {name} (key_env) is not set on this worker")
