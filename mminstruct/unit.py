"""The unit that a thread processes, and what the engine lends it: a journal, a budget, a group of workers."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


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


class Counters(NamedTuple):
    """Counters of a unit in progress; those of a unit that has ended are in its receipt."""

    table: str
    key: str
    seconds: float
    """Since its worker began it."""
    rows: int
    """Of its first input; 0 if they are not known (a source)."""
    done: int
    """Rows that are done: by the share of its calls, texts and images that its models have answered; of a source, rows
    that are stored."""
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    """US dollars."""


@dataclass(slots=True, eq=False)
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
    began: float = field(default_factory=time.monotonic)
    rows: int = 0
    """See ``Counters``."""
    done: int = 0
    """Rows of a source that are stored."""
    expected: float = 0.0
    """Calls that its stage makes for *rows*, about."""
    asked: int = 0
    """Transcripts, texts and images that were given to models so far."""
    answered: int = 0
    """Of those."""

    def count(self, calls: int = 0, tokens_in: int = 0, tokens_out: int = 0, cost: float = 0.0) -> None:
        """Add replies of a model, or what a failed attempt cost; from any thread."""
        with _COUNTING:
            self.calls += calls
            self.answered += calls
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out
            self.cost += cost

    def counters(self) -> Counters:
        with _COUNTING:
            done = self.done
            if self.asked:  # a stage may ask again about the replies, so they do not end at those asked so far
                done = int(self.rows * min(1.0, self.answered / max(self.asked, self.expected)))
            seconds = time.monotonic() - self.began
            usage = self.calls, self.tokens_in, self.tokens_out, self.cost
            return Counters(self.table, self.key, seconds, self.rows, done, *usage)


_COUNTING = threading.Lock()
IN_HAND: set[Unit] = set()
"""Units that this process has in hand."""

UNIT: contextvars.ContextVar[Unit | None] = contextvars.ContextVar("unit", default=None)
"""Set in the thread that processes a unit; None in notebooks and tests."""


BEYOND = "beyond_images"
"""Drop reason of the images of a shard that come after the first N of ``images=N``."""


Lend = Callable[[int], AbstractContextManager[WorkerGroup]]


WORKER_GROUP: contextvars.ContextVar[Lend | None] = contextvars.ContextVar("worker_group", default=None)
"""Lends a group of the given size; set by engines with several processes."""


Endpoint = tuple[str | None, str | None]
"""What an endpoint knows its callers by: the URL, None for OpenAI's own, and the name of the key's variable."""
SHARERS: contextvars.ContextVar[Mapping[Endpoint, int]] = contextvars.ContextVar("sharers", default={})  # noqa: B039
"""How many workers ask an endpoint at the same time; set by engines with several processes."""


def note(name: str, count: int = 1) -> None:
    """Add *count* to a note of the unit in progress."""
    unit = UNIT.get()
    if unit is not None and count:
        unit.notes[name] = unit.notes.get(name, 0) + count


def enough() -> bool:
    """Whether the images that follow in the shard in progress are dropped as ``BEYOND``, so that none need be read."""
    unit = UNIT.get()
    return unit is not None and unit.enough


def asked(count: int) -> None:
    """Tell the unit in progress that *count* transcripts, texts or images are given to a model."""
    unit = UNIT.get()
    if unit is not None:
        unit.asked += count


def answered(count: int) -> None:
    """Tell the unit in progress that *count* texts or images are embedded; ``Unit.count`` does it for replies."""
    unit = UNIT.get()
    if unit is not None:
        unit.answered += count


def in_hand(least: float = 0.0) -> list[Counters]:
    """Counters of the units that this process has had in hand for *least* seconds."""
    return [found for unit in list(IN_HAND) if (found := unit.counters()).seconds >= least]


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
