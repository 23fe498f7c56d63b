"""One request to an endpoint: what it says, what it may cost, and what its answer means."""

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
from mminstruct.models.prices import Price, most_tokens_in
from mminstruct.models.structured import response_format
from mminstruct.prompts import Message
from mminstruct.stage import identity, note

WORD = 8
"""Characters of a key at least, for it to be taken out of what a model says: shorter ones may be words."""


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
    """US dollars, of this attempt alone."""
    error: str | None = None


class Exchange:
    """Writes requests to one model of one endpoint, reads what comes back, and knows the price of both."""

    def __init__(self, model: Model, settings: Settings, price: Price | None, key: Secret, who: str) -> None:
        self._model, self._settings, self._price = model, settings, price
        self._key, self._who = key, who
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

    def read(self, answer: Answer | Fault, ask: Ask) -> Bought | Fault:
        """The reply in *answer*, or why it is none; either with what it cost. Never raises, whatever came."""
        if isinstance(answer, Fault):
            return dataclasses.replace(answer, cost=self.most(ask)) if answer.cost is None else answer
        used = completion.usage(answer.data, tokens_in=ask.tokens_in, tokens_out=answer.size // 4)
        said = completion.read(answer.data, self._settings.finish, who=self._who)
        free = used.guessed and isinstance(said, Fault) and said.cost is not None  # an error that names no tokens
        cost = 0.0 if free else self._cost(used, ask)
        note("usage_guessed", int(used.guessed and not free))
        if isinstance(said, Fault):
            return dataclasses.replace(said, said=self._key.scrub(said.said), cost=cost)
        error = None
        if said.finish == "filtered":
            error = self._key.scrub(f"refused by the endpoint: {said.refusal or 'content filter'}")
        text = self._key.scrub(said.text, shortest=WORD)
        return Bought(text, said.finish, used.tokens_in, used.tokens_out, cost, error)

    def _cost(self, used: Usage, ask: Ask) -> float:
        """US dollars of one answer."""
        if not used.guessed:
            self._tokens_guess = max(self._tokens_guess, used.tokens_in / max(1, ask.tokens_in))
        if self._price is None:
            return 0.0
        return self._price.cost(used.tokens_in, used.tokens_out, cached=used.cached, batch=self._batch)

    def most(self, ask: Ask) -> float:
        """US dollars that *ask* may cost."""
        if self._price is None:
            return 0.0
        out = ask.body.get("max_tokens") or ask.body.get("max_completion_tokens") or self._model.max_tokens
        tokens_in = int(ask.tokens_in * self._tokens_guess)
        return self._price.cost(tokens_in, int(out) * int(ask.body.get("n", 1)), batch=self._batch)
