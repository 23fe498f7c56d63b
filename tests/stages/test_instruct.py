from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct import schemas
from mminstruct.models.model import Reply
from mminstruct.prompts import Message
from mminstruct.stage import StageOutput, instruction_id
from mminstruct.stages.instruct import Instruct
from mminstruct.unit import UNIT, Unit
from tests.stages.doubles import Scripted, prompt_text, said

SEEDS = [f"Write text number {word} about it." for word in ("one", "two", "three", "four", "five", "six")]


def inventive(messages: list[Message], seed: int) -> str:
    image = re.search(r"Image: (\S+)", said(messages))
    assert image
    return f'Sure! Here is one:\n"Invent a story about {image[1]} and {seed % 1000}."'


def run(ids: list[str], model: Scripted, **fields: Any) -> StageOutput:
    stage = Instruct(**{"model": model, "prompt": prompt_text("instruct"), "seeds": SEEDS, **fields})
    stage.check()
    return stage.load()(pa.table({"image_id": pa.array(ids, pa.string()), "description": pa.array(ids, pa.string())}))


def ids(count: int) -> list[str]:
    return [f"pic{k}" for k in range(count)]


def test_every_image_gets_its_instruction_in_the_order_of_the_rows() -> None:
    made = run(ids(10), Scripted(script=inventive))
    assert made.table.schema == schemas.INSTRUCT
    assert made.table["image_id"].to_pylist() == ids(10)
    assert made.drops == []
    for row in made.table.to_pylist():
        assert row["instruction"].startswith(f"Invent a story about {row['image_id']} and ")
        assert row["instruction_id"] == instruction_id(row["instruction"])


def test_later_rounds_see_what_earlier_ones_invented_and_the_first_sees_seeds_alone() -> None:
    model = Scripted(script=inventive)
    made = run(ids(8), model, rounds=4)
    assert model.chatter.calls == 4
    invented = set(made.table["instruction"].to_pylist())
    shown = {row["image_id"]: row["examples"] for row in made.table.to_pylist()}
    order = [re.search(r"Image: (\S+)", said(messages))[1] for messages in model.chatter.asked]  # type: ignore[index]
    assert all(len(examples) == 5 == len(set(examples)) for examples in shown.values())
    assert [len(invented & set(shown[image])) for image in order] == [0, 0, 2, 2, 2, 2, 2, 2]
    for place, image in enumerate(order):
        earlier = order[: place // 2 * 2]
        of = {re.search(r"pic\d+", text)[0] for text in invented & set(shown[image])}  # type: ignore[index]
        assert of <= set(earlier)
    assert order != ids(8)
    assert any(examples != sorted(examples) for examples in shown.values())
    assert len({examples.index(text) for examples in shown.values() for text in invented & set(examples)}) > 2


def test_the_examples_of_a_row_are_those_of_its_prompt() -> None:
    model = Scripted(script=inventive)
    made = run(ids(6), model)
    for row in made.table.to_pylist():
        asked = next(
            said(messages) for messages in model.chatter.asked if f"Image: {row['image_id']}\n" in said(messages)
        )
        assert re.findall(r"^\d\. (.+)$", asked, re.MULTILINE) == row["examples"]


def test_the_order_of_the_rows_changes_nothing_but_the_order() -> None:
    forward = run(ids(9), Scripted(script=inventive)).table.to_pylist()
    backward = run(ids(9)[::-1], Scripted(script=inventive)).table.to_pylist()
    assert forward == backward[::-1]
    assert forward != run(ids(9), Scripted(script=inventive), seed=1).table.to_pylist()


def test_a_share_of_the_images_is_chosen_by_content() -> None:
    made = run(ids(400), Scripted(script=inventive), share=0.3)
    kept = set(made.table["image_id"].to_pylist())
    assert 80 < len(kept) < 160
    assert {drop.reason for drop in made.drops} == {"not_sampled"}
    assert kept | {drop.id for drop in made.drops} == set(ids(400))
    half = run(ids(200), Scripted(script=inventive), share=0.3)
    assert set(half.table["image_id"].to_pylist()) == kept & set(ids(200))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("Here you go:", "stop"), "instruction_unparsed"),
        (Reply("", "stop"), "instruction_empty"),
        (Reply("I'm sorry, I can't do that.", "stop"), "instruction_refusal"),
        (Reply("Write a poem about the", "length"), "instruction_truncated"),
        (Reply("Sing it.", "stop"), "instruction_too_short"),
        (Reply("Write of " + " ".join(f"thing{n}" for n in range(90)), "stop"), "instruction_too_long"),
        (Reply("Write very " * 12, "stop"), "instruction_repetition"),
        (Reply("write  text number one about it!", "stop"), "instruction_copy"),
        (Reply("", "error", error="boom"), "model_error"),
        (Reply("", "filtered"), "model_filtered"),
    ],
)
def test_an_image_without_an_instruction_leaves_once_by_name(reply: Reply, reason: str) -> None:
    model = Scripted(script=lambda messages, seed: reply)
    made = run(["pic0"], model, per_image=2, seeds_shown=6)
    assert made.table.num_rows == 0
    assert [(drop.id, drop.reason) for drop in made.drops] == [("pic0", reason)]
    if reply.error:
        assert made.drops[0].detail == "boom"


