"""Any OpenAI-compatible endpoint as a ``Chat``: as fast as it bears, never twice for one reply, never over budget.

Each ``Chatter`` has an event loop in a thread of its own; calling threads hand it their rows and wait. All of them
share one limiter, one ledger of money and one fate: what stops one request for good (a refused key, an empty account,
a spent budget) stops all. Requests under way are then still awaited and journaled, since they are paid.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
import random
import threading
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from mminstruct.models.batch import Batches, Desk
from mminstruct.models.connection import Settings, connect
from mminstruct.models.faults import EndpointError, Fault
from mminstruct.models.limits import Limiter
from mminstruct.models.model import Finish, Model, Reply
from mminstruct.models.prices import LEDGER, Ledger, most_tokens_in
from mminstruct.models.structured import Unfit, fitting, response_format
from mminstruct.prompts import Message
from mminstruct.stage import UNIT, Halt, Unit, identity, note

log = logging.getLogger(__name__)

LONGEST_WAIT_UNKNOWN = 60.0
"""Patience in seconds with an endpoint that has never answered: more likely a wrong url than an outage."""
HOPELESS = 20
"""Requests refused as wrong, and none answered, after which it is not the rows' fault."""

_FINISH: dict[str, Finish] = {"length": "length", "max_tokens": "length", "content_filter": "filtered"}
_BOOKS = threading.Lock()


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


