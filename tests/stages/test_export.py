from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.stages.export import Export


def run(pairs: list[tuple[str, str, str]]) -> Any:
    """Export (image, instruction, split) with an answer a pair and two images."""
    names = ("pair_id", "image_id", "instruction_id", "split")
    columns = zip(*[(f"{i}+{t}", i, t, split) for i, t, split in pairs], strict=True) if pairs else [[]] * 4
    select = pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})
    answer = pa.table(
        {
            "pair_id": ["i2+t1", "i1+t1", "i1+t2", "i9+t9"],
            "answer": ["Two.", " One.\n", "A poem.", "dropped by the filter"],
        }
    )
    ingest = pa.table(
        {
            "image_id": ["i1", "i2", "i3"],
            "image": pa.array([b"\xff\xd8jpeg", b"\x89PNG png", b"\xff\xd8unused"], pa.large_binary()),
            "source": ["drawn"] * 3,
            "licence": ["CC BY 4.0", None, None],
        }
    )
    bank = ds.dataset(pa.table({"instruction_id": ["t1", "t2"], "instruction": ["How many?", "Write a poem."]}))
    return Export().load(summarize=bank)(select=select, answer=answer, ingest=ingest)


def test_a_row_is_a_whole_conversation_with_its_image() -> None:
    made = run([("i1", "t1", "train"), ("i2", "t1", "test"), ("i1", "t2", "train")])
    assert made.table.to_pylist()[0] == {
        "pair_id": "i1+t1",
        "image": {"bytes": b"\xff\xd8jpeg", "path": "i1.jpg"},
        "conversations": [{"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": "One."}],
        "split": "train",
        "image_id": "i1",
        "instruction_id": "t1",
        "source": "drawn",
        "licence": "CC BY 4.0",
    }
    second, third = made.table.to_pylist()[1:]
    assert (second["image"]["path"], second["split"], second["licence"]) == ("i2.png", "test", None)
    assert third["image"]["bytes"] == b"\xff\xd8jpeg"
    assert third["conversations"][1]["value"] == "A poem."
    assert made.drops == []


def test_the_table_is_of_the_schema_and_carries_the_features_of_hugging_face() -> None:
    made = run([("i1", "t1", "train")])
    assert made.table.schema.equals(schemas.EXPORT)
    assert json.loads(made.table.schema.metadata[b"huggingface"])["info"]["features"]["image"] == {"_type": "Image"}
    assert made.table.schema.metadata[b"meaning"] == schemas.EXPORT.metadata[b"meaning"]


def test_a_part_of_which_nothing_was_selected_is_empty() -> None:
    assert run([]).table.num_rows == 0
