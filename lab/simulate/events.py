"""A discrete-event simulation of the engine: a heap of events in virtual time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.simulate.assumptions import Assumptions
from lab.simulate.cluster import Node, Worker, place, remove
from lab.simulate.flow import Segment, Station

Draw = Callable[[random.Random, Station], float]
"""Seconds of one unit on a worker of normal speed."""


@dataclass(slots=True)
class PoolResult:
    """What became of a pool's units, and of the GPU seconds of its workers."""

    station: Station
    done: int = 0
    failed: int = 0
    never: int = 0
    """Units that never came, because the unit they were to come from failed."""
    redone: int = 0
    """Times that a unit was lost with its worker."""
    wait: float = 0.0
    """Seconds that units waited for a worker's device, together."""
    work: float = 0.0
    """Worker seconds of computing for units that ended well; below, too, worker seconds."""
    lost: float = 0.0
    load: float = 0.0
    held: float = 0.0
    tail: float = 0.0
    finished: float = 0.0
    ended: float = 0.0
    """When its last unit ended."""

    @property
    def starved(self) -> float:
        """Ready, with units still to come, but none there."""
        return max(0.0, self.held - self.work - self.lost - self.load - self.tail - self.finished)


@dataclass(slots=True)
class SegmentResult:
    name: str
    began: float
    ended: float
    held: float
    """GPU seconds of all nodes that were paid for."""
    driver: float
    """GPU seconds before the workers were ordered: the driver reads receipts and makes its list of units."""
    boot: float
    pools: list[PoolResult]
    units: int
    """Sent to workers, those that were lost included."""

    @property
    def gpus(self) -> float:
        return sum(pool.station.workers * pool.station.gpus for pool in self.pools)


@dataclass(slots=True)
class _Pool:
    station: Station
    at: int
    expected: int
    workers: list[Worker]
    random: random.Random
    result: PoolResult
    queue: deque[tuple[float, int]] = field(default_factory=deque)
    """Waiting units: since when, and deaths so far."""
    idle: list[tuple[int, float, int, int, Worker]] = field(default_factory=list)
    """Heap of workers with a free slot: units in hand, when free, tie, life. Outdated entries are skipped."""
    last: float = 0.0
    """When the latest unit was sent to a worker."""
    children: int = 0

    @property
    def over(self) -> bool:
        return self.result.done + self.result.failed + self.result.never >= self.expected

    def slots(self, ahead: int) -> int:
        return len(self.workers) * (self.station.in_flight + ahead)


