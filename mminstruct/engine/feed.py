"""The actor through which the driver sends rows into a pipeline that runs. It imports little, so it starts soon."""

from __future__ import annotations

import asyncio
from typing import Any

from mminstruct.engine.reports import Reports

Row = dict[str, Any]
"""segment (number), step (which of its groups of tables is next), keys (units of that group's first table, or none if
all have ended), share (the fraction of a row that the driver sent), events (JSON, of the units that ended)."""


class Feed(Reports):
    """The rows that the driver sends, and the segment that they belong to.

    Rows are kept while their segment lasts: if the task that reads them dies, Ray starts it again from the first row,
    and ignores what it has had.
    """

    def __init__(self) -> None:
        super().__init__()
        self._number, self._segment = 0, b""
        self._gone, self._rows = 0, list[Row]()
        self._more = asyncio.Condition()

    def segment(self, number: int) -> bytes:
        """The run and the groups of tables, pickled."""
        assert number == self._number, "a row of a segment that has ended"
        return self._segment

    async def send(self, rows: list[Row], number: int, segment: bytes | None) -> None:
        """Add *rows*; the first ones of a segment bring the *segment*."""
        async with self._more:
            if segment is not None:
                self._number, self._segment = number, segment
                self._gone, self._rows = self._gone + len(self._rows), []
            self._rows += rows
            self._more.notify_all()

    async def read(self, start: int) -> list[Row]:
        """All rows from number *start* on, as soon as there is one."""
        async with self._more:
            await self._more.wait_for(lambda: start < self._gone + len(self._rows))
            if start < self._gone:  # the task started again, and Ray ignores these
                return [{"segment": 0, "step": 0, "keys": [], "share": "0", "events": "[]"}] * (self._gone - start)
            return self._rows[start - self._gone :]
