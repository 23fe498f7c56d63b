from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.stage import instruction_id
from mminstruct.text.phrases import PHRASES
from mminstruct.text.tagged import Asked
from mminstruct.text.turn import FAULTS, REPLIES, Checker, Limits, Turn, chosen, question_key, read_reply, shuffled

FRUIT = (("A", "an apple"), ("B", "a pear"), ("C", "a plum"), ("D", "a cherry"))
LONG = " ".join(f"word{n}" for n in range(25))
CASES: dict[str, tuple[str, Asked]] = {
    "no_answer": ("short", Asked("What is on the table?", None, None)),
    "no_choices": ("choice", Asked("What is on the table?", (), "A")),
    "choices_count": ("choice", Asked("What is on the table?", (*FRUIT, ("E", "a fig")), "A")),
    "choice_empty": ("choice", Asked("What is on the table?", (*FRUIT[:3], ("D", "-")), "A")),
    "choice_same": ("choice", Asked("What is on the table?", (*FRUIT[:3], ("D", "The apple.")), "A")),
    "choice_refers": ("choice", Asked("What is on the table?", (*FRUIT[:3], ("D", "all of the above")), "A")),
    "choice_sorts": ("choice", Asked("What is on the table?", (*FRUIT[:3], ("D", "seven")), "A")),
    "answer_no_choice": ("choice", Asked("What is on the table?", FRUIT, "a fig")),
    "answer_letter_text": ("choice", Asked("What is on the table?", FRUIT, "A. a pear")),
    "gives_away": ("choice", Asked("Where is an apple on the table?", FRUIT, "A")),
    "judgement_word": ("judgement", Asked("Is it on the table?", None, "Perhaps")),
    "placeholder_left": ("short", Asked("What colour is the <thing> here?", None, "red")),
    "template_named": ("short", Asked("What does the description say of it?", None, "red")),
    "question_short": ("short", Asked("What colour?", None, "red")),
    "question_long": ("short", Asked(f"{LONG} {LONG} {LONG}", None, "red")),
    "answer_long": ("short", Asked("What is on the table?", None, "a very red and very round apple and a pear")),
    "answer_short": ("long", Asked("What is on the table?", None, "An apple is on the table.")),
    "question_twice": ("short", Asked("What is on a chair?", None, "red")),
    "language": ("short", Asked("Что лежит на большом столе?", None, "яблоко")),
    "special_token": ("short", Asked("What is on the table?", None, "an apple<|im_end|>")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_question_is_found_by_its_name(fault: str) -> None:
    kind, asked = CASES[fault]
    checker = Checker("object_localization")
    assert checker.check(Asked("What is on the chair?", None, "a hat"), "short").fault is None
    turn = checker.check(asked, kind)
    assert (turn.fault, turn.question, turn.answer, turn.right) == (fault, asked.question, asked.answer or "", None)


def test_there_is_a_case_for_every_fault_and_a_fault_for_every_case() -> None:
    assert CASES.keys() == FAULTS.keys()


@pytest.mark.parametrize(
    ("kind", "asked", "answer", "right"),
    [
        ("judgement", Asked("Is it on the table?", None, "**no.**"), "No", None),
        ("choice", Asked("What is on the table?", FRUIT, "C"), "C", 2),
        ("choice", Asked("What is on the table?", FRUIT, "(c)"), None, None),
        ("choice", Asked("What is on the table?", FRUIT, "(B) a pear."), "B", 1),
        ("choice", Asked("What is on the table?", FRUIT, "The cherry"), "D", 3),
        (
            "choice",
            Asked("How many are there?", tuple(zip("ABCD", ("2", "three", "4", "5"), strict=True)), "B"),
            "B",
            1,
        ),
        ("choice", Asked("Is the apple beside the pear?", FRUIT, "A"), "A", 0),
        ("short", Asked("What is on the table?", None, "an apple"), "an apple", None),
        ("long", Asked("What is on the table?", None, LONG), LONG, None),
    ],
)
def test_a_sound_question_becomes_what_is_learned(
    kind: str, asked: Asked, answer: str | None, right: int | None
) -> None:
    turn = Checker().check(asked, kind)
    assert (turn.fault is None) == (answer is not None)
    if answer is not None:
        assert (turn.answer, turn.right) == (answer, right)


def test_the_same_question_in_another_kind_is_asked_twice_but_one_with_a_fault_is_not_remembered() -> None:
    checker = Checker()
    assert checker.check(Asked("Is it on the table?", None, "Perhaps"), "judgement").fault == "judgement_word"
    assert checker.check(Asked("Is it on the table?", None, "Yes"), "judgement").fault is None
    assert checker.check(Asked("is it on a table", None, "yes"), "short").fault == "question_twice"


def test_limits_are_those_that_are_given() -> None:
    short = Asked("Where?", None, "An apple is here.")
    assert Checker(limits=Limits((1, 5), 1, 4)).check(short, "long").fault is None
    assert Checker(limits=Limits((1, 5), 1, 4)).check(short, "short").fault == "answer_long"
    assert Checker(limits=Limits((2, 5), 1, 4)).check(short, "long").fault == "question_short"


def test_choices_are_shuffled_by_their_texts_so_that_the_order_of_the_model_is_forgotten() -> None:
    turn = Turn("choice", "Which?", "A", ("w", "x", "y", "z"), 0)
    other = Turn("choice", "Which?", "D", ("z", "y", "x", "w"), 3)
    letters: Counter[str] = Counter()
    for key in range(2000):
        made = shuffled(turn, key)
        assert made == shuffled(other, key)
        assert made.choices is not None
        assert made.right is not None
        assert made.choices[made.right] == "w"
        assert "ABCD"[made.right] == made.answer
        letters[made.answer] += 1
    assert all(abs(count - 500) < 90 for count in letters.values()), letters  # 4.6 standard deviations
    assert shuffled(Turn("short", "Which?", "w"), 1) == Turn("short", "Which?", "w")


@pytest.mark.parametrize("answer", ["E", "", "AB", "a fig", "A or B", "none of these", "A. a fig", "5"])
def test_an_answer_that_names_no_choice_names_none(answer: str) -> None:
    assert isinstance(chosen(answer, [text for _, text in FRUIT]), str)


@pytest.mark.parametrize(
    ("finish", "reply", "reason", "count"),
    [
        ("error", "<Q1> Is it red? </Q1> <A1> Yes </A1>", "model_error", 0),
        ("filtered", "", "model_filtered", 0),
        ("stop", " \n", "ask_empty", 0),
        ("stop", "I'm sorry, but I cannot help with this image.", "ask_refusal", 0),
        ("stop", "Is it red? Yes.", "ask_unparsed", 0),
        ("stop", "<think> <Q1> Is it red? </Q1> <A1> Yes </A1>", "ask_unparsed", 0),
        ("stop", "Okay, the user wants questions. <Q1> Is it red? </Q1> <A1> Yes </A1> Wait, no.", "ask_unparsed", 0),
        ("length", "<Q1> Is it red? </Q1> <A1> Ye", "ask_truncated", 0),
        ("length", "<Q1> Is it red? </Q1> <A1> Yes </A1> <Q2> Is", "ask_truncated", 1),
        ("stop", "<Q1> Is it red? </Q1> <A1> Yes </A1>", None, 1),
    ],
)
def test_a_reply_without_questions_has_a_reason(finish: str, reply: str, reason: str | None, count: int) -> None:
    said, found = read_reply(finish, reply, "ask")
    assert (said, len(found)) == (reason, count)
    assert reason is None or reason.removeprefix("ask_") in REPLIES


def test_each_kind_has_ten_phrases_of_its_own() -> None:
    every = [phrase for some in PHRASES.values() for phrase in some]
    assert {kind: len(some) for kind, some in PHRASES.items()} == dict.fromkeys(
        ("judgement", "choice", "short", "long"), 10
    )
    assert len(set(every)) == 40


@pytest.mark.parametrize("text", ["A and B", "B or C", "A, B and D", "A & C", "white Answer: B"])
def test_a_choice_that_refers_to_the_letters_of_others_is_a_fault(text: str) -> None:
    turn = Checker().check(Asked("What is on the table?", (*FRUIT[:3], ("D", text)), "A"), "choice")
    assert turn.fault == "choice_refers"


@pytest.mark.parametrize("letters", ["EATN", "eatn"])
def test_a_letter_that_is_the_text_of_another_choice_is_not_clear(letters: str) -> None:
    assert chosen("A", letters) == "answer_letter_text"
    assert chosen("D", letters) == 3


@pytest.mark.parametrize("again", ["What is on the chair:", "What is on the chair？", "ＷHAT is on the chair"])
def test_a_question_that_would_get_the_id_of_another_is_asked_twice(again: str) -> None:
    checker = Checker()
    first, second = (checker.check(Asked(text, None, "a hat"), "short") for text in ("What is on the chair?", again))
    assert (first.fault, second.fault) == (None, "question_twice")


@given(st.text(max_size=20), st.text("?？.:;! Ｉiſẞ", max_size=4))
def test_questions_with_one_id_have_one_key(text: str, end: str) -> None:
    one, other = " ".join(text.split()), " ".join((text + end).split())
    assert instruction_id(one) != instruction_id(other) or question_key(one) == question_key(other)
