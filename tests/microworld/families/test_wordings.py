"""Generated wordings: recognised, many, and different from test wordings."""

from __future__ import annotations

import random
import re

import pytest

from mminstruct.microworld.families import FAMILIES, classify, lessons, shapes, wordings
from mminstruct.microworld.families.family import TAILS, WHOLES
from mminstruct.microworld.families.genres import GENRES
from mminstruct.microworld.language import facts_of, read_facts
from mminstruct.microworld.oracle import judge_answer
from mminstruct.microworld.scene import draw_scene

SCENES = [draw_scene(index, seed=31) for index in range(200)]


@pytest.mark.parametrize("name", FAMILIES)
def test_generated_wordings_belong_to_their_family_are_thousands_and_differ_from_test_wordings(name: str) -> None:
    family, rng = FAMILIES[name], random.Random(name)
    made = [wordings.ask(family, rng) for _ in range(200)]
    assert len(set(made)) > 130  # those of the family's own sentences, about 30 %, are repeated; the others are not
    assert max(wordings.similarity(ask, unseen) for ask in made for unseen in family.asks_test) < wordings.SIMILAR
    facts = next(facts for facts in map(facts_of, SCENES) if family.applies(facts))
    held = re.compile("|".join((*TAILS["test"], *WHOLES["test"], *shapes.HELD_PICTURES, *shapes.HELD_TAILS)))
    for specific in (False, True):
        texts = [wordings.reworded(family, facts, rng, specific=specific) for _ in range(40)]
        assert {classify(text) for text in texts} == {name}
        assert len(set(texts)) > 35 - 10 * specific
        assert not any(held.search(text) for text in texts)


@pytest.mark.parametrize("name", FAMILIES)
def test_unseen_wordings_belong_to_their_family_and_share_no_shape_verb_or_name_with_training(name: str) -> None:
    family, rng = FAMILIES[name], random.Random(name)
    facts = next(facts for facts in map(facts_of, SCENES) if family.applies(facts))
    texts = {wordings.unseen(family, facts, rng, specific=specific) for specific in (False, True) for _ in range(20)}
    assert {classify(text) for text in texts} == {name}
    assert all(GENRES[name].held[1:] in text for text in texts)
    held = re.compile("|".join(re.sub(r"\\{\w+\\}", ".+", re.escape(shape)) for shape in shapes.HELD))
    assert all(held.fullmatch(text) for text in texts)
    assert GENRES[name].held not in " ".join(GENRES[name].names)
    assert not set(shapes.HELD) & {shape for some in shapes.SHAPES.values() for shape in some}
    assert not set(shapes.VERBS["held"]) & set(shapes.VERBS["train"])
    taught = [wordings.reworded(family, facts, rng, specific=False) for _ in range(40)]
    assert max(wordings.similarity(text, other) for text in texts for other in taught) < wordings.SIMILAR


def test_what_stands_around_a_request_names_no_thing_and_no_kind_of_text() -> None:
    pools = (shapes.WORDS, shapes.ROLES, shapes.READERS, shapes.PRAISES, shapes.PICTURES, shapes.WHERE, shapes.WHOLES)
    for text in (text for pool in pools for text in pool):
        facts = read_facts(text)
        assert not facts.mentions + facts.settings + facts.places, text
        assert classify(text) is None, text


def test_a_text_whose_surroundings_name_another_kind_of_text_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "OPENINGS", ("My diary lies here.", "Hello!"))
    facts = next(facts for facts in map(facts_of, SCENES) if FAMILIES["recipe"].applies(facts))
    texts = [wordings.reworded(FAMILIES["recipe"], facts, random.Random(n), specific=False) for n in range(60)]
    assert {classify(text) for text in texts} == {"recipe"}
    assert any(text.startswith("Hello!") for text in texts)


def test_a_specific_wording_names_its_thing_and_no_other() -> None:
    rng = random.Random(5)
    for facts in map(facts_of, SCENES[:60]):
        for name in ("menu", "field_note", "tool_safety", "vehicle_ad", "lost_and_found"):
            if FAMILIES[name].applies(facts):
                text = wordings.reworded(FAMILIES[name], facts, rng, specific=True)
                named = {mention.kind for mention in read_facts(text).mentions}
                assert len(named) == 1, text
                assert named <= {thing.kind for thing in FAMILIES[name].candidates(facts)}


def test_training_lessons_use_generated_wordings_and_test_lessons_never_do() -> None:
    known = {text for family in FAMILIES.values() for text in family.wordings_train}
    exams = {text for family in FAMILIES.values() for text in family.wordings_test}
    rng, made, examined = random.Random(0), 0, 0
    for scene in SCENES:
        taught = lessons.answer_example(scene, rng, "train", 1)[0]["instruction"]
        asked = lessons.answer_example(scene, rng, "test", 1)[0]["instruction"]
        assert taught not in exams
        made += taught not in known
        examined += asked in exams
        assert asked in exams | {family.general for family in FAMILIES.values()}
    assert made > len(SCENES) * 0.2
    assert examined > len(SCENES) * 0.2


@pytest.mark.parametrize(("level", "crowded"), [("easy", False), ("hard", True)])
def test_lessons_are_right_on_every_level_and_their_examples_are_of_the_same_level(level: str, crowded: bool) -> None:
    most = 0
    for index in range(60):
        scene, rng = draw_scene(index, 31, level), random.Random(index)
        values, target = lessons.answer_example(scene, rng, "train", 2)
        assert judge_answer(target, values["instruction"], scene).ok, (values["instruction"], target)
        most = max(most, *(len(read_facts(shown["description"]).things) for shown in values["examples"]))
    assert (most > 4) == crowded
