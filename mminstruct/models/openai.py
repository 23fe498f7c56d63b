"""A ``Chat`` over any OpenAI-compatible endpoint, with adaptive concurrency, a journal of replies and a budget.

Each ``Chatter`` runs an event loop in its own thread; calling threads submit their rows and wait. All calls share a
rate limiter, a budget and fatal errors: what makes one request impossible (a refused key, an empty account, a spent
budget) stops all. Requests in flight are then still awaited and journaled, because they are paid.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import threading
import weakref
from collections.abc import Callable
from typing import Any, Literal

from mminstruct.models.batch import Batches, BatchQueue
from mminstruct.models.connection import Settings, connect, disconnect
from mminstruct.models.exchange import ChatRequest, Exchange, PaidReply
from mminstruct.models.faults import EndpointError, Fault
from mminstruct.models.limits import Limiter
from mminstruct.models.model import Finish, Model, Reply, Sampling
from mminstruct.models.recorder import Recorder
from mminstruct.models.structured import AmbiguousJson, InvalidJson, valid_json
from mminstruct.prompts import Message
from mminstruct.stage import Halt
from mminstruct.store.spending import Ledger
from mminstruct.unit import SHARERS, UNIT, Budget, Unit, asked, note

log = logging.getLogger(__name__)

PATIENCE_UNKNOWN = 60.0
"""Longest patience, in seconds, with an endpoint that has never answered: a wrong url is more likely than an outage."""
HOPELESS = 20
"""After this many rejected requests without one reply, the fault is the endpoint's, not the rows'."""


@dataclasses.dataclass(slots=True)
class _Call:
    """What the rows of one call of ``chat`` share."""

    unit: Unit | None
    budget: Budget
    recorder: Recorder | None
    schema: dict[str, Any] | None
    write: Callable[[list[Message], int], ChatRequest]
    queue: BatchQueue | None = None
    """Only in batch mode."""


class Chatter:
    """``Chat`` over HTTP. ``model.options`` are the fields of ``connection.Settings``.

    Args:
        budget: Counts what is spent outside of a run's units; a unit brings the budget of its run.

    Raises:
        ValueError: for options that cannot work; nothing is sent before.
    """

    def __init__(self, model: Model, *, budget: Budget | None = None) -> None:
        self.settings = Settings.of(model)
        self._endpoint = model.url, model.key_env
        self._budget: Budget = budget or Ledger()
        self._connection = connect(model, self.settings)
        self._exchange = Exchange(
            model, self.settings, self._connection.price, self._connection.key, self._connection.who
        )
        self.limiter = Limiter(
            start=self.settings.concurrency.start,
            most=self.settings.concurrency.max,
            least=self.settings.concurrency.min,
            backoff=self.settings.retries.backoff,
        )
        self.replies = 0
        self.spent = 0.0
        self._rejected = 0
        self._halted: Halt | None = None
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name=f"endpoint {model.name}", daemon=True)
        thread.start()
        self._end = weakref.finalize(self, disconnect, self._connection, self._loop, thread)

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
            EndpointError: if no request can succeed until something is fixed.
            BudgetExceeded: if the next request might exceed ``options.budget.usd``.
        """
        self._check()

        def write(turns: list[Message], seed: int) -> ChatRequest:
            return self._exchange.write(turns, seed, schema, sampling)

        unit = UNIT.get()
        budget = unit.budget if unit and unit.budget else self._budget
        recorder = Recorder(unit.journal) if unit and unit.journal and self._connection.paid else None
        requests = [write(turns, seed) for turns, seed in zip(messages, seeds, strict=True)]
        call = _Call(unit, budget, recorder, schema, write)
        waiting = asyncio.run_coroutine_threadsafe(self._all(requests, call), self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise

    def statistics(self) -> dict[str, Any]:
        """Counts of answers, refusals and faults, US dollars spent, and the history of the limit; for logs."""
        return {
            **{str(name): count for name, count in self.limiter.counts.items()},
            "replies": self.replies,
            "limit": self.limiter.limit,
            "history": list(self.limiter.history),
            "spent": self.spent,
        }

    def close(self) -> None:
        """Close the connections and end the thread."""
        self._end()

    async def _all(self, requests: list[ChatRequest], call: _Call) -> list[Reply]:
        distinct = {request.key: request for request in requests}  # equal requests get one reply
        asked(len(distinct))
        self.limiter.divide(SHARERS.get().get(self._endpoint, 1))
        if self.settings.mode == "batch":
            call.queue = BatchQueue(len(distinct), lambda some: self._run_batch(some, call))

        async def row(request: ChatRequest) -> Reply:
            try:
                return await self._row(request, call)
            finally:
                if call.queue:
                    call.queue.row_done()

        if call.recorder:
            await call.recorder.recall(distinct)
        made = await asyncio.gather(*map(row, distinct.values()), return_exceptions=True)
        errors = [found for found in made if isinstance(found, BaseException)]
        if errors:
            raise next((error for error in errors if not isinstance(error, Halt)), errors[0])
        replies = dict(zip(distinct, made, strict=True))
        return [replies[request.key] for request in requests]  # type: ignore[misc]

    async def _row(self, request: ChatRequest, call: _Call) -> Reply:
        """The reply to one row, after one repair where it is not JSON of the schema."""
        first = await self._reply(request, call)
        if call.schema is None or first.finish != "stop":
            return Reply(first.text, first.finish, first.tokens_in, first.tokens_out, first.error)
        try:
            return Reply(valid_json(first.text, call.schema), "stop", first.tokens_in, first.tokens_out)
        except AmbiguousJson as fault:  # asking which of its answers it means would be another question
            return Reply(first.text, "error", first.tokens_in, first.tokens_out, f"bad json: {fault}")
        except InvalidJson as fault:
            why = str(fault)
        turns: list[Message] = [
            *request.body["messages"],
            {"role": "assistant", "content": first.text or "(nothing)"},
            {"role": "user", "content": f"That is not what was asked for: {why}. Answer with corrected JSON alone."},
        ]
        asked(1)
        second = await self._reply(call.write(turns, request.body.get("seed", 0)), call)
        tokens = first.tokens_in + second.tokens_in, first.tokens_out + second.tokens_out
        if second.finish != "stop":
            return Reply(
                first.text, "error", *tokens, error=f"bad json: {why}; its repair: {second.error or second.finish}"
            )
        try:
            text = valid_json(second.text, call.schema)
        except InvalidJson as fault:
            return Reply(second.text, "error", *tokens, error=f"bad json, after one repair: {fault}")
        note("json_repaired")
        return Reply(text, "stop", *tokens)

    async def _reply(self, request: ChatRequest, call: _Call) -> PaidReply:
        """The reply to one request, from the unit's journal or from the endpoint."""
        if call.recorder:
            known = await call.recorder.get(request.key)
            if known is not None:
                note("replies_recalled")
                return _counted(call.unit, PaidReply(**known))
        found = await (self._retry(request, call) if call.queue is None else self._queued(request, call, call.queue))
        if isinstance(found, Fault):
            finish: Finish = "filtered" if found.kind == "filtered" else "error"
            return _counted(call.unit, PaidReply("", finish, error=found.message))  # its attempts' cost is counted
        self.replies += 1
        return _counted(call.unit, found)

    async def _queued(self, request: ChatRequest, call: _Call, queue: BatchQueue) -> PaidReply | Fault:
        """The reply to one request of a batch."""
        found = await queue.reply(request)
        if call.recorder and isinstance(found, PaidReply):
            await call.recorder.put(request.key, dataclasses.asdict(found))
        return found

    async def _retry(self, request: ChatRequest, call: _Call) -> PaidReply | Fault:
        """Send *request* until it has a reply or another attempt is pointless."""
        retries, who = self.settings.retries, self._connection.who
        tries = {"fault": 0, "garbage": 0, "unusable": 0, "refused": 0, "offline": 0}
        refused_since = 0.0
        while True:
            found = await self._attempt(request, call, again=any(tries.values()))
            if isinstance(found, PaidReply):
                return found
            _count_failed(call.unit, found.cost)
            if found.kind in ("row", "filtered"):
                return self._give_up(found)
            if found.kind == "fatal":
                raise self._halt(found.message)
            if not tries["refused"]:
                refused_since = self._loop.time()
            tries[found.kind] += 1
            trouble = self.limiter.trouble
            if trouble > (retries.patience if self.replies else min(retries.patience, PATIENCE_UNKNOWN)):
                raise self._halt(f"{who}: nothing but failures for {trouble:.0f} s ({found.message})")
            if found.wait > retries.patience:
                raise self._halt(f"{who} asks to wait {found.wait:.0f} s ({found.message})")
            of_row = tries["fault"] >= retries.attempts or tries["garbage"] >= 2
            stuck = tries["refused"] > 10 and self._loop.time() - refused_since > retries.patience
            if (of_row and not trouble) or tries["unusable"] >= 2 or stuck:
                return self._give_up(Fault("row", f"{found.message}, after {sum(tries.values())} attempts"))
            pause = min(30.0, retries.backoff * 2 ** min(10, tries[found.kind] - 1)) * random.uniform(0.75, 1.25)
            await self._sleep(max(found.wait, pause))

    def _give_up(self, fault: Fault) -> Fault:
        """Count a row that gets no reply; halt where no row ever got one."""
        self._rejected += fault.kind == "row"
        if self._rejected >= HOPELESS and not self.replies:
            raise self._halt(f"{self._connection.who} has answered no request so far ({fault.message})")
        return fault

    async def _attempt(self, request: ChatRequest, call: _Call, *, again: bool) -> PaidReply | Fault:
        """Send *request* once.

        The limiter's slot is held until the reply is journaled. So a crash loses no more replies than the limit, and
        an endpoint that is faster than the disk waits for it.
        """
        self._check()
        ticket = await self.limiter.acquire(first=again)
        reserved = cost = 0.0
        outcome: Literal["answered", "refused", "fault"] | None = None
        wait = 0.0
        try:
            most = self._exchange.max_cost(request)
            reserved = cost = await self._reserve(most, call.budget)  # counts in full until the cost is known
            found = self._exchange.read(await self._connection.post(request.body, self.settings.timeout), request)
            cost = found.cost or 0.0
            if isinstance(found, PaidReply):
                outcome = "answered"
                if call.recorder:
                    await call.recorder.put(request.key, dataclasses.asdict(found))
            elif found.kind in ("row", "filtered", "unusable", "fatal"):
                outcome = "answered" if found.kind != "fatal" else None
            else:
                outcome, wait = ("refused" if found.kind == "refused" else "fault"), found.wait
            return found
        finally:
            call.budget.settle(reserved, cost)
            self.spent += cost
            self.limiter.release(ticket, outcome, wait=wait)

    async def _reserve(self, cost: float, budget: Budget) -> float:
        """Reserve *cost*, waiting while only requests in flight stand against it."""
        pause = 0.05
        while True:
            self._check()
            try:
                if not cost or await asyncio.to_thread(budget.reserve, cost, limit=self.settings.budget):
                    return cost
            except Halt as error:
                self._stop_all(error)
                raise
            await asyncio.sleep(pause)
            pause = min(1.0, 2 * pause)

    async def _run_batch(self, requests: dict[str, ChatRequest], call: _Call) -> dict[str, PaidReply | Fault]:
        journal = call.unit.journal if call.unit else None
        batches = Batches(self._connection, self.settings, self._exchange, journal)
        reserved = await self._reserve(sum(map(self._exchange.max_cost, requests.values())), call.budget)
        unknown = reserved
        try:
            found = await batches.run(requests, self._sleep)
            unknown = 0.0
        except (Halt, asyncio.CancelledError) as error:
            unknown = 0.0  # the next session finds the batch again and counts it then
            if isinstance(error, EndpointError):
                self._stop_all(error)
            raise
        finally:
            cost = max(batches.cost, unknown)
            call.budget.settle(reserved, cost)
            self.spent += cost
            _count_failed(call.unit, batches.lost)
        return found

    async def _sleep(self, seconds: float) -> None:
        """Sleep; raise at once when all is halted."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
        self._check()

    def _check(self) -> None:
        if self._halted is not None:
            raise type(self._halted)(*self._halted.args)

    def _halt(self, message: str) -> EndpointError:
        error = EndpointError(message)
        self._stop_all(error)
        return error

    def _stop_all(self, error: Halt) -> None:
        if self._halted is None:
            self._halted = error
            log.error("%s", error)
            self._stop.set()
            self.limiter.admit_all()


def _counted(unit: Unit | None, reply: PaidReply) -> PaidReply:
    """*reply*, after *unit* has counted it."""
    if unit:
        unit.count(1, reply.tokens_in, reply.tokens_out, reply.cost)
    return reply


def _count_failed(unit: Unit | None, cost: float | None) -> None:
    """Count for *unit* what a failed attempt cost, US dollars."""
    if unit and cost:
        note("replies_failed_paid")
        unit.count(cost=cost)
