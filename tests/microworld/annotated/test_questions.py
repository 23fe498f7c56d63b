"""What annotators say about a scene."""

from __future__ import annotations

import pytest

from mminstruct.microworld.annotated.descriptions import captions, paragraph
from mminstruct.microworld.annotated.questions import is_true, plain, questions
from mminstruct.microworld.claims import contradictions
from mminstruct.microworld.language import facts_of, read_facts
from mminstruct.microworld.scene import Scene, draw_scene

SCENES = [draw_scene(index, seed=77) for index in range(60)]


@pytest.mark.parametrize("scene", SCENES[:30], ids=lambda scene: scene.index)
def test_every_sentence_is_true_of_its_scene_and_no_caption_is_there_twice(scene: Scene) -> None:
    said = captions(scene)
    assert len(set(said)) == 5
    reasons = {reason for question in questions(scene) for reason in question.why}
    for text in (*said, paragraph(scene), *reasons):
        assert contradictions(read_facts(text), facts_of(scene)) == []
    assert len(paragraph(scene).split(". ")) >= 4
    claims = [sum(len(one) for one in (facts.mentions, facts.relations)) for facts in map(read_facts, said)]
    assert len({*claims, len({text.split()[0] for text in said})}) > 1  # the details differ


def test_each_question_is_asked_once_and_has_enough_false_answers() -> None:
    for scene in SCENES:
        asked = questions(scene)
        wordings = [{plain(wording) for wording in one.wordings} for one in asked]
        assert len({one.key for one in asked}) == len(asked)
        assert sum(map(len, wordings)) == len(set.union(*wordings))  # no wording belongs to two questions
        assert all(len(one.why) == 3 and len({*one.wrong} - {one.answer}) >= 4 for one in asked)


def test_statements_come_both_ways_round_and_half_of_them_are_true() -> None:
    for scene in SCENES:
        said = [one for one in questions(scene) if one.relation]
        assert len(said) == 4 * len(scene.relations)
        assert sum(one.answer == "yes" for one in said) == len(said) / 2


def test_the_judge_accepts_true_turns_in_every_form_and_refuses_false_ones() -> None:
    for scene in SCENES[:20]:
        for one in questions(scene):
            other = one.wrong[0]
            for wording in one.wordings:
                assert is_true(scene, "short", wording.upper(), one.answer.capitalize())
                assert not is_true(scene, "short", wording, other)
            asked, why = one.wordings[0], one.why[0]
            assert is_true(scene, "explained", asked, f"{one.answer}. {why}")
            assert not is_true(scene, "explained", asked, f"{other}. {why}")
            assert not is_true(scene, "explained", asked, f"{one.answer}. There are nine purple bread loaves.")
            choices = [other, one.answer, *one.wrong[1:3]]
            assert is_true(scene, "choice_explained", asked, f"B. {why}", choices, 1)
            assert not is_true(scene, "choice_explained", asked, f"A. {why}", choices, 1)
            assert not is_true(scene, "choice_explained", asked, f"A. {why}", choices, 0)
        assert not is_true(scene, "short", "Who won?", "yes")
        assert is_true(scene, "paragraph", "Describe it.", paragraph(scene))
        assert not is_true(scene, "caption", "Describe it.", "Nine purple bread loaves.")


def test_the_judge_takes_digits_for_words() -> None:
    scene = SCENES[0]
    one = next(one for one in questions(scene) if one.about == "number")
    number = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten").index(one.answer)
    assert is_true(scene, "number", one.wordings[0], str(number))
    assert not is_true(scene, "number", one.wordings[0], str(number + 1))
