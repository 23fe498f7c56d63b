from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Reply
from mminstruct.stage import StageOutput
from mminstruct.stages.converse import Converse
from mminstruct.unit import UNIT, Unit
from tests.stages.doubles import Script, Scripted, prompt_text, said
from tests.world import asked_about


def question(pair: str, image: str = "i0", **change: Any) -> dict[str, Any]:
    """A row of the table ask."""
    row: dict[str, Any] = dict.fromkeys(schemas.ASK.names)
    told = {
        "kind": "short",
        "domain": "colours",
        "question": f"What colour is {pair}?",
        "answer": "red",
        "origin": "ask",
    }
    return {**row, "pair_id": pair, "image_id": image, "instruction_id": f"q{pair}", **told, **change}


def run(script: Script, rows: list[dict[str, Any]], **fields: Any) -> tuple[StageOutput, Unit, Scripted]:
    model = Scripted(script=script)
    stage = Converse(model=model, prompt=prompt_text("converse"), **fields)
    stage.check()
    unit = Unit(table="converse", key="k")
    token = UNIT.set(unit)
    ids = sorted({row["image_id"] for row in rows})
    caption = pa.table({"image_id": ids, "caption": [f"A lamp of {image}." for image in ids]})
    try:
        made = stage.load()(ask=pa.Table.from_pylist(rows, schema=schemas.ASK), caption=caption)
    finally:
        UNIT.reset(token)
    assert isinstance(made, StageOutput)
    assert made.drops == []
    return made, unit, model


ROWS = [question("p1"), question("p2", fault="no_answer", answer=""), question("p3", choices=["a", "b"], right=0, kind="choice"),
        question("p4", image="i1")]  # fmt: skip


def test_the_rows_of_ask_are_passed_on_and_each_image_gets_a_conversation() -> None:
    made, unit, model = run(asked_about, ROWS)
    assert made.table.schema == schemas.CONVERSE
    rows = made.table.to_pylist()
    assert [row for row in rows if row["talk"] is None] == ROWS
    talks = [row for row in rows if row["talk"] is not None]
    assert [(row["image_id"], row["turn"]) for row in talks] == [
        ("i0", 0),
        ("i0", 1),
        ("i0", 2),
        ("i1", 0),
        ("i1", 1),
        ("i1", 2),
    ]
    assert len({row["talk"] for row in talks}) == 2
    assert {(row["kind"], row["origin"], row["phrase"], row["fault"], row["domain"]) for row in talks} == {
        ("long", "converse", None, None, "colours")
    }
    assert len({row["pair_id"] for row in rows}) == len(rows)
    assert unit.notes == {}
    first = said(model.chatter.asked[0])
    assert first.count("Question: ") == 1  # neither the one with a fault nor the choice
    assert "Write 3 more rounds" in first
    assert first.endswith("A lamp of i0.")


@pytest.mark.parametrize(
    ("reply", "note"),
    [
        ("", "converse_empty"),
        ("I'm sorry, I can't do that.", "converse_refusal"),
        ("Well, a lamp.", "converse_unparsed"),
        (Reply("", "error", error="boom"), "model_error"),
        (Reply("", "filtered"), "model_filtered"),
        (Reply("<Q1> What", "length"), "converse_truncated"),
    ],
)
def test_a_reply_without_rounds_costs_no_question(reply: Any, note: str) -> None:
    made, unit, _ = run(lambda *_: reply, ROWS[:3])
    assert made.table.to_pylist() == ROWS[:3]
    assert unit.notes == {note: 1}


def test_a_round_that_asks_what_was_asked_or_has_no_answer_keeps_its_fault() -> None:
    reply = ("<Q1> What colour is p1? </Q1> <A1> It is a deep red. </A1> <Q2> What is beside it? </Q2> "
             "<Q3> What is under it? </Q3> <A3> A table is under it. </A3> <Q4> And what else? </Q4> <A4> x </A4>")  # fmt: skip
    made, unit, _ = run(lambda *_: reply, ROWS[:1])
    assert made.table["fault"].to_pylist() == [None, "question_twice", "no_answer", None]
    assert unit.notes == {"converse_more": 1}


def test_an_image_without_a_sound_question_is_not_continued() -> None:
    made, unit, model = run(asked_about, ROWS[1:3])
    assert made.table.num_rows == 2
    assert unit.notes == {"converse_no_example": 1}
    assert model.chatter.asked == []


def test_no_rounds_cost_no_call() -> None:
    made, unit, model = run(asked_about, ROWS, rounds=0)
    assert (made.table.num_rows, unit.notes, model.chatter.asked) == (4, {}, [])


def test_the_examples_do_not_depend_on_the_order_of_the_rows() -> None:
    rows = [question(f"p{n}") for n in range(8)]
    texts = {said(run(asked_about, given, examples=2)[2].chatter.asked[0]) for given in (rows, rows[::-1])}
    assert len(texts) == 1


@pytest.mark.parametrize(
    "fields", [{"rounds": -1}, {"examples": 0}, {"answer_words": 0}, {"question_words": [3]}, {"languages": []}]
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        run(asked_about, ROWS, **fields)
