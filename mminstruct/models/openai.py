"""Any OpenAI-compatible endpoint as a ``Chat``: as fast as it bears, never twice for one reply, never over budget.

Each ``Chatter`` has an event loop in a thread of its own; calling threads hand it their rows and wait. All of them
share one limiter, one ledger of money and one fate: what stops one request for good (a refused key, an empty account,
a spent budget) stops all. Requests under way are then still awaited and journaled, since they are paid.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import random
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from mminstruct.models.batch import Batches, Desk
from mminstruct.models.connection import Settings, connect
from mminstruct.models.exchange import Ask, Bought, Exchange
from mminstruct.models.faults import EndpointError, Fault
from mminstruct.models.limits import Limiter
from mminstruct.models.model import Finish, Model, Reply, Sampling
from mminstruct.models.recorder import Recorder
from mminstruct.models.structured import Contradiction, Unfit, fitting
from mminstruct.prompts import Message
from mminstruct.spending import Ledger
from mminstruct.stage import UNIT, Halt, Purse, Unit, note

log = logging.getLogger(__name__)

LONGEST_WAIT_UNKNOWN = 60.0
"""Patience in seconds with an endpoint that has never answered: more likely a wrong url than an outage."""
HOPELESS = 20
"""Requests refused as wrong, and none answered, after which it is not the rows' fault."""

_BOOKS = threading.Lock()


