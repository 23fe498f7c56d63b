"""The page of a build: rows kept and dropped by stage, time and cost, and samples of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.bench.kinds import KINDS, kind_of
from mminstruct.report import drawing
from mminstruct.report.coverage import coverage
from mminstruct.report.page import duration, render
from mminstruct.report.samples import samples
from mminstruct.status.tables import all_warnings, table_statuses
from mminstruct.store.reader import RunReader
from mminstruct.store.tables import Store

SAMPLES = 12
EXAMPLES = 5
"""Dropped rows shown for each reason."""
_EDGES = (0, 10, 25, 50, 75, 100, 150, 200, 300)
"""Lower ends of the histogram's bins, words per answer."""


def facts(url: str) -> dict[str, Any]:
    """All data of the page except samples, as plain JSON.

    Raises:
        FileNotFoundError: there is no run.
    """
    run = RunReader(url)
    store, statuses = run.store, table_statuses(url)
    stages = []
    for status in statuses:
        receipts = store.table(status.table).receipts().values()
        calls = sum(receipt.calls for receipt in receipts)
        stages.append(asdict(status) | {"calls": calls, "state": status.state})
    found = {
        "run": url,
        "about": _about(store),
        "total": {key: sum(stage[key] for stage in stages) for key in ("seconds", "calls", "tokens", "cost")},
        "stages": stages,
        "reasons": _reasons(store, stages),
        "warnings": all_warnings(statuses),
        "faults": [fault for stage in stages for fault in stage["faults"]],
    }
    return found | _bank(run) | {"coverage": coverage(run)}


def page(url: str) -> str:
    """The page of the build at *url*."""
    found = facts(url)
    run = RunReader(url)
    stages, kinds, words = found["stages"], found["kinds"], _binned(run)
    return render(
        "build.html",
        title=f"Build {url}",
        funnel=drawing.stacked([_stage(stage) for stage in stages], "Rows kept and dropped by each stage"),
        dropped=drawing.lengths(
            [(f"{r['table']}: {r['reason']}", r["count"], f"{r['count']:,}") for r in found["reasons"]],
            "Rows dropped, by reason",
        ),
        time=drawing.lengths(
            [(s["table"], s["seconds"], f"{duration(s['seconds'])}, {s['tokens']:,} tokens") for s in stages],
            "Worker time by stage",
        ),
        kinds_drawn=drawing.lengths([(kind, count, f"{count:,}") for kind, count in kinds.items()], "Pairs by kind"),
        words=drawing.histogram(*words, "Words per answer") if words else None,
        samples=samples(run, SAMPLES),
        **found,
    )


def as_text(found: dict[str, Any]) -> str:
    """Time, cost and kinds for a terminal; follows the table of `status`."""
    total = found["total"]
    lines = [f"{duration(total['seconds'])} of worker time, {total['calls']:,} calls, {total['tokens']:,} tokens,"
             f" ${total['cost']:.2f}"]  # fmt: skip
    lines += [f"  {kind}: {count:,} pairs" for kind, count in found["kinds"].items()]
    return "\n".join(lines)


def _about(store: Store) -> dict[str, Any]:
    data = store.config() or {}
    config = data.get("config") or {}
    return {
        "version": data.get("version"),
        "commit": data.get("commit"),
        "seed": config.get("seed"),
        "packages": data.get("packages") or {},
        "models": {
            role: {key: model.get(key) for key in ("name", "revision", "backend")}
            for role, model in (config.get("models") or {}).items()
            if isinstance(model, dict)
        },
    }


def _reasons(store: Store, stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every drop reason of every stage, with its first rows; reads only as many drops as needed."""
    found = []
    for stage in stages:
        wanted = {reason: min(EXAMPLES, count) for reason, count in stage["dropped"].items() if count}
        examples: dict[str, list[dict[str, Any]]] = {reason: [] for reason in wanted}
        missing = sum(wanted.values())
        for row in store.table(stage["table"]).dropped() if missing else ():
            shown = examples.get(row["reason"])
            if shown is not None and len(shown) < wanted[row["reason"]]:
                shown.append({"id": row["id"], "detail": row["detail"]})
                missing -= 1
            if not missing:
                break
        for reason, count in Counter(stage["dropped"]).most_common():
            if count:
                found.append({"table": stage["table"], "reason": reason, "count": count, "examples": examples[reason]})
    return found


def _bank(run: RunReader) -> dict[str, Any]:
    """The instruction bank (rows that represent a group): uses of each instruction, and uses by kind of task."""
    tables = [table for table in run.values() if table.num_rows]
    bank = next((one for one in tables if all(one.tagged(tag) for tag in ("group", "id", "text"))), None)
    kind = bank.tagged("id")[0] if bank is not None else ""
    uses = [table for table in tables if table.tagged("id") and kind in table.tagged("parent")]
    if bank is None or not uses:
        return {"pairs_of": None, "pairs": 0, "bank": [], "kinds": {}}
    used: Counter[str] = Counter()
    for batch in uses[-1].dataset().to_batches(columns=[kind]):
        for item in pc.value_counts(batch[kind]).to_pylist():
            used[item["values"]] += item["counts"]
    text = bank.tagged("text")[0]
    entries = [
        {"instruction": row[text], "kind": kind_of(row[text], KINDS), "pairs": used[row[kind]]}
        for row in bank.to_arrow([kind, text]).to_pylist()
    ]
    entries.sort(key=lambda one: (-one["pairs"], one["instruction"]))
    kinds: Counter[str] = Counter()
    for one in entries:
        kinds[one["kind"]] += one["pairs"]
    return {"pairs_of": uses[-1].name, "pairs": used.total(), "bank": entries, "kinds": dict(kinds.most_common())}


def _stage(stage: dict[str, Any]) -> tuple[str, Sequence[drawing.Segment], str]:
    dropped, rows_in = sum(stage["dropped"].values()), stage["rows_in"]
    segments = [drawing.Segment(stage["kept"], "kept", f"{stage['kept']:,} kept")]
    segments += [
        drawing.Segment(count, "dropped", f"{count:,} × {reason}")
        for reason, count in Counter(stage["dropped"]).most_common()
    ]
    nothing = "no rows" if stage["state"] == "complete" else "nothing yet"
    note = f"{stage['kept'] / rows_in:.1%} of {rows_in:,}" if rows_in else nothing
    note = note if dropped or not rows_in else f"all {rows_in:,}"
    made = f", {stage['rows']:,} rows" if stage["rows"] != stage["kept"] else ""  # several of one row that enters
    return stage["table"], segments, note + made


def _binned(run: RunReader) -> tuple[list[int], list[str]] | None:
    """Histogram of words per answer, from the first table that counts them in a column ``words``."""
    counted = [
        table
        for table in run.values()
        if "words" in table.schema.names and pa.types.is_integer(table.schema.field("words").type)
    ]
    table = next((one for one in counted if one.num_rows), None)
    if table is None:
        return None
    counts = [0] * len(_EDGES)
    for batch in table.dataset().to_batches(columns=["words"]):
        for item in pc.value_counts(batch["words"]).to_pylist():
            counts[sum(item["values"] >= edge for edge in _EDGES[1:])] += item["counts"]
    names = [f"{low}–{high - 1}" for low, high in pairwise(_EDGES)]
    return counts, [*names, f"{_EDGES[-1]}+"]
