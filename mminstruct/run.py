"""Runs a recipe in a folder: claims the folder, finds the units that are left, and has an engine execute them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol, cast

from mminstruct.drift import AGAIN, stale
from mminstruct.errors import ConfigurationError, RunError
from mminstruct.recipe import inputs, manifests, segments
from mminstruct.state import Run, State, states
from mminstruct.store import lease
from mminstruct.store.deletion import inherit
from mminstruct.store.packed import Packed
from mminstruct.store.receipt import Receipt
from mminstruct.store.repair import restore
from mminstruct.store.tables import Store
from mminstruct.unit import Counters

__all__ = ["DriftError", "Engine", "Event", "FailedUnits", "Run", "claim", "execute"]


class DriftError(ConfigurationError):
    """The folder at *url* was made by another recipe. Each line names a difference and how to continue."""

    def __init__(self, said: str, url: str) -> None:
        super().__init__(said)
        self.url = url


class FailedUnits(RunError):
    """Too many units failed. The run stopped before a stage that needs all of them."""


@dataclass(frozen=True, slots=True)
class Event:
    """A unit that has ended, with its receipt or its error; *fresh* if this process executed it."""

    table: str
    key: str
    receipt: Receipt | None
    error: str | None = None
    fresh: bool = True


class Engine(Protocol):
    """Executes a segment's units."""

    def run(self, run: Run, tables: list[str], keys: list[str]) -> Iterator[Event]:
        """Process *keys*, units of the first table, through all *tables*; yields one event per unit, in any order."""
        ...

    def in_hand(self) -> list[Counters]:
        """Counters of units in progress, as they were a few seconds ago; each unit once. May be called by any thread,
        never raises, and leaves out what it does not get to know in two seconds.
        """
        ...

    def close(self) -> None:
        """End the workers that it keeps from one segment to the next; ``execute`` calls it after the last."""


def claim(run: Run, base: str | None = None, units: int | None = None) -> dict[str, list[str]]:
    """Claim the run's folder for its recipe, and copy the units of *base* that this recipe would make identically.

    Args:
        units: The value that ``execute`` will get.

    Returns:
        Table name -> keys of the units copied from *base*.

    Raises:
        DriftError: The folder was made by another recipe. Each line names a field with both values, or a table whose
            inputs changed.
        lease.Held: Another process works on this folder.
    """
    with lease.hold(run.url), _settled(run):
        wanted = manifests(run.recipe)
        for name in wanted:
            restore(run.table(name))
        found = states(run, base, units)
        refuse(run, found)
        ours, theirs = Store(run.url), Store(base) if base is not None else None
        for name, facts in wanted.items():
            run.table(name).begin(facts)
            for receipt in found[name].brought.values():
                drops = [f"_dropped/{receipt.drops}"] if receipt.drops else []
                for file in [*(part.file for part in receipt.parts), *drops]:
                    ours.copy_from(cast(Store, theirs), name, file)
                run.table(name).commit(receipt)
            run.table(name).kept.settle()
            if theirs is not None and not found[name].not_brought:
                _bring_calls(ours, theirs, name)
        if theirs is not None:
            inherit(ours, theirs)
    return {name: list(state.brought) for name, state in found.items()} if base is not None else {}


@contextmanager
def _settled(run: Run) -> Iterator[None]:
    """List receipts once a table: this process holds the folder's lease, so only it and its workers write there."""
    for name in run.stages:
        run.table(name).kept.settle()
    try:
        yield
    finally:
        for name in run.stages:
            run.table(name).kept.settle(False)


def _bring_calls(ours: Store, theirs: Store, name: str) -> None:
    """Copy the paid replies of units that the other run did not finish. They are not linked, since journals grow."""
    for key in theirs.names(name, "_calls"):
        if ours.table(name).receipt(key) is None:
            for file in theirs.names(name, "_calls", key):
                if (data := theirs.read(name, "_calls", key, file)) is not None:
                    ours.create(data, name, "_calls", key, file)


_NOT_FIELDS = ("it reads ", "schema ", "stage ")


