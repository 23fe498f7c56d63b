from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mminstruct.text import (
    cut,
    loops,
    one_line,
    parse_instruction,
    refuses,
    repair,
    spoken,
    unlabelled,
    words,
)

ANY = st.text(st.characters(), max_size=200)
INSTRUCTION = st.lists(
    st.sampled_from(["poem", "the dog's bowl", "a sign", "two boats", "mood", "in 3 lines", "for children", "(short)"]),
    min_size=2,
).map(lambda pieces: f"Write about {' '.join(pieces)}.")


@given(ANY)
@example("\ud83d\ude00 \ud83d x \udc00")
def test_repaired_text_can_be_stored_and_hides_nothing(text: str) -> None:
    fixed = repair(text)
    fixed.encode()
    assert unicodedata.is_normalized("NFC", fixed)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in fixed if letter not in "\n\t")
    assert not set(fixed) & set("\u200b\ufeff\u202e\u2066\u200f\U000e0041")
    assert repair(fixed) == fixed


def test_repair_joins_surrogates_and_keeps_what_emoji_and_persian_need() -> None:
    assert repair("\ud83d\ude00 \ud83d!") == "😀 !"
    assert repair("👩\u200d🚀 می\u200cخواهم a\u200db") == "👩\u200d🚀 می\u200cخواهم ab"
    assert repair("one\r\ntwo\rthree") == "one\ntwo\nthree"
    assert repair("cafe\u0301") == "café"


def test_thoughts_and_template_tokens_are_not_spoken() -> None:
    assert spoken("<think>It is a dog.\n\nYes.</think>\n\nA dog.<|im_end|></s>") == "A dog."
    assert spoken("It was opened in the prompt.</think>A dog.") == "A dog."
    assert spoken("<think>It never ends") == ""
    assert spoken("The tag <s> is struck.") == "The tag <s> is struck."


def test_words_are_counted_as_people_do() -> None:
    assert words("It's a well-known 2nd café, isn't it?") == ["It's", "a", "well-known", "2nd", "café", "isn't", "it"]
    assert words("一只狗 dog。") == ["一", "只", "狗", "dog"]
    assert words("... !!") == []


@given(ANY, st.integers(0, 20))
def test_a_cut_text_is_a_beginning_with_at_most_so_many_words(text: str, limit: int) -> None:
    kept = cut(text, limit)
    assert text.startswith(kept)
    assert len(words(kept)) == min(limit, len(words(text)))


@pytest.mark.parametrize(
    "text",
    [
        "The dog " * 8,
        "no " * 5,
        "A red car on a road. " * 3 + "A tree. " + "A red car on a road. " * 3,
        "1. A dog sits. 2. A dog sits. 3. A dog sits. 4. A dog sits.",
        "A" * 40,
        "说说说说说说",
    ],
)
def test_loops_are_found(text: str) -> None:
    assert loops(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A red car, a blue car, a green car and a very, very, very old bus.",
        "Row, row, row your boat, gently down the stream.",
        "| a | b |\n|" + "-" * 60 + "|",
        "The boat is red. The sea is blue. The sky is grey. The sand is brown. The dog is black. The hat is white.",
    ],
)
def test_ordinary_texts_do_not_loop(text: str) -> None:
    assert not loops(text)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("As an AI language model, I cannot see.", True),
        ("I’m unable to view it.", True),
        ("There is no image attached.", True),
        ("Unfortunately, I cannot see it.", True),
        ("A sorry-looking dog sits in the rain.", False),
        ("A sign says: I'm sorry.", False),
        ("As an airplane lands, people watch.", False),
        ("I can see a dog.", False),
        ("I'm sorry, I cannot identify the person.", True),
        ("I'm not able to view images.", True),
        ("I won't describe it.", True),
        ("I'm sorry for the noise last night, dear neighbours.", False),
        ("I can't believe this view! #sunset", False),
    ],
)
def test_refusals_are_known_by_their_beginning(text: str, refused: bool) -> None:
    assert refuses(text) is refused


def test_a_label_goes_and_a_colon_in_the_text_stays() -> None:
    assert unlabelled("**Answer:** Two: a dog and a cat.", "answer") == "Two: a dog and a cat."
    assert unlabelled("Answering: yes", "answer") == "Answering: yes"


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
def test_any_dress_comes_off(instruction: str, chatter: str, number: str, label: str, quotes: str, after: str) -> None:
    assert parse_instruction(chatter + number + label + quotes.format(instruction) + after) == instruction


@given(st.text(st.characters() | st.sampled_from("\n\n  \"'*:-.{}()1Aa“”"), max_size=200) | ANY)
def test_parsing_any_reply_gives_one_clean_line_that_parses_to_itself(reply: str) -> None:
    found = parse_instruction(reply)
    if found is not None:
        assert found == one_line(repair(found))
        assert len(words(found)) > 1
        assert parse_instruction(found) == found


def test_every_instruction_that_we_ship_parses_to_itself() -> None:
    shipped = yaml.safe_load((Path(__file__).parents[1] / "conf" / "seeds.yaml").read_text(encoding="utf-8"))
    for instruction in (text for texts in shipped.values() for text in texts):
        assert parse_instruction(instruction) == instruction
