"""A card shows what came from outside as it is: no link, picture, HTML or key of the front matter comes of it."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mminstruct.export import card
from mminstruct.export.card import CardFacts
from mminstruct.export.proof import Share

HOSTILE = (
    "[click](https://bad.example)", "![x](https://bad.example/x.png)", "<script>alert(1)</script>", "<img src=x onerror=y>",
    "a | b | c", "line\nline", "---\nlicense: mit\n---", "# head", "`code", "**bold**", "_soft_", "~~gone~~", "&lt;b&gt;",
    "\\", "\\|", "[x]: https://bad.example", "<https://bad.example>", "$$x$$", "{% raw %}{{ x }}", "\x1b[31mred", "\u202etxt.exe",
    "CC BY-SA 4.0", "my_set_of_2024", "\ud800", "a\r\nb", "> quote", "- item", "| --- |",
)  # fmt: skip
MARKS = st.text(st.sampled_from("[]()<>!|`*_~#-=\\&;:/.{}$^@\"' \n\r\x00\x1b\u202e\u2028ax1é"), max_size=30)


def facts(text: str) -> CardFacts:
    share = Share(rows=1, images=1, characters=1, licences={text: 1})
    return CardFacts(
        name=text, format="hf", files="{split}.parquet", use="Read `NAME`", rows={"train": 1}, shares={text: share},
        target={"max_length": 9, "tokenizer": text, "image_tokens": 4}, models={"caption": text},
        funnel=[{"table": "ingest", "in": 2, "kept": 1, "dropped": {text: 1}}],
        mixture=[{"source": text, "in": 2, "unsound": {text: 1}, "left": 0, "taken": 1, "rows": 1,
                  "mended": {text: 1}}],
    )  # fmt: skip


def parsed(text: str) -> tuple[dict[str, Any], Counter[str], str]:
    """Front matter, how many of each kind of token the page has, and all that a reader sees."""
    head, _, page = card.text(facts(text)).removeprefix("---\n").partition("\n---\n")
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(page)
    flat = [one for token in tokens for one in (token, *(token.children or []))]
    seen = "".join(one.content for one in flat if one.type in ("text", "code_inline", "text_special"))
    return yaml.safe_load(head), Counter(one.type for one in flat if one.type not in ("text", "text_special")), seen


def check(text: str) -> None:
    card.text(facts(text)).encode()  # what a file holds
    front, kinds, seen = parsed(text)
    plain, wanted, _ = parsed("plain")
    assert kinds == wanted
    assert front.keys() <= plain.keys()
    assert front["license"] in ("other", "mit", *card._HUB_LICENCES.values())
    assert not any(unicodedata.category(letter) == "Cc" or letter in "\u202e\u2028" for letter in seen)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_from_outside_becomes_markup(text: str) -> None:
    check(text)


@given(MARKS.filter(str.strip))
@settings(max_examples=150, deadline=None)
def test_no_text_at_all_becomes_markup(text: str) -> None:
    check(text)


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.isprintable()])
def test_a_reader_sees_the_text_as_it_was(text: str) -> None:
    (row,) = [token for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(
        "\n".join(card.table(["a"], [[text]]))) if token.type == "inline" and token.content != "a"]  # fmt: skip
    assert "".join(one.content for one in row.children or []) == text


def test_ordinary_names_are_written_as_they_are() -> None:
    assert card.markdown("CC BY-SA 4.0") == "CC BY-SA 4.0"
    assert card.markdown("my_set_of_2024") == "my_set_of_2024"


def test_the_card_says_how_many_questions_people_accepted_and_edited_where_anybody_decided() -> None:
    none = CardFacts(name="x", rows={"train": 9})
    assert "people accepted" not in card.text(none)
    seen = CardFacts(name="x", rows={"train": 9}, people={"accepted": 5, "edited": 2, "all": 1234})
    assert "Of the 1,234 questions with their answers, people accepted 5 as they were and edited 2." in card.text(seen)


def test_the_card_and_its_json_begin_with_what_the_run_warns_of() -> None:
    none = CardFacts(name="x", rows={"train": 9})
    assert "Warning" not in card.text(none)
    assert "warnings" not in json.loads(none.as_json())
    warned = CardFacts(name="x", rows={"train": 9}, warnings=["caption: 2 of 5 pictures are [odd]"])
    text = card.text(warned)
    assert text.index("**Warning:** caption: 2 of 5 pictures are \\[odd\\]") < text.index("Format `")
    assert json.loads(warned.as_json())["warnings"] == ["caption: 2 of 5 pictures are [odd]"]
