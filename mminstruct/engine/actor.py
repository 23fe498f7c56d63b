"""What an actor of the Ray engine does: it executes the units of each row of keys that Ray Data sends it."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import pickle
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

from mminstruct.engine.config import models
from mminstruct.engine.feed import Row
from mminstruct.engine.reports import report
from mminstruct.engine.worker_group import lend
from mminstruct.models.loaded import in_use
from mminstruct.run import Event
from mminstruct.stage import Halt, WorkerFault
from mminstruct.unit import SHARERS, WORKER_GROUP, Endpoint
from mminstruct.work import Worker


class Operator:
    """Executes units of any segment; between segments it keeps its imports, and the models that are needed again.

    Args:
        feed: Actor handle of ``feed.Feed``, which has the segments.
        retries: As in ``EngineConfig``.
        session: Of the engine; deaths of workers in other sessions do not count.
    """

    def __init__(self, feed: Any, retries: int, session: str) -> None:
        import pandas  # noqa: F401 - before the units' threads start: two of them have seen it half imported

        self.feed, self.retries, self.session = feed, retries, session
        report(feed)
        self.units = _SharedLock()
        self._segment = -1
        self._workers: list[list[Worker]] = []
        self._again: list[Any] = []
        self._sharers: dict[Endpoint, int] = {}
        self._seen: dict[str, set[str]] = {}
        """Units of each table that may have marks: those of workers that died before this one began, and its own."""
        self._beginning = threading.Lock()

    def __call__(self, row: Row) -> list[Row]:
        if not row["keys"]:  # they failed upstream: only their events are passed on
            return [row]
        WORKER_GROUP.set(lend)
        workers = self.begin(row["segment"])[row["step"]]
        SHARERS.set(self._sharers)
        events, leaving = json.loads(row["events"]), []
        try:
            for key in row["keys"]:
                new, parts = self._follow(workers, key)
                events += new
                leaving += parts
        except (Halt, OSError) as halt:  # as data: Ray would change its type and add pages of traceback
            events.append({"halt": str(halt)})
        size = len(row["keys"])  # so a shard's parts get a row each, and the next pool shares them
        parcels = [leaving[start : start + size] for start in range(0, len(leaving), size)] or [[]]
        share = str(Fraction(row["share"]) / len(parcels))
        rows = [{**row, "step": row["step"] + 1, "keys": keys, "share": share, "events": "[]"} for keys in parcels]
        rows[0]["events"] = json.dumps(events)
        return rows

    def begin(self, segment: int) -> list[list[Worker]]:
        """The workers for each group of a segment's tables. Models of an earlier segment that this one does not use are
        freed before its own are loaded.
        """
        import ray

        with self._beginning:
            if segment != self._segment:
                run, groups, self._sharers = pickle.loads(ray.get(self.feed.segment.remote(segment)))
                again = [in_use(model) for group in groups for name in group for model in models(run.stages[name])]
                self._workers = [[Worker(run, name) for name in group] for group in groups]
                self._seen = {one.name: self._marked(one) for group in self._workers for one in group}
                self._segment, self._again = segment, again
                gc.collect()
            return self._workers

    def _follow(self, workers: list[Worker], key: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Events of a unit and of its parts in the later stages here, and the part keys for the next group."""
        if not workers:
            return [], [key]
        event = self._attempt(workers[0], key)
        events, leaving = [dataclasses.asdict(event)], []
        for part in event.receipt.parts if event.receipt else ():
            more, parts = self._follow(workers[1:], part.part)
            events += more
            leaving += parts
        return events, leaving

    def _marked(self, worker: Worker) -> set[str]:
        return set(worker.table.store.names(worker.name, f"_running-{self.session}"))

    def _attempt(self, worker: Worker, key: str) -> Event:
        """Execute a unit; one that has killed its worker too often is recorded as failed instead."""
        if (done := worker.done(key)) is not None:  # before a mark, which costs two requests
            return done
        store = worker.table.store
        folder = (worker.name, f"_running-{self.session}", key)
        seen = self._seen.setdefault(worker.name, set())
        before = store.names(*folder) if key in seen else []  # one request for all units, not one for each
        seen.add(key)
        died = sum(name.startswith("alone") for name in before)
        if died >= self.retries:
            error = f"its worker died {died} times; look for the unit in Ray's logs, or run it with engine=local"
            worker.table.fail(key, error, "")
            return Event(worker.name, key, None, error)
        with self.units.hold(exclusive=bool(before)) as alone:
            mark = f"{'alone' if alone else 'among'}-{uuid.uuid4().hex[:8]}"
            store.write(b"", *folder, mark, sync=False)
            try:
                return worker.work(key) if alone else worker.make(key)  # it may be done after the wait
            except WorkerFault:
                os._exit(70)  # Ray replaces the actor and sends the unit again; an exception would end the run
            finally:  # only its own mark: on a node that Ray presumes dead, a twin may still execute this unit
                store.remove(*folder, mark)


class _SharedLock:
    """A lock that units share, except suspects, which hold it alone: if the worker dies then, the suspect killed it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.holders, self.closed = 0, False

    @contextmanager
    def hold(self, exclusive: bool) -> Iterator[bool]:
        """Wait for the lock and hold it; yields *exclusive*."""
        with self.changed:
            self.changed.wait_for(lambda: not self.closed)
            self.closed = exclusive
            if exclusive:
                self.changed.wait_for(lambda: not self.holders)
            self.holders += 1
        try:
            yield exclusive
        finally:
            with self.changed:
                self.holders -= 1
                self.closed = self.closed and not exclusive
                self.changed.notify_all()
