"""The state of a run (status), and what a command would do to it (plan). Reads only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mminstruct import soundness
from mminstruct.checksum import Damaged
from mminstruct.stage import ALL
from mminstruct.state import Run, State
from mminstruct.store import Part, Receipt, Store, Table

RUN = "(run)"
"""Name under which faults of files that belong to no table are listed."""


@dataclass
class Standing:
    """One table's sums; they close when ``taken == kept + dropped``, unit by unit and against the table it reads."""

    table: str
    units: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Unit to error."""
    left: int = 0
    """Units whose inputs are there and that have neither receipt nor failure."""
    waits: list[str] = field(default_factory=list)
    """Tables that it reads and that are not complete: more units may come of them."""
    taken: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    seconds: float = 0.0
    tokens: int = 0
    cost: float = 0.0
    listing: dict[str, Any] | None = None
    """Of a source: ``files`` listed, ``shards``, ``read`` by them, and ``passed`` by, reason to count."""
    notes: dict[str, int] = field(default_factory=dict)
    """What happened to rows and members that is no drop, by name: how often."""
    remarks: list[str] = field(default_factory=list)
    """What explains the numbers, a line each: nothing is wrong."""
    faults: list[str] = field(default_factory=list)
    """What is wrong: sums that do not close, files that are gone or not what was written; a line each."""

    @property
    def open(self) -> bool:
        """Whether more units are to come, or may."""
        return bool(self.failed or self.left or self.waits)

    @property
    def state(self) -> str:
        """In a word or two: UNSOUND, failed, left, waits or complete."""
        if self.faults:
            return "UNSOUND"
        if self.failed or self.left:
            return " and ".join(word for word, some in (("failed", self.failed), ("left", self.left)) if some)
        return f"waits for {self.waits[0]}" if self.waits else "complete"


def tables(store: Store) -> dict[str, dict[str, Any]]:
    """Manifests of the run in *store* by table, in the order of its recipe.

    Raises:
        FileNotFoundError: where there is no run.
        Damaged: a manifest is not what was written.
    """
    folders = [name for name in store.names() if name.isidentifier()]  # not config.yaml
    found = {name: facts for name in folders if (facts := store.table(name).manifest()) is not None}
    if not found:
        raise FileNotFoundError(f"{store.url}: no run here: a run has a folder a table, with a manifest.json in it")
    return dict(sorted(found.items(), key=lambda item: item[1]["order"]))


def standing(url: str, *, verify: bool = False) -> list[Standing]:
    """Every table of the run at *url*, in the order they were made; then, where one of them is damaged, its own files.

    Args:
        verify: read every byte of every file and compare, instead of sizes alone.

    Raises:
        FileNotFoundError: where there is no run.
    """
    store = Store(url)
    parts: dict[str, dict[str, Part]] = {}
    standings: dict[str, Standing] = {}
    for name, facts in tables(store).items():
        table = store.table(name)
        damaged: dict[str, str] = {}
        receipts = table.receipts(damaged)
        parts[name] = {part.part: part for receipt in receipts.values() for part in receipt.parts}
        stands = standings[name] = Standing(table=name, units=len(receipts))
        stands.faults += damaged.values()
        stands.failed = {key: said["error"] for key, said in table.failures().items() if key not in receipts}
        stands.left = _left(table, facts, parts, {*receipts, *stands.failed, *damaged}, stands.faults)
        stands.waits = [read for read in facts["inputs"] if read in standings and standings[read].open]
        for receipt in receipts.values():
            _add(stands, receipt)
        first = facts["primary"]
        for key, receipt in receipts.items():
            came = parts.get(first, {}).get(key) if first else None
            if came is not None and receipt.inputs.get(first) != came.sha256[:16]:
                stands.faults.append(f"{name}/{key}: made from another part of {first} than is there now")
            elif came is not None and receipt.taken > came.rows:
                stands.faults.append(f"{name}/{key}: {receipt.taken} in, but {first} has {came.rows} rows")
        stands.listing = table.listing()
        if stands.listing and stands.listing["files"] != stands.listing["read"] + sum(
            stands.listing["passed"].values()
        ):
            stands.faults.append(f"{name}: {stands.listing['files']} files listed, but {files(stands.listing)}")
        stands.faults += soundness.spoilt(table, receipts, verify)
        stands.faults += soundness.miscounted(table, receipts)
        stands.remarks += soundness.copies(table, receipts) if verify else []
        if not any(standings[read].faults for read in facts["inputs"] if read in standings):
            count = store if verify and not stands.open else None
            notes, faults = soundness.compared(name, stands.taken, facts, set(receipts), parts, count)
            stands.remarks += notes
            stands.faults += faults
    if faults := soundness.beside(store):
        standings[RUN] = Standing(table=RUN, faults=faults)
    return list(standings.values())


def unsound(standings: list[Standing]) -> list[str]:
    """All faults."""
    return [fault for stands in standings for fault in stands.faults]


def incomplete(standings: list[Standing]) -> list[str]:
    """Tables that lack units, and how many, a phrase each."""
    return [f"{s.table} ({s.left} units left, {len(s.failed)} failed)" for s in standings if s.left or s.failed]


def _left(
    table: Table, facts: dict[str, Any], parts: dict[str, dict[str, Part]], over: set[str], faults: list[str]
) -> int:
    """Units that are known and neither done nor failed."""
    if first := facts["primary"]:
        return len(set(parts.get(first, ())) - over)
    if facts["inputs"]:
        return len({ALL} - over)
    try:
        return max(0, (table.expected() or 0) - len(over))
    except Damaged as error:
        faults.append(str(error))
        return 0


def _add(stands: Standing, receipt: Receipt) -> None:
    stands.taken += receipt.taken
    stands.kept += receipt.kept
    stands.rows += receipt.rows
    stands.seconds += receipt.seconds
    stands.tokens += receipt.tokens_in + receipt.tokens_out
    stands.cost += receipt.cost
    for name, count in receipt.notes.items():
        stands.notes[name] = stands.notes.get(name, 0) + count
    for reason, count in receipt.dropped.items():
        stands.dropped[reason] = stands.dropped.get(reason, 0) + count
    lost = receipt.taken - receipt.kept - sum(receipt.dropped.values())
    if lost:
        what = f"{lost} neither kept nor dropped" if lost > 0 else f"{-lost} more came out"
        stands.faults.append(f"{stands.table}/{receipt.key}: {receipt.taken} in, but {what}")


def files(listing: dict[str, Any]) -> str:
    """What became of the files of a source, in words."""
    passed = sum(listing["passed"].values())
    return f"{listing['read']} read as {listing['shards']} shards, {passed} passed by"


def as_json(standings: list[Standing]) -> str:
    return json.dumps([asdict(stands) | {"state": stands.state} for stands in standings], indent=1, ensure_ascii=False)


def as_text(standings: list[Standing]) -> str:
    """A line a table, then reasons, explanations, failures and faults, and at the end the state of the whole run."""
    lines = [
        f"{'table':<10} {'units':>6} {'failed':>6} {'left':>5} {'in':>8} {'kept':>8} {'dropped':>8} {'rows':>8}  state"
    ]
    for s in standings:
        lines.append(
            f"{s.table:<10} {s.units:>6} {len(s.failed):>6} {s.left:>5}"
            f" {s.taken:>8} {s.kept:>8} {sum(s.dropped.values()):>8} {s.rows:>8}  {s.state}"
        )
    for s in standings:
        if s.listing:
            lines.append(f"  {s.table}: {s.listing['files']} files listed, {files(s.listing)}")
            lines += [f"    {count} x {reason}" for reason, count in s.listing["passed"].items()]
        lines += [f"  {s.table}: {count} x {reason}" for reason, count in Counter(s.dropped).most_common()]
        lines += [f"  {s.table}: noted {count} x {name}" for name, count in Counter(s.notes).most_common()]
        lines += [f"  {remark}" for remark in s.remarks]
        lines += [f"  {s.table}/{key} FAILED: {error}" for key, error in s.failed.items()]
        lines += [f"  UNSOUND: {fault}" for fault in s.faults]
    if faults := unsound(standings):
        lines.append(f"unsound: {len(faults)} faults")
    elif left := incomplete(standings):
        lines.append(f"incomplete: {', '.join(left)}; the same build command goes on from here")
    else:
        lines.append("complete: all sums close")
    return "\n".join(lines)


@dataclass
class Step:
    """What a command would do to one table."""

    table: str
    state: str
    """done, to do, to go on with, stale or refused."""
    why: list[str]
    done: int
    left: int | None
    """None: not known before earlier tables are made."""
    reused: int = 0
    """Units that would be taken over from base=."""
    seconds: float | None = None
    """Worker seconds for what is left, from measured rates; None where nothing was measured."""
    tokens: int | None = None
    cost: float | None = None


def plan(run: Run, found: Mapping[str, State], base: str | None = None) -> list[Step]:
    """What ``build`` would do, by what ``states`` *found*; reads only. Rates are those of this run, or of *base*."""
    theirs = Run(url=base, recipe=run.recipe) if base else None
    steps: list[Step] = []
    for name, state in found.items():
        why = state.differs or state.stale
        if not why and not state.brought:
            why = [f"not taken from {base}: {line}" for line in state.not_brought]
        done = len(state.here) + len(state.brought)
        left = None if state.total is None else max(0, state.total - done)
        kind = "refused" if state.differs else "stale" if state.stale else ""
        kind = kind or ("done" if left == 0 else "to go on with" if done else "to do")
        step = Step(name, kind, why, len(state.here), left, len(state.brought))
        steps.append(step)
        known = run.table(name).receipts() or (theirs.table(name).receipts() if theirs else {})
        if known and left is not None:
            share = left / len(known)
            step.seconds = sum(r.seconds for r in known.values()) * share
            step.tokens = round(sum(r.tokens_in + r.tokens_out for r in known.values()) * share)
            step.cost = sum(r.cost for r in known.values()) * share
    return steps


def plan_text(steps: list[Step]) -> str:
    head = f"{'table':<10} {'state':<14} {'done':>5} {'reused':>6} {'left':>5}"
    lines = [f"{head} {'worker time':>12} {'tokens':>10} {'US$':>8}"]
    for step in steps:
        left = "?" if step.left is None else str(step.left)
        time = "not measured" if step.seconds is None else f"{step.seconds:.0f} s"
        tokens = "" if step.tokens is None else str(step.tokens)
        cost = "" if step.cost is None else f"{step.cost:.2f}"
        counts = f"{step.table:<10} {step.state:<14} {step.done:>5} {step.reused:>6} {left:>5}"
        lines.append(f"{counts} {time:>12} {tokens:>10} {cost:>8}")
        lines += [f"    {reason}" for reason in step.why[:5]]
        lines += [f"    ... and {len(step.why) - 5} more"] if len(step.why) > 5 else []
    measured = [step for step in steps if step.seconds is not None]
    lines.append(
        f"left, as far as measured: {sum(s.seconds or 0 for s in measured) / 3600:.2f} worker hours,"
        f" {sum(s.tokens or 0 for s in measured)} tokens, {sum(s.cost or 0 for s in measured):.2f} US$"
    )
    return "\n".join(lines)
