from __future__ import annotations

import random

import pytest

from mminstruct.microworld.families import lessons
from mminstruct.microworld.language import caption
from mminstruct.microworld.oracle import (
    Tally,
    judge_answer,
    judge_caption,
    judge_fuse,
    judge_instruction,
    judge_pair,
    judge_summary,
)
from mminstruct.microworld.scene import Group, Relation, Scene, draw_scene

SEEDS = ["Write a poem about this image.", "Explain why the sky is blue.", "List five uses of a brick.", "Name a bird.",
         "Tell a joke."]  # fmt: skip
SCENE = Scene(
    0, 0, "park", "morning", "sunny", "flat", "Maple Park",
    (Group("dog", "brown", "small", 2, "running"), Group("sign", "blue", "large", 1, None, "OPEN")),
    (Relation(0, "left of", 1),),
)  # fmt: skip


def test_the_true_caption_has_full_marks_in_everything() -> None:
    for index in range(200):
        scene = draw_scene(index)
        for aspect, tally in judge_caption(caption(scene), scene).items():
            assert tally.precision == tally.recall == 1.0, aspect
            assert tally.right == tally.true


def test_a_caption_is_marked_down_for_what_it_invents_and_for_what_it_leaves_out() -> None:
    marks = judge_caption("Two red dogs and one cat in a park. The dog is behind the cat.", SCENE)
    assert marks["objects"] == Tally(1, 2, 2)
    assert marks["count"] == Tally(1, 2, 2)
    assert marks["colour"] == Tally(0, 1, 2)
    assert marks["relation"] == Tally(0, 1, 1)
    assert marks["words"] == Tally(0, 0, 1)
    assert marks["setting"] == Tally(1, 1, 1)
    assert (marks["objects"].precision, marks["words"].precision, marks["words"].recall) == (0.5, 1.0, 0.0)


def test_tallies_add_up() -> None:
    assert sum((Tally(1, 2, 3), Tally(1, 1, 1)), Tally()) == Tally(2, 3, 4)


def test_the_target_of_every_fuse_lesson_is_judged_good() -> None:
    for index in range(300):
        scene = draw_scene(index)
        lesson = lessons.fuse_example(scene, random.Random(index))
        assert judge_fuse(lesson["target"], lesson["caption"], lesson["alt_text"], scene).ok


def test_a_fused_text_that_drops_the_name_or_takes_over_a_falsehood_is_not_good() -> None:
    said = caption(SCENE)
    dropped = judge_fuse(said, said, "Maple Park, dogs", SCENE)
    assert dropped.name_kept is False
    assert not dropped.ok
    taken = judge_fuse(f"{said} There are two cats.", said, "two cats", SCENE)
    assert taken.name_kept is None
    assert taken.invented == ("there is no cat",)
    assert not taken.ok
    shorter = judge_fuse("The scene is in a park.", said, "", SCENE)
    assert 0 < shorter.caption_kept < 0.2


@pytest.mark.parametrize(
    ("text", "examples", "family", "applicable", "copied", "new"),
    [
        ("Write a haiku about the plant in this image.", (), "haiku", False, False, True),
        ("Explain how to look after the two brown dogs.", (), "pet_care", True, False, True),
        ("Explain how to look after the two white dogs.", (), "pet_care", False, False, True),
        ("Tweet about this image.", ("tweet  about this image",), "tweet", True, True, False),
        ("Tweet about this image.", ("Write a witty tweet on this shot.",), "tweet", True, False, False),
        ("Sing.", (), None, False, False, False),
    ],
)
def test_instructions_are_judged(
    text: str, examples: tuple[str, ...], family: str | None, applicable: bool, copied: bool, new: bool
) -> None:
    verdict = judge_instruction(text, SCENE, examples)
    assert (verdict.family, verdict.applicable, verdict.copied, verdict.new_kind) == (family, applicable, copied, new)
    assert verdict.parsed == (family is not None)
    assert verdict.ok == (applicable and not copied and new)


def test_a_pair_fits_only_where_the_topic_is_in_the_picture() -> None:
    assert judge_pair("Explain what the sign in this image means.", SCENE)
    assert judge_pair("Write a postcard from Maple Park.", SCENE)
    assert not judge_pair("Write a postcard from Silver Park.", SCENE)
    assert not judge_pair("Suggest a simple recipe that uses the food in this image.", SCENE)


def test_the_targets_of_lessons_are_judged_good() -> None:
    for index in range(300):
        scene, rng = draw_scene(index), random.Random(index)
        variables, instruction = lessons.instruct_example(scene, rng, "train", SEEDS)
        assert judge_instruction(instruction, scene, variables["examples"]).ok, instruction
        variables, answer = lessons.answer_example(scene, rng, "train", index % 3)
        verdict = judge_answer(answer, variables["instruction"], scene)
        assert verdict.ok, (variables["instruction"], answer, verdict)
        members, general = lessons.summarize_example(rng, "test")
        assert judge_summary(general, members)


def test_a_summary_that_names_a_single_thing_or_another_task_is_not_general() -> None:
    members = ["Tweet about this picture of two dogs.", "Compose a witty tweet on this shot."]
    assert judge_summary("Write a tweet about this image.", members)
    assert not judge_summary("Write a tweet about this picture of two dogs.", members)
    assert not judge_summary("Write a haiku about this image.", members)


def test_an_answer_about_another_thing_than_the_one_asked_for_has_not_the_form_asked_for() -> None:
    scene = Scene(0, 0, "park", None, None, "flat", "Maple Park",
                  (Group("dog", "brown", "small", 1), Group("duck", "white", "small", 1)), ())  # fmt: skip
    answer = "1. The brown dog needs rest. 2. Call the vet. 3. Be kind."
    assert judge_answer(answer, "Explain how to look after the brown dog.", scene).ok
    verdict = judge_answer(answer, "Explain how to look after the white duck.", scene)
    assert not verdict.format_ok
    assert verdict.facts_ok
    assert not judge_answer(answer, "Sing.", scene).format_ok
