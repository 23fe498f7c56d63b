"""One run: a recipe bound to a folder. Claims the folder, knows what is done, drives an engine over what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from mminstruct import lease
from mminstruct.deletion import inherit
from mminstruct.mending import mend
from mminstruct.recipe import inputs, manifests, segments
from mminstruct.state import AGAIN, Run, State, stale, states
from mminstruct.store import Receipt, Store

__all__ = ["DriftError", "Engine", "Event", "FailedUnits", "Run", "claim", "execute"]


class DriftError(ValueError):
    """The folder at *url* holds what this recipe would not make; each line names what changed and how to go on."""

    def __init__(self, said: str, url: str) -> None:
        super().__init__(said)
        self.url = url


class FailedUnits(RuntimeError):
    """More units failed than may; the run stopped before a stage that needs all of them."""


@dataclass(frozen=True, slots=True)
class Event:
    """A unit that is over: its receipt, or what went wrong; *fresh* if it was done just now."""

    table: str
    key: str
    receipt: Receipt | None
    error: str | None = None
    fresh: bool = True


class Engine(Protocol):
    """Does the units of a segment."""

    def run(self, run: Run, tables: list[str], keys: list[str]) -> Iterator[Event]:
        """Push *keys*, units of the first table, through *tables*; one event for every unit, in any order."""
        ...


def claim(run: Run, base: str | None = None, units: int | None = None) -> dict[str, list[str]]:
    """Claim the run's folder for its recipe; reuse units of *base* that this recipe would make in the same way.

    Args:
        units: as ``execute`` will get it.

    Returns:
        Table name to keys of the units taken over from *base*.

    Raises:
        DriftError: the folder holds what this recipe would not make; each line names a field and both values, or the
            table whose inputs are others now.
        lease.Held: another process works on this folder.
    """
    with lease.hold(run.url):
        wanted = manifests(run.recipe)
        for name in wanted:
            mend(run.table(name))
        found = states(run, base, units)
        refuse(run, found)
        ours = Store(run.url)
        for name, facts in wanted.items():
            ours.table(name).begin(facts)
            for receipt in found[name].brought.values():
                drops = [f"_dropped/{receipt.drops}"] if receipt.drops else []
                for file in [*(part.file for part in receipt.parts), *drops]:
                    ours.copy_from(Store(str(base)), name, file)
                ours.table(name).commit(receipt)
            if base is not None and not found[name].not_brought:
                _bring_calls(ours, Store(base), name)
        if base is not None:
            inherit(ours, Store(base))
    return {name: list(state.brought) for name, state in found.items()} if base is not None else {}


def _bring_calls(ours: Store, theirs: Store, name: str) -> None:
    """Copy the paid replies of units that the other run did not finish; a copy, since journals are appended to."""
    for key in theirs.names(name, "_calls"):
        if ours.table(name).receipt(key) is None:
            for file in theirs.names(name, "_calls", key):
                if (data := theirs.read(name, "_calls", key, file)) is not None:
                    ours.create(data, name, "_calls", key, file)


_NOT_FIELDS = ("it reads ", "schema ", "stage ")


def refuse(run: Run, found: Mapping[str, State]) -> None:
    """Raise DriftError where a table is not what this recipe would make; ``plan`` prints the same words."""
    lines = [(name, line) for name, state in found.items() for line in state.differs]
    direct = [(name, line) for name, line in lines if not line.startswith("it reads ")] or lines
    faults = [f"{name}: {line}" if line.startswith(_NOT_FIELDS) else f"recipe.{name}.{line}" for name, line in direct]
    if faults:
        raise DriftError(
            "\n".join(faults) + f"\nThe folder {run.url} was made with the values on the left. Put them back, or take"
            f" another folder and keep what did not change: {go_on(run)}",
            run.url,
        )
    changed = [line for state in found.values() for line in state.stale]
    _refuse(run, [line for line in changed if not line.endswith(AGAIN)] or changed)


def _refuse(run: Run, faults: list[str]) -> None:
    if faults:
        more = [f"... and {len(faults) - 10} more"] if len(faults) > 10 else []
        said = (
            f"What {run.url} holds was made from other or fewer parts. Take another folder, and keep what still holds"
        )
        raise DriftError("\n".join([*faults[:10], *more, f"{said}: {go_on(run)}"]), run.url)


def go_on(run: Run) -> str:
    """Words with which a refused command goes on."""
    return f"out=NEW base={run.url}"


def execute(
    run: Run,
    engine: Engine,
    *,
    units: int | None = None,
    fail_on_error: bool | float = True,
    watch: Callable[[Event], None] = lambda event: None,
    begin: Callable[[list[str], list[str]], None] = lambda tables, keys: None,
) -> None:
    """Do all units that have no receipt yet.

    Args:
        units: take only the first so many parts, all the way through.
        fail_on_error: True: no failed unit may be passed over at a barrier; False: any number; below 1: that share
            of a table's units; from 1: that many units.
        watch: told of every unit that is over.
        begin: told of each segment's tables and first units before it starts.

    Raises:
        FailedUnits: at the first barrier with more failures than may be.
        DriftError: at a barrier after which units were made from less, or other, than there is now.
    """
    with lease.hold(run.url):
        _execute(run, engine, units, fail_on_error, watch, begin)


def _execute(
    run: Run, engine: Engine, units: int | None, fail_on_error: bool | float, watch: Callable[[Event], None],
    begin: Callable[[list[str], list[str]], None],
) -> None:  # fmt: skip
    closed = _closed(run)
    for tables in segments(run.recipe):
        first, keys = run.stages[tables[0]], run.keys(tables[0])
        if not first.reads:
            table = run.table(tables[0])
            table.expect(len(keys))
            if (listed := first.listing()) is not None:
                table.list_source(listed)
            if units is not None:
                _first_parts(run, engine, tables[0], keys, units, watch, begin)
                tables = tables[1:]
                if not tables:
                    continue
                keys = run.keys(tables[0])
        after_wholes = [name for name in tables if any(r.mode == "whole" for r in run.stages[name].reads.values())]
        _refuse(run, [line for name in after_wholes for line in _stale(run, name)])
        begin(tables, keys)
        seen: dict[str, int] = {}
        failed: dict[str, list[str]] = {}
        for event in _events(run, engine, tables, keys, closed):
            seen[event.table] = seen.get(event.table, 0) + 1
            if event.error is not None:
                failed.setdefault(event.table, []).append(f"{event.table}/{event.key}: {event.error}")
            watch(event)
        for name, lines in failed.items():
            if not _tolerable(len(lines), seen[name], fail_on_error):
                again = "run the same command again"
                if name in closed:
                    again = f"try them again in another folder, as later tables were made without them: {go_on(run)}"
                more = f"\n... and {len(lines) - 5} more" if len(lines) > 5 else ""
                raise FailedUnits(
                    f"{len(lines)} of {seen[name]} units of {name} failed:\n" + "\n".join(lines[:5]) + more
                    + f"\nMend the cause and {again}; or go on without them: fail_on_error=false"
                )  # fmt: skip


def _stale(run: Run, name: str) -> list[str]:
    return stale(run.stages[name], name, run.table(name).receipts(), run.current(name))


def _closed(run: Run) -> frozenset[str]:
    """Tables that a whole table was made from: their failed units were passed over, and one more would not go in."""
    found: set[str] = set()
    for name, stage in reversed(run.stages.items()):
        tables = {table for table, _ in inputs(stage).values()}
        barrier = any(read.mode == "whole" for read in stage.reads.values())
        if name in found or (barrier and run.table(name).receipts()):
            found |= tables
    return frozenset(found)


def _events(
    run: Run, engine: Engine, tables: list[str], keys: list[str], closed: frozenset[str] = frozenset()
) -> Iterator[Event]:
    """Events of a segment; the engine is started only where a unit is left to do.

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
        yield from engine.run(run, tables, waiting)


def _first_parts(
    run: Run, engine: Engine, name: str, keys: list[str], units: int, watch: Callable[[Event], None],
    begin: Callable[[list[str], list[str]], None],
) -> None:  # fmt: skip
    """Read shards *keys* in order until there are *units* parts, and limit the run to the first of them."""
    found: list[str] = []
    for key in keys:
        if len(found) >= units:
            break
        begin([name], [key])
        for event in _events(run, engine, [name], [key]):
            watch(event)
            if event.receipt is None:
                raise FailedUnits(f"{name}/{event.key}: {event.error}")
            found += [part.part for part in event.receipt.parts]
    run.only = frozenset(sorted(found)[:units])


def _tolerable(failed: int, of: int, rule: bool | float) -> bool:
    if rule is True:
        return False
    if rule is False:
        return True
    return failed <= (rule * of if rule < 1 else rule)
