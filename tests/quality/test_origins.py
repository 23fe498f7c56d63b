"""The first stage that makes a false statement is found, whichever it is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mminstruct.microworld import shards
from mminstruct.microworld.families import FAMILIES
from mminstruct.microworld.language import caption, read_facts
from mminstruct.microworld.scene import Group, Relation, Scene
from mminstruct.quality.measures.origins import STAGES, first_stages, origin
from mminstruct.quality.run import JudgedRun
from mminstruct.quality.truth import read_truth
from tests.quality.perfect import PerfectRun

SCENE = Scene(
    seed=9, index=0, setting="park", style="flat", time="morning", weather="sunny", place="Maple Park",
    groups=(Group("dog", "brown", "small", 1, None, None), Group("ball", "red", "small", 2, None, None)),
    relations=(Relation(0, "left of", 1),),
)  # fmt: skip
TRUE = caption(SCENE)
FALSE = TRUE.replace("brown", "white")
ASKED = "Write a tweet of less than 140 characters about this image."


def said(text: str) -> str:
    return FAMILIES["tweet"].write(read_facts(text), random.Random(0), style=0)


@pytest.mark.parametrize(
    ("seen", "described", "asked", "answer", "stage"),
    [
        (FALSE, FALSE, ASKED, said(FALSE), "caption"),
        (TRUE, FALSE, ASKED, said(FALSE), "fuse"),
        (TRUE, TRUE, "Tweet about this picture of a white dog.", said(FALSE), "match"),
        (TRUE, TRUE, "Write a menu entry for the food in this image.", "Today's special: red apple.", "match"),
        (TRUE, TRUE, ASKED, said(FALSE), "answer"),
        (FALSE, FALSE, ASKED, "Just saw a black dog in a park. Pure joy!", "answer"),
    ],
)
def test_a_false_statement_belongs_to_the_first_stage_that_makes_it(
    seen: str, described: str, asked: str, answer: str, stage: str
) -> None:
    assert set(first_stages(answer, seen, described, asked, SCENE)) == {stage}


@pytest.mark.parametrize(("seen", "described", "stage"), [(0, 0, "caption"), (1, 0, "fuse"), (1, 1, "answer")])
def test_lore_that_is_wrong_belongs_to_the_stage_whose_text_would_make_it_right(
    seen: int, described: int, stage: str
) -> None:
    night = TRUE.replace("on a sunny morning", "at night")
    texts = (night, TRUE)
    answer = FAMILIES["weather_note"].write(read_facts(night), random.Random(0), style=0)
    asked = "Write a weather note for the outdoor place in this image."
    found = first_stages(answer, texts[seen], texts[described], asked, SCENE)
    assert len(found) >= 2
    assert set(found) == {stage}


def test_true_answers_have_no_origin_and_shares_add_up_otherwise(tmp_path: Path) -> None:
    world = shards.write("datacomp", tmp_path / "world", images=6, seed=4242)
    run = PerfectRun(world, read_truth([world]))
    assert origin(JudgedRun(run.write(tmp_path / "true"), run.known)) == []
    for row in run.rows["answer"]:
        row["answer"] += " Beside it waits a purple cactus in a kitchen."
    found = origin(JudgedRun(run.write(tmp_path / "false"), run.known))
    assert len(found) == len(STAGES)
    assert sum(measure.value for measure in found) == pytest.approx(1)
    assert {measure.value for measure in found} == {0.0, 1.0}
    assert found[-1].value == 1