class Chatter:
    """``Chat`` over HTTP. ``model.options`` are the fields of ``connection.Settings``.

    Args:
        purse: Where money is counted that is spent outside of a run's units; those bring their run's.

    Raises:
        ValueError: for options that cannot work, before anything is sent.
    """

    def __init__(self, model: Model, *, purse: Purse | None = None) -> None:
        self.settings = Settings.of(model)
        self._purse: Purse = purse or Ledger()
        self._connection = connect(model, self.settings)
        self._exchange = Exchange(
            model, self.settings, self._connection.price, self._connection.key, self._connection.who
        )
        self.limiter = Limiter(
            start=self.settings.start, most=self.settings.most, least=self.settings.least, backoff=self.settings.backoff
        )
        self.replies = 0
        self.spent = 0.0
        self._wrong = 0
        self._halted: Halt | None = None
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=f"endpoint {model.name}", daemon=True).start()
        self._end = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def chat(
        self,
        messages: list[list[Message]],
        *,
        seeds: list[int],
        schema: dict[str, Any] | None = None,
        sampling: Sampling | None = None,
    ) -> list[Reply]:
        """One reply for each transcript; see ``Chat``.

        Raises:
            EndpointError: if no request can succeed before something is mended.
            BudgetExceeded: if the next request might exceed ``options.budget.usd``.
        """
        self._check()
        write = functools.partial(self._exchange.write, schema=schema, sampling=sampling)
        asks = [write(turns, seed) for turns, seed in zip(messages, seeds, strict=True)]
        waiting = asyncio.run_coroutine_threadsafe(self._all(asks, write, schema, UNIT.get()), self._loop)
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
            "spent": self.spent,
        }

    def close(self) -> None:
        """Close connections and end the thread."""
        if self._end.alive:
            asyncio.run_coroutine_threadsafe(self._connection.client.close(), self._loop).result(5)
            self._end()

    async def _all(
        self, asks: list[Ask], write: Callable[..., Ask], schema: dict[str, Any] | None, unit: Unit | None
    ) -> list[Reply]:
        distinct = {ask.request: ask for ask in asks}  # equal requests get one reply
        purse = unit.purse if unit and unit.purse else self._purse
        recorder = Recorder(unit.journal) if unit and unit.journal and self._connection.paid else None
        desk = None
        if self.settings.mode == "batch":
            desk = Desk(len(distinct), lambda some: self._buy_batch(some, unit, purse))

        async def buy(ask: Ask) -> Bought | Fault:
            if desk is None:
                return await self._buy(ask, purse, recorder, unit)
            found = await desk.buy(ask)
            if recorder and isinstance(found, Bought):
                await recorder.put(ask.request, dataclasses.asdict(found))
            return found

        async def row(ask: Ask) -> Reply:
            try:
                return await self._row(ask, write, schema, unit, recorder, buy)
            finally:
                if desk:
                    desk.leave()

        if recorder:
            await recorder.recall(distinct)
        made = await asyncio.gather(*map(row, distinct.values()), return_exceptions=True)
        wrong = [found for found in made if isinstance(found, BaseException)]
        if wrong:
            raise next((error for error in wrong if not isinstance(error, Halt)), wrong[0])
        replies = dict(zip(distinct, made, strict=True))
        return [replies[ask.request] for ask in asks]  # type: ignore[misc]

    async def _row(
        self,
        ask: Ask,
        write: Callable[..., Ask],
        schema: dict[str, Any] | None,
        unit: Unit | None,
        recorder: Recorder | None,
        buy: Buy,
    ) -> Reply:
        first = await self._ask(ask, unit, recorder, buy)
        if schema is None or first.finish != "stop":
            return Reply(first.text, first.finish, first.tokens_in, first.tokens_out, first.error)
        try:
            return Reply(fitting(first.text, schema), "stop", first.tokens_in, first.tokens_out)
        except Contradiction as fault:  # to be asked again which of its answers it means would be another question
            return Reply(first.text, "error", first.tokens_in, first.tokens_out, f"bad json: {fault}")
        except Unfit as fault:
            why = str(fault)
        turns: list[Message] = [
            *ask.body["messages"],
            {"role": "assistant", "content": first.text or "(nothing)"},
            {"role": "user", "content": f"That is not what was asked for: {why}. Answer with corrected JSON alone."},
        ]
        second = await self._ask(write(turns, ask.body.get("seed", 0)), unit, recorder, buy)
        tokens = first.tokens_in + second.tokens_in, first.tokens_out + second.tokens_out
        if second.finish != "stop":
            return Reply(
                first.text, "error", *tokens, error=f"bad json: {why}; its repair: {second.error or second.finish}"
            )
        try:
            text = fitting(second.text, schema)
        except Unfit as fault:
            return Reply(second.text, "error", *tokens, error=f"bad json, after one repair: {fault}")
        note("json_repaired")
        return Reply(text, "stop", *tokens)

    async def _ask(self, ask: Ask, unit: Unit | None, recorder: Recorder | None, buy: Buy) -> Bought:
        """The reply to one request: from the unit's journal, or bought."""
        if recorder:
            known = await recorder.get(ask.request)
            if known is not None:
                bought = Bought(**known)
                note("replies_recalled")
                self._book(unit, bought)
                return bought
        found = await buy(ask)
        if isinstance(found, Fault):
            finish: Finish = "filtered" if found.kind == "filtered" else "error"
            found = Bought("", finish, error=found.said)  # what its attempts cost is booked already
        else:
            self.replies += 1
        self._book(unit, found)
        return found

    @staticmethod
    def _book(unit: Unit | None, bought: Bought) -> None:
        if unit:
            with _BOOKS:
                unit.calls += 1
                unit.tokens_in += bought.tokens_in
                unit.tokens_out += bought.tokens_out
                unit.cost += bought.cost

    @staticmethod
    def _lost(unit: Unit | None, cost: float | None) -> None:
        """Put on the unit's account what an attempt cost that brought no reply."""
        if unit and cost:
            note("replies_failed_paid")
            with _BOOKS:
                unit.cost += cost

    async def _buy(self, ask: Ask, purse: Purse, recorder: Recorder | None, unit: Unit | None) -> Bought | Fault:
        """Send until there is a reply, or nothing to hope for."""
        tries = {"fault": 0, "garbage": 0, "unusable": 0, "refused": 0, "offline": 0}
        refused_since = 0.0
        while True:
            found = await self._send(ask, purse, recorder, again=any(tries.values()))
            if isinstance(found, Bought):
                return found
            self._lost(unit, found.cost)
            if found.kind in ("row", "filtered"):
                self._give_up(found)
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
            if (mine and not trouble) or tries["unusable"] >= 2 or stuck:
                found = Fault("row", f"{found.said}, after {sum(tries.values())} attempts")
                self._give_up(found)
                return found
            pause = min(30.0, self.settings.backoff * 2 ** min(10, tries[found.kind] - 1)) * random.uniform(0.75, 1.25)
            await self._sleep(max(found.wait, pause))

    def _give_up(self, fault: Fault) -> None:
        """Count a row that gets no reply; halt where no row ever got one."""
        self._wrong += fault.kind == "row"
        if self._wrong >= HOPELESS and not self.replies:
            raise self._halt(f"{self._connection.who} has answered no request so far ({fault.said})")

    async def _send(self, ask: Ask, purse: Purse, recorder: Recorder | None, *, again: bool) -> Bought | Fault:
        """One attempt, from a free place to what came of it.

        The place is held until a reply is journaled. So what a crash can lose is bounded by the limiter, and an
        endpoint that is faster than the disk waits for it.
        """
        self._check()
        ticket = await self.limiter.enter(first=again)
        reserved = cost = 0.0
        outcome: Literal["answered", "refused", "fault"] | None = None
        wait = 0.0
        try:
            reserved = cost = await self._reserve(self._exchange.most(ask), purse)  # it counts until the cost is known
            found = self._exchange.read(await self._connection.post(ask.body, self.settings.timeout), ask)
            cost = found.cost or 0.0
            if isinstance(found, Bought):
                outcome = "answered"
                if recorder:
                    await recorder.put(ask.request, dataclasses.asdict(found))
            elif found.kind in ("row", "filtered", "unusable", "fatal"):
                outcome = "answered" if found.kind != "fatal" else None
            else:
                outcome, wait = ("refused" if found.kind == "refused" else "fault"), found.wait
            return found
        finally:
            purse.settle(reserved, cost)
            self.spent += cost
            self.limiter.leave(ticket, outcome, wait=wait)

    async def _reserve(self, cost: float, purse: Purse) -> float:
        pause = 0.05
        while True:
            self._check()
            try:
                if not cost or await asyncio.to_thread(purse.reserve, cost, budget=self.settings.budget):
                    return cost
            except Halt as error:
                self._stop_all(error)
                raise
            await asyncio.sleep(pause)  # other requests, maybe of another model's thread, are still to be paid
            pause = min(1.0, 2 * pause)

    async def _buy_batch(self, asks: dict[str, Ask], unit: Unit | None, purse: Purse) -> dict[str, Bought | Fault]:
        batches = Batches(self._connection, self.settings, self._exchange, unit.journal if unit else None)
        reserved = await self._reserve(sum(map(self._exchange.most, asks.values())), purse)
        unknown = reserved
        try:
            found = await batches.buy(asks, self._sleep)
            unknown = 0.0
        except (Halt, asyncio.CancelledError) as error:
            unknown = 0.0  # the next session finds the batch again, and counts it then
            if isinstance(error, EndpointError):
                self._stop_all(error)
            raise
        finally:
            cost = max(batches.cost, unknown)
            purse.settle(reserved, cost)
            self.spent += cost
            self._lost(unit, batches.lost)
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


Buy = Callable[[Ask], Awaitable[Bought | Fault]]
"""Sends a request until it has a reply, or nothing to hope for."""
