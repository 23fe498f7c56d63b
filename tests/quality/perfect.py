"""A run without a fault: every text is written from the truth, so that each injected fault lowers its own measure."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.microworld import language
from mminstruct.microworld.families import FAMILIES, applicable
from mminstruct.quality.truth import ImageTruth
from mminstruct.recipes import MMInstruct
from mminstruct.stage import Drop, instruction_id, pair_id
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store
from mminstruct.text.rules import RULES

Row = dict[str, Any]


@dataclass
class PerfectRun:
    """Rows of all tables, to be changed before ``write``."""

    source: Path
    known: dict[str, ImageTruth]
    rows: dict[str, list[Row]] = field(default_factory=dict)
    drops: dict[str, list[Drop]] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = random.Random(0)
        tables: dict[str, list[Row]] = {field.name: [] for field in fields(MMInstruct)}
        seen: dict[str, list[str]] = {}
        for key, known in self.known.items():
            said = language.caption(known.scene)
            text = language.fused(known.scene, said, known.alt or "")
            facts = language.read_facts(text)
            tables["ingest"].append({"image_id": key, "image": key.encode(), "alt_text": known.alt and known.alt.text})
            tables["caption"].append({"image_id": key, "caption": said, "tokens": 1})
            tables["fuse"].append({"image_id": key, "description": text, "fused": text != said})
            for family in applicable(facts):
                asked = family.instruction(facts, rng, "test", specific=False)
                ids = {"image_id": key, "instruction_id": instruction_id(asked)}
                tables["instruct"].append(ids | {"instruction": asked, "examples": ["Sing a song."]})
                seen.setdefault(family.name, []).append(asked)
                ids["instruction_id"] = instruction_id(family.general)
                ids["pair_id"] = pair_id(key, ids["instruction_id"])
                tables["match"].append(ids | {"similarity": 0.5, "probability": 0.5})
                reply = family.write(facts, rng, family.general)
                tables["answer"].append(ids | {"answer": reply, "exemplars": 0, "tokens": 1})
                tables["filter"].append(ids | {"words": 9})
                tables["select"].append(ids | {"split": "train"})
        for number, (name, texts) in enumerate(seen.items()):
            texts = list(dict.fromkeys(texts))
            bank = {"instruction_id": instruction_id(FAMILIES[name].general), "instruction": FAMILIES[name].general}
            tables["summarize"].append(bank | {"cluster": number, "size": len(texts), "members": texts})
            for text in texts:
                ids = {"instruction_id": instruction_id(text), "cluster": number}
                tables["cluster"].append(ids | {"distance": 0.1, "count": 1})
        self.rows = tables

    def write(self, folder: Path) -> str:
        store = Store(str(folder))
        for order, (name, rows) in enumerate(self.rows.items()):
            config = {"ingest": {"path": str(self.source)}, "filter": {"rules": list(RULES)}}.get(name, {})
            config = self.configs.get(name, config)
            store.write(json.dumps({"config": config, "order": order}).encode(), name, "manifest.json")
            table, drops = store.table(name), self.drops.get(name, [])
            part = table.put("part-0000", _table(rows, schemas.TABLES.get(name)))
            reasons = {drop.reason: 1 for drop in drops}
            table.commit(Receipt(key="part-0000", parts=[part], rows_in=0, kept=0, dropped=reasons,
                                 drops=table.put_drops("part-0000", drops)))  # fmt: skip
        return str(folder)


def _table(rows: list[Row], schema: pa.Schema | None) -> pa.Table:
    """*rows* with the columns of *schema*; a table of another recipe has those of its rows."""
    if schema is None or any(column not in schema.names for row in rows for column in row):
        return pa.Table.from_pylist(rows)
    return pa.Table.from_pylist(
        [{**{column.name: _nothing(column) for column in schema}, **row} for row in rows], schema=schema
    )


def _nothing(column: pa.Field) -> Any:
    if column.nullable:
        return None
    if pa.types.is_integer(column.type):
        return 0
    if pa.types.is_list(column.type):
        return []
    return b"" if pa.types.is_large_binary(column.type) else "" if pa.types.is_string(column.type) else None
