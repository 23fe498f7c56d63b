"""The local engine: a loop in this process, for debugging. It writes the same bytes as every other engine."""

from __future__ import annotations

from collections.abc import Iterator

from mminstruct.engine.config import models
from mminstruct.models.loaded import in_use
from mminstruct.run import Event, Run
from mminstruct.unit import Counters, in_hand
from mminstruct.work import Worker


class Local:
    """Executes one unit at a time, and follows each through the whole segment.

    Models that the next segment uses, too, stay loaded.
    """

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def run(self, run: Run, tables: list[str], keys: list[str]) -> Iterator[Event]:
        again = [in_use(model) for name in tables for model in models(run.stages[name])]
        self._workers = [Worker(run, name) for name in tables]  # the others, and their models, end here
        for key in keys:
            yield from _follow(self._workers, key)
        del again

    def in_hand(self) -> list[Counters]:
        return in_hand()

    def close(self) -> None:
        """Free the models."""
        self._workers = []


def _follow(workers: list[Worker], key: str) -> Iterator[Event]:
    if workers:
        event = workers[0].work(key)
        yield event
        for part in event.receipt.parts if event.receipt else ():
            yield from _follow(workers[1:], part.part)
