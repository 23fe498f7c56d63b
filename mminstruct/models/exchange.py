"""One request to an endpoint: what it says, what it may cost, and what its answer means."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from mminstruct.models.connection import Settings
from mminstruct.models.model import Finish, Model, Sampling
from mminstruct.models.prices import Price, most_tokens_in
from mminstruct.models.structured import response_format
from mminstruct.prompts import Message
from mminstruct.stage import identity, note

_FINISH: dict[str, Finish] = {"length": "length", "max_tokens": "length", "content_filter": "filtered"}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, ready to send."""

    request: str
    """Hash of the model's identity, the transcript, the seed and the schema: 32 hex digits."""
    body: dict[str, Any]
    tokens_in: int
    """Upper guess."""


@dataclass(frozen=True, slots=True)
class Bought:
    """One paid reply, as it is journaled."""

    text: str
    finish: Finish
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    error: str | None = None


class Exchange:
    """Writes requests to one model of one endpoint, reads what comes back, and knows the price of both."""

    def __init__(self, model: Model, settings: Settings, price: Price | None) -> None:
        self._model, self._settings, self._price = model, settings, price
        self._batch = settings.mode == "batch"
        self._tokens_guess = 1.0  # how far real prompts exceed the guess, at worst

    def write(
        self, messages: list[Message], seed: int, schema: dict[str, Any] | None, sampling: Sampling | None = None
    ) -> Ask:
        settings, drawn = self._settings, sampling or self._model.sampling
        body: dict[str, Any] = {
            "model": self._model.name, "messages": messages, "temperature": drawn.temperature, "top_p": drawn.top_p,
            "max_tokens": drawn.max_tokens, "seed": seed, "stream": False,
        }  # fmt: skip
        form = response_format(schema, settings.json) if schema else None
        body |= ({"response_format": form} if form else {}) | settings.body
        body = {name: value for name, value in body.items() if value is not None}
        facts = {
            "model": identity(self._model), "messages": messages, "seed": seed, "schema": schema, "body": settings.body,
        }  # fmt: skip
        if sampling is not None:
            facts["sampling"] = identity(sampling)
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return Ask(hashlib.sha256(text.encode()).hexdigest()[:32], body, most_tokens_in(messages))

    def read(self, data: dict[str, Any], ask: Ask) -> Bought:
        choice = data["choices"][0]
        message = choice["message"]
        text = (message.get("content") or "").encode("utf-8", "replace").decode()  # JSON may hold lone surrogates
        finish = _FINISH.get(str(choice.get("finish_reason")), "stop")
        refusal = message.get("refusal")
        if refusal and not text:
            finish = "filtered"
        tokens_in, tokens_out, cost = self.cost(data, ask)
        note("usage_guessed", int(not isinstance(data.get("usage"), dict)))
        error = f"refused by the endpoint: {refusal or 'content filter'}" if finish == "filtered" else None
        return Bought(text, finish, tokens_in, tokens_out, cost, error)

    def cost(self, data: Any, ask: Ask) -> tuple[int, int, float]:
        """(tokens in, tokens out, US dollars) of one answer; guessed where the endpoint does not tell."""
        usage = data.get("usage") if isinstance(data, dict) else None
        if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
            usage = {"prompt_tokens": ask.tokens_in, "completion_tokens": len(json.dumps(data)) // 4}
        tokens_in, tokens_out = usage["prompt_tokens"], usage.get("completion_tokens") or 0
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        self._tokens_guess = max(self._tokens_guess, tokens_in / max(1, ask.tokens_in))
        if self._price is None:
            return tokens_in, tokens_out, 0.0
        return tokens_in, tokens_out, self._price.cost(tokens_in, tokens_out, cached=cached, batch=self._batch)

    def most(self, ask: Ask) -> float:
        """US dollars that *ask* may cost."""
        if self._price is None:
            return 0.0
        out = ask.body.get("max_tokens") or ask.body.get("max_completion_tokens") or self._model.max_tokens
        tokens_in = int(ask.tokens_in * self._tokens_guess)
        return self._price.cost(tokens_in, int(out) * int(ask.body.get("n", 1)), batch=self._batch)
