from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.bench import forms


@pytest.mark.parametrize(
    ("question", "kind", "form"),
    [
        ("What is the mood? Answer the question using a single word or phrase.", "", "short"),
        ("What is it? Answer the question with a short phrase.", "", "short"),
        ("Sum it up in one word.", "", "short"),
        ("Which? Answer with the option's letter from the given choices directly.", "", "letter"),
        ("Which? Answer with option’s letter from the given choices and provide explanation for your choice.", "", "open"),
        ("Is it? Answer with a short phrase and provide explanation for your answer.", "", "open"),
        ("A. red\nB. blue\nGive the letter of the correct option.", "", "letter"),
        ("The cat is on the mat. Please answer yes or no about whether the statement about the image is true.", "", "yesno"),
        ("How many? Answer the question with a number.", "", "number"),
        ("Describe the content of this image in 20 words.", "caption", "open"),
        ("Write a letter from the dog's point of view, with a word for each friend.", "storytelling", "open"),
        ("How many cats are there?", "", "open"),
        ("How many cats are there?", "number", "number"),
        ("Is it raining?", "judgement", "yesno"),
        ("Which?", "choice", "letter"),
        ("What is x in the equation?", "math, ocr", "open"),
    ],
)  # fmt: skip
def test_the_form_is_the_one_that_the_wording_asks_for_else_that_of_the_kind(
    question: str, kind: str, form: str
) -> None:
    assert forms.asked_form(question, kind) == form


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("open", ["It is a red bus on a wet road."], ["", "Calm.", "It is a red bus on rails."]),
        ("short", ["Calm.", "a red bus"], ["", "...", "It is a bus"]),
        ("letter", ["B", "b.", "(B)", "**B**", "B. red", "B) dark red"], ["", "red", "A dog.", "B. It is the red one"]),
        ("yesno", ["yes", "No.", "Yes, it is."], ["", "Maybe", "Nothing", "Yes, it is a red bus."]),
        ("number", ["3", "Three.", "3 dogs", "1,000"], ["", "some", "2 or 3", "There are 3 dogs"]),
    ],
)
def test_an_answer_has_a_form_or_has_not(form: str, good: list[str], bad: list[str]) -> None:
    assert [said for said in good + bad if forms.kept(form, said)] == good


def test_only_an_open_question_can_have_a_collapsed_answer() -> None:
    assert [forms.collapsed("open", said) for said in ("", "Nothing.", "a red bus", "a red bus stops")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert [forms.collapsed(form, "Yes.") for form in forms.FORMS[1:]] == [None] * 4


@pytest.mark.parametrize(
    ("form", "answer", "reference", "right"),
    [
        ("short", "The Red Bus!", "red bus", True),
        ("short", "It is red", "red", False),
        ("number", "Three", "3", True),
        ("number", "Twelve", "12", True),
        ("number", "3.5", "3", False),
        ("letter", "(B)", "B. red", True),
        ("letter", "C", "B", False),
        ("letter", "red", "B", False),
        ("letter", "B", "red", None),
        ("yesno", "Yes, there is a red bus on the road.", "yes", True),
        ("yesno", "No.", "Yes. The bus is red.", False),
        ("yesno", "No.", "maybe", None),
        ("open", "The man in the image wears a red hat.", "red hat", True),
        ("open", "He is bored.", "red", False),
        ("open", "It is a bus.", "It is a bus in a town.", None),
        ("open", "It is golden.", "yellow<OR>golden", True),
        ("open", "x is -1 or 5", "-1<AND>5", True),
        ("open", "x is -1", "-1<AND>5", False),
        ("open", "x", "?", None),
        ("short", "red", None, None),
        ("short", "red", " ", None),
    ],
)
def test_an_answer_is_right_wrong_or_cannot_be_told(
    form: str, answer: str, reference: str | None, right: bool | None
) -> None:
    assert forms.right(form, answer, reference) is right


@given(st.text(), st.text(), st.text())
def test_any_text_has_a_form_and_an_answer(question: str, answer: str, reference: str) -> None:
    form = forms.asked_form(question)
    assert form in forms.FORMS
    for one in forms.FORMS:
        assert forms.kept(one, answer) in (True, False)
        assert forms.right(one, answer, reference) in (True, False, None)
    assert forms.plain(forms.plain(answer)) == forms.plain(answer)
    assert not (forms.kept("open", answer) and forms.collapsed("open", answer))
