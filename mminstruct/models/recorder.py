"""Group commit: concurrent replies are journaled together, with one flush to disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from mminstruct.unit import Journal


class Recorder:
    """Writes replies to *journal* for one event loop, one group at a time.

    Replies that arrive while a group is written form the next group. So a disk with 5 ms per flush keeps up with any
    number of replies, and each waits for 10 ms at most.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[str, dict[str, Any] | None] = {}
        self._waiting: dict[str, dict[str, Any]] = {}
        self._next: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    async def recall(self, requests: Iterable[str]) -> None:
        """Look *requests* up together, so that ``get`` does not wait for each."""
        journal = self._journal
        self._known |= await asyncio.to_thread(lambda: {request: journal.get(request) for request in requests})

    async def get(self, request: str) -> dict[str, Any] | None:
        """The reply to *request* that an earlier session journaled, or None."""
        if request not in self._known:
            await self.recall([request])
        return self._known[request]

    async def put(self, request: str, reply: dict[str, Any]) -> None:
        """Return when *reply* is safe on disk; it is written even if the caller is cancelled."""
        self._waiting[request] = reply
        if self._next is None:
            self._next = asyncio.create_task(self._write())
        await asyncio.shield(self._next)

    async def _write(self) -> None:
        async with self._writing:
            group, self._waiting, self._next = self._waiting, {}, None
            await asyncio.to_thread(self._journal.put, group)
