"""Where a run stands (status), and what a command would do to it (plan). Reads only."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mminstruct.recipe import differences, inputs, manifests, primary
from mminstruct.run import Run, stale
from mminstruct.stage import ALL, Stage
from mminstruct.store import Part, Receipt, Store, Table


@dataclass
class Standing:
    """One table's sums; they close when ``taken == kept + dropped``, unit by unit and against the table it reads."""

    table: str
    units: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Unit to error."""
    left: int = 0
    """Units whose inputs are there and that have neither receipt nor failure."""
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
    faults: list[str] = field(default_factory=list)
    """Sums that do not close, a line each."""


def tables(store: Store) -> dict[str, dict[str, Any]]:
    """Manifests of the run in *store* by table, in the order of its recipe.

    Raises:
        FileNotFoundError: where there is no run.
    """
    folders = [name for name in store.names() if name.isidentifier()]  # not config.yaml
    found = {name: facts for name in folders if (facts := store.table(name).manifest()) is not None}
    if not found:
        raise FileNotFoundError(f"{store.url}: no run here: a run has a folder a table, with a manifest.json in it")
    return dict(sorted(found.items(), key=lambda item: item[1]["order"]))


def standing(url: str) -> list[Standing]:
    """Every table of the run at *url*, in the order they were made.

    Raises:
        FileNotFoundError: where there is no run.
    """
    store = Store(url)
    parts: dict[str, dict[str, Part]] = {}
    standings = []
    for name, facts in tables(store).items():
        table = store.table(name)
        receipts = table.receipts()
        parts[name] = {part.part: part for receipt in receipts.values() for part in receipt.parts}
        stands = Standing(table=name, units=len(receipts))
        stands.failed = {key: said["error"] for key, said in table.failures().items() if key not in receipts}
        first = facts["primary"]
        waiting = set(parts.get(first, ())) if first else {ALL} if facts["inputs"] else set()
        stands.left = len(waiting - set(receipts) - set(stands.failed))
        there = set(store.names(name))
        stands.faults += [f"{name}/{part}: {p.file} is gone" for part, p in parts[name].items() if p.file not in there]
        for receipt in receipts.values():
            _add(stands, receipt)
            came = parts.get(first, {}).get(receipt.key) if first else None
            if came is not None and receipt.inputs.get(first) != came.sha256[:16]:
                stands.faults.append(f"{name}/{receipt.key}: made from another part of {first} than is there now")
            elif came is not None and receipt.taken > came.rows:
                stands.faults.append(f"{name}/{receipt.key}: {receipt.taken} in, but {first} has {came.rows} rows")
        stands.listing = table.listing()
        if stands.listing and stands.listing["files"] != stands.listing["read"] + sum(
            stands.listing["passed"].values()
        ):
            stands.faults.append(f"{name}: {stands.listing['files']} files listed, but {files(stands.listing)}")
        stands.faults += _miscounted(table, receipts)
        standings.append(stands)
    return standings


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


def _miscounted(table: Table, receipts: dict[str, Receipt]) -> list[str]:
    """Units whose receipt says other drops than lie in ``_dropped``."""
    found: dict[str, Counter[str]] = {key: Counter() for key in receipts}
    try:
        for row in table.dropped():
            found[row["unit"]][row["reason"]] += 1
    except FileNotFoundError as error:
        return [f"{table.name}: a file of drops is gone: {error}"]
    return [
        f"{table.name}/{key}: its receipt says it dropped {receipts[key].dropped}, in _dropped there is {dict(counts)}"
        for key, counts in found.items()
        if counts != receipts[key].dropped
    ]


def files(listing: dict[str, Any]) -> str:
    """What became of the files of a source, in words."""
    passed = sum(listing["passed"].values())
    return f"{listing['read']} read as {listing['shards']} shards, {passed} passed by"


def as_json(standings: list[Standing]) -> str:
    return json.dumps([stands.__dict__ for stands in standings], indent=1, ensure_ascii=False)


def as_text(standings: list[Standing]) -> str:
    """A line a table, then reasons, failures and faults."""
    lines = [
        f"{'table':<10} {'units':>6} {'failed':>6} {'left':>5} {'in':>8} {'kept':>8} {'dropped':>8} {'rows':>8}  sums"
    ]
    for s in standings:
        dropped = sum(s.dropped.values())
        sums = "close" if not s.faults else "DO NOT CLOSE"
        lines.append(
            f"{s.table:<10} {s.units:>6} {len(s.failed):>6} {s.left:>5}"
            f" {s.taken:>8} {s.kept:>8} {dropped:>8} {s.rows:>8}  {sums}"
        )
    for s in standings:
        if s.listing:
            lines.append(f"  {s.table}: {s.listing['files']} files listed, {files(s.listing)}")
            lines += [f"    {count} x {reason}" for reason, count in s.listing["passed"].items()]
        lines += [f"  {s.table}: {count} x {reason}" for reason, count in Counter(s.dropped).most_common()]
        lines += [f"  {s.table}: noted {count} x {name}" for name, count in Counter(s.notes).most_common()]
        lines += [f"  {s.table}/{key} FAILED: {error}" for key, error in s.failed.items()]
        lines += [f"  {fault}" for fault in s.faults]
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
    """Units that base= would bring."""
    seconds: float | None = None
    """Worker seconds for what is left, from measured rates; None where nothing was measured."""
    tokens: int | None = None
    cost: float | None = None


def plan(run: Run, base: str | None = None, units: int | None = None) -> list[Step]:
    """What ``build`` with the same words would do; changes nothing. Rates are those of this run, or of *base*."""
    wanted = manifests(run.recipe)
    if units is not None:
        made = [part for name, stage in run.stages.items() if not stage.reads for part in run.table(name).parts()]
        run = Run(url=run.url, recipe=run.recipe, only=frozenset(made[:units]))
    theirs = Run(url=base, recipe=run.recipe) if base else None
    steps: list[Step] = []
    after: dict[str, _After] = {}
    for name, stage in run.stages.items():
        receipts = run.table(name).receipts()
        why = _differs(run, wanted, name)
        state = "refused" if why else ""
        if not why and receipts and (why := stale(run, name) or _partial(stage, after)):
            state = "stale"
        done = {} if state == "refused" else receipts
        first = primary(stage)
        total = len(run.keys(name)) if not stage.reads else after[first].total if first else 1
        if units is not None and run.partwise(name):
            if not stage.reads and sum(len(receipt.parts) for receipt in done.values()) >= units:
                total = len(done)
            elif stage.reads:
                total = units if total is None else min(total, units)
        brought: dict[str, Receipt] = {}
        if theirs and not (other := _differs(theirs, wanted, name)):
            brought = {key: receipt for key, receipt in _reusable(theirs, name, after).items() if key not in done}
        elif theirs and not why:
            why = [f"not taken from {base}: {line}" for line in other]
        there = {**done, **brought}
        left = None if total is None else max(0, total - len(there))
        state = state or ("done" if left == 0 else "to go on with" if there else "to do")
        step = Step(name, state, why, len(done), left, len(brought))
        steps.append(step)
        known = receipts or (theirs.table(name).receipts() if theirs else {})
        if known and left is not None:
            share = left / len(known)
            step.seconds = sum(r.seconds for r in known.values()) * share
            step.tokens = round(sum(r.tokens_in + r.tokens_out for r in known.values()) * share)
            step.cost = sum(r.cost for r in known.values()) * share
        parts = {part.part for receipt in there.values() for part in receipt.parts}
        known_parts = left == 0 and state not in ("refused", "stale")
        after[name] = _After(parts, known_parts, len(parts) if known_parts else total if first else None)
    return steps


@dataclass
class _After:
    """A table as it would be before anything new is made: its parts, whether those are all, and how many will be."""

    parts: set[str]
    complete: bool
    total: int | None


def _differs(run: Run, wanted: dict[str, dict[str, Any]], name: str) -> list[str]:
    """Why the table in *run*'s folder is another than is *wanted*; empty where it is the same, or not there."""
    there, facts = run.table(name).manifest(), wanted[name]
    if there is None or there["fingerprint"] == facts["fingerprint"]:
        return []
    lines = differences(there["config"], facts["config"])
    lines += [f"schema {line}" for line in differences(there["schema"], facts["schema"])]
    lines += [f"stage {there['stage']} -> {facts['stage']}"] if there["stage"] != facts["stage"] else []
    anew = [table for table, mark in facts["inputs"].items() if there["inputs"].get(table) != mark]
    return lines or [f"it reads {', '.join(anew)}, which would be made anew"]


def _partial(stage: Stage, after: dict[str, _After]) -> list[str]:
    """Whole inputs that will be more than they were when the table was made from them."""
    wholes = [table for table, read in inputs(stage).values() if read.mode == "whole"]
    return [f"made from {table} as it was, which is not complete" for table in wholes if not after[table].complete]


def _reusable(theirs: Run, name: str, after: dict[str, _After]) -> dict[str, Receipt]:
    """Units of a table of *theirs* whose inputs are taken over too."""
    if theirs.table(name).manifest() is None:
        return {}
    now = theirs.current(name)
    reads = list(inputs(theirs.stages[name]).values())
    if not all(after[table].complete for table, read in reads if read.mode == "whole"):
        return {}
    parted = [after[table].parts for table, read in reads if read.mode == "part"]
    return {
        key: receipt
        for key, receipt in theirs.table(name).receipts().items()
        if receipt.inputs == now(key) and all(key in parts for parts in parted)
    }


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
