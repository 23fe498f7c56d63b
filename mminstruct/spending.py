"""What a run may spend: one sum over all its processes, kept in the run's folder.

Each process that pays keeps one small file, ``_spent/<process>.json``, with what it has claimed: spent, in flight, and
a small advance. It claims before it sends: it writes its new claim, then reads everybody's, and takes its own back if
they are too much together. Of processes that claim at once the last to write sees all the others', so what is claimed
is never over the budget, without a lock and on any store that shows a file as soon as it is written. A unit's end
gives the advance back; a killed process leaves its own behind: its money is counted rather too high than too low.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid

from mminstruct.checksum import seal, unseal
from mminstruct.stage import Halt
from mminstruct.store import Store

FOLDER = "_spent"
ADVANCE = 100
"""Requests that one claim is good for: a file is written for every hundredth, which a slow store can bear."""
LARGEST = 1 / 50
"""Share of what is left that an advance may take, so that many workers do not hold a small rest from each other."""


class BudgetExceeded(Halt):
    """The next request might cost more than is left."""


class Ledger:
    """Money of one run, as one process of it sees it; safe from all threads.

    A reservation is the most a request can cost as far as one can tell before; what was really spent replaces it
    when the reply is there. So the budget can only be exceeded by what the guesses for requests in flight fell short.

    Args:
        store: The run's folder; None for a process that stands alone (a notebook), whose money nobody else counts.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.spent = 0.0
        """US dollars that this process paid."""
        self.reserved = 0.0
        self._store = store
        self._file = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
        self._claimed = 0.0
        self._lock = threading.Lock()

    def reserve(self, cost: float, *, limit: float | None) -> bool:
        """Reserve *cost*; False if it does not fit now but may when requests in flight turn out cheaper.

        Args:
            limit: US dollars for the whole run, None for no limit.

        Raises:
            BudgetExceeded: if this process has nothing in flight and it does not fit.
        """
        with self._lock:
            wanted = self.spent + self.reserved + cost
            if wanted > self._claimed and not self._claim(wanted, cost, limit):
                if self.reserved > 1e-12:
                    return False
                raise BudgetExceeded(
                    f"budget of ${limit:.2f}: ${self._others() + self.spent:.4f} is spent or promised, and the next"
                    f" request may cost ${cost:.4f}; raise budget.usd and run the same command again"
                )
            self.reserved += cost
            return True

    def settle(self, reserved: float, cost: float) -> None:
        """Replace a reservation by the true *cost*."""
        with self._lock:
            self.reserved = max(0.0, self.reserved - reserved)
            self.spent += cost

    def release(self) -> None:
        """Claim no more than is spent or in flight: for the end of a unit."""
        with self._lock:
            if self._claimed != self.spent + self.reserved:
                self._put(self.spent + self.reserved)

    def _claim(self, wanted: float, cost: float, limit: float | None) -> bool:
        """Claim *wanted* in all, and an advance if there is room for one."""
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
        """US dollars that the other processes of the run have claimed, dead ones too."""
        if self._store is None:
            return 0.0
        names = [name for name in self._store.names(FOLDER) if name != self._file]
        return sum(claimed(self._store, name, data) for name, data in self._store.read_many(FOLDER, names).items())


def claimed(store: Store, name: str, data: bytes) -> float:
    """US dollars that the file *name* of ``_spent`` claims.

    Raises:
        Damaged: it is not what was written, so it is unknown what its process spent.
    """
    mend = "where no other build works here, move it away and lower budget.usd by what that process may have spent"
    return float(unseal(data, store.show(FOLDER, name), mend)["usd"])


_LEDGERS: dict[str, Ledger] = {}
_OPENING = threading.Lock()


def ledger(url: str) -> Ledger:
    """This process's ledger of the run at *url*."""
    with _OPENING:
        return _LEDGERS.setdefault(url, Ledger(Store(url)))
