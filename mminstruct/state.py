"""A recipe bound to a folder, and the state of its tables: what is valid, and what can be copied from another run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from mminstruct.recipe import Recipe, differences, inputs, manifests, primary, sources
from mminstruct.stage import ALL, CHANGED, Source, Stage
from mminstruct.store.columns import Columns
from mminstruct.store.datafile import Part
from mminstruct.store.packed import Packed
from mminstruct.store.receipt import Receipt
from mminstruct.store.receipts import packed_receipts, parts_of
from mminstruct.store.tables import Store, Table

AGAIN = "which would be made again"
"""Reason for a table that is refused only because one of its inputs is refused."""
CONTENT = "content"
"""Name of the digest of the bytes that were read from a shard; only receipts have it."""


@dataclass(frozen=True, kw_only=True)
class Digests:
    """Digests of the inputs of a table's units, as they are now."""

    shards: Mapping[str, Mapping[str, Any]] | None = None
    """Of a source: facts of each shard."""
    parts: Mapping[str, Packed[Part]] = field(default_factory=dict)
    """Tables of which a unit reads the part with its key."""
    wholes: Mapping[str, str] = field(default_factory=dict)
    """Digests of the tables that every unit reads whole."""

    def __call__(self, key: str) -> dict[str, str]:
        """Those of one unit, by name."""
        if self.shards is not None:
            return {fact: str(value) for fact, value in self.shards.get(key, {}).items()}
        mine = {table: sha256[:16] for table, found in self.parts.items() if (sha256 := found.tag(key)) is not None}
        return {**{f"whole {table}": whole for table, whole in self.wholes.items()}, **mine}

    def equal(self, keys: list[str], inputs: Columns) -> bool:
        """Whether the units *keys*, which are sorted, have exactly these *inputs*. Not for a source."""
        names = [*(f"whole {table}" for table in self.wholes), *self.parts]
        if set(names) != set(inputs.names or ()) or len(names) != len(inputs.names or ()):
            return False
        if any(value != whole for table, whole in self.wholes.items() for value in inputs[f"whole {table}"]):
            return False
        return all(
            inputs[table] == [sha256 and sha256[:16] for sha256 in found.along(keys)]
            for table, found in self.parts.items()
        )


@dataclass(kw_only=True)
class Run:
    """A recipe bound to a folder; small and picklable, so that engines can send it to workers."""

    url: str
    recipe: Recipe
    only: frozenset[str] | None = None
    """Part keys of the first source that this run is limited to (``units=N``); None for all."""

    def __post_init__(self) -> None:
        self.stages = self.recipe.stages()
        self.sources = sources(self.recipe)
        """Table -> the source whose part keys it has."""
        self.first = next(iter(self.stages), "")
        """The source that ``units=N`` limits; other sources are read whole."""
        self._tables: dict[str, Table] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}  # a worker reads what it needs

    def table(self, name: str) -> Table:
        """The table *name*: one object for each process, which keeps the receipts that it has read."""
        if name not in self._tables:
            self._tables[name] = Store(self.url).table(name)
        return self._tables[name]

    def partwise(self, name: str) -> bool:
        """Whether the table's part keys are those of the first source, and so limited by ``only``."""
        return self.sources[name] == self.first

    def limit(self, name: str) -> frozenset[str] | None:
        return self.only if self.partwise(name) else None

    def keys(self, name: str) -> Collection[str]:
        """Units of a table that are known so far, sorted: those whose input parts are committed."""
        stage = self.stages[name]
        if not stage.reads:
            return sorted(cast(Source, stage).shards())
        first = primary(stage)
        return [ALL] if first is None else self.table(first).parts(self.limit(first))

    def whole(self, name: str) -> str:
        """The digest by which receipts name a table that was read whole."""
        return digest(self.table(name).parts(self.limit(name)))

    def current(self, name: str) -> Digests:
        """Digests of the inputs of a table's units, as they are now."""
        stage = self.stages[name]
        if not stage.reads:
            return Digests(shards=cast(Source, stage).shards())
        reads = list(inputs(stage).values())
        wholes = {table: self.whole(table) for table, read in reads if read.mode == "whole"}
        parts = {table: self.table(table).parts() for table, read in reads if read.mode == "part"}
        return Digests(parts=parts, wholes=wholes)