def refuse(run: Run, found: Mapping[str, State]) -> None:
    """Raise DriftError if a table differs from what this recipe makes; ``plan`` prints the same message."""
    lines = [(name, line) for name, state in found.items() for line in state.differs]
    direct = [(name, line) for name, line in lines if not line.startswith("it reads ")] or lines
    faults = [f"{name}: {line}" if line.startswith(_NOT_FIELDS) else f"recipe.{name}.{line}" for name, line in direct]
    if faults:
        raise DriftError(
            "\n".join(faults) + f"\nThe folder {run.url} was made with the values on the left. Restore them, or use"
            f" another folder and reuse what did not change: {go_on(run)}",
            run.url,
        )
    changed = [line for state in found.values() for line in state.stale]
    _refuse(run, [line for line in changed if not line.endswith(AGAIN)] or changed)


def _refuse(run: Run, faults: list[str]) -> None:
    if faults:
        more = [f"... and {len(faults) - 10} more"] if len(faults) > 10 else []
        said = (
            f"Tables in {run.url} were made from other or fewer parts. Use another folder and reuse what is still valid"
        )
        raise DriftError("\n".join([*faults[:10], *more, f"{said}: {go_on(run)}"]), run.url)


def go_on(run: Run) -> str:
    """The arguments with which a refused command continues in another folder."""
    return f"out=NEW base={run.url}"


def execute(
    run: Run,
    engine: Engine,
    *,
    units: int | None = None,
    fail_on_error: bool | float = True,
    watch: Callable[[Event], None] = lambda event: None,
    begin: Callable[[list[str], Collection[str]], None] = lambda tables, keys: None,
    finished: Callable[[str, Packed[Receipt]], None] | None = None,
) -> None:
    """Execute all units that have no receipt.

    Args:
        units: Process only the first *units* parts of the first source. (``Run.images`` limits its images.)
        fail_on_error: How many failed units of a table a barrier tolerates. True: none; False: any number; below 1:
            that share of the units; from 1: that many units.
        watch: Called with the event of every unit.
        begin: Called with each segment's tables and first units before it starts.
        finished: Called for each table of a segment in which nothing is left to do, instead of *watch* for its units.

    Raises:
        FailedUnits: A barrier found more failed units than it tolerates.
        DriftError: Units after a barrier were made from other or fewer parts than there are now.
    """

    def replay(name: str, receipts: Packed[Receipt]) -> None:
        for key, receipt in receipts.items():
            watch(Event(name, key, receipt, fresh=False))

    with lease.hold(run.url), _settled(run), closing(engine):
        _execute(run, engine, units, fail_on_error, watch, begin, finished or replay)


def _execute(
    run: Run, engine: Engine, units: int | None, fail_on_error: bool | float, watch: Callable[[Event], None],
    begin: Callable[[list[str], Collection[str]], None], finished: Callable[[str, Packed[Receipt]], None],
) -> None:  # fmt: skip
    closed = _closed(run)
    for tables in segments(run.recipe):
        first, keys = run.stages[tables[0]], run.keys(tables[0])
        if not first.reads:
            table = run.table(tables[0])
            table.expect(len(keys))
            if (listed := first.listing()) is not None:
                table.list_source(listed)
            if tables[0] == run.first and not (units is None and run.images is None):
                taken = _first_parts(run, engine, tables[0], keys, units, watch, begin)
                table.kept.consolidate()
                if run.images is not None:
                    _refuse(run, _stale(run, tables[0]))
                    table.expect(len(taken))
                    table.list_source(first.listing(taken) or {})
                tables = tables[1:]
                if not tables:
                    continue
                keys = run.keys(tables[0])
        after_wholes = [name for name in tables if any(r.mode == "whole" for r in run.stages[name].reads.values())]
        _refuse(run, [line for name in after_wholes for line in _stale(run, name)])
        begin(tables, keys)
        if _nothing_left(run, tables, keys):
            for name in tables:
                finished(name, run.table(name).receipts())
                run.table(name).kept.consolidate()  # they may have come from another folder
            continue
        seen: dict[str, int] = {}
        failed: dict[str, list[str]] = {}
        for event in _events(run, engine, tables, keys, closed):
            seen[event.table] = seen.get(event.table, 0) + 1
            if event.error is not None:
                failed.setdefault(event.table, []).append(f"{event.table}/{event.key}: {event.error}")
            watch(event)
        for name in tables:
            run.table(name).kept.consolidate()
        for name, lines in failed.items():
            if not _tolerable(len(lines), seen[name], fail_on_error):
                again = "run the same command again"
                if name in closed:
                    again = f"try them again in another folder, since later tables were made without them: {go_on(run)}"
                more = f"\n... and {len(lines) - 5} more" if len(lines) > 5 else ""
                raise FailedUnits(
                    f"{len(lines)} of {seen[name]} units of {name} failed:\n" + "\n".join(lines[:5]) + more
                    + f"\nFix the cause and {again}; or continue without them: fail_on_error=false"
                )  # fmt: skip


