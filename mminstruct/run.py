"""One run: a recipe bound to a folder. Claims the folder, knows what is done, drives an engine over what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, cast

from mminstruct.deletion import inherit
from mminstruct.mending import mend
from mminstruct.recipe import Recipe, differences, inputs, manifests, primary, segments
from mminstruct.stage import ALL, Source
from mminstruct.store import Receipt, Store, Table


class DriftError(ValueError):
    """The folder holds what this recipe would not make; each line names what changed and how to go on."""


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
    """Whoever does the units of a segment."""

    def run(self, run: Run, tables: list[str], keys: list[str]) -> Iterator[Event]:
        """Push *keys*, units of the first table, through *tables*; one event for every unit, in any order."""
        ...


@dataclass(kw_only=True)
class Run:
    """A recipe bound to a folder; small and picklable, so that engines can send it to workers."""

    url: str
    recipe: Recipe
    only: frozenset[str] | None = None
    """Part keys that this run is limited to (``units=N``); None for all."""

    def __post_init__(self) -> None:
        self.stages = self.recipe.stages()

    def table(self, name: str) -> Table:
        return Store(self.url).table(name)

    def partwise(self, name: str) -> bool:
        """Whether the table's part keys are those of ``ingest``, and so limited by ``only``."""
        stage = self.stages[name]
        first = primary(stage)
        return not stage.reads if first is None else self.partwise(first)

    def limit(self, name: str) -> frozenset[str] | None:
        return self.only if self.partwise(name) else None

    def keys(self, name: str) -> list[str]:
        """Units of a table as far as they are known: those whose input parts are committed."""
        stage = self.stages[name]
        if not stage.reads:
            return sorted(cast(Source, stage).shards())
        first = primary(stage)
        return [ALL] if first is None else list(self.table(first).parts(self.limit(first)))

    def current(self, name: str) -> Callable[[str], dict[str, str]]:
        """A function from a unit's key to the digests that its inputs have now."""
        stage = self.stages[name]
        if not stage.reads:
            shards = cast(Source, stage).shards()
            return lambda key: {fact: str(value) for fact, value in shards.get(key, {}).items()}
        reads = list(inputs(stage).values())
        wholes = {table: self.table(table).digest(self.limit(table)) for table, read in reads if read.mode == "whole"}
        parts = {table: self.table(table).parts() for table, read in reads if read.mode == "part"}

        def digests(key: str) -> dict[str, str]:
            mine = {table: found[key].sha256[:16] for table, found in parts.items() if key in found}
            return {**{f"whole {table}": digest for table, digest in wholes.items()}, **mine}

        return digests


def claim(run: Run, base: str | None = None) -> dict[str, list[str]]:
    """Claim the run's folder for its recipe; reuse tables of *base* that this recipe would make just so.

    Returns:
        Table name to keys of the units taken over from *base*.

    Raises:
        DriftError: the folder was made by another recipe; each line names a field and both values.
    """
    wanted = manifests(run.recipe)
    for name in wanted:
        mend(run.table(name))
    faults: list[str] = []
    for name, facts in wanted.items():
        there = run.table(name).manifest()
        if there is not None and there["fingerprint"] != facts["fingerprint"]:
            faults += [f"{name}.{line}" for line in differences(there["config"], facts["config"])]
            faults += [f"{name} schema {line}" for line in differences(there["schema"], facts["schema"])]
            if there["stage"] != facts["stage"]:
                faults.append(f"{name}: stage {there['stage']} -> {facts['stage']}")
    if faults:
        raise DriftError(
            "\n".join(faults) + f"\nThe folder {run.url} was made with the values on the left. Put them back, or take"
            f" another folder and keep what did not change: out=NEW base={run.url}"
        )
    taken = {}
    for name, facts in wanted.items():
        run.table(name).begin(facts)
        if base is not None:
            taken[name] = _take_over(run, Run(url=base, recipe=run.recipe), name, facts["fingerprint"])
    if base is not None:
        inherit(Store(run.url), Store(base))
    _refuse(run, [line for name in wanted for line in stale(run, name, wholes=False)])
    return taken


