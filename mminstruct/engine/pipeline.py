"""A pipeline of Ray Data that outlives a segment: keys stream in while it runs, events come out, its actors stay."""

from __future__ import annotations

import json
import weakref
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from typing import Any, cast

import pyarrow as pa

from mminstruct.engine.actor import Operator
from mminstruct.engine.config import Pool
from mminstruct.engine.feed import Feed, Row
from mminstruct.engine.reports import told
from mminstruct.run import Run
from mminstruct.unit import Counters, Endpoint

_ROW_SECONDS = 0.25
"""Time for which a row of keys keeps a worker busy: the driver spends some 12 ms on each row, whatever it holds."""


class Pipeline:
    """One operator of Ray Data for each of *pools*, each a fixed pool of actors with several units in flight.

    Dead actors are replaced and their rows sent again, without limit; ``Operator`` fails a unit that kills its actor.
    """

    def __init__(self, pools: Sequence[Pool], retries: int, session: str) -> None:
        import ray

        self._segments = 0
        self._slots = sum(pool.workers * (pool.in_flight + 1) for pool in pools)
        # beside the driver: if that node is lost, so is the run
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        self._feed = ray.remote(num_cpus=0, label_selector=here)(Feed).remote()
        self._end_feed = weakref.finalize(self, ray.kill, self._feed)
        self._end_feed.atexit = False  # then Ray has ended already
        data = ray.data.from_items(["rows"]).flat_map(
            _read, fn_args=(self._feed,), num_cpus=0, label_selector=here, compute=ray.data.TaskPoolStrategy(1)
        )
        for pool in pools:
            data = data.flat_map(
                Operator,
                fn_constructor_args=(self._feed, retries, session),
                compute=ray.data.ActorPoolStrategy(
                    size=pool.workers,
                    max_tasks_in_flight_per_actor=pool.in_flight + 1,
                    max_concurrent_calls_per_actor=pool.in_flight,
                    enable_true_multi_threading=True,
                ),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus or None,
                memory=pool.memory_gb * 2**30 or None,
                resources=pool.resources or None,
                runtime_env=pool.env or None,
            )
        batches = data.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow")
        self._batches = cast(Generator[pa.Table, None, None], iter(batches))

    def work(
        self, run: Run, groups: list[list[str]], keys: list[str], sharers: dict[Endpoint, int]
    ) -> Iterator[dict[str, Any]]:
        """Execute a segment; yields its events.

        Rows are sent as earlier ones end, so that Ray holds a few for each worker and not one for each key.

        Args:
            groups: Groups of tables through which a unit passes.
            keys: Units of the first group's first table.
            sharers: See ``config.sharers``.
        """
        import ray

        self._segments += 1
        segment: bytes | None = ray.cloudpickle.dumps((run, groups, sharers))
        queues = [deque(keys), *(deque[str]() for _ in groups[1:])]
        out, ended, spent = Fraction(0), Counter[str](), Counter[str]()

        def seconds_of(group: list[str]) -> float:
            known = [name for name in group if ended[name]]
            return sum(spent[name] / ended[name] for name in known) if known else _ROW_SECONDS

        while True:
            rows: list[Row] = []
            while out < self._slots and any(queues):
                step = max(step for step, queue in enumerate(queues) if queue)  # the furthest, so that units end early
                seconds = max(map(seconds_of, groups[step:]))  # the row's keys go on together into slower pools
                size = min(_ROW_SECONDS / max(seconds, 1e-3), len(queues[step]) / 2 / self._slots)
                some = [queues[step].popleft() for _ in range(max(1, int(size)))]
                rows.append({"segment": self._segments, "step": step, "keys": some, "share": "1", "events": "[]"})
                out += 1
            if rows:  # the next ones are sent after these have come back, so they cannot overtake the segment
                self._feed.send.remote(rows, self._segments, segment)
                segment = None
            if not out:
                return
            for row in next(self._batches).to_pylist():
                out -= Fraction(row["share"])
                if row["step"] < len(queues):
                    queues[row["step"]].extend(row["keys"])
                events = json.loads(row["events"])
                for event in events:
                    if event.get("receipt"):
                        ended[event["table"]] += 1
                        spent[event["table"]] += event["receipt"]["seconds"]
                yield from events

    def in_hand(self) -> list[Counters]:
        """See ``run.Engine``."""
        return told(self._feed)

    def close(self) -> None:
        """End the actors, whatever they do."""
        try:
            self._batches.close()
        finally:
            self._end_feed()


def _read(row: Row, feed: Any) -> Iterator[Row]:
    """The rows of *feed*, without end."""
    import ray

    start = 0
    while True:
        rows = ray.get(feed.read.remote(start))
        yield from rows
        start += len(rows)
