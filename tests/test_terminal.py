"""Printed text is shown and never interpreted: escape sequences, bidirectional controls, unencodable characters."""

from __future__ import annotations

import ast
import io
import json
import logging
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mminstruct
from mminstruct.terminal import Formatter, one_line, safe, say

HOSTILE = (
    "\x1b[2J\x1b[31mred", "\x9b31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x07link\x1b]8;;\x07", "a\rb", "\x08\x08\x08",
    "\u202egpj.exe", "\u2066a\u2069", "line\u2028line", "\ud800", "\x00", "\x7f",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_terminal_obeys_is_shown_instead(text: str) -> None:
    shown = safe(text)
    assert all(unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") for letter in shown)
    assert "\\u" in shown or "\\r" in shown or "\\b" in shown


@given(st.text())
def test_no_text_keeps_a_control_and_ordinary_letters_stay(text: str) -> None:
    shown = safe(text)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t" for letter in shown)
    assert "\n" not in one_line(text)
    if all(unicodedata.category(letter)[0] in "LNPSM" or letter in " \n\t" for letter in text):
        assert shown == text
    assert safe(shown) == shown


@given(st.text())
def test_json_stays_the_same_json(text: str) -> None:
    written = json.dumps({text: text}, ensure_ascii=False, indent=1)
    assert json.loads(safe(written)) == {text: text}


def test_letters_that_the_stream_lacks_are_shown_by_their_numbers() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    say("Gr\u00fc\u00dfe \u2013 \U0001f600", to=stream)
    assert raw.getvalue() == b"Gr\\xfc\\xdfe \\u2013 \\U0001f600\n"


def test_warnings_are_safe_too() -> None:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "shard %s", ("\x1b[2J",), None)
    assert "\x1b" not in Formatter("%(message)s").format(record)


def test_nothing_else_in_the_package_prints() -> None:
    package = Path(mminstruct.__file__).parent
    scripts = [package / "terminal.py", package / "schemas" / "__main__.py", *(package / "microworld").glob("*.py")]
    for file in package.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert file in scripts or not prints, f"{file}:{prints}: take mminstruct.terminal.say"
        defaults = [
            default.id
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.FunctionDef)
            for default in [*node.args.defaults, *node.args.kw_defaults]
            if isinstance(default, ast.Name)
        ]
        assert file in scripts or "print" not in defaults, f"{file}: take mminstruct.terminal.say"
