from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.text.question import Question, asked, first_sentence, in_digits


def near(one: str, other: str) -> bool:
    found = Question.of(one).near(Question.of(other), 0.8)
    assert found == Question.of(other).near(Question.of(one), 0.8)
    return found


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (("What is it?",), "What is it?"),
        (("What is it?", None, "Answer shortly."), "What is it? Answer shortly."),
        (("Which?", ["a cat", "a dog"]), "Which?\nA. a cat\nB. a dog"),
        (("Which?", ["a cat", "a dog"], "Answer by letter."), "Which?\nA. a cat\nB. a dog\nAnswer by letter."),
        (("Which?", [], ""), "Which?"),
    ],
)
def test_choices_come_as_lettered_lines_and_the_phrase_last(shown: tuple[str, ...], text: str) -> None:
    assert asked(*shown) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What color is the cat?", "what colour is a cat"),
        ("What color is the cat?", "What is the color of the cat?"),
        ("How many dogs are there?", "How many dogs can you see in the picture?"),
        ("How many dogs are there?", "What is the number of dogs in this image?"),
        ("What color are the 2 buses?", "What color are the two buses in the photo?"),
        ("Is there a cat on the table?", "Is the cat on the table?"),
        ("Where is the dog?", "Where are the dogs?"),
        ("Is the small black cat on the red sofa?", "Is the small cat on the red sofa?"),
        ("The cat is left of the dog.", "Is the cat left of the dog?"),
    ],
)
def test_questions_in_other_words_ask_the_same(one: str, other: str) -> None:
    assert near(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What color is the cat?", "What color is the dog?"),
        ("What color is the cat?", "Where is the cat?"),
        ("What is the cat doing?", "What is the dog doing?"),
        ("The cat is left of the dog.", "The dog is left of the cat."),
        ("Is the cat on the table?", "Is the cat under the table?"),
        ("Is the man happy?", "Is the man not happy?"),
        ("Is there a cat?", "Is there a black cat?"),
        (
            "Is the small black cat with the long tail on the red wooden table near the old window asleep?",
            "Is the small white cat with the long tail on the red wooden table near the old window asleep?",
        ),
        ("How many red cars are there?", "How many blue cars are there?"),
        ("What kind of bird is this?", "What color of bird is this?"),
    ],
)
def test_questions_about_other_things_do_not_ask_the_same(one: str, other: str) -> None:
    assert not near(one, other)


@given(st.text(max_size=60), st.text(max_size=60))
def test_every_text_asks_the_same_as_itself_and_never_fails(one: str, other: str) -> None:
    assert near(one, one)
    near(one, other)


def test_only_a_whole_number_word_becomes_digits() -> None:
    assert [in_digits(text) for text in ("two", "Two.", "two dogs", "none", "12")] == [
        "2",
        "2",
        "two dogs",
        "none",
        "12",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Yes. There is a cat.", "Yes"),
        ("St. Louis. The arch.", "St. Louis"),
        ("3.5 metres. Look.", "3.5 metres"),
        ("No", "No"),
    ],
)
def test_a_sentence_does_not_end_at_an_abbreviation(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_a_final_preposition_tells_questions_apart_but_not_where() -> None:
    def near(one: str, other: str) -> bool:
        return Question.of(one).near(Question.of(other), 0.8)

    assert not near("What is the dog sitting on?", "What is the dog sitting in?")
    assert not near("What is the cat on?", "What is the cat?")
    assert near("Where is the cat at?", "Where is the cat?")
