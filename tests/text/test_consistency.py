from __future__ import annotations

import pytest

from mminstruct.text.consistency import same

FRUIT = ("an apple", "a pear", "a plum", "a cherry")
TEXT = "A red bus stands at the harbour. Two women wait beside it in the rain."


@pytest.mark.parametrize(
    ("kind", "answer", "reply", "outcome"),
    [
        ("judgement", "Yes", "Yes", "same"),
        ("judgement", "Yes", "**yes.**", "same"),
        ("judgement", "Yes", "No", "other"),
        ("judgement", "Yes", "unknown", "unknown"),
        ("judgement", "Yes", "Yes and no", "unparsed"),
        ("judgement", "Yes", "The bus is red.", "unparsed"),
        ("judgement", "No", "", "unparsed"),
        ("choice", "B", "B", "same"),
        ("choice", "B", "Answer: (B) a pear", "same"),
        ("choice", "B", "a pear", "same"),
        ("choice", "B", "C", "other"),
        ("choice", "B", "B. a plum", "unparsed"),
        ("choice", "B", "B or C", "unparsed"),
        ("choice", "B", "It cannot be determined.", "unknown"),
        ("short", "red", "Red.", "same"),
        ("short", "red", "blue", "other"),
        ("short", "the red bus", "a bus", "same"),
        ("short", "red bus", "blue bus", "other"),
        ("short", "two", "2", "same"),
        ("short", "eleven", "11", "same"),
        ("short", "two cups", "three cups", "other"),
        ("short", "two cups", "cups", "other"),
        ("short", "at the harbour", "harbour", "same"),
        ("short", "red", "not red", "other"),
        ("short", "a hat", "without a hat", "other"),
        ("short", "under the table", "on the table", "other"),
        ("short", "behind the bus", "the bus", "other"),
        ("short", "left of the bus", "left", "same"),
        ("short", "a cat behind a dog", "a dog behind a cat", "other"),
        ("short", "the cat is behind the dog", "cat behind dog", "same"),
        ("short", "red and blue", "blue and red", "same"),
        ("short", "12:10", "10:12", "other"),
        ("short", "-5", "5", "other"),
        ("short", "-5", "-5 degrees", "same"),
        ("short", "red", "not mentioned", "unknown"),
        ("short", "red", "The colour of the bus that stands at the harbour in the rain is red.", "unparsed"),
        ("short", "red", "red\nblue", "unparsed"),
        ("short", "red", "I'm sorry, I can't see the image.", "unparsed"),
        ("long", TEXT, "supported", "same"),
        ("long", TEXT, "Supported.", "same"),
        ("long", TEXT, "Two women wait beside it in the rain.", "other"),
        ("long", TEXT, "Not supported: two women wait.", "other"),
        ("long", TEXT, "unknown", "unknown"),
        ("long", TEXT, "It is supported that there is a bus.", "unparsed"),
        ("long", TEXT, "Yes", "unparsed"),
    ],
)
def test_a_second_answer_is_the_same_or_another_or_not_clear(kind: str, answer: str, reply: str, outcome: str) -> None:
    choices, right = (FRUIT, 1) if kind == "choice" else ((), None)
    assert same(reply, "stop", kind, answer, choices, right) == outcome


def test_a_cut_reply_is_never_taken_as_an_answer() -> None:
    assert same("Yes", "length", "judgement", "Yes") == "unparsed"
