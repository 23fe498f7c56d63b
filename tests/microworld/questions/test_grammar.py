"""The grammar of questions: every form is read back, and wrong answers are told from right ones."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.microworld.catalogue import COLOURS, LEVELS
from mminstruct.microworld.language import caption
from mminstruct.microworld.questions.domains import DOMAINS, fitting, looks
from mminstruct.microworld.questions.forms import Asked
from mminstruct.microworld.questions.grammar import KINDS_ASKED, TEMPLATES, find, follows, forms, judge_turn
from mminstruct.microworld.questions.planting import planted
from mminstruct.microworld.questions.sorts import SORTS
from mminstruct.microworld.questions.world import World, world_from, world_of
from mminstruct.microworld.scene import Group, Relation, Scene, draw_scene
from mminstruct.readers.domains import read_domains

FILE = Path(__file__).parents[3] / "conf" / "domains.yaml"
SCENE = Scene(
    0, 0, "park", "morning", "rainy", "outlined", "Maple Park",
    (Group("dog", "brown", "small", 2, "running"), Group("tree", "green", "large", 1),
     Group("sign", "red", "small", 1, None, "OPEN")),
    (Relation(0, "behind", 1),),
)  # fmt: skip
UNSEEN = {"Does this look like <style>?", "Which technique does this look like?", "Which technique was this made in?"}
"""Questions about the technique, which no description tells."""


def row(asked: Asked, **changed: Any) -> dict[str, Any]:
    made = {"kind": asked.form.kind, "domain": asked.form.domain, "question": asked.question, "answer": asked.answer,
            "choices": asked.choices, "right": asked.right}  # fmt: skip
    return made | changed


@pytest.fixture(scope="module")
def every() -> list[tuple[World, Asked]]:
    """A question of every form that fits, on scenes of both levels."""
    rng, found = random.Random(1), []
    for index in range(24):
        scene = draw_scene(index, level=LEVELS[index % 2])
        world = world_from(caption(scene), (), f"photo of {scene.place}")
        for domain in TEMPLATES:
            for kind in KINDS_ASKED:
                found += [(world, one) for form in forms(domain, kind) if (one := form.ask(world, rng))]
    return found


def test_every_form_can_be_asked(every: list[tuple[World, Asked]]) -> None:
    asked = {(one.form.domain, one.form.kind, one.form.text) for _, one in every}
    texts = {(d, k, text) for d in TEMPLATES for k in KINDS_ASKED for text, _ in TEMPLATES[d][k]}
    assert {text for _, _, text in texts - asked} == UNSEEN


def test_every_question_is_read_back_whatever_its_case_articles_and_marks(every: list[tuple[World, Asked]]) -> None:
    for _, one in every:
        for text in (one.question, one.question.upper(), one.question.rstrip("?.") + " ?", f" {one.question}\n"):
            assert one.form.read(text) == dict(one.slots), text


def test_every_question_is_right_and_every_other_answer_is_wrong(every: list[tuple[World, Asked]]) -> None:
    rng = random.Random(2)
    for world, one in every:
        judged = judge_turn(row(one), world)
        assert (judged.known, judged.right, judged.unique) == (True, True, True), (one, judged.why)
        if one.form.kind == "judgement":
            wrong = [row(one, answer="No" if one.answer == "Yes" else "Yes")]
        elif one.form.kind == "choice":
            wrong = [row(one, answer="ABCD"[place], right=place) for place in (1, 2, 3)]
            twice = (*one.choices[:3], one.choices[0])
            assert not judge_turn(row(one, choices=twice), world).unique
            assert not judge_turn(row(one, choices=(*one.choices[:3], "nothing known")), world).unique
        elif one.form.kind == "short":
            assert one.form.query is not None
            true = one.form.query.answers(world, one.slots)
            sort = SORTS[one.form.query.sort]
            wrong = [row(one, answer=sort.say(value)) for value in sort.ways if value not in true][:5]
        else:
            changed = planted(one.answer, world, rng)
            wrong = [row(one, answer=changed[0])] if changed else []
            wrong += [row(one, answer="A quiet view without a name, as one may find it at any hour of a long day.")]
        for bad in wrong:
            assert not judge_turn(bad, world).right, bad


@pytest.mark.parametrize(
    ("kind", "question", "answer", "right"),
    [
        ("judgement", "Are the dogs brown?", "Yes", True),
        ("judgement", "is the dog black", "no", True),
        ("judgement", "Is the cat brown?", "No", False),
        ("judgement", "Does this look like a drawing with outlines?", "Yes", True),
        ("judgement", "Are the dogs behind the tree?", "Yes", True),
        ("judgement", "Is the tree in front of the dogs?", "Yes", True),
        ("judgement", "Is the tree behind the dogs?", "Yes", False),
        ("judgement", "Are there more dogs than trees?", "Yes", True),
        ("judgement", 'Does the sign read "STOP"?', "No", True),
        ("judgement", "Is this Maple Park?", "Yes", True),
        ("judgement", "Is a raincoat the right thing to wear here?", "Yes", True),
        ("short", "What is the sum of the dogs and the tree?", "3", True),
        ("short", "What is the sum of the dogs and the tree?", "four", False),
        ("short", "What is written on the sign?", "“Open”", True),
        ("short", "What is behind the tree?", "The dogs.", True),
        ("short", "Which technique was this made in?", "outlined", True),
        ("short", "What should people wear outdoors here?", "a raincoat and boots", True),
        ("long", "Describe the dogs in detail.", "Two small brown dogs are running in the rain.", True),
        ("long", "Describe the dogs in detail.", "Two small black dogs are running in the rain.", False),
        ("long", "Describe the dogs in detail.", "The tree is green and the picture was taken in a park.", False),
    ],
)
def test_answers_are_judged_by_the_scene(kind: str, question: str, answer: str, right: bool) -> None:
    judged = judge_turn({"kind": kind, "question": question, "answer": answer}, SCENE)
    assert (judged.known, judged.right) == (True, right), judged.why


def test_a_row_can_be_right_by_the_description_and_wrong_by_the_scene() -> None:
    said = world_from(caption(SCENE).replace("brown", "black"))
    asked = {"kind": "short", "question": "What is the colour of the dogs?", "answer": "black"}
    assert judge_turn(asked, said).right
    assert not judge_turn(asked, SCENE).right


def test_rounds_of_a_conversation_are_answered_in_sentences() -> None:
    asked = {"kind": "long", "origin": "converse", "question": "And what are the dogs doing there?"}
    assert judge_turn({**asked, "answer": "They run: the two dogs are running."}, SCENE).right
    assert not judge_turn({**asked, "answer": "The two dogs are sleeping."}, SCENE).right
    short = {**asked, "question": "What is written on the sign?", "answer": "It reads OPEN in capitals."}
    assert judge_turn(short, SCENE).right
    assert all(form.read(form.text) is None or not form.placeholders for form in follows())


@given(st.text(max_size=80), st.sampled_from((*KINDS_ASKED, "other")), st.text(max_size=20))
def test_any_text_is_judged_without_an_error(question: str, kind: str, answer: str) -> None:
    row = {"kind": kind, "question": question, "answer": answer, "choices": ["a", ""], "right": 1}
    assert not judge_turn(row, SCENE).right
    assert find(f"What did {question} cost?", kind) is None
    assert not judge_turn({**row, "question": "Are the dogs brown?", "kind": "judgement"}, SCENE).right or (
        answer.strip().lower().startswith("yes") or "yes" in answer.lower()
    )


def test_the_domain_file_has_what_the_grammar_knows() -> None:
    found = {one.name: one for one in read_domains(FILE.read_text("utf-8"), FILE.name)}
    for name, topic in DOMAINS.items():
        one = found[name]
        assert (one.says, one.looks, one.needs) == (topic.says, topic.looks, topic.needs)
        assert one.templates == {kind: tuple(text for text, _ in TEMPLATES[name][kind]) for kind in KINDS_ASKED}
        texts = [text for kind in KINDS_ASKED for text in one.templates[kind]]
        assert len(set(texts)) == 24, f"{name} asks the same in two kinds"


def test_every_scene_suits_a_domain_that_can_ask_about_it() -> None:
    rng = random.Random(3)
    for index in range(60):
        scene = draw_scene(index, level=LEVELS[index % 2])
        world = world_of(scene)
        for name in fitting(scene):
            for kind in KINDS_ASKED:
                assert any(form.ask(world, rng) for form in forms(name, kind)), (scene, name, kind)
        assert looks(scene, rng) in [text for name in fitting(scene) for text in DOMAINS[name].looks]


def test_colours_near_a_shade_are_no_false_answers() -> None:
    group = dataclasses.replace(SCENE.groups[0], colour="navy")
    world = world_of(dataclasses.replace(SCENE, groups=(group, *SCENE.groups[1:]), level="hard"))
    form = next(form for form in forms("attribute_recognition", "choice") if form.text == "What colour is the <thing>?")
    assert "navy" in COLOURS
    for seed in range(40):
        asked = form.about(world, {"thing": "dog"}, random.Random(seed))
        assert asked is not None
        assert not {"blue", "black"} & set(asked.choices)
