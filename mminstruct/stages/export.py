"""The dataset in the Hugging Face layout: each row is one conversation about one image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.schemas import AXES
from mminstruct.stage import Stage, StageOutput, Transform, part
from mminstruct.text.question import asked

TURN = {field.name: str(field.type) for field in schemas.EXPORT.field("turns").type.value_type}
"""Fields that a row has for each of its questions, and their types."""
_OF_PAIR = [name for name in TURN if name not in AXES]
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
    "turns": [{name: {"dtype": dtype, "_type": "Value"} for name, dtype in TURN.items()}],
}
"""The columns of ``schemas.EXPORT`` as ``datasets.Features.to_dict`` writes them."""
SCHEMA = schemas.stored(schemas.EXPORT).with_metadata(
    {**schemas.EXPORT.metadata, b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}
)
"""``schemas.EXPORT`` with the metadata that tells ``datasets`` which struct is an image."""


@dataclass(kw_only=True)
class Export(Stage):
    """Joins images, texts and metadata of each conversation; drops nothing."""

    reads = {
        "merge": part("talk_id", "pair_id", "place", "split", "phrased"),
        "review": part(
            "image_id", "question", "choices", "phrase", "answer", *(name for name in TURN if name not in AXES)
        ),
        "ingest": part("image_id", "image", "source", "licence"),
        "rate": part("pair_id", *AXES),
    }
    writes = schemas.EXPORT
    row_key = ("talk_id", "pair_id")
    core_seconds = 0.003  # measured on the demo, 192 pairs

    def load(self) -> Transform:
        def export(merge: pa.Table, review: pa.Table, ingest: pa.Table, rate: pa.Table | None = None) -> StageOutput:
            texts = {row["pair_id"]: row for row in review.to_pylist()}
            for row in () if rate is None else rate.to_pylist():
                texts[row["pair_id"]] |= row
            place_of = {key: place for place, key in enumerate(ingest["image_id"].to_pylist())}
            rows = []
            for talk_id, turns in _talks(merge).items():
                said = [texts[turn["pair_id"]] | {"phrased": turn["phrased"]} for turn in turns]
                image_id, split = said[0]["image_id"], turns[0]["split"]
                image = {name: ingest[name][place_of[image_id]].as_py() for name in ingest.column_names}
                ending = "png" if image["image"].startswith(b"\x89PNG") else "jpg"
                rows.append(
                    {
                        "pair_id": talk_id,
                        "image": {"bytes": image["image"], "path": f"{image_id}.{ending}"},
                        "conversations": _conversation(said),
                        "split": split,
                        "image_id": image_id,
                        "instruction_id": said[0]["instruction_id"] if len(said) == 1 else None,
                        "source": image["source"],
                        "licence": image["licence"],
                        "turns": [{name: row.get(name) for name in TURN} for row in said],
                    }
                )
            return StageOutput(pa.Table.from_pylist(rows, schema=SCHEMA), [])

        return export


def _talks(merge: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Pairs by conversation, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in merge.to_pylist():
        found.setdefault(row["talk_id"], []).append(row)
    return {talk_id: sorted(turns, key=lambda row: row["place"]) for talk_id, turns in found.items()}


def _conversation(said: list[dict[str, Any]]) -> list[dict[str, str]]:
    turns = []
    for place, row in enumerate(said):
        question = asked(row["question"], row["choices"], row["phrase"] if row["phrased"] else None)
        turns.append({"from": "human", "value": question if place else f"<image>\n{question}"})
        turns.append({"from": "gpt", "value": row["answer"]})
    return turns
