from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Reply
from mminstruct.prompts import Message
from mminstruct.stage import StageOutput, pair_id
from mminstruct.stages.answer import Answer
from tests.stages.doubles import Scripted, dataset, prompt_text, said

BANK = {"t0": "Write a poem.", "t1": "Write a song.", "t2": "Write a price."}
PAIRS = [("i0", "t1"), ("i0", "t0"), ("i1", "t0"), ("i2", "t2"), ("i3", "t1"), ("i4", "t0")]


def run(
    model: Scripted, pairs: list[tuple[str, str]] = PAIRS, lost: tuple[str, ...] = (), **fields: Any
) -> StageOutput:
    stage = Answer(**{"model": model, "prompt": prompt_text("answer"), **fields})
    stage.check()
    exemplars = [
        {"image_id": image, "instruction_id": name, "description": f"Picture {image}.", "answer": f"{name} of {image}."}
        for name in ("t0", "t1")
        for image in ("i1", "e5", "e6", "e7")
    ]
    summarize = pa.table({"instruction_id": list(BANK), "instruction": list(BANK.values())})
    rows = [{"pair_id": pair_id(*pair), "image_id": pair[0], "instruction_id": pair[1]} for pair in pairs]
    match = pa.Table.from_pylist(
        rows, schema=pa.schema([(name, pa.string()) for name in ("pair_id", "image_id", "instruction_id")])
    )
    images = [f"i{k}" for k in range(9) if f"i{k}" not in lost]
    fuse = pa.table({"image_id": images, "description": [f"Picture {image}." for image in images]})
    transform = stage.load(exemplify=dataset(pa.Table.from_pylist(exemplars)), summarize=dataset(summarize))
    return transform(match=match, fuse=fuse)


def pictures(messages: list[Message]) -> list[str]:
    return re.findall(r"^Image: Picture (\w+)\.$", said(messages), re.MULTILINE)


def test_every_pair_gets_its_answer_in_the_order_of_the_rows() -> None:
    made = run(
        Scripted(script=lambda messages, seed: Reply(f"Answer: {pictures(messages)[-1]}!", "stop", tokens_out=3))
    )
    assert made.table.schema == schemas.ANSWER
    assert made.drops == []
    rows = made.table.to_pylist()
    assert [(row["image_id"], row["instruction_id"]) for row in rows] == PAIRS
    assert [row["answer"] for row in rows] == [f"{image}!" for image, _ in PAIRS]
    assert {row["tokens"] for row in rows} == {3}


def test_requests_go_out_by_instruction_and_share_a_beginning() -> None:
    model = Scripted()
    run(model)
    asked = [said(messages) for messages in model.chatter.asked]
    names = [re.search("Instruction: (.+)", text)[1] for text in asked]  # type: ignore[index]
    assert names == [BANK[name] for name in ("t0", "t0", "t0", "t1", "t1", "t2")]
    head = asked[3][: asked[3].rindex("Image: ")]
    assert asked[4].startswith(head)
    assert "t1 of e6." in head


def test_an_image_never_sees_an_exemplar_of_itself() -> None:
    model = Scripted()
    made = run(model, pairs=[("i1", "t0"), ("i0", "t0")])
    assert [pictures(messages) for messages in model.chatter.asked] == [
        ["i1", "e5", "e6", "i0"],
        ["e5", "e6", "e7", "i1"],
    ]
    assert made.table["exemplars"].to_pylist() == [3, 3]


@pytest.mark.parametrize("shots", [0, 1, 9])
def test_as_many_exemplars_are_shown_as_asked_for_and_counted(shots: int) -> None:
    model = Scripted()
    made = run(model, pairs=[("i0", "t0"), ("i0", "t2")], shots=shots)
    assert made.table["exemplars"].to_pylist() == [min(shots, 4), 0]
    assert [len(pictures(messages)) - 1 for messages in model.chatter.asked] == [min(shots, 4), 0]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("Roses are", "length"), "answer_truncated"),
        (Reply("Answer: \n", "stop"), "answer_empty"),
        (Reply("", "error", error="boom"), "model_error"),
        (Reply("", "filtered"), "model_filtered"),
    ],
)
def test_a_bad_answer_leaves_by_name_and_takes_no_other_with_it(reply: Reply, reason: str) -> None:
    model = Scripted(script=lambda messages, seed: reply if pictures(messages)[-1] == "i2" else "Roses.")
    made = run(model)
    assert made.table.num_rows == 5
    assert [(drop.id, drop.reason) for drop in made.drops] == [(pair_id("i2", "t2"), reason)]
    if reply.error:
        assert made.drops[0].detail == "boom"


def test_a_pair_whose_image_lost_its_description_leaves() -> None:
    made = run(Scripted(), lost=("i0",))
    assert {drop.id for drop in made.drops} == {pair_id("i0", "t0"), pair_id("i0", "t1")}
    assert {drop.reason for drop in made.drops} == {"no_description"}
    assert made.table.num_rows == 4


def test_an_answer_does_not_depend_on_the_pairs_around_it() -> None:
    together = run(Scripted()).table.to_pylist()
    assert [run(Scripted(), pairs=[pair]).table.to_pylist()[0] for pair in PAIRS] == together


def test_paragraphs_of_an_answer_stay() -> None:
    made = run(Scripted(script=lambda messages, seed: "Roses.\n\n- red\n- blue"))
    assert made.table["answer"][0].as_py() == "Roses.\n\n- red\n- blue"


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="shots"):
        run(Scripted(), shots=-1)
