from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.stage import StageOutput
from mminstruct.stages.score import Score
from tests.stages.doubles import dataset


def verdict(question: str, order: int | None, said: str | None, judge: str = "j", **more: Any) -> dict[str, Any]:
    row = {"question_id": question, "judge": judge, "a": "x", "b": None if order is None else "y", "order": order,
           "verdict": said, "reply": "", "finish": "stop", "saw": "image"}  # fmt: skip
    return row | more


def run(rows: list[dict[str, Any]], **fields: Any) -> StageOutput:
    stage = Score(**fields)
    stage.check()
    pick = [
        {"question_id": f"q{n}", "image_id": "", "instruction_id": "i", "question": "?", "kind": f"kind {n % 2}"}
        for n in range(6)
    ]
    judge = dataset(pa.Table.from_pylist(rows, schema=schemas.JUDGE))
    return stage.load(judge=judge, pick=dataset(pa.Table.from_pylist(pick, schema=schemas.PICK)))()


@pytest.mark.parametrize(
    ("said", "outcome", "score"),
    [
        (("a", "a"), "a", 1.0), (("a", "neither"), "a", 1.0), (("neither", "b"), "b", 0.0), (("neither", "neither"), "tie", 0.5),
        (("a", "b"), "conflict", 0.5), (("b", "a"), "conflict", 0.5), (("a", "unparsed"), "undecided", None),
    ],
)  # fmt: skip
def test_two_verdicts_come_to_what_the_paper_says_but_a_conflict_is_seen(
    said: tuple[str, str], outcome: str, score: float | None
) -> None:
    (row,) = run([verdict("q1", 0, said[0]), verdict("q1", 1, said[1])]).table.to_pylist()
    assert (row["outcome"], row["score"], row["kind"]) == (outcome, score, "kind 1")


def test_judges_are_scored_apart_and_grades_beside_comparisons() -> None:
    rows = [verdict("q0", 0, "a", "k"), verdict("q0", 1, "a", "k"), verdict("q0", 0, "b"), verdict("q0", 1, "b"),
            verdict("q2", None, None, grade=7), verdict("q3", None, None)]  # fmt: skip
    made = run(rows)
    assert made.table.schema == schemas.SCORE
    found = [
        (row["judge"], row["question_id"], row["b"], row["outcome"], row["score"]) for row in made.table.to_pylist()
    ]
    assert found == [
        ("j", "q0", "y", "b", 0.0), ("j", "q2", None, "graded", 7.0), ("j", "q3", None, "undecided", None),
        ("k", "q0", "y", "a", 1.0),
    ]  # fmt: skip


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="cluster=kind"):
        run([], cluster="kind")
    with pytest.raises(ValueError, match="level=95"):
        run([], level=95)
    with pytest.raises(ValueError, match="truth=oracle: no such judge; there is j"):
        run([verdict("q0", 0, "a")], truth="oracle")
