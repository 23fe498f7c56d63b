"""The page of a build: where rows went and why, what it cost, what the data look like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct import schemas
from mminstruct.bench.kinds import KINDS, kind_of
from mminstruct.report import drawing
from mminstruct.report.page import duration, picture, render
from mminstruct.status import table_statuses
from mminstruct.store import Store

SAMPLES = 12
EXAMPLES = 5
"""Dropped rows shown for each reason."""
_PAIRS = ("export", "select", "filter", "answer", "match")
"""Tables of pairs, the last made first."""
_EDGES = (0, 10, 25, 50, 75, 100, 150, 200, 300)
"""Words an answer: lower ends of the histogram's bins."""


def facts(url: str) -> dict[str, Any]:
    """Everything about a build but its pictures, as plain JSON.

    Raises:
        FileNotFoundError: where there is no run.
    """
    store = Store(url)
    statuses = table_statuses(url)
    stages = []
    for status in statuses:
        receipts = store.table(status.table).receipts().values()
        stages.append(asdict(status) | {"calls": sum(receipt.calls for receipt in receipts)})
    made = {status.table for status in statuses if status.rows}
    found = {
        "run": url,
        "about": _about(store),
        "total": {key: sum(stage[key] for stage in stages) for key in ("seconds", "calls", "tokens", "cost")},
        "stages": stages,
        "reasons": _reasons(store, stages),
        "faults": [fault for stage in stages for fault in stage["faults"]],
    }
    return found | _instructions(store, made)


def page(url: str) -> str:
    """The page of the build at *url*."""
    found = facts(url)
    store = Store(url)
    stages, kinds = found["stages"], found["kinds"]
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
        words=drawing.histogram(*_binned(store), "Words an answer") if store.table("filter").parts() else None,
        samples=_samples(store, found),
        **found,
    )


