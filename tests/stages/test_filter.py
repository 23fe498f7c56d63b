from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from mminstruct import schemas
from mminstruct.stage import StageOutput
from mminstruct.stages.filter import Filter
from mminstruct.text.rules import RULES

GOOD = "Two small boats rest beside the pier while gulls circle above the lighthouse."


def run(*answers: str, **fields: Any) -> StageOutput:
    stage = Filter(**fields)
    stage.check()
    bank = ds.dataset(pa.table({"instruction_id": ["t"], "instruction": ["Write a short text about this image."]}))
    ids = [f"p{n}" for n in range(len(answers))]
    answer = pa.table(
        {
            "pair_id": pa.array(ids, pa.string()),
            "image_id": pa.array([f"i{n}" for n in range(len(answers))], pa.string()),
            "instruction_id": pa.array(["t"] * len(answers), pa.string()),
            "answer": pa.array(answers, pa.string()),
        }
    )
    fuse = pa.table({"image_id": ["i0"], "description": ["A quiet bay with one red boat and a long wooden pier."]})
    made: StageOutput = stage.load(summarize=bank)(answer=answer, fuse=fuse)  # type: ignore[assignment]
    assert made.table.schema == schemas.FILTER
    return made


def test_good_answers_stay_with_their_words_counted_and_bad_ones_leave_with_the_rule_s_name() -> None:
    made = run(GOOD, "I'm sorry, but I can't assist with that.", f"{GOOD}</s>")
    assert made.table.to_pylist() == [{"pair_id": "p0", "image_id": "i0", "instruction_id": "t", "words": 13}]
    assert [(drop.id, drop.reason, drop.detail) for drop in made.drops] == [
        ("p1", "refusal", "I'm sorry, but I can't assist"), ("p2", "leak", "special_token: </s>"),
    ]  # fmt: skip


def test_the_first_rule_that_finds_something_is_the_reason() -> None:
    both = "Based on the description, write to me@mail.example today."
    assert run(both).drops[0].reason == "meta_talk"
    assert run(both, rules=["pii", "meta_talk"]).drops[0].reason == "pii"


def test_a_rule_that_is_not_named_is_not_asked() -> None:
    assert run(f"{GOOD}</s>", rules=[name for name in RULES if name != "leak"]).table.num_rows == 1
    assert run("", rules=[]).table.num_rows == 1


def test_a_copy_is_seen_against_the_image_s_own_description() -> None:
    copied = "A quiet bay with one red boat and a long wooden pier."
    made = run(copied, copied)
    assert [(drop.id, drop.reason) for drop in made.drops] == [("p0", "copy")]  # p1's image has no description


def test_limits_reach_the_rules() -> None:
    assert run(GOOD, min_words=14).drops[0].reason == "too_short"
    assert run(GOOD, max_words=12).drops[0].reason == "too_long"
    assert run(GOOD, languages=["ja"]).drops[0].reason == "language"


@pytest.mark.parametrize("fields", [{"rules": ["refusals"]}, {"languages": ["xx"]}, {"languages": []}])
def test_unknown_names_are_refused_with_the_known_ones(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"filter\.(rules|languages)"):
        Filter(**fields).check()


def test_a_recipe_without_bank_or_description_gives_the_question_with_the_answer() -> None:
    stage = Filter(min_words=1)
    row = {
        "pair_id": "p",
        "image_id": "i",
        "instruction_id": "t",
        "answer": "B",
        "question": "Which?",
        "choices": ["a", "b"],
    }
    made: StageOutput = stage.load()(answer=pa.Table.from_pylist([row]))  # type: ignore[assignment]
    assert made.table.to_pylist() == [{"pair_id": "p", "image_id": "i", "instruction_id": "t", "words": 1}]