def _refuse(run: Run, faults: list[str]) -> None:
    if faults:
        raise DriftError(
            "\n".join(faults) + "\nIts inputs are not what they were. Take another folder, and keep what still holds:"
            f" out=NEW base={run.url}"
        )


def _take_over(run: Run, base: Run, name: str, wanted: str) -> list[str]:
    """Link or copy units of *base* that were made from the very inputs that they would be made from here."""
    theirs, ours = base.table(name), run.table(name)
    if (theirs.manifest() or {}).get("fingerprint") != wanted:
        return []
    have, now = ours.receipts(), run.current(name)
    taken = []
    for key, receipt in theirs.receipts().items():
        if key not in have and receipt.inputs == now(key):
            drops = [f"_dropped/{receipt.drops}"] if receipt.drops else []
            for file in [*(part.file for part in receipt.parts), *drops]:
                ours.store.bring(theirs.store, name, file)
            ours.commit(receipt)
            taken.append(key)
    return taken


def stale(run: Run, name: str, *, wholes: bool = True) -> list[str]:
    """Units of a table whose inputs are no longer what they were made from, a line each.

    Args:
        wholes: look at tables that are read whole, too; they must be complete by now.
    """
    now = run.current(name)
    lines = []
    for key, receipt in run.table(name).receipts().items():
        current = now(key)
        if not run.stages[name].reads and not current:
            lines.append(f"{name}/{key}: its shard is gone from the source")
        else:
            changed = [line for line in differences(receipt.inputs, current) if _ABSENT not in line]
            lines += [f"{name}/{key}: {line}" for line in changed if wholes or not line.startswith("whole ")]
    return lines


_ABSENT = "-> (absent)"  # an input that is itself being made again: not stale yet


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
    for name, stage in run.stages.items():
        if (found := stage.listing()) is not None:
            run.table(name).list_source(found)
    for tables in segments(run.recipe):
        if not run.stages[tables[0]].reads:
            run.table(tables[0]).expect(len(run.keys(tables[0])))
        if not run.stages[tables[0]].reads and units is not None:
            _first_parts(run, engine, tables[0], units, watch, begin)
            tables = tables[1:]
            if not tables:
                continue
        after_wholes = [name for name in tables if any(r.mode == "whole" for r in run.stages[name].reads.values())]
        _refuse(run, [line for name in after_wholes for line in stale(run, name)])
        keys = run.keys(tables[0])
        begin(tables, keys)
        seen: dict[str, int] = {}
        failed: dict[str, list[str]] = {}
        for event in _events(run, engine, tables, keys):
            seen[event.table] = seen.get(event.table, 0) + 1
            if event.error is not None:
                failed.setdefault(event.table, []).append(f"{event.table}/{event.key}: {event.error}")
            watch(event)
        for name, lines in failed.items():
            if not _tolerable(len(lines), seen[name], fail_on_error):
                more = f"\n... and {len(lines) - 5} more" if len(lines) > 5 else ""
                raise FailedUnits(
                    f"{len(lines)} of {seen[name]} units of {name} failed:\n" + "\n".join(lines[:5]) + more
                    + "\nMend the cause and run the same command again; or go on without them: fail_on_error=false"
                )  # fmt: skip


def _events(run: Run, engine: Engine, tables: list[str], keys: list[str]) -> Iterator[Event]:
    """Events of a segment; the engine is started only where a unit is left to do."""
    done = [run.table(name).receipts() for name in tables]
    waiting = []
    for key in keys:
        events, keys_here = [], [key]
        for name, receipts in zip(tables, done, strict=True):
            found = [receipts[k] for k in keys_here if k in receipts]
            events += [Event(name, receipt.key, receipt, fresh=False) for receipt in found]
            if len(found) < len(keys_here):
                waiting.append(key)
                break
            keys_here = [part.part for receipt in found for part in receipt.parts]
        else:
            yield from events
    if waiting:
        yield from engine.run(run, tables, waiting)


def _first_parts(
    run: Run, engine: Engine, name: str, units: int, watch: Callable[[Event], None],
    begin: Callable[[list[str], list[str]], None],
) -> None:  # fmt: skip
    """Read shards in order until there are *units* parts, and limit the run to the first of them."""
    found: list[str] = []
    for key in run.keys(name):
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
