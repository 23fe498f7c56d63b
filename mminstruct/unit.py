"""The unit that a thread processes, and what the engine lends it: a journal, a budget, a group of workers."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol


class Journal(Protocol):
    """Replies that a unit in progress has paid for, so that none is paid for twice."""

    def get(self, request: str) -> dict[str, Any] | None: ...

    def put(self, replies: Mapping[str, dict[str, Any]]) -> None:
        """Store *replies* by request; when this returns they survive a crash."""
        ...


class Budget(Protocol):
    """What a run spends, shared by all its processes; see ``spending.Ledger``."""

    def reserve(self, cost: float, *, limit: float | None) -> bool: ...

    def settle(self, reserved: float, cost: float) -> None: ...


class WorkerGroup(Protocol):
    """This worker and extra ones, configured like it, that the engine lends for one unit."""

    size: int
    address: str
    """Address at which the other workers reach this worker's host."""

    def __call__(self, work: Callable[..., Any], shares: list[tuple[Any, ...]]) -> list[Any]:
        """Results of ``work(*share)`` for ``size`` shares in parallel; the first runs in this process."""
        ...


@dataclass(slots=True)
class Unit:
    """The unit that this thread processes: its usage, its journal of paid replies, and its budget."""

    table: str
    key: str
    journal: Journal | None = None
    budget: Budget | None = None
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    """US dollars."""
    notes: dict[str, int] = field(default_factory=dict)
    """Counts for the receipt: texts cut to the context, repaired replies, ..."""
    warnings: dict[str, list[int]] = field(default_factory=dict)
    """For the receipt: what ``warn`` was told -> inputs for which it holds, and all inputs that were looked at."""
    images: int | None = None
    """Of a source: how many images it takes from this shard (``images=N``); None: all."""
    enough: bool = False
    """Whether it has them, and another one came: readers need not read on."""


UNIT: contextvars.ContextVar[Unit | None] = contextvars.ContextVar("unit", default=None)
"""Set in the thread that processes a unit; None in notebooks and tests."""


BEYOND = "beyond_images"
"""Drop reason of the images of a shard that come after the first N of ``images=N``."""


Lend = Callable[[int], AbstractContextManager[WorkerGroup]]


WORKER_GROUP: contextvars.ContextVar[Lend | None] = contextvars.ContextVar("worker_group", default=None)
"""Lends a group of the given size; set by engines with several processes."""


def note(name: str, count: int = 1) -> None:
    """Add *count* to a note of the unit in progress."""
    unit = UNIT.get()
    if unit is not None and count:
        unit.notes[name] = unit.notes.get(name, 0) + count


def enough() -> bool:
    """Whether the images that follow in the shard in progress are dropped as ``BEYOND``, so that none need be read."""
    unit = UNIT.get()
    return unit is not None and unit.enough


def warn(said: str, count: int, of: int) -> None:
    """Add to a warning of the unit in progress: it holds for *count* of *of* inputs.

    Status, report, data card and the terminal show a warning that holds for more than a fifth of a table's inputs
    (``store.receipt.alarming``), as "COUNT of OF SAID".

    Args:
        said: What is wrong with these inputs and what to do, in words that fit every table: a run shows equal warnings
            of several tables once.
    """
    unit = UNIT.get()
    if unit is not None and of:
        counts = unit.warnings.setdefault(said, [0, 0])
        counts[0] += count
        counts[1] += of
