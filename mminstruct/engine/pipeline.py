"""A pipeline of Ray Data that outlives a segment: keys stream in while it runs, events come out, its actors stay."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from typing import Any, cast

import pyarrow as pa

from mminstruct.engine.actor import Operator, Row
from mminstruct.engine.config import Pool
from mminstruct.run import Run

_ROW_SECONDS = 0.25
"""Time for which a row of keys keeps a worker busy: Ray spends some 3 ms on each row, whatever it holds."""
_MOST = 256
"""Keys in a row, at most."""


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

    def work(self, run: Run, groups: list[list[str]], keys: list[str], single: bool) -> Iterator[dict[str, Any]]:
        """Execute a segment; yields its events.

        Rows are sent as earlier ones end, so that Ray holds a few for each worker and not one for each key.

        Args:
            groups: Groups of tables through which a unit passes.
            keys: Units of the first group's first table.
            single: Whether units of the first group are sent one by one, because each makes many parts.
        """
        import ray

        self._segments += 1
        ray.get(self._feed.begin.remote(self._segments, (run, groups)))  # else a row could overtake it
        queues = [deque(keys), *(deque[str]() for _ in groups[1:])]
        out, ended, spent = Fraction(0), 0, 0.0
        while True:
            rows: list[Row] = []
            while out < self._slots and any(queues):
                step = max(step for step, queue in enumerate(queues) if queue)  # the furthest, so that units end early
                queue, seconds = queues[step], max(spent / ended, 1e-3) * len(groups[step]) if ended else _ROW_SECONDS
                size = min(_ROW_SECONDS / seconds, len(queue) / 2 / self._slots, _MOST)
                size = 1 if single and step == 0 else max(1, int(size))
                some = [queue.popleft() for _ in range(size)]
                rows.append({"segment": self._segments, "step": step, "keys": some, "share": "1", "events": "[]"})
                out += 1
            if rows:
                self._feed.send.remote(rows)
            if not out:
                return
            for row in next(self._batches).to_pylist():
                out -= Fraction(row["share"])
                if row["step"] < len(queues):
                    queues[row["step"]].extend(row["keys"])
                events = json.loads(row["events"])
                receipts = [event["receipt"] for event in events if event.get("receipt")]
                ended, spent = ended + len(receipts), spent + sum(receipt["seconds"] for receipt in receipts)
                yield from events

    def close(self) -> None:
        """End the actors, whatever they do."""
        self._batches.close()
        self._end_feed()


class Feed:
    """An actor with the rows that the driver sends, and with the segment that they belong to.

    Rows are kept while their segment lasts: if the task that reads them dies, Ray starts it again from the first row,
    and ignores what it has had.
    """

    def __init__(self) -> None:
        self._number = 0
        self._segment: tuple[Run, list[list[str]]]
        self._gone, self._rows = 0, list[Row]()
        self._more = asyncio.Condition()

    def begin(self, number: int, segment: tuple[Run, list[list[str]]]) -> None:
        self._number, self._segment = number, segment
        self._gone, self._rows = self._gone + len(self._rows), []

    def segment(self, number: int) -> tuple[Run, list[list[str]]]:
        assert number == self._number, "a row of a segment that has ended"
        return self._segment

    async def send(self, rows: list[Row]) -> None:
        async with self._more:
            self._rows += rows
            self._more.notify_all()

    async def read(self, start: int) -> list[Row]:
        """All rows from number *start* on, as soon as there is one."""
        if start < self._gone:
            return [{"segment": 0, "step": 0, "keys": [], "share": "0", "events": "[]"}] * (self._gone - start)
        async with self._more:
            await self._more.wait_for(lambda: start < self._gone + len(self._rows))
            return self._rows[start - self._gone :]


def _read(row: Row, feed: Any) -> Iterator[Row]:
    """The rows of *feed*, without end."""
    import ray

    start = 0
    while True:
        rows = ray.get(feed.read.remote(start))
        yield from rows
        start += len(rows)
