"""A recipe bound to a folder, and the state of its tables: what is valid, and what can be copied from another run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, cast

from mminstruct.drift import AGAIN, CONTENT, TAKEN, Digests, changes, differs, digest, stale
from mminstruct.recipe import Recipe, inputs, manifests, primary, sources
from mminstruct.stage import ALL, Source, Stage
from mminstruct.store.datafile import Part
from mminstruct.store.packed import Packed
from mminstruct.store.receipt import Receipt
from mminstruct.store.receipts import packed_receipts, parts_of
from mminstruct.store.tables import Store, Table


@dataclass(kw_only=True)
class Run:
    """A recipe bound to a folder; small and picklable, so that engines can send it to workers."""

    url: str
    recipe: Recipe
    only: frozenset[str] | None = None
    """Part keys of the first source that this run is limited to (``units=N``); None for all."""
    images: int | None = None
    """Number of images of the first source that this run is limited to; None for all."""

    def __post_init__(self) -> None:
        self.stages = self.recipe.stages()
        self.sources = sources(self.recipe)
        """Table -> the source whose part keys it has."""
        self.first = next(iter(self.stages), "")
        """The source that ``units=N`` and ``images=N`` limit; other sources are read whole."""
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
            shards = cast(Source, stage).shards()
            return Digests(shards=self.taken(name, shards, self.table(name).receipts()))
        reads = list(inputs(stage).values())
        wholes = {table: self.whole(table) for table, read in reads if read.mode == "whole"}
        parts = {table: self.table(table).parts() for table, read in reads if read.mode == "part"}
        return Digests(parts=parts, wholes=wholes)

    def taken(
        self, name: str, shards: Mapping[str, dict[str, Any]], here: Mapping[str, Receipt],
        other: Mapping[str, Receipt] | None = None,
    ) -> Mapping[str, dict[str, Any]]:  # fmt: skip
        """Of *shards*, those whose images the run takes; the fact ``TAKEN`` says how many of a shard that is cut.

        Where a shard is not read yet, all that follow may be taken.

        Args:
            here: Receipts of the run; *other*: of one from which it can copy units.
        """
        if name != self.first or self.images is None:
            return shards
        found: dict[str, dict[str, Any]] = {}
        rest: int | None = self.images
        for key, facts in sorted(shards.items()):
            receipt = here.get(key) or (other or {}).get(key)
            if receipt and rest and key not in here and _changed(self.stages[name], receipt, facts):
                receipt = None  # its number of images is not that of the shard as it is now
            cut: str | None = None
            if receipt and rest is None:  # one of another run is not copied: it may come after the last image
                cut = receipt.inputs.get(TAKEN) if key in here else "0"
            elif receipt and rest is not None and (rest == 0 or receipt.kept > rest or TAKEN in receipt.inputs):
                cut = str(rest)
            if rest != 0 or key in here:  # one here, after the last image, is refused
                found[key] = {**facts, TAKEN: cut} if cut else facts
            if rest != 0:
                known = receipt and rest and (receipt.kept >= rest or receipt.inputs.get(TAKEN) == cut)
                rest = max(0, rest - receipt.kept) if receipt and rest and known else None
        return found

    def rest(self, name: str, key: str) -> int | None:
        """How many images the run takes of shard *key*, if those before it are read; None: all."""
        if name != self.first or self.images is None:
            return None
        chunks = self.table(name).receipts().chunks()
        kept: Iterable[tuple[str, int]] = (
            pair for chunk in chunks for pair in zip(chunk.keys, chunk.columns["kept"], strict=True)
        )
        return max(0, self.images - sum(count for at, count in kept if at < key))


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
    """Of both, in order; and those that a shard cut elsewhere by ``images=N`` will have, as far as they are known."""
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
        given: Mapping[str, Receipt] = {}
        if other is not None:
            state.not_brought = differs(other.table(name), wanted[name])
            given = {} if state.differs or state.not_brought else other.table(name).receipts()
        state.here = state.here if state.differs else table.receipts()
        wholes = {of: digest(found[of].usable) for of, read in reads if read.mode == "whole"}
        parts = {of: found[of].parts for of, read in reads if read.mode == "part"}
        shards = {} if stage.reads else run.taken(name, cast(Source, stage).shards(), state.here, given)
        now = Digests(parts=parts, wholes=wholes, shards=None if stage.reads else shards)
        unsettled = next((of for of in wholes if not found[of].settled and not found[of].whole), None)
        if state.here and unsettled:
            of = run.sources[unsettled]
            why = AGAIN if of in found and found[of].refused else _partial(found[unsettled], unread.get(of, ""))
            state.stale = [f"{name} was made from {unsettled}, {why}"]
        elif state.here:
            state.stale = stale(stage, name, state.here, now)
        if given and not unsettled:
            state.brought = _same(stage, given, state.here, parts, now)
        receipts = {**state.here, **state.brought} if state.brought else state.here
        expected = _beginnings(stage, given, receipts, now) if shards and run.first == name else {}
        if state.brought or expected:
            state.parts = parts_of(*(packed_receipts(some) for some in (state.here, state.brought, expected)))
        elif state.here:
            state.parts = table.parts()
        first = primary(stage)
        keys = sorted(shards) if not stage.reads else [ALL] if first is None else found[first].usable
        left = {key for key in state.here.missing(keys) if key not in state.brought}
        if not stage.reads:
            unread[name] = f", and {len(left)} of {len(keys)} shards are not read yet" if left else ""
        state.total, state.settled = len(keys), not left or left <= table.failures().keys()
        if name == run.first and units is not None:
            limit, state.settled = _first_parts(keys, receipts, units)
            state.total = len(receipts) if state.settled else len(keys)
        elif name == run.first and limit is not None:
            state.settled = all(key in state.parts for key in limit)
        elif first is not None and not found[first].settled:
            state.total = _most(run, first, found[first], units)
        state.settled &= not state.refused and all(found[of].settled for of, _ in reads)
        state.limit = limit if run.partwise(name) else None
    return found


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


def _beginnings(
    stage: Stage, theirs: Mapping[str, Receipt], receipts: Mapping[str, Receipt], now: Digests
) -> dict[str, Receipt]:
    """Shards that another run cut after more or fewer images: their receipts with the parts that they will have here.

    A shard that is read again gives the same rows in the same order, so parts before the cut keep their bytes.
    """
    found = {}
    for key, receipt in theirs.items():
        facts = now(key)
        lines = [] if key in receipts or not facts else changes(stage, receipt, facts)
        if lines and all(line.startswith(f"{TAKEN}: ") for line in lines):
            most = float(facts.get(TAKEN, "inf"))
            ends = accumulate(part.rows for part in receipt.parts)
            parts = [part for part, end in zip(receipt.parts, ends, strict=True) if 0 < end <= most]
            if TAKEN in receipt.inputs and len(parts) == len(receipt.parts):
                parts.pop()  # it may get more rows
            found[key] = replace(receipt, parts=parts)
    return found


def _changed(stage: Stage, receipt: Receipt, facts: Mapping[str, Any]) -> bool:
    """Whether a shard has changed since it was read, apart from where ``images=N`` cuts it."""
    now = {fact: str(value) for fact, value in facts.items()}
    return any(not line.startswith(f"{TAKEN}: ") for line in changes(stage, receipt, now))


def _first_parts(keys: Iterable[str], receipts: Mapping[str, Receipt], units: int) -> tuple[frozenset[str], bool]:
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
