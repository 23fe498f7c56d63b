"""OpenAI's Batch API: requests in one file, answers in another within a day, at half the price.

A batch is found again after a crash: its id is journaled as soon as it is known, and its metadata holds the hash of its
requests, so that a batch submitted just before the crash is found in the endpoint's list. Answers are matched by
``custom_id`` only; requests whose answer is missing, unreadable or expired go into another batch.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from mminstruct.models import faults
from mminstruct.models.connection import Answer, Connection, Settings
from mminstruct.models.exchange import ChatRequest, Exchange, PaidReply
from mminstruct.models.faults import EndpointError, Fault, TooLarge
from mminstruct.unit import Journal, note

log = logging.getLogger(__name__)

ROUNDS = 3
"""Batches that a request may be part of before it fails."""
TAG = "mminstruct"
"""Metadata key under which a batch carries the hash of its requests."""

_USELESS = ("failed", "cancelled", "cancelling")
_OVER = ("completed", "expired", "cancelled", "failed")
_T = TypeVar("_T")
_Replies = dict[str, PaidReply | Fault]
Sleep = Callable[[float], Awaitable[None]]


class BatchQueue:
    """Collects requests until every unfinished row waits for one, then sends them as one batch."""

    def __init__(self, rows: int, run: Callable[[dict[str, ChatRequest]], Awaitable[_Replies]]) -> None:
        self._open = rows
        self._run = run
        self._waiting: dict[str, tuple[ChatRequest, asyncio.Future[PaidReply | Fault]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def reply(self, request: ChatRequest) -> PaidReply | Fault:
        """The reply to *request*, when its batch has returned."""
        _, answer = self._waiting.setdefault(request.key, (request, asyncio.get_running_loop().create_future()))
        self._go_if_full()
        return await asyncio.shield(answer)

    def row_done(self) -> None:
        """Count one row as done."""
        self._open -= 1
        self._go_if_full()

    def _go_if_full(self) -> None:
        if self._waiting and len(self._waiting) >= self._open:
            some, self._waiting = self._waiting, {}
            task = asyncio.get_running_loop().create_task(self._go(some))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _go(self, some: dict[str, tuple[ChatRequest, asyncio.Future[PaidReply | Fault]]]) -> None:
        try:
            found = await self._run({name: request for name, (request, _) in some.items()})
        except Exception as error:
            for _, answer in some.values():
                answer.set_exception(error)
        else:
            for name, (_, answer) in some.items():
                answer.set_result(found[name])


class Batches:
    """Sends requests in batches and collects their replies.

    Args:
        journal: Keeps the ids of batches until the unit is committed; None: only the endpoint has them.
    """

    def __init__(self, connection: Connection, settings: Settings, exchange: Exchange, journal: Journal | None) -> None:
        self.cost = 0.0
        """US dollars for all answers, failed ones included."""
        self.lost = 0.0
        """US dollars for failed answers; part of ``cost``."""
        self._connection, self._client, self._journal = connection, connection.client, journal
        self._exchange = exchange
        self._requests = settings.batch.requests
        self._bytes = int(settings.batch.megabytes * 1_000_000)
        self._poll = settings.batch.poll
        self._patience = settings.retries.patience
        self._longest = int(settings.megabytes * 2**20)
        self._largest = int(settings.batch.answers * 2**20)

    async def run(self, requests: dict[str, ChatRequest], sleep: Sleep) -> _Replies:
        """For each request, by its custom id, the reply or why there is none.

        Raises:
            EndpointError: if the endpoint accepts no batches, or refuses these.
        """
        found: _Replies = {}
        last: dict[str, str] = {}
        for turn in range(ROUNDS):
            left = {name: request.body for name, request in sorted(requests.items()) if name not in found}
            if not left:
                return found
            note("batch_requeued", len(left) if turn else 0)
            chunks = [self._one(lines, requests, turn, last, sleep) for lines in self.chunks(left)]
            for answers in await asyncio.gather(*chunks):
                found |= answers
        for name in requests.keys() - found.keys():
            found[name] = Fault("row", f"no answer in {ROUNDS} batches ({last.get(name, 'its line was missing')})")
        return found

    def chunks(self, bodies: dict[str, dict[str, Any]]) -> Iterator[dict[str, bytes]]:
        """Contents of request files within the limits on requests and bytes: lines by custom id."""
        chunk: dict[str, bytes] = {}
        size = 0
        for name, body in bodies.items():
            line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
            data = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
            if chunk and (len(chunk) >= self._requests or size + len(data) > self._bytes):
                yield chunk
                chunk, size = {}, 0
            chunk[name] = data
            size += len(data)
        if chunk:
            yield chunk

    async def _one(
        self, lines: dict[str, bytes], requests: dict[str, ChatRequest], turn: int, last: dict[str, str], sleep: Sleep
    ) -> _Replies:
        tag = hashlib.sha256("\n".join([str(turn), *lines]).encode()).hexdigest()[:32]
        while True:
            batch = await self._submitted(tag, sleep) or await self._submit(tag, lines, sleep)
            while batch.status not in _OVER:
                await sleep(self._poll)
                batch = await self._call(functools.partial(self._client.batches.retrieve, batch.id), sleep)
            if batch.status != "failed":
                return await self._collect(batch, {name: requests[name] for name in lines}, last, sleep)
            errors = (batch.errors.data if batch.errors else None) or []
            said = errors[0].message if errors else "no reason given"
            if not any(error.code == "token_limit_exceeded" for error in errors):
                raise EndpointError(f"{self._connection.who}: batch {batch.id} was refused: {said}")
            await self._keep(tag, None)
            log.info("batch %s waits for room in the queue: %s", batch.id, said)
            await sleep(self._poll)

    async def _submitted(self, tag: str, sleep: Sleep) -> Any:
        """The batch with *tag* that an earlier process submitted, or None."""
        kept = await asyncio.to_thread(self._journal.get, f"batch-{tag}") if self._journal else None
        if kept and kept["id"]:
            return await self._call(functools.partial(self._client.batches.retrieve, kept["id"]), sleep)
        batch = await self._call(functools.partial(self._listed, tag), sleep)
        if batch is not None:
            await self._keep(tag, batch.id)
        return batch

    async def _listed(self, tag: str) -> Any:
        page = await self._client.batches.list(limit=100)
        fit = (b for b in page.data if (b.metadata or {}).get(TAG) == tag and b.status not in _USELESS)
        return next(fit, None)

    async def _submit(self, tag: str, lines: dict[str, bytes], sleep: Sleep) -> Any:
        data = b"".join(lines.values())
        file = await self._call(lambda: self._client.files.create(file=(f"{tag}.jsonl", data), purpose="batch"), sleep)
        tried = False

        async def create() -> Any:
            nonlocal tried
            if tried and (there := await self._listed(tag)):  # the batch was created, only the answer was lost
                return there
            tried = True
            return await self._client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={TAG: tag}
            )

        batch = await self._call(create, sleep)
        await self._keep(tag, batch.id)
        log.info("batch %s: %d requests, %.1f MB", batch.id, len(lines), len(data) / 1e6)
        return batch

    async def _keep(self, tag: str, batch: str | None) -> None:
        if self._journal:
            await asyncio.to_thread(self._journal.put, {f"batch-{tag}": {"id": batch}})

    async def _collect(
        self, batch: Any, requests: dict[str, ChatRequest], last: dict[str, str], sleep: Sleep
    ) -> _Replies:
        found: _Replies = {}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            answers = await self._call(functools.partial(self._read, file, requests), sleep)
            for name, answer in answers:
                if name not in requests or name in found:
                    note("batch_lines_ignored")
                    continue
                self.cost += answer.cost or 0.0
                if isinstance(answer, PaidReply) or answer.kind in ("row", "filtered"):
                    found[name] = answer
                elif answer.kind == "fatal":
                    raise EndpointError(answer.message)
                else:
                    last[name] = answer.message
                if isinstance(answer, Fault):
                    self.lost += answer.cost or 0.0
        return found

    async def _read(self, file: str, requests: dict[str, ChatRequest]) -> list[tuple[str, PaidReply | Fault]]:
        """(custom id, answer) of each line of an output or error file."""
        from mminstruct.models.capped import lines

        async with self._client.files.with_streaming_response.content(file) as answer:
            pieces = answer.iter_bytes()
            return [
                self._line(line, requests)
                async for line in lines(pieces, longest=self._longest, largest=self._largest)
                if line.strip() or not line
            ]

    def _line(self, line: bytes, requests: dict[str, ChatRequest]) -> tuple[str, PaidReply | Fault]:
        """(custom id, answer) of one line; the id is empty for a line that is unreadable or answers no request."""
        try:
            entry = json.loads(line)
            request = requests[entry["custom_id"]]
        except (ValueError, RecursionError, TypeError, KeyError):
            return "", Fault("garbage", "a line that is unreadable, or answers no request of this batch")
        response = entry.get("response")
        if not isinstance(response, dict):
            error = entry.get("error")
            error = error if isinstance(error, dict) else {"message": error}
            said = f"{faults.text_of(error.get('code'))}: {faults.text_of(error.get('message'))}"
            return request.key, self._connection.scrubbed(Fault("fault", faults.short(said)))
        body, status = response.get("body"), response.get("status_code")
        if status in (200, "200"):
            return request.key, self._exchange.read(Answer(body, len(line)), request)
        status = status if isinstance(status, int) and 400 <= status < 600 else 500
        return request.key, self._connection.scrubbed(faults.of_status(status, {}, body, who=self._connection.who))

    async def _call(self, what: Callable[[], Awaitable[_T]], sleep: Sleep) -> _T:
        """Call the endpoint until it works, for at most ``retries.patience`` seconds."""
        pause, waited = 0.5, 0.0
        while True:
            try:
                return await what()
            except TooLarge as error:  # another download would not be smaller
                fault = Fault("fatal", f"{error}; raise options.batch.answers, or lower options.batch.requests")
            except Exception as error:
                fault = self._connection.fault(error)
            if fault.kind in ("row", "filtered", "fatal") or waited > self._patience:
                raise EndpointError(f"{self._connection.who}: {fault.message}")
            pause = max(fault.wait, min(30.0, pause * 2))
            waited += pause
            await sleep(pause)
