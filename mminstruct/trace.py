"""Follow an image, an instruction or a pair through every table of a run, or to where and why it left."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from mminstruct import deletion, schemas
from mminstruct.status import tables
from mminstruct.store import Store
from mminstruct.terminal import one_line

_IDS = ("pair_id", "image_id", "instruction_id", "question_id")
_HEAVY = ("image", "embedding")
"""Columns that no one reads in a trace."""
_MOST = 20
"""Rows of one table shown; an instruction may have a million pairs."""


@dataclass
class Trace:
    """What became of one id."""

    id: str
    kind: str
    """pair_id, image_id, instruction_id or question_id (of a benchmark); member, where it never became an image."""
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By table, in the order of the recipe; at most 20 a table."""
    left: list[dict[str, Any]] = field(default_factory=list)
    """Where it left: table, unit, id, reason, detail."""
    prompts: dict[str, str] = field(default_factory=dict)
    """Prompt of each table that it went through."""


def trace(url: str, wanted: str) -> Trace:
    """Follow *wanted*: a full id, or at least its first 4 hex digits, or the name of a member of a shard.

    Raises:
        FileNotFoundError: where there is no run.
        LookupError: where no table and no drop knows the id, or it fits several.
    """
    store = Store(url)
    manifests = {name: facts for name, facts in tables(store).items() if name in schemas.TABLES}
    datasets = {name: store.table(name).dataset(schemas.TABLES[name]) for name in manifests}
    dropped = [{"table": name, **row} for name in manifests for row in store.table(name).dropped()]
    kind, id_ = _identify(wanted, datasets, dropped)
    found = Trace(id=id_, kind=kind)
    ids = _relatives(kind, id_, datasets)
    for name, data in datasets.items():
        key = _key(name, kind, data.schema.names)
        if key is None or not ids[key]:
            continue
        columns = [column for column in data.schema.names if column not in _HEAVY]
        rows = data.scanner(columns=columns, filter=pc.field(key).isin(sorted(ids[key]))).head(_MOST).to_pylist()
        if rows:
            found.rows[name] = rows
            found.prompts |= _prompts(name, manifests[name]["config"])
    everyone = {id_} | (ids["pair_id"] if kind == "image_id" else set())
    found.left = [row for row in dropped if row["id"] in everyone]
    gone = deletion.deleted(store)
    for one in sorted({found.id}.union(*ids.values()) & set(gone)):
        found.left.append(
            {"table": "delete", "unit": one, "id": one, "reason": gone[one].reason, "detail": gone[one].time}
        )
    return found


def _identify(wanted: str, datasets: dict[str, ds.Dataset], dropped: list[dict[str, Any]]) -> tuple[str, str]:
    """Kind and full id of what is meant."""
    hits: set[tuple[str, str]] = set()
    if re.fullmatch(r"[0-9a-f]{4,16}", wanted):
        for data in datasets.values():
            for kind in [kind for kind in _IDS if kind in data.schema.names]:
                got = data.to_table(columns=[kind], filter=pc.starts_with(pc.field(kind), wanted))[kind]
                hits |= {(kind, value) for value in pc.unique(got).to_pylist()}
        hits = {hit for hit in hits if hit[1] == wanted} or hits  # 1000 of a set that has 10000, too
    if not hits and "pick" in datasets:  # a set's own ids, which may be anything
        found = datasets["pick"].to_table(columns=["question_id"], filter=pc.field("question_id") == wanted)
        hits = {("question_id", wanted) for _ in range(found.num_rows)}
    if not hits and "ingest" in datasets:
        got = datasets["ingest"].to_table(columns=["image_id"], filter=pc.field("member") == wanted)["image_id"]
        hits = {("image_id", value) for value in got.to_pylist()}
    if not hits and any(row["id"] == wanted for row in dropped):
        hits = {("member", wanted)}
    if not hits:
        raise LookupError(
            f"{wanted}: no table of this run knows it, and no drop; give an image_id, instruction_id, pair_id (or their"
            " first 4 digits), or a member's name as found in its shard"
        )
    if len(hits) > 1:
        some = ", ".join(f"{value} ({kind})" for kind, value in sorted(hits)[:3])
        raise LookupError(f"{wanted} fits {len(hits)} ids: take one of them, or more of its digits: {some}")
    return hits.pop()


def _prompts(where: str, config: Mapping[str, Any]) -> dict[str, str]:
    """A stage's prompt, and those of the models in it: a benchmark's judges have their own."""
    names = {"prompt": where, "rubric": f"{where}.rubric"}
    found = {place: config[name] for name, place in names.items() if isinstance(config.get(name), str)}
    for some in config.values():
        for name, item in some.items() if isinstance(some, Mapping) else ():
            if isinstance(item, Mapping):
                found |= _prompts(f"{where}.{name}", item)
    return found


def _key(name: str, kind: str, columns: list[str]) -> str | None:
    """By which id a table's rows belong to what is traced."""
    if kind != "pair_id":
        return next((key for key in (kind, "question_id") if key in columns), None)
    if name in ("instruct", "embed", "cluster"):
        return None  # a pair's instruction is the bank's; raw ones are reached through its members
    if name == "exemplify":
        return "instruction_id"  # its own pairs are other images' answers to the instruction
    return next((key for key in ("pair_id", "instruction_id", "image_id") if key in columns), None)


def _relatives(kind: str, id_: str, datasets: dict[str, ds.Dataset]) -> dict[str, set[str]]:
    """Ids that belong to what is traced: a pair's image and instruction, an image's pairs, a raw text's bank entry."""
    ids: dict[str, set[str]] = {name: set() for name in (*_IDS, "member")}
    ids[kind] = {id_}

    def look(table: str, column: str, key: str, value: Any) -> list[Any]:
        if table not in datasets:
            return []
        return list(datasets[table].to_table(columns=[column], filter=pc.field(key) == value)[column].to_pylist())

    if kind == "pair_id":
        ids["image_id"] |= set(look("match", "image_id", "pair_id", id_))
        ids["instruction_id"] |= set(look("match", "instruction_id", "pair_id", id_))
    elif kind == "image_id":
        ids["pair_id"] |= set(look("match", "pair_id", "image_id", id_))
    elif kind == "instruction_id":
        for cluster in look("cluster", "cluster", "instruction_id", id_):
            ids["instruction_id"] |= set(look("summarize", "instruction_id", "cluster", cluster))
    if kind in ("image_id", "instruction_id"):
        ids["question_id"] |= set(look("pick", "question_id", kind, id_))
    return ids


def as_json(found: Trace) -> str:
    return json.dumps(asdict(found), indent=1, ensure_ascii=False)


def as_text(found: Trace) -> str:
    """The way of the id, table by table, long texts whole."""
    lines = [f"{found.kind} {found.id}"]
    for name, rows in found.rows.items():
        lines.append(f"{name}" + (f" ({len(rows)} rows)" if len(rows) > 1 else ""))
        for row in rows:
            shown = {key: value for key, value in row.items() if value is not None and value != found.id}
            # what a text says in its second line must not look like a line of ours
            lines += [f"    {key}: {value}".replace("\n", "\n        ") for key, value in shown.items()]
            lines.append("")
        lines.pop()
    for name, prompt in found.prompts.items():
        lines += [f"prompt of {name}", textwrap.indent(prompt, "    ").rstrip()]
    for row in found.left:
        detail = f" ({row['detail']})" if row["detail"] else ""
        lines.append(one_line(f"LEFT at {row['table']}, unit {row['unit']}: {row['reason']}{detail}"))
    return "\n".join(lines)