class Chatter:
    """``Chat`` over HTTP. ``model.options`` are the fields of ``connection.Settings``.

    Args:
        ledger: Where money is counted; all chatters of a process share one unless told otherwise.

    Raises:
        ValueError: for options that cannot work, before anything is sent.
    """

    def __init__(self, model: Model, *, ledger: Ledger = LEDGER) -> None:
        self.settings = Settings.of(model)
        self._model, self._ledger = model, ledger
        self._connection = connect(model, self.settings)
        self._price = self._connection.price
        self.limiter = Limiter(
            start=self.settings.start, most=self.settings.most, least=self.settings.least, backoff=self.settings.backoff
        )
        self.replies = 0
        self._wrong = 0
        self._halted: Halt | None = None
        self._stop = asyncio.Event()
        self._tokens_guess = 1.0  # how far real prompts exceed the guess, at worst
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=f"endpoint {model.name}", daemon=True).start()
        self._end = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def chat(
        self, messages: list[list[Message]], *, seeds: list[int], schema: dict[str, Any] | None = None
    ) -> list[Reply]:
        """One reply for each transcript; see ``Chat``.

        Raises:
            EndpointError: if no request can succeed before something is mended.
            BudgetExceeded: if the next request might exceed ``options.budget.usd``.
        """
        self._check()
        asks = [self._write(turns, seed, schema) for turns, seed in zip(messages, seeds, strict=True)]
        waiting = asyncio.run_coroutine_threadsafe(self._all(asks, schema, UNIT.get()), self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise

    def statistics(self) -> dict[str, Any]:
        """Counts of answers, refusals and faults, money, and how the limit moved: for logs."""
        return {
            **{str(name): count for name, count in self.limiter.counts.items()},
            "replies": self.replies,
            "limit": self.limiter.limit,
            "history": list(self.limiter.history),
            "spent": self._ledger.spent,
        }

    def close(self) -> None:
        """Close connections and end the thread."""
        if self._end.alive:
            asyncio.run_coroutine_threadsafe(self._connection.client.close(), self._loop).result(5)
            self._end()

    def _write(self, messages: list[Message], seed: int, schema: dict[str, Any] | None) -> Ask:
        model, settings = self._model, self.settings
        body: dict[str, Any] = {
            "model": model.name, "messages": messages, "temperature": model.temperature, "top_p": model.top_p,
            "max_tokens": model.max_tokens, "seed": seed, "stream": False,
        }  # fmt: skip
        form = response_format(schema, settings.json) if schema else None
        body |= ({"response_format": form} if form else {}) | settings.body
        body = {name: value for name, value in body.items() if value is not None}
        facts = {"model": identity(model), "messages": messages, "seed": seed, "schema": schema, "body": settings.body}
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return Ask(hashlib.sha256(text.encode()).hexdigest()[:32], body, most_tokens_in(messages))

    async def _all(self, asks: list[Ask], schema: dict[str, Any] | None, unit: Unit | None) -> list[Reply]:
        distinct = {ask.request: ask for ask in asks}  # equal requests get one reply
        desk = Desk(len(distinct), lambda some: self._buy_batch(some, unit)) if self.settings.mode == "batch" else None
        buy = desk.buy if desk else self._buy

        async def row(ask: Ask) -> Reply:
            try:
                return await self._row(ask, schema, unit, buy)
            finally:
                if desk:
                    desk.leave()

        made = await asyncio.gather(*map(row, distinct.values()), return_exceptions=True)
        wrong = [found for found in made if isinstance(found, BaseException)]
        if wrong:
            raise next((error for error in wrong if not isinstance(error, Halt)), wrong[0])
        replies = dict(zip(distinct, made, strict=True))
        return [replies[ask.request] for ask in asks]  # type: ignore[misc]

    async def _row(self, ask: Ask, schema: dict[str, Any] | None, unit: Unit | None, buy: Buy) -> Reply:
        first = await self._ask(ask, unit, buy)
        if schema is None or first.finish != "stop":
            return Reply(first.text, first.finish, first.tokens_in, first.tokens_out, first.error)
        try:
            return Reply(fitting(first.text, schema), "stop", first.tokens_in, first.tokens_out)
        except Unfit as fault:
            why = str(fault)
        turns: list[Message] = [
            *ask.body["messages"],
            {"role": "assistant", "content": first.text or "(nothing)"},
            {"role": "user", "content": f"That is not what was asked for: {why}. Answer with corrected JSON alone."},
        ]
        second = await self._ask(self._write(turns, ask.body.get("seed", 0), schema), unit, buy)
        tokens = first.tokens_in + second.tokens_in, first.tokens_out + second.tokens_out
        if second.finish != "stop":
            return Reply("", "error", *tokens, error=f"bad json: {why}; its repair: {second.error or second.finish}")
        try:
            text = fitting(second.text, schema)
        except Unfit as fault:
            return Reply("", "error", *tokens, error=f"bad json, after one repair: {fault}")
        note("json_repaired")
        return Reply(text, "stop", *tokens)

    async def _ask(self, ask: Ask, unit: Unit | None, buy: Buy) -> Bought:
        """The reply to one request: from the unit's journal, or bought and journaled before it is used."""
        journal = unit.journal if unit and self._connection.paid else None
        if journal:
            known = await asyncio.to_thread(journal.get, ask.request)
            if known is not None:
                bought = Bought(**known)
                self._ledger.recall(ask.request, bought.cost)
                note("replies_recalled")
                self._book(unit, bought)
                return bought
        answer = await buy(ask)
        if isinstance(answer, Fault):
            if unit:
                with _BOOKS:
                    unit.calls += 1
            finish: Finish = "filtered" if answer.kind == "filtered" else "error"
            return Bought("", finish, error=answer.said)
        bought = self._read(answer, ask)
        if journal:
            await asyncio.shield(asyncio.to_thread(journal.put, ask.request, dataclasses.asdict(bought)))
        self._book(unit, bought)
        return bought

    @staticmethod
    def _book(unit: Unit | None, bought: Bought) -> None:
        if unit:
            with _BOOKS:
                unit.calls += 1
                unit.tokens_in += bought.tokens_in
                unit.tokens_out += bought.tokens_out
                unit.cost += bought.cost

    def _read(self, data: dict[str, Any], ask: Ask) -> Bought:
        choice = data["choices"][0]
        message = choice["message"]
        text = (message.get("content") or "").encode("utf-8", "replace").decode()  # JSON may hold lone surrogates
        finish = _FINISH.get(str(choice.get("finish_reason")), "stop")
        refusal = message.get("refusal")
        if refusal and not text:
            finish = "filtered"
        tokens_in, tokens_out, cost = self._cost(data, ask)
        note("usage_guessed", int(not isinstance(data.get("usage"), dict)))
        self.replies += 1
        error = f"refused by the endpoint: {refusal or 'content filter'}" if finish == "filtered" else None
        return Bought(text, finish, tokens_in, tokens_out, cost, error)

    def _cost(self, data: Any, ask: Ask) -> tuple[int, int, float]:
        """(tokens in, tokens out, US dollars) of one answer; guessed where the endpoint does not tell."""
        usage = data.get("usage") if isinstance(data, dict) else None
        if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
            usage = {"prompt_tokens": ask.tokens_in, "completion_tokens": len(json.dumps(data)) // 4}
        tokens_in, tokens_out = usage["prompt_tokens"], usage.get("completion_tokens") or 0
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        self._tokens_guess = max(self._tokens_guess, tokens_in / max(1, ask.tokens_in))
        if self._price is None:
            return tokens_in, tokens_out, 0.0
        batch = self.settings.mode == "batch"
        return tokens_in, tokens_out, self._price.cost(tokens_in, tokens_out, cached=cached, batch=batch)

    def _most(self, ask: Ask) -> float:
        """US dollars that *ask* may cost."""
        if self._price is None:
            return 0.0
        out = ask.body.get("max_tokens") or ask.body.get("max_completion_tokens") or self._model.max_tokens
        tokens_in = int(ask.tokens_in * self._tokens_guess)
        return self._price.cost(tokens_in, int(out) * int(ask.body.get("n", 1)), batch=self.settings.mode == "batch")

    async def _buy(self, ask: Ask) -> dict[str, Any] | Fault:
        """Send until there is an answer, or nothing to hope for."""
        tries = {"fault": 0, "garbage": 0, "refused": 0, "offline": 0}
        refused_since = 0.0
        while True:
            found = await self._send(ask, again=any(tries.values()))
            if isinstance(found, dict):
                return found
            if found.kind in ("row", "filtered"):
                self._wrong += found.kind == "row"
                if self._wrong >= HOPELESS and not self.replies:
                    raise self._halt(f"{self._connection.who} refuses every request ({found.said})")
                return found
            if found.kind == "fatal":
                raise self._halt(found.said)
            if not tries["refused"]:
                refused_since = self._loop.time()
            tries[found.kind] += 1
            patience = self.settings.patience
            trouble = self.limiter.trouble
            if trouble > (patience if self.replies else min(patience, LONGEST_WAIT_UNKNOWN)):
                raise self._halt(f"{self._connection.who}: nothing but failures for {trouble:.0f} s ({found.said})")
            if found.wait > patience:
                raise self._halt(f"{self._connection.who} asks to wait {found.wait:.0f} s ({found.said})")
            mine = tries["fault"] >= self.settings.attempts or tries["garbage"] >= 2
            stuck = tries["refused"] > 10 and self._loop.time() - refused_since > patience
            if (mine and not trouble) or stuck:
                return Fault("row", f"{found.said}, after {sum(tries.values())} attempts")
            pause = min(30.0, self.settings.backoff * 2 ** min(10, tries[found.kind] - 1)) * random.uniform(0.75, 1.25)
            await self._sleep(max(found.wait, pause))

    async def _send(self, ask: Ask, *, again: bool) -> dict[str, Any] | Fault:
        """One attempt, from a free place to what came of it."""
        self._check()
        ticket = await self.limiter.enter(first=again)
        reserved = cost = 0.0
        outcome: Literal["answered", "refused", "fault"] | None = None
        wait = 0.0
        try:
            reserved = await self._reserve(self._most(ask))
            found = await self._connection.post(ask.body, self.settings.timeout)
            if isinstance(found, dict):
                outcome, cost = "answered", self._cost(found, ask)[2]
            elif found.kind in ("row", "filtered", "fatal"):
                outcome = "answered" if found.kind != "fatal" else None
            else:
                outcome, wait = ("refused" if found.kind == "refused" else "fault"), found.wait
            return found
        finally:
            self._ledger.settle(reserved, cost, ask.request)
            self.limiter.leave(ticket, outcome, wait=wait)

    async def _reserve(self, cost: float) -> float:
        while True:
            self._check()
            try:
                if self._ledger.reserve(cost, budget=self.settings.budget, before=self.settings.spent):
                    return cost
            except Halt as error:
                self._stop_all(error)
                raise
            await asyncio.sleep(0.05)  # other requests, maybe of another model's thread, are still to be paid

    async def _buy_batch(self, asks: dict[str, Ask], unit: Unit | None) -> dict[str, dict[str, Any] | Fault]:
        batches = Batches(self._connection, self.settings, unit.journal if unit else None)
        reserved = await self._reserve(sum(map(self._most, asks.values())))
        paid: dict[str, float] = {}
        try:
            found = await batches.buy({name: ask.body for name, ask in asks.items()}, self._sleep)
            paid = {name: self._cost(data, asks[name])[2] for name, data in found.items() if isinstance(data, dict)}
        except EndpointError as error:
            self._stop_all(error)
            raise
        finally:
            self._ledger.settle(reserved, 0.0)
            for name, cost in paid.items():
                self._ledger.settle(0.0, cost, name)
        return found

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not through a halt."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
        self._check()

    def _check(self) -> None:
        if self._halted is not None:
            raise type(self._halted)(*self._halted.args)

    def _halt(self, said: str) -> EndpointError:
        error = EndpointError(said)
        self._stop_all(error)
        return error

    def _stop_all(self, error: Halt) -> None:
        if self._halted is None:
            self._halted = error
            log.error("%s", error)
            self._stop.set()
            self.limiter.release()


Buy = Callable[[Ask], Awaitable[dict[str, Any] | Fault]]
"""Sends a request until it has an answer."""
