"""Generated wordings: recognised, many, and different from test wordings."""

from __future__ import annotations

import random
import re

import pytest

from mminstruct.microworld.families import FAMILIES, classify, lessons, wordings
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.scene import draw_scene

SCENES = [draw_scene(index, seed=31) for index in range(200)]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+", text.lower()))


@pytest.mark.parametrize("name", FAMILIES)
def test_generated_wordings_belong_to_their_family_are_many_and_differ_from_test_wordings(name: str) -> None:
    family, rng = FAMILIES[name], random.Random(name)
    made = {wordings.ask(family, rng) for _ in range(60)}
    assert len(made) > 25
    for ask in made:
        for unseen in family.asks_test:
            assert len(_words(ask) & _words(unseen)) < wordings.SIMILAR * len(_words(ask) | _words(unseen))
    facts = next(facts for facts in map(facts_of, SCENES) if family.applies(facts))
    for specific in (False, True):
        texts = [wordings.reworded(family, facts, rng, specific=specific) for _ in range(20)]
        assert {classify(text) for text in texts} == {name}
        assert not {*texts} & {*family.wordings_test}


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
    assert made > len(SCENES) * 0.1
    assert examined > len(SCENES) * 0.2