def digest(parts: Packed[Part]) -> str:
    """Number and digest of *parts*. The same rows in the same parts have the same digest."""
    found = hashlib.sha256()  # ``content_id`` of all of them, which need not be in memory at once
    for number, (key, sha256) in enumerate(parts.tags()):
        found.update(f"{chr(0) if number else ''}{key} {sha256}".encode("utf-8", "surrogatepass"))
    return f"{len(parts)} part{'s' * (len(parts) != 1)}, digest {found.hexdigest()[:16]}"


def changes(stage: Stage, receipt: Receipt, now: Mapping[str, str]) -> list[str]:
    """Inputs of a unit that changed since it was made, one line each.

    Args:
        now: Digests of the inputs; for a shard, its facts. If a shard differs only in the time of its last change, its
            bytes are compared with those that were read.
    """
    if stage.reads:  # an input that is gone is itself being made again: not stale yet
        if receipt.inputs == now:
            return []
        return [line for line in differences(receipt.inputs, now) if not line.endswith("-> (absent)")]
    if not now:
        return ["its shard is gone from the source"]
    was = {fact: value for fact, value in receipt.inputs.items() if fact != CONTENT}
    lines = [line for line in differences(was, now) if not line.startswith(f"{CHANGED}: ")]
    if not lines and was.get(CHANGED) != now.get(CHANGED):
        before, there = receipt.inputs.get(CONTENT), stage.content(receipt.key)
        if before is None or before != there:
            lines = [f"{CONTENT}: {before or 'unknown'} -> {there or 'unknown'}"]
    return lines


def stale(stage: Stage, name: str, receipts: Packed[Receipt], now: Digests) -> list[str]:
    """Units whose inputs changed since they were made, one line each. Identical lines are reported once."""
    units: dict[str, list[str]] = {}
    for chunk in receipts.chunks():
        if stage.reads and now.equal(chunk.keys, chunk.columns.maps("inputs")):
            continue  # then ``changes`` has none for each of them
        for key, receipt in chunk.values().items():
            for line in changes(stage, receipt, now(key)):
                units.setdefault(line, []).append(key)
    more = {line: f" (and {len(keys) - 1} more)" if len(keys) > 1 else "" for line, keys in units.items()}
    return [f"{name}/{keys[0]}{more[line]}: {line}" for line, keys in units.items()]


@dataclass
class State:
    """State of one table before a build, with the units that can be copied from another run."""

    differs: list[str] = field(default_factory=list)
    """Fields whose values differ from those that the table was made with, and both values."""
    stale: list[str] = field(default_factory=list)
    """Units that were made from other inputs than there are now, or from fewer than there will be."""
    here: Packed[Receipt] = field(default_factory=lambda: packed_receipts({}))
    brought: dict[str, Receipt] = field(default_factory=dict)
    """Units of the other run that this recipe would make identically."""
    not_brought: list[str] = field(default_factory=list)
    """Why none can be copied: fields whose values differ."""
    parts: Packed[Part] = field(default_factory=parts_of)
    """Of both, in order."""
    limit: frozenset[str] | None = None
    """Parts that this command uses; None: all."""
    total: int | None = None
    """Number of units; None where it is not known before earlier tables are made."""
    settled: bool = False
    """Whether every unit is done or has failed."""

    @property
    def refused(self) -> bool:
        return bool(self.differs or self.stale)

    @property
    def whole(self) -> bool:
        """Whether every part is there, even if a lost unit of an earlier table must be made again.

        Usually that unit gets the same bytes. If it does not, the check at the barrier reports it.
        """
        return self.total == len(self.usable) and not self.refused

    @property
    def usable(self) -> Packed[Part]:
        return self.parts if self.limit is None else self.parts.only(self.limit)


