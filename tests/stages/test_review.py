from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from mminstruct import schemas
from mminstruct.stage import Read, part
from mminstruct.stages.review import Review
from tests.stages.doubles import turn

NOBODY = ds.dataset(schemas.DECIDE.empty_table())
BANK = ds.dataset(
    pa.table({name: pa.array(values) for name, values in (
        ("instruction_id", ["t1", "t2"]), ("instruction", ["Write a poem.", "Tell a story."]))})
)  # fmt: skip
PASSED = pa.table({"pair_id": ["i2+t1", "i1+t2"]})


def answers(*rows: dict[str, Any]) -> pa.Table:
    columns = ("pair_id", "image_id", "instruction_id", "answer")
    return pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns})


def test_a_pair_of_a_bank_has_the_instruction_as_its_question() -> None:
    texts = answers(
        turn("i1+t1", answer="Dropped."), turn("i1+t2", answer=" A tale.\n"), turn("i2+t1", answer="A verse.")
    )
    made = Review().load(decide=NOBODY, summarize=BANK)(filter=PASSED, answer=texts)
    assert made.table.schema == schemas.REVIEW
    assert [(row["pair_id"], row["question"], row["answer"]) for row in made.table.to_pylist()] == [
        ("i2+t1", "Write a poem.", "A verse."), ("i1+t2", "Tell a story.", "A tale."),
    ]  # fmt: skip
    first = made.table.to_pylist()[0]
    assert (first["kind"], first["domain"], first["origin"], first["decision"]) == (
        "instruction",
        "",
        "answer",
        "unseen",
    )
    assert made.drops == []


def wired(*columns: str, **names: str) -> Review:
    """The stage in a recipe that has questions and answers in one table."""
    wires: dict[str, Read | None] = {"filter": part("pair_id"), "answer": part(*columns, of="verify", names=names)}
    return Review().wired({**wires, "summarize": None})


def test_a_table_with_all_columns_of_the_turn_is_taken_as_it_is() -> None:
    names = [field.name for field in schemas.TURN]
    rows = [
        turn("i1+t2", "Which?", "B", choices=["a", "b"], right=1, kind="choice", domain="ponds", talk="d", turn=2),
        turn("i2+t1", "How many?", "Two", kind="number", domain="lakes", phrase="Answer with a number."),
    ]
    stage = wired(*names)
    stage.check()
    text = pa.Table.from_pylist(rows, schema=schemas.REVIEW).select(names)
    made = stage.load(decide=NOBODY)(filter=PASSED, answer=text)
    assert made.table.select(names).to_pylist() == text.to_pylist()[::-1]


def test_texts_without_a_question_are_refused_where_there_is_no_bank() -> None:
    with pytest.raises(ValueError, match="verify has no column `question`"):
        wired("pair_id", "answer").check()
    wired("pair_id", "answer", "asked", asked="question").check()
