"""The local engine: a loop in this process, for debugging. It writes the same bytes as every other engine."""

from __future__ import annotations

from collections.abc import Iterator

from mminstruct.run import Event, Run
from mminstruct.work import Worker


class Local:
    """Executes one unit at a time, and follows each through the whole segment."""

    def run(self, run: Run, tables: list[str], keys: list[str]) -> Iterator[Event]:
        workers = [Worker(run, name) for name in tables]
        for key in keys:
            yield from _follow(workers, key)

    def close(self) -> None:
        """Nothing outlives a segment here but the models that its workers still use (``models.loaded``)."""


def _follow(workers: list[Worker], key: str) -> Iterator[Event]:
    if workers:
        event = workers[0].work(key)
        yield event
        for part in event.receipt.parts if event.receipt else ():
            yield from _follow(workers[1:], part.part)
