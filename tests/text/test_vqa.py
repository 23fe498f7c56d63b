"""Answers are compared by the published rules of VQA's evaluation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.text.vqa import normal

SAME = [
    ("The Dog.", "dog"),
    ("two", "2"),
    ("none", "0"),
    ("1,000", "1000"),
    ("1.5", "1.5"),
    ("black-white", "black white"),
    ("yes, it is", "yes it is"),
    ("dont know", "don't know"),
    ("couldnt've", "couldn't've"),
    ("couldntve", "couldn't've"),
    ("  an\tapple\n", "apple"),
    ("t-shirt / jeans", "t shirt jeans"),
    ("they're", "they're"),
    ("10 o'clock", "10 oclock"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_answers_that_are_the_same_by_the_rules_have_one_form(one: str, other: str) -> None:
    assert normal(one) == normal(other)


@pytest.mark.parametrize(
    ("one", "other"), [("cat", "cats"), ("12", "1.2"), ("no", "know"), ("its", "it's"), ("a", "b")]
)
def test_other_answers_have_other_forms(one: str, other: str) -> None:
    assert normal(one) != normal(other)


def test_answers_of_articles_or_marks_alone_stay_and_differ() -> None:
    assert [normal(answer) for answer in ("A", "the", " ? ", "")] == ["a", "the", "?", ""]


@given(st.text())
def test_no_text_breaks_it_and_case_and_spaces_do_not_count(text: str) -> None:
    assert normal(f" {text} ") == normal(text)
