"""Adaptive concurrency: finds how many requests an endpoint can handle at once.

The limit adapts as TCP's window does. It grows by half in each round of answers until the first refusal (429), which
cuts it. It then grows to just below the refused value and stays there for a few rounds before it probes one step above
(as CUBIC does, RFC 9438). If the probe succeeds for a round, the limit grows as before; if it is refused, the next one
waits longer, so that an endpoint with a constant capacity refuses a few requests and not a share of them. Only a
request that was admitted *after* the last cut can cut again, so a burst of refusals counts once.

Workers that use one endpoint divide it: each grows to its share of the upper bound, and above it only by such probes.

Server faults (5xx, resets, timeouts) say nothing about capacity; they only stop growth. After several failures in a row
the gate closes, each time for longer, and then admits one request at a time until one is answered.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

Outcome = Literal["answered", "refused", "fault"]

TROUBLE = 8
"""Consecutive failures that close the gate."""
SOFT, HARD = 0.95, 0.7
"""Factors of a cut: SOFT if the limit had grown since the last cut (the probe was too high) or a round was answered
(that of another worker was), HARD if not (the capacity has dropped), and above the worker's share."""
HOLD = 3
"""Rounds of answers just below the last refusal before the first probe, for each worker."""
HOLD_FOUND, HOLD_SHARE = 12, 16
"""The same where growth has just found the limit, and at the share of the upper bound."""
LONGER, LONGEST_HOLD = 1.5, 192
"""Each refused probe makes the next one wait longer by this factor, since it costs a refusal; at most so many rounds.
With 1.25 a minute of two workers at a limit of 64 has half as many refusals again; with 2 a limit that falls and rises
every five seconds is used by 63 %."""
LONGEST_PAUSE = 30.0
"""Longest time in seconds that the gate stays closed, unless the endpoint asks for more."""
KEPT = 10_000
"""Entries of history that are kept."""