def test_a_cut_explanation_does_not_cost_the_instruction_before_it() -> None:
    reply = Reply("Write a poem about the sea.\n\nThis instruction asks the assist", "length")
    made = run(["pic0"], Scripted(script=lambda messages, seed: reply))
    assert made.table["instruction"].to_pylist() == ["Write a poem about the sea."]


def test_an_image_keeps_what_survives_and_the_rest_is_noted() -> None:
    unit = Unit("instruct", "p0")
    token = UNIT.set(unit)
    try:
        made = run(["pic0"], Scripted(script=lambda messages, seed: "Write a poem about it."), per_image=3)
    finally:
        UNIT.reset(token)
    assert made.table["instruction"].to_pylist() == ["Write a poem about it."]
    assert made.drops == []
    assert unit.notes == {"instruction_duplicate": 2}


def test_an_image_may_have_several_instructions() -> None:
    made = run(ids(3), Scripted(script=inventive), per_image=2)
    assert made.table["image_id"].to_pylist() == ["pic0", "pic0", "pic1", "pic1", "pic2", "pic2"]


def test_an_empty_part_asks_nothing() -> None:
    model = Scripted(script=inventive)
    assert run([], model).table.schema == schemas.INSTRUCT
    assert model.chatter.asked == []


REPLIES = st.sampled_from(["", "Write a poem about it.", "1. Write a song about it.", "Hm", *SEEDS]) | st.text(
    max_size=40
)


@given(st.lists(REPLIES, min_size=1, max_size=12), st.integers(1, 3), st.sampled_from([0.5, 1.0]))
def test_whatever_is_replied_every_image_is_kept_or_leaves_once(replies: list[str], each: int, share: float) -> None:
    images = ids(12)
    model = Scripted(script=lambda messages, seed: replies[seed % len(replies)])
    made = run(images, model, per_image=each, share=share)
    kept, dropped = set(made.table["image_id"].to_pylist()), [drop.id for drop in made.drops]
    assert sorted([*kept, *dropped]) == sorted(images)
    rows = made.table.to_pylist()
    assert len({(row["image_id"], row["instruction_id"]) for row in rows}) == len(rows)
    assert all(instruction_id(row["instruction"]) == row["instruction_id"] for row in rows)
    assert all(row["instruction_id"] not in map(instruction_id, row["examples"]) for row in rows)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"share": 0}, "share"),
        ({"per_image": 0}, "per_image"),
        ({"max_words": 1}, "max_words"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [SEEDS[0], SEEDS[0].upper(), SEEDS[1]]}, "2 distinct"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        run([], Scripted(), **fields)
