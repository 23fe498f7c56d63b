"""Counters of the units that the actors of a pipeline have in hand: each actor reports them to the feed, every few
seconds and only for units that last that long, and the driver asks the feed.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from mminstruct.unit import Counters, in_hand

EVERY = 3.0
"""Seconds between two reports of an actor, and the age from which a unit is reported: short ones cost nothing."""
KEPT = 30.0
"""Seconds for which a report counts. Those of an actor that has died, or that is too busy to report, are forgotten."""
_PATIENCE = 2.0
"""Seconds for which the driver waits for an answer."""


class Reports:
    """The last report of each actor.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, tuple[float, list[Counters]]] = {}

    def tell(self, actor: str, units: list[Counters]) -> None:
        """Replace the report of *actor*."""
        self._last.pop(actor, None)
        if units:
            self._last[actor] = self._clock(), units

    def told(self) -> list[Counters]:
        """All units that are reported, each once: of a unit that was begun again elsewhere, the newer report."""
        oldest = self._clock() - KEPT
        self._last = {actor: (at, units) for actor, (at, units) in self._last.items() if at >= oldest}
        newest = {(unit.table, unit.key): unit for _, units in self._last.values() for unit in units}
        return list(newest.values())


def report(feed: Any) -> None:
    """Start a thread that reports this process's units to *feed*, an actor handle of ``Reports``, until the process
    ends or *feed* is gone.
    """
    threading.Thread(target=_report, args=(feed,), name="reports", daemon=True).start()


def _report(feed: Any) -> None:
    import ray

    me, last, sent = uuid.uuid4().hex, list[Counters](), None
    while True:
        time.sleep(EVERY)
        try:
            if sent is not None:
                if not ray.wait([sent], timeout=0)[0]:  # a feed that does not answer gets no second report to keep
                    continue
                ray.get(sent)
            units = in_hand(EVERY)
            sent = feed.tell.remote(me, units) if units or last else None
            last = units
        except ray.exceptions.RayError:
            return


def told(feed: Any) -> list[Counters]:
    """What *feed* was told; nothing if it does not answer in time."""
    import ray

    try:
        return list(ray.get(feed.told.remote(), timeout=_PATIENCE))
    except ray.exceptions.RayError:
        return []
