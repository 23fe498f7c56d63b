"""How many requests an endpoint bears at once, found out while it works.

The limit follows the endpoint as TCP follows a link: it grows by half with every round of answers until the first
refusal (429), which cuts it. It then grows back to just below where it was refused and stays there for a few rounds
before it probes one step beyond (the shape of CUBIC, RFC 9438); if that goes well for a round, there is new room, and
it grows as before. Only a request that was admitted *after* the last cut may cut again, so one burst of refusals
counts once, whatever its size.

Server faults (5xx, resets, timeouts) say nothing about capacity: they only hold growth. When nothing but refusals and
faults has come back for a while, the gate shuts, for longer each time, and opens for one request at a time until one
is answered.
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
"""Failures in a row, without one answer between them, that shut the gate."""
SOFT, HARD = 0.95, 0.7
"""Cut of a limit that had grown since the last cut (it probed one step too far), and of one that had not (the
endpoint has less room than it had)."""
HOLD = 3
"""Rounds of answers just below the last refusal before the next probe: each probe costs a refusal where it fails."""
LONGEST_PAUSE = 30.0
"""Seconds that the gate stays shut at most, unless the endpoint asks for more."""
KEPT = 10_000
"""Entries of history: older ones are forgotten."""


class Limiter:
    """Admits requests in order, at most ``limit`` at once. All its methods belong to one event loop.

    Args:
        start: First limit.
        most: The limit never exceeds this; 1 or more.
        least: The limit never falls below this; 1 or more.
        backoff: Seconds of the first pause after trouble; each further one is twice as long.
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
        self._ceiling: float | None = None  # the limit that was refused last; None while none is known
        self._grown = False
        self._credit = 0
        self._calm_until = 0.0
        self._streak = 0
        self._trouble_began = 0.0
        self._pauses = 0
        self._shut_until = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._record()

    @property
    def trouble(self) -> float:
        """Seconds for which nothing has been answered; 0 while the endpoint is well."""
        return self._clock() - self._trouble_began if self._streak >= TROUBLE else 0.0

    async def enter(self, *, first: bool = False) -> int:
        """Wait for a place, before all others with *first*; the ticket that ``leave`` wants back."""
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

    def leave(self, ticket: int, outcome: Outcome | None, *, wait: float = 0.0) -> None:
        """Give the place of *ticket* back.

        Args:
            outcome: None where nothing was sent, or nothing was learnt.
            wait: Seconds that the endpoint asked to wait (``Retry-After``).
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

    def release(self) -> None:
        """Let everybody through: what waits here has nothing to wait for any more."""
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
        self._credit = 0  # a round with a failure in it is no reason to grow
        if self._streak < TROUBLE:
            return
        if now >= self._shut_until:
            pause = min(LONGEST_PAUSE, self._backoff * 2**self._pauses) * random.uniform(0.75, 1.25)
            self._pauses += 1
            self._shut_until = now + pause
        self._shut_until = max(self._shut_until, now + wait)

    def _cut(self) -> None:
        self._ceiling = float(int(min(self.limit, self.in_flight + 1)))
        self.limit = max(float(self._least), float(int(self._ceiling * (SOFT if self._grown else HARD))))
        self._epoch += 1
        self._grown = False
        self._record()

    def _grow(self) -> None:
        """Count an answer; a limit that nobody waits for tells nothing about the endpoint and stays."""
        if not self._waiting or self.limit >= self._most:
            return
        below = 0.0 if self._ceiling is None else self._ceiling - 1 - int(self.limit)
        if below <= 0 and self._clock() < self._calm_until:
            return
        if self._ceiling is None:
            self._raise(0.5)  # for each answer: by half with each round
            return
        self._credit += 1
        if self._credit < self.limit * (HOLD if below == 0 else 1):
            return
        self._credit = 0
        if below > 0:
            self._raise(below if below < self.limit * (1 - SOFT) + 1 else below // 2)
        elif below == 0:
            self._raise(1.0)
        else:
            self._ceiling = None

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