def states(run: Run, base: str | None = None, units: int | None = None) -> dict[str, State]:
    """State of every table of *run*. Writes nothing.

    Args:
        base: Folder of another run, whose units are copied where this recipe would make them identically.
        units: The command processes only the first *units* parts.
    """
    wanted = manifests(run.recipe)
    other = Run(url=base, recipe=run.recipe) if base is not None else None
    found: dict[str, State] = {}
    limit = run.only
    unread: dict[str, str] = {}
    """By source, a phrase about its shards that are not read yet."""
    for name, stage in run.stages.items():
        table, reads = run.table(name), list(inputs(stage).values())
        state = found[name] = State(differs=differs(table, wanted[name]))
        state.here = state.here if state.differs else table.receipts()
        wholes = {of: digest(found[of].usable) for of, read in reads if read.mode == "whole"}
        parts = {of: found[of].parts for of, read in reads if read.mode == "part"}
        shards = {} if stage.reads else cast(Source, stage).shards()
        now = Digests(parts=parts, wholes=wholes, shards=None if stage.reads else shards)
        unsettled = next((of for of in wholes if not found[of].settled and not found[of].whole), None)
        if state.here and unsettled:
            shards_left = unread.get(run.sources[unsettled], "")
            state.stale = [f"{name} was made from {unsettled}, {_partial(found[unsettled], shards_left)}"]
        elif state.here:
            state.stale = stale(stage, name, state.here, now)
        if other is not None:
            theirs = other.table(name)
            state.not_brought = differs(theirs, wanted[name])
            if not state.differs and not state.not_brought and not unsettled:
                state.brought = _same(stage, theirs.receipts(), state.here, parts, now)
        receipts = {**state.here, **state.brought} if state.brought else state.here
        if state.brought:
            state.parts = parts_of(*(packed_receipts(some) for some in (state.here, state.brought)))
        elif state.here:
            state.parts = table.parts()
        first = primary(stage)
        keys = sorted(shards) if not stage.reads else [ALL] if first is None else found[first].usable
        left = {key for key in state.here.missing(keys) if key not in state.brought}
        if not stage.reads:
            unread[name] = f", and {len(left)} of {len(keys)} shards are not read yet" if left else ""
        state.total, state.settled = len(keys), not left or left <= table.failures().keys()
        if name == run.first and units is not None:
            limit, state.settled = _first(keys, receipts, units)
            state.total = len(receipts) if state.settled else len(keys)
        elif name == run.first and limit is not None:
            state.settled = all(key in state.parts for key in limit)
        elif first is not None and not found[first].settled:
            state.total = _most(run, first, found[first], units)
        state.settled &= not state.refused and all(found[of].settled for of, _ in reads)
        state.limit = limit if run.partwise(name) else None
    return found


def differs(table: Table, wanted: Mapping[str, Any]) -> list[str]:
    """Differences between a table and the *wanted* manifest; empty if there is none, or no table."""
    there = table.manifest()
    if there is None or there["fingerprint"] == wanted["fingerprint"]:
        return []
    now, changed = wanted["renamed"], differences(there["config"], wanted["config"])
    lines = [re.sub(r"^\w+", lambda old: now.get(old[0], old[0]), line) for line in changed]
    lines += [f"schema {line}" for line in differences(there["schema"], wanted["schema"])]
    lines += [f"stage {there['stage']} -> {wanted['stage']}"] if there["stage"] != wanted["stage"] else []
    was, now_is = there.get("version", 1), wanted.get("version", 1)
    lines += [f"stage {wanted['stage']}: version {was} -> {now_is}, which gives other rows"] if was != now_is else []
    again = [name for name, mark in wanted["inputs"].items() if there["inputs"].get(name) != mark]
    return lines or [f"it reads {', '.join(again)}, {AGAIN}"]


def _same(
    stage: Stage, theirs: Mapping[str, Receipt], ours: Mapping[str, Receipt], parts: Mapping[str, Any], now: Digests
) -> dict[str, Receipt]:
    """Units of another run that were made from the inputs that they have here; for shards, with today's facts."""
    found = {}
    for key, receipt in theirs.items():
        if key in ours or not all(key in some for some in parts.values()) or changes(stage, receipt, now(key)):
            continue
        kept = {fact: value for fact, value in receipt.inputs.items() if fact == CONTENT}
        found[key] = replace(receipt, inputs={**now(key), **kept})
    return found


def _first(keys: Iterable[str], receipts: Mapping[str, Receipt], units: int) -> tuple[frozenset[str], bool]:
    """The first *units* parts of a source, and whether they are all there."""
    found: list[str] = []
    for key in keys:
        if len(found) >= units:
            break
        if key not in receipts:
            return frozenset(found), False
        found += [part.part for part in receipts[key].parts]
    return frozenset(sorted(found)[:units]), True


def _most(run: Run, name: str, state: State, units: int | None) -> int | None:
    """Upper limit of the parts of a table that is not complete; None if it is not known yet."""
    known = state.total if primary(run.stages[name]) else None
    if units is None or not run.partwise(name):
        return known
    return units if known is None else min(known, units)


def _partial(state: State, unread: str) -> str:
    """Progress of a table that is not complete, in words.

    Args:
        unread: Phrase about the source's shards.
    """
    if state.refused:
        return AGAIN
    have = f"which has {len(state.usable)} part{'s' * (len(state.usable) != 1)}"
    return f"{have} of {state.total}" if state.total is not None else f"{have}{unread}"
