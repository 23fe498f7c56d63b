from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.microworld.catalogue import KINDS
from mminstruct.microworld.language import (
    NOUNS,
    Mention,
    Placed,
    alt_text,
    caption,
    facts_of,
    fused,
    read_facts,
    short_questions,
)
from mminstruct.microworld.scene import Group, Relation, Scene, draw_scene

INDICES = st.integers(0, 10**7)


def _scene(*groups: Group, relations: tuple[Relation, ...] = ()) -> Scene:
    return Scene(0, 0, "beach", "morning", "sunny", "flat", "Maple Beach", groups, relations)


@settings(max_examples=1500, deadline=None)
@given(INDICES, st.booleans())
def test_a_caption_can_be_read_back_to_exactly_the_facts_of_its_scene(index: int, varied: bool) -> None:
    scene = draw_scene(index, seed=17)
    read = read_facts(caption(scene, random.Random(index) if varied else None))
    truth = facts_of(scene)
    assert read.things == truth.things
    assert (read.settings, read.times, read.weathers) == (truth.settings, truth.times, truth.weathers)
    assert (read.relations, read.words, read.places) == (truth.relations, truth.words, ())


@settings(max_examples=300, deadline=None)
@given(INDICES)
def test_a_fused_description_adds_the_proper_name_and_changes_no_other_fact(index: int) -> None:
    scene, rng = draw_scene(index), random.Random(index)
    said, alt = caption(scene, rng), alt_text(scene, rng)
    read = read_facts(fused(scene, said, alt))
    assert read.places == ((scene.place,) if scene.place in alt.text else ())
    assert read.things == facts_of(scene).things
    assert (read.settings, read.times, read.weathers) == (
        (scene.setting,),
        (scene.time,) if scene.time else (),
        (scene.weather,) if scene.weather else (),
    )


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    read_facts(text)


def test_a_caption_names_things_in_the_order_of_kinds_whatever_the_order_they_were_drawn_in() -> None:
    dog, ball = Group("dog", "brown", "large", 1, "sleeping"), Group("ball", "red", "small", 3)
    one = caption(_scene(dog, ball, relations=(Relation(0, "behind", 1),)))
    assert one == caption(_scene(ball, dog, relations=(Relation(1, "behind", 0),)))
    assert one == (
        "The scene is on a beach on a sunny morning. It shows one large brown dog sleeping and three small red balls. "
        "The brown dog is behind the three red balls."
    )


def test_people_are_described_by_their_clothes_and_never_by_their_size() -> None:
    said = caption(_scene(Group("woman", "black", "large", 2, "reading")))
    assert "two women in black reading" in said
    assert "large" not in said


def test_the_short_caption_is_one_sentence_with_count_and_colour() -> None:
    said = caption(_scene(Group("dog", "brown", "large", 2)), detail="short")
    assert said == "Two brown dogs on a beach on a sunny morning."


def test_captions_stay_short() -> None:
    lengths = [len(caption(draw_scene(index)).split()) for index in range(1000)]
    assert max(lengths) <= 70
    assert min(lengths) >= 8


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("a sleeping brown dog", Mention("dog", None, None, "brown", "sleeping")),
        ("The dogs are small.", Mention("dog", None, "small")),
        ("4 medium-sized white bread loaves", Mention("bread", 4, "medium", "white")),
        ("two pairs of scissors", Mention("scissors", 2)),
        ("a man wearing red", Mention("man", None, None, "red")),
        ("#dog", Mention("dog")),
    ],
)
def test_a_thing_is_read_in_every_phrasing(text: str, mention: Mention) -> None:
    assert read_facts(text).mentions == (mention,)


def test_right_of_is_read_as_left_of_the_other_way_round() -> None:
    assert read_facts("The dog is to the right of the red ball.").relations == (Placed("ball", "left of", "dog"),)


def test_signs_and_proper_names_hide_no_things_and_no_places() -> None:
    read = read_facts('At Maple Beach a sign says "BOOKS".')
    assert read.places == ("Maple Beach",)
    assert read.words == ("BOOKS",)
    assert [mention.kind for mention in read.mentions] == ["sign"]
    assert read.settings == ()


def test_every_kind_is_read_back_in_singular_and_plural() -> None:
    for kind in KINDS:
        for count in (1, 2):
            assert read_facts(f"{Mention(kind, count).named()}.").mentions == (Mention(kind, count),), NOUNS[kind]


def test_alt_text_comes_in_every_kind_and_knows_what_of_it_is_true() -> None:
    kinds = set()
    for index in range(600):
        scene = draw_scene(index)
        alt = alt_text(scene, random.Random(index))
        kinds.add(alt.kind)
        here = {group.kind for group in scene.groups}
        assert not here & set(alt.false_facts)
        assert set(alt.true_facts) <= here | {scene.place}
        assert (scene.place in alt.true_facts) == (scene.place in alt.text)
        assert alt.kind != "wrong" or alt.false_facts
    assert kinds == {"good", "wrong", "truncated", "spam", "foreign", "empty"}


def test_a_text_that_is_no_caption_gets_the_name_in_a_last_sentence() -> None:
    scene = _scene(Group("dog", "brown", "large", 2))
    assert fused(scene, "Two dogs.", "Maple Beach, fun") == "Two dogs. The place is Maple Beach."
    assert fused(scene, "Two dogs.", "IMG_2031.JPG") == "Two dogs."


def test_short_questions_are_answered_from_the_truth_with_as_many_yes_as_no() -> None:
    for index in range(200):
        scene = draw_scene(index)
        asked = short_questions(scene)
        assert asked == short_questions(scene)
        answers = [answer for _, answer in asked]
        assert answers.count("yes") == answers.count("no") == len(scene.groups)
        for question, answer in asked:
            if answer == "no":
                assert read_facts(question).mentions[0].kind not in {group.kind for group in scene.groups}