class Simulation:
    """Runs segments one after the other on one set of nodes."""

    def __init__(self, given: Assumptions, gpus: int, seed: int, draw: Draw | None = None) -> None:
        self.given, self.seed, self.draw = given, seed, draw or self._lognormal
        self.now = 0.0
        self.nodes = [
            Node(float(min(given.node_gpus, gpus - start)), float(given.node_cpus))
            for start in range(0, max(gpus, 1), given.node_gpus)
        ]
        self._events: list[tuple[float, int, str, object]] = []
        self._order = itertools.count()
        self._fate = random.Random(f"{seed}/nodes")
        hourly = given.spot_per_hour + (1 / given.mtbf_hours if given.mtbf_hours else 0.0)
        self._mean_life = 3600 / hourly if hourly else math.inf
        for node in self.nodes:
            self._doom(node)

    def run(self, segments: tuple[Segment, ...]) -> list[SegmentResult]:
        return [self._segment(number, segment) for number, segment in enumerate(segments)]

    def _lognormal(self, dice: random.Random, station: Station) -> float:
        given = self.given
        mean = 1 + given.straggler_share * (given.straggler_factor - 1)
        factor = dice.lognormvariate(-(given.spread**2) / 2, given.spread) if given.spread else 1.0
        if given.straggler_share and dice.random() < given.straggler_share:
            factor *= given.straggler_factor
        return station.seconds * factor / mean

    def _push(self, at: float, what: str, whom: object) -> None:
        heapq.heappush(self._events, (at, next(self._order), what, whom))

    def _doom(self, node: Node) -> None:
        if self._mean_life < math.inf:
            self._push(self.now + self._fate.expovariate(1 / self._mean_life), "down", node)

    # one segment

    def _segment(self, number: int, segment: Segment) -> SegmentResult:
        given, began = self.given, self.now
        first = segment.stations[0]
        receipts = first.units if number else 0  # of the tables before it
        start = began + first.units * given.key_seconds + receipts * given.receipt_seconds
        self._held = self._booted = self._listing = 0.0
        for node in self.nodes:
            node.clear()
        self._pools = [self._pool(number, at, station) for at, station in enumerate(segment.stations)]
        self._missing: list[Worker] = []
        self._driver = start
        self._sent = 0
        self._push(start, "start", first)
        if given.hand_over:
            self._push(start + given.hand_over, "balance", None)
        while not all(pool.over for pool in self._pools):
            if not self._events:
                raise RuntimeError(f"{segment.name}: units are left and nothing will happen")
            self.now, _, what, whom = heapq.heappop(self._events)
            getattr(self, f"_{what}")(whom)
        self._events = [event for event in self._events if event[2] in ("down", "up")]
        heapq.heapify(self._events)
        for pool in self._pools:
            self._close(pool)
        unused = [not node.workers for node in self.nodes]
        for node, idle in zip(self.nodes, unused, strict=True):
            back = max(node.since, began) + given.idle
            if node.up and idle and given.autoscale and self.now > back:
                self._held += (back - node.since) * node.gpus
                node.since, node.ready = self.now, self.now + given.boot  # ordered again for the next segment
            self._charge(node)
        return SegmentResult(
            segment.name, began, self.now, self._held, self._listing, self._booted,
            [pool.result for pool in self._pools], self._sent,
        )  # fmt: skip

    def _pool(self, number: int, at: int, station: Station) -> _Pool:
        given, dice = self.given, random.Random(f"{self.seed}/{number}/{at}")
        workers = [
            Worker(at, station.gpus, station.cpus, given.slow_factor if dice.random() < given.slow_share else 1.0)
            for _ in range(station.workers)
        ]
        return _Pool(station, at, station.units, workers, dice, PoolResult(station))

    def _start(self, first: Station) -> None:
        for node in self.nodes:
            self._charge(node)
        self._listing = self._held - self._booted
        for worker in (worker for pool in self._pools for worker in pool.workers):
            self._order_worker(worker)
        self._pools[0].queue.extend([(self.now, 0)] * first.units)
        self._dispatch(self._pools[0])

    def _order_worker(self, worker: Worker) -> None:
        if not place(worker, self.nodes):
            self._missing.append(worker)
            return
        assert worker.node is not None
        worker.since = self.now
        worker.ready = worker.free = max(self.now, worker.node.ready) + self._pools[worker.pool].station.load
        self._push(worker.ready, "ready", (worker, worker.life))

    def _ready(self, whom: tuple[Worker, int]) -> None:
        worker, life = whom
        if worker.life == life:
            pool = self._pools[worker.pool]
            self._offer(pool, worker)
            self._dispatch(pool)

    def _offer(self, pool: _Pool, worker: Worker) -> None:
        if len(worker.hand) < pool.station.in_flight + self.given.ahead:
            heapq.heappush(pool.idle, (len(worker.hand), worker.free, next(self._order), worker.life, worker))

    def _dispatch(self, pool: _Pool) -> None:
        """Send waiting units to the least busy workers, until there are no units or no slots."""
        given, after = self.given, self._pools[pool.at + 1] if pool.at + 1 < len(self._pools) else None
        while pool.queue and pool.idle:
            if given.queue is not None and after and len(after.queue) >= given.queue * max(1, after.slots(given.ahead)):
                return
            busy, free, _, life, worker = heapq.heappop(pool.idle)
            if worker.life != life or len(worker.hand) != busy or worker.free != free:
                continue  # outdated
            since, deaths = pool.queue.popleft()
            self._driver = max(self._driver, self.now) + given.driver_seconds
            begin = max(self._driver + given.latency / 2, worker.free)
            worker.free = begin + self.draw(pool.random, pool.station) * worker.slow
            pool.result.wait += begin - since
            pool.last = self.now
            self._sent += 1
            unit = self._sent
            worker.hand[unit] = (begin, worker.free, deaths)
            self._push(worker.free + given.latency / 2, "done", (worker, worker.life, unit))
            self._offer(pool, worker)

    def _done(self, whom: tuple[Worker, int, int]) -> None:
        worker, life, unit = whom
        if worker.life != life:
            return
        begin, end, _ = worker.hand.pop(unit)
        pool = self._pools[worker.pool]
        pool.result.work += end - begin
        pool.result.done += 1
        self._pass_on(pool, lost=False)
        self._offer(pool, worker)
        self._dispatch(pool)
        if self.given.queue is not None and pool.at:
            self._dispatch(self._pools[pool.at - 1])

    def _pass_on(self, pool: _Pool, lost: bool) -> None:
        """Count a unit that ended, and give its parts to the next pool, or take them off all later ones."""
        pool.result.ended = self.now
        if pool.at + 1 == len(self._pools):
            return
        after = self._pools[pool.at + 1]
        whole, ended = pool.station.units, pool.result.done + pool.result.failed + pool.result.never
        due = after.station.units * ended // whole
        made, pool.children = due - pool.children, due
        if lost:
            for _ in range(made):
                after.result.never += 1
                self._pass_on(after, lost=True)
        else:
            after.queue.extend([(self.now, 0)] * made)
            self._dispatch(after)

    # what goes wrong

    def _down(self, node: Node) -> None:
        self._charge(node)
        node.up = False
        for worker in list(node.workers):
            self._kill(worker)
            self._order_worker(worker)
        self._push(self.now + self._fate.expovariate(1 / self.given.away) + self.given.boot, "up", node)
        for pool in self._pools:
            self._dispatch(pool)

    def _kill(self, worker: Worker) -> None:
        pool = self._pools[worker.pool]
        self._settle(pool, worker)
        for begin, end, deaths in worker.hand.values():
            pool.result.lost += max(0.0, min(end, self.now) - begin)
            pool.result.redone += 1
            if deaths >= self.given.retries:  # the first death did not count
                pool.result.failed += 1
                self._pass_on(pool, lost=True)
            else:
                pool.queue.appendleft((self.now, deaths + 1))
        worker.hand = {}
        worker.life += 1
        remove(worker)

    def _up(self, node: Node) -> None:
        node.up, node.since, node.ready = True, self.now - self.given.boot, self.now
        self._booted += self.given.boot * node.gpus
        waiting, self._missing = self._missing, []
        for worker in waiting:
            self._order_worker(worker)
        self._doom(node)

    def _balance(self, _: None) -> None:
        """Move one idle GPU worker to the pool with the most seconds of waiting work for each of its workers."""
        assert self.given.hand_over is not None
        self._push(self.now + self.given.hand_over, "balance", None)

        def backlog(pool: _Pool) -> float:
            return len(pool.queue) * pool.station.seconds / max(1, len(pool.workers))

        with_gpus = [pool for pool in self._pools if pool.station.gpus]
        taker = max(with_gpus, key=backlog, default=None)
        if taker is None or backlog(taker) < 2 * taker.station.load:
            return
        for giver in with_gpus:
            enough = giver.over or len(giver.workers) > 1
            if giver is taker or giver.queue or not enough or giver.station.gpus != taker.station.gpus:
                continue
            worker = next((one for one in giver.workers if one.node and not one.hand and one.ready <= self.now), None)
            if worker is not None:
                self._kill(worker)
                giver.workers.remove(worker)
                worker.pool, worker.cpus = taker.at, taker.station.cpus
                taker.workers.append(worker)
                self._order_worker(worker)

    # accounts

    def _charge(self, node: Node) -> None:
        """Account for a node until now."""
        if node.up:
            self._held += (self.now - node.since) * node.gpus
            node.since = self.now

    def _settle(self, pool: _Pool, worker: Worker) -> None:
        """Account for a worker until now, when it ends."""
        if worker.node is not None:
            pool.result.held += self.now - worker.since
            pool.result.load += min(self.now, worker.ready) - worker.since

    def _close(self, pool: _Pool) -> None:
        end = pool.result.ended
        for worker in pool.workers:
            self._settle(pool, worker)
            if worker.node is not None:
                pool.result.finished += max(0.0, self.now - max(end, worker.ready))
                pool.result.tail += max(0.0, end - max(pool.last, worker.free, worker.ready))
