"""The budget of a run, shared by all its processes through files in the run's folder.

Each paying process writes one file, ``_spent/<process>.json``, with its claim: what it has spent, what is in flight,
and a small advance. Before it sends a request it writes its new claim, then reads the claims of all processes, and
withdraws its own if their sum exceeds the budget. If several processes claim at the same time, the last one to write
sees all others. So claims never exceed the budget, without a lock, on any store with read-after-write consistency. The
advance is returned at the end of a unit. The advance of a killed process stays claimed, so its spending is
overestimated rather than underestimated.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid

from mminstruct.checksum import seal, unseal
from mminstruct.stage import Halt
from mminstruct.store.tables import Store

FOLDER = "_spent"
ADVANCE = 100
"""Requests that one claim covers: one file is written per 100 requests, so that a slow store is not a bottleneck."""
LARGEST = 1 / 50
"""Largest advance as a share of the remaining budget, so that many workers do not block each other near its end."""


class BudgetExceeded(Halt):
    """The next request may cost more than the remaining budget."""


class Ledger:
    """The budget of one run in one process; thread-safe.

    A reservation is the highest expected cost of a request; the true cost replaces it when the reply arrives. So the
    budget can be exceeded only if the estimates of requests in flight are too low, by that difference.

    Args:
        store: The run's folder; None for a process without a run (a notebook), which shares its budget with no other.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.spent = 0.0
        """US dollars that this process has paid."""
        self.reserved = 0.0
        self._store = store
        self._file = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
        self._claimed = 0.0
        self._lock = threading.Lock()

    def reserve(self, cost: float, *, limit: float | None) -> bool:
        """Reserve *cost*; False if it exceeds the budget now but may fit when requests in flight are settled.

        Args:
            limit: US dollars for the whole run; None: no limit.

        Raises:
            BudgetExceeded: it exceeds the budget, and this process has no request in flight.
        """
        with self._lock:
            wanted = self.spent + self.reserved + cost
            if wanted > self._claimed and not self._claim(wanted, cost, limit):
                if self.reserved > 1e-12:
                    return False
                raise BudgetExceeded(
                    f"budget of ${limit:.2f}: ${self._others() + self.spent:.4f} is spent or reserved, and the next"
                    f" request may cost ${cost:.4f}; raise budget.usd and run the same command again"
                )
            self.reserved += cost
            return True

    def settle(self, reserved: float, cost: float) -> None:
        """Replace a reservation with the true *cost*."""
        with self._lock:
            self.reserved = max(0.0, self.reserved - reserved)
            self.spent += cost

    def release(self) -> None:
        """Return the advance, at the end of a unit: claim only what is spent or in flight."""
        with self._lock:
            if self._claimed != self.spent + self.reserved:
                self._put(self.spent + self.reserved)

    def _claim(self, wanted: float, cost: float, limit: float | None) -> bool:
        """Claim *wanted* in total, and an advance if the budget allows it."""
        if limit is None:
            self._put(wanted + ADVANCE * cost)
            return True
        before, left = self._claimed, limit - self._others() - wanted
        if left < 0:
            return False
        for amount in (wanted + min(ADVANCE * cost, left * LARGEST), wanted):
            self._put(amount)
            if self._others() + amount <= limit:
                return True
        self._put(before)
        return False

    def _put(self, amount: float) -> None:
        if self._store is not None and amount != self._claimed:
            self._store.write(seal({"usd": amount}), FOLDER, self._file)
        self._claimed = amount

    def _others(self) -> float:
        """US dollars that the run's other processes have claimed, including dead ones."""
        if self._store is None:
            return 0.0
        names = [name for name in self._store.names(FOLDER) if name != self._file]
        return sum(claimed(self._store, name, data) for name, data in self._store.read_many(FOLDER, names).items())


def claimed(store: Store, name: str, data: bytes) -> float:
    """US dollars claimed by the file *name* in ``_spent``.

    Raises:
        Damaged: the file is damaged, so the spending of its process is unknown.
    """
    fix = "if no other build is running here, move it away and lower budget.usd by what that process may have spent"
    return float(unseal(data, store.show(FOLDER, name), fix)["usd"])


_LEDGERS: dict[str, Ledger] = {}
_OPENING = threading.Lock()


def ledger(url: str) -> Ledger:
    """The ledger of the run at *url*, one per process."""
    with _OPENING:
        return _LEDGERS.setdefault(url, Ledger(Store(url)))