def _stale(run: Run, name: str) -> list[str]:
    return stale(run.stages[name], name, run.table(name).receipts(), run.current(name))


def _closed(run: Run) -> frozenset[str]:
    """Tables that a later stage has read as a whole. Failed units are not retried: that stage would lack their rows."""
    found: set[str] = set()
    for name, stage in reversed(run.stages.items()):
        tables = {table for table, _ in inputs(stage).values()}
        barrier = any(read.mode == "whole" for read in stage.reads.values())
        if name in found or (barrier and run.table(name).receipts()):
            found |= tables
    return frozenset(found)


def _nothing_left(run: Run, tables: list[str], keys: Collection[str]) -> bool:
    """Whether the tables have a receipt for each of their units, and no other receipts."""
    for name in tables:
        receipts = run.table(name).receipts()
        if len(receipts) != len(keys) or next(receipts.missing(keys), None) is not None:
            return False
        keys = run.table(name).parts()
    return True


def _events(
    run: Run, engine: Engine, tables: list[str], keys: Collection[str], closed: frozenset[str] = frozenset()
) -> Iterator[Event]:
    """Events of a segment. The engine starts only if a unit is left.

    Args:
        closed: Tables whose failed units are not tried again.
    """
    done = [run.table(name).receipts() for name in tables]
    given_up = [run.table(name).failures() if name in closed else {} for name in tables]
    waiting = []
    for key in keys:
        events, keys_here = [], [key]
        for name, receipts, failures in zip(tables, done, given_up, strict=True):
            found = [receipts[k] for k in keys_here if k in receipts]
            failed = [k for k in keys_here if k not in receipts and k in failures]
            events += [Event(name, receipt.key, receipt, fresh=False) for receipt in found]
            events += [Event(name, k, None, str(failures[k]["error"]), fresh=False) for k in failed]
            if len(found) + len(failed) < len(keys_here):
                waiting.append(key)
                break
            keys_here = [part.part for receipt in found for part in receipt.parts]
        else:
            yield from events
    if waiting:
        for name in tables:
            run.table(name).kept.settle(False)
        try:
            yield from engine.run(run, tables, waiting)
        finally:
            for name in tables:
                run.table(name).kept.settle()


def _first_parts(
    run: Run, engine: Engine, name: str, keys: Collection[str], units: int | None, watch: Callable[[Event], None],
    begin: Callable[[list[str], Collection[str]], None],
) -> list[str]:  # fmt: skip
    """Read shards in order until there are *units* parts, or ``run.images`` images, and limit the run to these.

    Returns:
        The shards that were read.
    """
    found: list[str] = []
    taken: list[str] = []
    images = 0
    for key in keys:
        if (units is not None and len(found) >= units) or (run.images is not None and images >= run.images):
            break
        taken.append(key)
        begin([name], [key])
        for event in _events(run, engine, [name], [key]):
            watch(event)
            if event.receipt is None:
                raise FailedUnits(f"{name}/{event.key}: {event.error}")
            found += [part.part for part in event.receipt.parts]
            images += event.receipt.kept
    run.only = frozenset(sorted(found)[:units])
    return taken


def _tolerable(failed: int, of: int, rule: bool | float) -> bool:
    if rule is True:
        return False
    if rule is False:
        return True
    return failed <= (rule * of if rule < 1 else rule)
