"""A chat request as an endpoint takes it, its cost, and the reply that is read from the answer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from mminstruct.models import completion
from mminstruct.models.completion import Usage
from mminstruct.models.connection import Answer, Settings
from mminstruct.models.faults import Fault, Secret
from mminstruct.models.model import Finish, Model, Sampling
from mminstruct.models.prices import Price, max_tokens_in
from mminstruct.models.structured import response_format
from mminstruct.prompts import Message
from mminstruct.stage import identity
from mminstruct.unit import note

SHORTEST_KEY = 8
"""Keys of fewer characters are not removed from replies: they may be ordinary words."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request, ready to send."""

    key: str
    """Hash of the model's identity, the transcript, the seed and the schema: 32 hex digits."""
    body: dict[str, Any]
    tokens_in: int
    """Upper estimate."""


@dataclass(frozen=True, slots=True)
class PaidReply:
    """One paid reply; its fields are the format of the journal."""

    text: str
    finish: Finish
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    """US dollars, of this attempt alone."""
    error: str | None = None


class Exchange:
    """Builds the requests to one model, reads the answers, and knows what both cost."""

    def __init__(self, model: Model, settings: Settings, price: Price | None, key: Secret, who: str) -> None:
        self._model, self._settings, self._price = model, settings, price
        self._key, self._who = key, who
        self._batch = settings.mode == "batch"
        self._underestimate = 1.0  # largest ratio so far of a prompt's tokens to their estimate

    def write(
        self, messages: list[Message], seed: int, schema: dict[str, Any] | None, sampling: Sampling | None = None
    ) -> ChatRequest:
        """The request for one transcript; *sampling* replaces the model's own."""
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
        return ChatRequest(hashlib.sha256(text.encode()).hexdigest()[:32], body, max_tokens_in(messages))

    def read(self, answer: Answer | Fault, request: ChatRequest) -> PaidReply | Fault:
        """The reply in *answer*, or why there is none; either with its cost. Never raises."""
        if isinstance(answer, Fault):
            return dataclasses.replace(answer, cost=self.max_cost(request)) if answer.cost is None else answer
        used = completion.usage(answer.data, tokens_in=request.tokens_in, tokens_out=answer.size // 4)
        parsed = completion.read(answer.data, self._settings.finish, who=self._who)
        free = used.guessed and isinstance(parsed, Fault) and parsed.cost is not None  # an error that names no tokens
        cost = 0.0 if free else self._cost(used, request)
        note("usage_guessed", int(used.guessed and not free))
        if isinstance(parsed, Fault):
            return dataclasses.replace(parsed, message=self._key.scrub(parsed.message), cost=cost)
        error = None
        if parsed.finish == "filtered":
            error = self._key.scrub(f"refused by the endpoint: {parsed.refusal or 'content filter'}")
        text = self._key.scrub(parsed.text, shortest=SHORTEST_KEY)
        return PaidReply(text, parsed.finish, used.tokens_in, used.tokens_out, cost, error)

    def _cost(self, used: Usage, request: ChatRequest) -> float:
        """US dollars of one answer."""
        if not used.guessed:
            self._underestimate = max(self._underestimate, used.tokens_in / max(1, request.tokens_in))
        if self._price is None:
            return 0.0
        return self._price.cost(used.tokens_in, used.tokens_out, cached=used.cached, batch=self._batch)

    def max_cost(self, request: ChatRequest) -> float:
        """The most that *request* can cost, US dollars."""
        if self._price is None:
            return 0.0
        out = request.body.get("max_tokens") or request.body.get("max_completion_tokens") or self._model.max_tokens
        tokens_in = int(request.tokens_in * self._underestimate)
        return self._price.cost(tokens_in, int(out) * int(request.body.get("n", 1)), batch=self._batch)
