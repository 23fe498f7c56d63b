from __future__ import annotations

import pytest

from mminstruct.text.refusal import refusal
from tests.text.replies import REFUSALS

TEXTS = [
    "A sorry-looking dog sits in the rain.",
    "A sign says: I'm sorry.",
    "As an airplane lands, people watch.",
    "As an AI researcher, she often walks along the pier.",
    "I can see a dog.",
    "I'm sorry for the noise last night, dear neighbours.",
    "I'm sorry I can't be there with you today, but the sea is calm.",
    "I can't believe this view! #sunset",
    "I cannot describe how happy I am: the boats are back.",
    "I can't create a better morning than this one.",
    "Sorry, we're closed! Come back tomorrow for fresh fish.",
    "Unfortunately, the boat had no sail left.",
    "I won't go out to sea until the net is whole again.",
    "No image of the sea is complete without gulls.",
    "Leider regnet es heute am Hafen.",
    "抱歉来晚了，这里的风景真美。",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_recognised_by_its_beginning(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize("text", TEXTS)
def test_words_of_regret_are_not_a_refusal(text: str) -> None:
    assert refusal(text) is None


def test_quoted_speech_later_in_a_long_text_is_not_a_refusal() -> None:
    assert refusal("The tide was low, the boats were dry. " * 12 + "“I can't help with that,” he said.") is None
