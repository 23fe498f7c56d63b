from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.text import one_line, repair, words
from mminstruct.text.instruction import parse_instruction, read_instruction

ANY = st.text(st.characters(), max_size=200)
INSTRUCTION = st.lists(
    st.sampled_from(["poem", "the dog's bowl", "a sign", "two boats", "mood", "in 3 lines", "for children", "(short)"]),
    min_size=2,
).map(lambda pieces: f"Write about {' '.join(pieces)}.")


@pytest.mark.parametrize(
    ("reply", "instruction"),
    [
        ("Sure! Here is a new instruction: \"Describe the mood of it.\"", "Describe the mood of it."),
        ("Sure, here's one based on it:\n\n\"Tell the mood.\"\n\nThis instruction asks for it.", "Tell the mood."),
        ("\"Write a poem.\" This instruction requires creativity.", "Write a poem."),
        ("Write a poem about it. (This instruction tests creativity.)", "Write a poem about it."),
        ("Write a poem about it. Explanation: it is new.", "Write a poem about it."),
        ("This instruction asks for verse:\nWrite a poem. This instruction is new.", "Write a poem."),
        ("### New Instruction\n\nWrite a poem now.", "Write a poem now."),
        ("Here are three instructions:\n1. Write a haiku.\n2. Draw it.", "Write a haiku."),
        ("```json\n{\"new_instruction\": \"Write a poem.\"}\n```", "Write a poem."),
        ("Image: a dog\nNew instruction: Write a song.", "Write a song."),
        ("Write an email with:\n- a greeting\n- a joke", "Write an email with: a greeting; a joke"),
        ("Sure! Write a table with two columns: name, colour.", "Write a table with two columns: name, colour."),
        ("Imagine a story: who lives here?", "Imagine a story: who lives here?"),
        ("Describe the task the man is doing.", "Describe the task the man is doing."),
        ("Caption this image. This image needs wit.", "Caption this image. This image needs wit."),
        ("<think>A poem?</think>Draft a letter.", "Draft a letter."),
        ("新指令：根据图片写一首诗。", "新指令：根据图片写一首诗。"),
        ("I'm sorry, but I cannot help with that.", None),
        ("New instruction:", None),
        ("```\n```", None),
        ("...", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_instruction_is_found_in_what_models_say_around_it(reply: str, instruction: str | None) -> None:
    assert parse_instruction(reply) == instruction


CHATTER = [
    "",
    "Sure! ",
    "Certainly!\n\n",
    "Here is a new instruction:\n",
    "Of course. Here's one: ",
    "Image: a boat\n\n",
]
LABELS = ["", "New instruction: ", "**New Instruction:** ", "Instruction 6: ", "Final instruction: "]
QUOTES = ["{}", '"{}"', "“{}”", "**{}**", "<instruction>{}</instruction>", '**"{}"**']
AFTER = ["", "\n", "\n\nThis instruction asks for another kind.", "\n2. Write something else.", "<|im_end|>", "\r\n"]


@given(
    INSTRUCTION,
    st.sampled_from(CHATTER),
    st.sampled_from(["", "1. ", "- ", "6) ", "> ", "### "]),
    st.sampled_from(LABELS),
    st.sampled_from(QUOTES),
    st.sampled_from(AFTER),
)
def test_any_wrapping_is_removed(
    instruction: str, chatter: str, number: str, label: str, quotes: str, after: str
) -> None:
    assert parse_instruction(chatter + number + label + quotes.format(instruction) + after) == instruction


@given(st.text(st.characters() | st.sampled_from("\n\n  \"'*:-.{}()1Aa“”"), max_size=200) | ANY)
def test_parsing_any_reply_gives_one_clean_line_that_parses_to_itself(reply: str) -> None:
    found = parse_instruction(reply)
    if found is not None:
        assert found == one_line(repair(found))
        assert len(words(found)) > 1
        assert parse_instruction(found) == found


def test_every_instruction_that_we_ship_parses_to_itself() -> None:
    shipped = yaml.safe_load((Path(__file__).parents[2] / "conf" / "seeds.yaml").read_text(encoding="utf-8"))
    for instruction in (text for texts in shipped.values() for text in texts):
        assert parse_instruction(instruction) == instruction


@pytest.mark.parametrize(
    ("finish", "reply", "reason", "said"),
    [
        ("stop", "New instruction: Write a poem.", None, "Write a poem."),
        ("length", "Write a poem.\nThis instruction asks", None, "Write a poem."),
        ("length", "Write a poem about", "x_truncated", "Write a poem about"),
        ("abort", "Write a poem.", "model_abort", "Write a poem."),
        ("stop", "<instruction>Write a poem.</instruction>", None, "Write a poem."),
        ("stop", "<p>Write a poem.</p>", "x_markup", "<p>Write a poem.</p>"),
        ("stop", "Write a poem about &quot;it&quot;.", "x_escaped", "Write a poem about &quot;it&quot;."),
        ("stop", "Write HTML for the page.", None, "Write HTML for the page."),
        ("stop", "Write a poem.<|im_end|>\n<|im_start|>user", "x_special_token", None),
        ("stop", "<think>A poem? No", "x_reasoning_left", "<think>"),
        ("stop", "I'm sorry, but I can't help with that.", "x_refusal", None),
        ("stop", "Write it now. " * 6, "x_repetition", None),
        ("stop", "...", "x_empty", "..."),
        ("stop", "New instruction:", "x_unparsed", None),
    ],
)
def test_an_instruction_is_parsed_or_its_fault_is_named(
    finish: str, reply: str, reason: str | None, said: str | None
) -> None:
    found, text = read_instruction(finish, reply, "x")
    assert found == reason
    assert said is None or text == said
