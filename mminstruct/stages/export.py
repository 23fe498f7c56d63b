"""The dataset itself: one conversation about one image a row, in the Hugging Face layout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.stage import Made, Stage, Transform, part, whole

_STRING = {"dtype": "string", "_type": "Value"}
FEATURES: dict[str, Any] = {
    "pair_id": _STRING,
    "image": {"_type": "Image"},
    "conversations": [{"from": _STRING, "value": _STRING}],
    "split": _STRING,
    "image_id": _STRING,
    "instruction_id": _STRING,
    "source": _STRING,
    "licence": _STRING,
}
"""The columns of ``schemas.EXPORT`` as ``datasets.Features.to_dict`` writes them."""
SCHEMA = schemas.stored(schemas.EXPORT).with_metadata(
    {**schemas.EXPORT.metadata, b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}
)
"""``schemas.EXPORT`` with the metadata from which ``datasets`` knows that a struct is an image."""


@dataclass(kw_only=True)
class Export(Stage):
    """Brings together what the selected pairs need; drops nothing."""

    reads = {
        "select": part("pair_id", "image_id", "instruction_id", "split"),
        "answer": part("pair_id", "answer"),
        "ingest": part("image_id", "image", "source", "licence"),
        "summarize": whole("instruction_id", "instruction"),
    }
    writes = schemas.EXPORT
    takes = "pair_id"

    def load(self, *, summarize: ds.Dataset) -> Transform:
        bank = summarize.to_table(columns=["instruction_id", "instruction"])
        instructions = dict(zip(bank["instruction_id"].to_pylist(), bank["instruction"].to_pylist(), strict=True))

        def export(select: pa.Table, answer: pa.Table, ingest: pa.Table) -> Made:
            answers = dict(zip(answer["pair_id"].to_pylist(), answer["answer"].to_pylist(), strict=True))
            place_of = {key: place for place, key in enumerate(ingest["image_id"].to_pylist())}
            rows = []
            for pair in select.to_pylist():
                image = {name: ingest[name][place_of[pair["image_id"]]].as_py() for name in ingest.column_names}
                ending = "png" if image["image"].startswith(b"\x89PNG") else "jpg"
                question = f"<image>\n{instructions[pair['instruction_id']]}"
                rows.append(
                    {
                        "pair_id": pair["pair_id"],
                        "image": {"bytes": image["image"], "path": f"{pair['image_id']}.{ending}"},
                        "conversations": [
                            {"from": "human", "value": question},
                            {"from": "gpt", "value": answers[pair["pair_id"]].strip()},
                        ],
                        "split": pair["split"],
                        "image_id": pair["image_id"],
                        "instruction_id": pair["instruction_id"],
                        "source": image["source"],
                        "licence": image["licence"],
                    }
                )
            return Made(pa.Table.from_pylist(rows, schema=SCHEMA), [])

        return export