def as_text(found: dict[str, Any]) -> str:
    """Kinds, cost and time, for a terminal that shows the table of ``status``, too."""
    total = found["total"]
    lines = [f"{duration(total['seconds'])} of workers, {total['calls']:,} calls, {total['tokens']:,} tokens,"
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
    """Every reason of every stage, with the first few rows that left for it; reads no more drops than that needs."""
    found = []
    for stage in stages:
        wanted = {reason: min(EXAMPLES, count) for reason, count in stage["dropped"].items() if count}
        examples: dict[str, list[dict[str, Any]]] = {reason: [] for reason in wanted}
        missing = sum(wanted.values())
        for row in store.table(stage["table"]).dropped() if missing else ():
            mine = examples.get(row["reason"])
            if mine is not None and len(mine) < wanted[row["reason"]]:
                mine.append({"id": row["id"], "detail": row["detail"]})
                missing -= 1
            if not missing:
                break
        for reason, count in Counter(stage["dropped"]).most_common():
            if count:
                found.append({"table": stage["table"], "reason": reason, "count": count, "examples": examples[reason]})
    return found


def _instructions(store: Store, made: set[str]) -> dict[str, Any]:
    """The bank with how often each instruction is used, and pairs by kind of task."""
    pairs_of = next((name for name in _PAIRS if name in made), None)
    if pairs_of is None or "summarize" not in made:
        return {"pairs_of": pairs_of, "pairs": 0, "bank": [], "kinds": {}}
    used: Counter[str] = Counter()
    for batch in store.table(pairs_of).dataset(schemas.TABLES[pairs_of]).to_batches(columns=["instruction_id"]):
        for item in pc.value_counts(batch["instruction_id"]).to_pylist():
            used[item["values"]] += item["counts"]
    texts = store.table("summarize").dataset(schemas.SUMMARIZE).to_table(columns=["instruction_id", "instruction"])
    bank = [
        {
            "instruction": row["instruction"],
            "kind": kind_of(row["instruction"], KINDS),
            "pairs": used[row["instruction_id"]],
        }
        for row in texts.to_pylist()
    ]
    bank.sort(key=lambda one: (-one["pairs"], one["instruction"]))
    kinds: Counter[str] = Counter()
    for one in bank:
        kinds[one["kind"]] += one["pairs"]
    return {"pairs_of": pairs_of, "pairs": used.total(), "bank": bank, "kinds": dict(kinds.most_common())}


def _stage(stage: dict[str, Any]) -> tuple[str, Sequence[drawing.Segment], str]:
    dropped, taken = sum(stage["dropped"].values()), stage["taken"]
    segments = [drawing.Segment(stage["kept"], "kept", f"{stage['kept']:,} kept")]
    segments += [
        drawing.Segment(count, "dropped", f"{count:,} × {reason}")
        for reason, count in Counter(stage["dropped"]).most_common()
    ]
    note = f"{stage['kept'] / taken:.1%} of {taken:,}" if taken else "nothing yet"
    return stage["table"], segments, note if dropped or not taken else f"all {taken:,}"


def _binned(store: Store) -> tuple[list[int], list[str]]:
    counts = [0] * len(_EDGES)
    for batch in store.table("filter").dataset(schemas.FILTER).to_batches(columns=["words"]):
        for item in pc.value_counts(batch["words"]).to_pylist():
            counts[sum(item["values"] >= edge for edge in _EDGES[1:])] += item["counts"]
    names = [f"{low}–{high - 1}" for low, high in pairwise(_EDGES)]
    return counts, [*names, f"{_EDGES[-1]}+"]


def _samples(store: Store, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Images of parts spread evenly over the run, with all that became of them; the same for the same run."""
    keys = list(store.table("ingest").parts())
    if not keys:
        return []
    step = max(1, len(keys) // SAMPLES)
    chosen = keys[::step][:SAMPLES]
    each = -(-SAMPLES // len(chosen))
    instructions = _bank(store)
    samples = [sample for key in chosen for sample in _of_part(store, key, each, instructions)]
    return samples[:SAMPLES]


def _bank(store: Store) -> dict[str, str]:
    if not store.table("summarize").parts():
        return {}
    table = store.table("summarize").dataset(schemas.SUMMARIZE).to_table(columns=["instruction_id", "instruction"])
    return dict(zip(table["instruction_id"].to_pylist(), table["instruction"].to_pylist(), strict=True))


def _of_part(store: Store, key: str, most: int, instructions: dict[str, str]) -> list[dict[str, Any]]:
    """The *most* images of one part with the smallest ids, preferring those that have an answer."""

    def rows(table: str, *columns: str) -> list[dict[str, Any]]:
        part = store.table(table).find(key)
        return [] if part is None else list(store.table(table).load(part, columns).to_pylist())

    captions = {row["image_id"]: row["caption"] for row in rows("caption", "image_id", "caption")}
    captions |= {row["image_id"]: row["description"] for row in rows("fuse", "image_id", "description")}
    answers = {row["pair_id"]: row["answer"] for row in rows("answer", "pair_id", "answer")}
    splits = {row["pair_id"]: row["split"] for row in rows("export", "pair_id", "split")}
    pairs: dict[str, list[dict[str, Any]]] = {}
    for row in rows("match", "pair_id", "image_id", "instruction_id"):
        said = {"instruction": instructions.get(row["instruction_id"]), "answer": answers.get(row["pair_id"])}
        pairs.setdefault(row["image_id"], []).append(row | said | {"split": splits.get(row["pair_id"])})
    images = sorted(
        rows("ingest", "image_id", "alt_text"), key=lambda row: (row["image_id"] not in pairs, row["image_id"])
    )
    chosen = images[:most]
    part = store.table("ingest").find(key)
    assert part is not None
    table = store.table("ingest").load(part, ("image_id", "image"))
    wanted = table.filter(pc.is_in(table["image_id"], value_set=pa.array([i["image_id"] for i in chosen], pa.string())))
    pixels = dict(zip(wanted["image_id"].to_pylist(), wanted["image"].to_pylist(), strict=True))
    return [
        image | {"picture": picture(pixels[image["image_id"]]), "caption": captions.get(image["image_id"]),
                 "pairs": pairs.get(image["image_id"], []), "dropped": []}
        for image in chosen
    ]  # fmt: skip
