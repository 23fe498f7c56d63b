from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.stages.export import Export
from tests.stages.doubles import turn


def run(talks: list[tuple[str, list[str], str]], **tables: pa.Table) -> Any:
    """Export conversations about two images, each given as (talk, pairs as image+instruction, split)."""
    merge = [
        {
            "pair_id": pair,
            "talk_id": talk,
            "place": place,
            "image_id": pair.split("+")[0],
            "split": split,
            "words": 3,
            "phrased": True,
        }
        for talk, pairs, split in talks
        for place, pair in enumerate(pairs)
    ]
    review = [
        turn("i2+t1", "How many?", "Two."), turn("i1+t1", "How many?", "One."), turn("i1+t2", "Write a poem.", "A poem."),
        turn("i1+t3", "Which?", "B", choices=["a cat", "a dog"], phrase="Answer with the letter.", kind="choice"),
        turn("i9+t9", "Not selected?", "Right."),
    ]  # fmt: skip
    ingest = pa.table(
        {
            "image_id": ["i1", "i2", "i3"],
            "image": pa.array([b"\xff\xd8jpeg", b"\x89PNG png", b"\xff\xd8unused"], pa.large_binary()),
            "source": ["drawn"] * 3,
            "licence": ["CC BY 4.0", None, None],
        }
    )
    return Export().load()(
        merge=pa.Table.from_pylist(merge, schema=schemas.MERGE),
        review=pa.Table.from_pylist(review, schema=schemas.REVIEW),
        ingest=ingest,
        **tables,
    )


def single(pair: str, split: str = "train") -> tuple[str, list[str], str]:
    return pair, [pair], split


def test_a_row_is_a_whole_conversation_with_its_image() -> None:
    made = run([single("i1+t1"), single("i2+t1", "test"), single("i1+t2")])
    assert made.table.to_pylist()[0] == {
        "pair_id": "i1+t1",
        "image": {"bytes": b"\xff\xd8jpeg", "path": "i1.jpg"},
        "conversations": [{"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": "One."}],
        "split": "train",
        "image_id": "i1",
        "instruction_id": "t1",
        "source": "drawn",
        "licence": "CC BY 4.0",
        "turns": [
            {"pair_id": "i1+t1", "instruction_id": "t1", "kind": "instruction", "domain": "", "origin": "answer"}
            | dict.fromkeys(schemas.AXES)
        ],
    }
    second, third = made.table.to_pylist()[1:]
    assert (second["image"]["path"], second["split"], second["licence"]) == ("i2.png", "test", None)
    assert third["image"]["bytes"] == b"\xff\xd8jpeg"
    assert third["conversations"][1]["value"] == "A poem."
    assert made.drops == []


def test_a_dialogue_has_its_questions_in_order_and_the_image_before_the_first() -> None:
    (row,) = run([("talk", ["i1+t3", "i1+t1"], "train")]).table.to_pylist()
    assert [said["value"] for said in row["conversations"]] == [
        "<image>\nWhich?\nA. a cat\nB. a dog\nAnswer with the letter.", "B", "How many?", "One.",
    ]  # fmt: skip
    assert (row["pair_id"], row["instruction_id"]) == ("talk", None)
    assert [one["pair_id"] for one in row["turns"]] == ["i1+t3", "i1+t1"]
    assert [one["kind"] for one in row["turns"]] == ["choice", "instruction"]


def test_the_table_is_of_the_schema_and_carries_the_features_of_hugging_face() -> None:
    made = run([single("i1+t1")])
    assert made.table.schema.equals(schemas.EXPORT)
    assert json.loads(made.table.schema.metadata[b"huggingface"])["info"]["features"]["image"] == {"_type": "Image"}
    assert made.table.schema.metadata[b"meaning"] == schemas.EXPORT.metadata[b"meaning"]


def test_a_part_of_which_nothing_was_selected_is_empty() -> None:
    assert run([]).table.num_rows == 0


def test_each_question_of_a_dialogue_has_its_own_ratings() -> None:
    rated = [
        {"pair_id": pair, "image_id": "i1", "relevance": n, "replies": []}
        for n, pair in enumerate(("i1+t1", "i1+t3"), 4)
    ]
    rate = pa.Table.from_pylist(rated, schema=schemas.RATE).select(["pair_id", *schemas.AXES])
    (row,) = run([("talk", ["i1+t3", "i1+t1"], "train")], rate=rate).table.to_pylist()
    assert [turn["relevance"] for turn in row["turns"]] == [5, 4]
    assert row["turns"][0]["formatting"] is None