class Limiter:
    """Admits requests in order, at most ``limit`` at once. Use it from one event loop only.

    Args:
        start: First limit.
        most: Upper bound of the limit; 1 or more.
        least: Lower bound of the limit; 1 or more.
        backoff: Seconds that the gate closes first; each further time is twice as long.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        start: int = 16,
        most: int = 512,
        least: int = 1,
        backoff: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 1 <= least <= start <= most:
            raise ValueError(f"concurrency needs 1 <= min <= start <= max, not min {least}, start {start}, max {most}")
        self.limit = float(start)
        self.in_flight = 0
        self.counts: dict[Outcome, int] = {"answered": 0, "refused": 0, "fault": 0}
        self.history: deque[tuple[float, float]] = deque(maxlen=KEPT)
        """(seconds since the start, limit) at every change."""
        self._least, self._most, self._backoff, self._clock = least, most, backoff, clock
        self._began = clock()
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._epoch = 0  # counts cuts; a ticket is the epoch of its admission
        self._ceiling: float | None = None  # the limit at the last refusal; None before the first
        self._grown = False
        self._credit = 0
        self._hold = float(HOLD)
        self._since = 0  # answers since the last cut
        self._start, self._bounds = start, (least, most)
        self._share = float(most)
        self._workers = 1
        self._calm_until = 0.0
        self._streak = 0
        self._trouble_began = 0.0
        self._pauses = 0
        self._shut_until = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._record()

    @property
    def trouble(self) -> float:
        """Seconds since the first of the consecutive failures; 0 while the gate is open."""
        return self._clock() - self._trouble_began if self._streak >= TROUBLE else 0.0

    async def acquire(self, *, first: bool = False) -> int:
        """Wait for a slot, ahead of all others with *first*; returns the ticket for ``release``."""
        place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if first:
            self._waiting.appendleft(place)
        else:
            self._waiting.append(place)
        self._admit()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.in_flight -= 1
                self._admit()
            raise

    def release(self, ticket: int, outcome: Outcome | None, *, wait: float = 0.0) -> None:
        """Return the slot of *ticket*.

        Args:
            outcome: None if nothing was sent, or the result says nothing about the endpoint.
            wait: Seconds to wait, as the endpoint asked (``Retry-After``).
        """
        self.in_flight -= 1
        if outcome is not None:
            self.counts[outcome] += 1
            if outcome == "answered":
                self._streak = self._pauses = 0
                self._shut_until = 0.0
                self._grow()
            else:
                self._fail(outcome, ticket, wait)
        self._admit()

    def divide(self, workers: int) -> None:
        """Take a share of the bounds, as one of so many *workers* that use the same endpoint.

        Nothing above the share is taken for free: it is probed like a value that was refused.
        """
        if workers == self._workers:
            return
        least, most = self._bounds
        share = max(1, most // workers)
        self._least = max(1, least // workers)
        self._most = share if least == most else most
        self._ceiling = None
        first = max(1, self._start // workers) if not self.counts["answered"] else self.limit
        self.limit = max(float(self._least), min(float(first), float(share)))
        self._workers, self._share, self._hold = workers, float(share), HOLD * workers
        self._record()
        self._admit()

    def admit_all(self) -> None:
        """Open the gate, so that waiting requests can end."""
        self._streak = 0
        self._shut_until = 0.0
        self._admit()

    def _fail(self, outcome: Outcome, ticket: int, wait: float) -> None:
        now = self._clock()
        if not self._streak:
            self._trouble_began = now
        self._streak += 1
        if outcome == "refused":
            if ticket == self._epoch:
                self._cut()
            self._calm_until = max(self._calm_until, now + wait)
        self._credit = 0  # a round with a failure does not count towards growth
        if self._streak < TROUBLE:
            return
        if now >= self._shut_until:
            pause = min(LONGEST_PAUSE, self._backoff * 2**self._pauses) * random.uniform(0.75, 1.25)
            self._pauses += 1
            self._shut_until = now + pause
        self._shut_until = max(self._shut_until, now + wait)

    def _cut(self) -> None:
        soft = self._grown or (self._ceiling is not None and self._since >= self.limit)
        known, self._ceiling = self._ceiling, float(int(min(self.limit, self.in_flight + 1)))
        if not soft:
            self._hold = float(HOLD * self._workers)
        elif known is None:
            self._hold = float(HOLD_FOUND * self._workers)
        else:
            self._hold = min(LONGEST_HOLD, LONGER * self._hold)
        factor = SOFT if soft and self.limit <= self._share + 1 else HARD
        self.limit = max(float(self._least), float(int(self._ceiling * factor)))
        self._epoch += 1
        self._since = 0
        self._grown = False
        self._record()

    def _grow(self) -> None:
        """Count an answer; the limit grows only while requests wait for it."""
        self._since += 1
        if not self._waiting or self.limit >= self._most:
            return
        below = 0.0 if self._ceiling is None else self._ceiling - 1 - int(self.limit)
        if below <= 0 and self._clock() < self._calm_until:
            return
        if self._ceiling is None and self.limit == self._share:
            self._ceiling, self._hold = self._share + 1, float(HOLD_SHARE * self._workers)
            below = 0.0
        if self._ceiling is None:  # half for each answer, so by half in each round
            self._raise(min(0.5, self._share - self.limit) if self.limit < self._share else 0.5)
            return
        self._credit += 1
        if self._credit < self.limit * (self._hold if below == 0 else 1):
            return
        self._credit = 0
        if below > 0:
            self._raise(below if below < self.limit * (1 - SOFT) + 1 else below // 2)
        elif below == 0:
            self._raise(1.0)
        else:
            self._ceiling, self._hold = None, HOLD * self._workers

    def _raise(self, by: float) -> None:
        self.limit = min(float(self._most), self.limit + by)
        self._grown = True
        self._record()

    def _record(self) -> None:
        self.history.append((round(self._clock() - self._began, 3), round(self.limit, 2)))

    def _admit(self) -> None:
        if not self._waiting:
            return
        left = self._shut_until - self._clock()
        if left > 0:
            if self._alarm is None:
                self._alarm = asyncio.get_running_loop().call_later(left, self._wake)
            return
        room = 1 if self._streak >= TROUBLE else int(self.limit)
        while self._waiting and self.in_flight < room:
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(self._epoch)

    def _wake(self) -> None:
        self._alarm = None
        self._admit()
