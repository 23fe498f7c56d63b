"""Lessons of the asker and the verifier: every reply is read by the parser of the stages and judged against the truth."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from mminstruct.microworld.catalogue import LEVELS
from mminstruct.microworld.language import caption
from mminstruct.microworld.questions.grammar import TEMPLATES, forms, judge_turn
from mminstruct.microworld.questions.lessons import NUMBER, answer, asker_example
from mminstruct.microworld.questions.planting import planted
from mminstruct.microworld.questions.tell import false_claims, sentences
from mminstruct.microworld.questions.world import world_from
from mminstruct.microworld.scene import draw_scene
from mminstruct.text.turn import Checker, Limits, Turn, read_reply

Row = dict[str, Any]


def read(role: str, values: Row, target: str) -> list[Turn]:
    """The questions of *target*, as the stages read them, without a fault."""
    reason, asked = read_reply("stop", target, role)
    assert reason is None, target
    kind, domain = values.get("kind", "long"), values.get("domain", "").replace(" ", "_")
    checker = Checker(domain, Limits() if role == "ask" else Limits(long=4))
    turns = [checker.check(one, kind) for one in asked]
    assert [turn.fault for turn in turns] == [None] * len(turns), turns
    return turns


def row(turn: Turn, origin: str, domain: str) -> Row:
    names = ("kind", "question", "answer", "choices", "right")
    return {**{name: getattr(turn, name) for name in names}, "domain": domain.replace(" ", "_"), "origin": origin}


def check_replies(count: int, start: int) -> Counter[str]:
    rng, tally = random.Random(f"lessons {start}"), Counter[str]()
    for index in range(start, start + count):
        scene = draw_scene(index, level=LEVELS[index % 2])
        values, target = asker_example("ask", scene, rng, "train")
        world = world_from(values["description"], values["words"], values["prior"])
        turns = read("ask", values, target)
        assert 0 < len(turns) <= NUMBER[values["kind"]]
        for turn in turns:
            judged = judge_turn(row(turn, "ask", values["domain"]), world)
            assert (judged.known, judged.right, judged.unique) == (True, True, True), (turn, judged.why, values)
            tally[turn.answer if turn.kind == "judgement" else turn.kind] += 1
        tally[values["domain"]] += 1
    return tally


def test_every_question_of_a_lesson_is_without_fault_and_right_by_its_description() -> None:
    tally = check_replies(200, 0)
    assert tally["Yes"] == tally["No"] > 50
    assert len(tally) == 2 + 3 + len(TEMPLATES)


@pytest.mark.slow
def test_five_thousand_lessons_are_right() -> None:
    tally = check_replies(5_000, 10_000)
    assert tally["Yes"] == tally["No"]


def test_most_questions_follow_a_template_that_was_shown() -> None:
    rng, follows = random.Random(3), []
    for index in range(100):
        values, target = asker_example("ask", draw_scene(index), rng, "train")
        domain, kind = values["domain"].replace(" ", "_"), values["kind"]
        shown = [form for form in forms(domain, kind) if form.text in values["templates"]]
        follows += [any(form.read(turn.question) is not None for form in shown)
                    for turn in read("ask", values, target)]  # fmt: skip
    assert sum(follows) / len(follows) > 0.85


def test_conversations_have_three_true_rounds_that_repeat_nothing() -> None:
    rng = random.Random(4)
    for index in range(100):
        values, target = asker_example("converse", draw_scene(index, level=LEVELS[index % 2]), rng, "train")
        turns = read("converse", values, target)
        world = world_from(values["description"])
        assert len(turns) == 3
        asked = [turn.question for turn in turns] + [example["question"] for example in values["examples"]]
        assert len(set(asked)) == len(asked)
        for turn in turns:
            judged = judge_turn(row(turn, "converse", ""), world)
            assert judged.known, turn
            assert judged.right, (turn, judged.why)
            assert len(sentences(turn.answer)) <= 3


def test_the_verifiers_reply_is_the_answer_of_the_description_or_unknown() -> None:
    rng, replies = random.Random(5), Counter[str]()
    for index in range(400):
        values, target = asker_example("verify", draw_scene(index), rng, "train")
        world = world_from(values["description"], prior=values["prior"])
        if values["statements"]:
            wrong = [one for one in sentences(values["statements"]) if false_claims(one, world.facts)]
            assert target == (wrong[0] if wrong else "supported")
            replies["supported" if not wrong else "unsupported"] += 1
            continue
        kind = {"Yes or No": "judgement", "the letter of a choice": "choice"}.get(values["form"], "short")
        choices = [line[3:] for line in values["choices"]]
        asked: Row = {"kind": kind, "question": values["question"], "answer": target, "choices": choices}
        judged = judge_turn(asked, world)
        seen = bool(values["description"])
        replies[f"{kind} {seen} {target if kind == 'judgement' else target == 'unknown'}"] += 1
        assert judged.known
        if target != "unknown" and seen:
            assert judged.right, (values, target, judged.why)
        elif seen and choices:
            others = [judge_turn({**asked, "answer": letter}, world) for letter in "ABCD"]
            assert sum(one.right for one in others) != 1
        elif seen and kind == "judgement":
            assert not any(judge_turn({**asked, "answer": said}, world).right for said in ("Yes", "No"))
    assert min(replies["judgement True Yes"], replies["judgement True No"], replies["unsupported"]) > 20
    assert min(replies["choice True True"], replies["short True True"], replies["choice False False"]) > 3


def test_wrong_answers_get_another_reply_than_the_right_ones() -> None:
    rng = random.Random(6)
    world = world_from(caption(draw_scene(8)))
    for domain in TEMPLATES:
        for form in forms(domain, "judgement"):
            for yes in (True, False):
                asked = form.ask(world, rng, yes)
                assert asked is None or answer(asked, world) == ("Yes" if yes else "No")


def test_a_planted_statement_is_false_and_the_others_stay_true() -> None:
    rng, found = random.Random(7), 0
    for index in range(60):
        world = world_from(caption(draw_scene(index)))
        asked = rng.choice(forms("image_description", "long")).ask(world, rng)
        if asked is None or (changed := planted(asked.answer, world, rng)) is None:
            continue
        text, wrong = changed
        found += 1
        assert [one for one in sentences(text) if false_claims(one, world.facts)] == [wrong]
        assert len(sentences(text)) == len(sentences(asked.answer))
    assert found > 40


def test_the_same_generator_gives_the_same_lesson() -> None:
    for role in ("ask", "converse", "verify"):
        one, other = (asker_example(role, draw_scene(9), random.Random(1), "train") for _ in range(2))
        assert one == other


def test_another_role_is_refused() -> None:
    with pytest.raises(ValueError, match="take ask, converse or verify"):
        asker_example("answer", draw_scene(0), random.Random(0), "train")
