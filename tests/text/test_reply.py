from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.text.reply import fault, flaw, spoken, unlabelled
from mminstruct.text.thoughts import thoughts_left

BUS = "A red bus waits at the market."


def test_thoughts_and_template_tokens_are_not_spoken() -> None:
    assert spoken("<think>It is a dog.\n\nYes.</think>\n\nA dog.<|im_end|></s>") == "A dog."
    assert spoken("It was opened in the prompt.</think>A dog.") == "A dog."
    assert spoken("The tag <s> is struck.") == "The tag <s> is struck."


def test_of_thoughts_without_an_end_only_the_marker_is_left() -> None:
    for mark in ("<think>", "[THINK]", "◁think▷", "<|START_THINKING|>", "<|channel|>", "Here is my thought process:"):
        left = spoken(f"{mark} It never ends\n\nVerdict: A")
        assert left == mark
        assert thoughts_left(left) == left
        assert fault("stop", left, "caption") == "caption_reasoning_left"


def test_text_before_thoughts_is_not_lost_silently() -> None:
    text = spoken(f"{BUS} <think>Is it?</think> Yes.")
    assert text.startswith(BUS)
    assert fault("stop", text, "caption") == "caption_reasoning_left"


def test_the_first_speaker_of_a_conversation_keeps_its_name() -> None:
    assert spoken("Assistant: Hello.") == "Hello."
    assert spoken("Assistant: Hello.\nUser: Hello!") == "Assistant: Hello.\nUser: Hello!"
    assert spoken("assistant manager wanted") == "assistant manager wanted"


@given(st.text(st.characters() | st.sampled_from("<>|[]/◁▷\n"), max_size=200))
def test_cleaning_a_clean_reply_changes_nothing(text: str) -> None:
    once = spoken(text)
    assert spoken(once) == once


def test_a_label_is_removed_and_a_colon_in_the_text_stays() -> None:
    assert unlabelled("**Answer:** Two: a dog and a cat.", "answer") == "Two: a dog and a cat."
    assert unlabelled("Answering: yes", "answer") == "Answering: yes"


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", None), ("length", "x_truncated"), ("error", "model_error"), ("filtered", "model_filtered"),
        ("abort", "model_abort"), ("tool_calls", "model_tool_calls"), ("STOP", "model_finish_unknown"),
        ("", "model_finish_unknown"), ("stop ", "model_finish_unknown"), ("a/../b", "model_finish_unknown"),
    ],
)  # fmt: skip
def test_only_the_finish_stop_is_good_and_all_others_are_named(finish: str, reason: str | None) -> None:
    assert fault(finish, BUS, "x") == reason


def test_prose_that_refuses_or_repeats_is_a_flaw() -> None:
    assert flaw(BUS, "caption") is None
    assert flaw("I'm sorry, I can't describe this image.", "caption") == "caption_refusal"
    assert flaw("As an AI language model, the bus seems red to me.", "caption") == "caption_refusal"
    assert flaw(BUS * 5, "caption") == "caption_repetition"
