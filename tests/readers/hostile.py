"""Text, JSON and conversations as hostile as the outside has them, for every door that lets them in."""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any

from hypothesis import strategies as st

BREAKS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
"""What ``str.splitlines`` breaks at and JSON lines do not."""
ODD = BREAKS + "\0\x01\x7f\ufeff\ufffd\ufffe\u200b\u202e\U0001f600é\xa0\"'\\,;\t"

texts = st.text(st.characters(codec="utf-8") | st.sampled_from(ODD), max_size=30)
"""Any text without surrogates."""
torn = st.text(st.characters() | st.sampled_from("\ud83d\ude00\udc80" + ODD), max_size=30)
"""Any text that Python can hold, lone surrogates too."""
latin = st.text(
    st.sampled_from([c for b in range(32, 256) if (c := bytes([b]).decode("cp1252", "ignore"))]), max_size=30
)
"""What cp1252 can say."""

ENDLESS, DIGITS = "@endless@", "1" + "0" * 5000
"""Stands for a number of 5001 digits, which Python itself refuses to show."""

scalars = st.none() | st.booleans() | st.integers() | st.floats() | torn
values = st.recursive(
    scalars | st.just(ENDLESS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(torn, inner, max_size=3),
    max_leaves=6,
)
"""JSON as Python writes it: NaN, infinities, numbers of 5001 digits, lone surrogates."""


def written(value: Any, ascii: bool = True) -> str:
    """*value* as JSON; not in ASCII only where it can be encoded."""
    if not ascii and re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)):
        ascii = True
    return json.dumps(value, ensure_ascii=ascii).replace(f'"{ENDLESS}"', DIGITS)


def expected(value: Any) -> Any:
    """*value* as it must be read: NaN and infinities null, surrogates paired or gone, endless numbers as text."""
    if isinstance(value, str):
        return DIGITS if value == ENDLESS else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [expected(item) for item in value]
    return {expected(key): expected(item) for key, item in value.items()} if isinstance(value, dict) else value


BROKEN_LINES = (
    "{",
    '{"a": 1',
    '{"a": 1} {"a": 2}',
    "{'a': 1}",
    '{"a": 1, "a": 2}',
    "[" * 100_000,
    '{"a": ' * 500 + "1" + "}" * 500,
    "\0\0\0\0",
    "nul",
    '{"a": "\t\x01"}',
    "\u2028",
)
"""Lines that are no JSON, or none to rely on; none of them holds a line end."""

ENCODINGS: dict[str, tuple[bytes, str]] = {
    "utf-8": (b"", "utf-8"),
    "utf-8 with a mark": (codecs.BOM_UTF8, "utf-8"),
    "utf-16 le": (codecs.BOM_UTF16_LE, "utf-16-le"),
    "utf-16 be": (codecs.BOM_UTF16_BE, "utf-16-be"),
    "utf-32 le": (codecs.BOM_UTF32_LE, "utf-32-le"),
}


def encoded(text: str, name: str) -> bytes:
    mark, codec = ENCODINGS[name]
    return mark + text.encode(codec)


def talk(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "r", "conversations": [{"from": who, "value": said} for who, said in turns], **more}


ASKED = ("human", "<image>\nWhat is it?"), ("gpt", "A bus.")
PLAIN = ("human", "Why?"), ("gpt", "Because.")

CONVERSATIONS: dict[str, dict[str, Any]] = {
    "sound, with an image": talk(*ASKED, image="0.jpg"),
    "sound, of text": talk(*PLAIN),
    "two rounds": talk(*PLAIN, ("human", "Sure?"), ("gpt", "Yes.")),
    "OpenAI's words": {
        "id": 1,
        "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
    },
    "OpenAI's parts": {
        "id": 1,
        "images": ["0.jpg"],
        "messages": [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "A bus."}]},
        ],
    },
    "an image as an object": talk(*ASKED, image={"path": "0.jpg"}),
    "an image as a list": talk(*ASKED, image=["0.jpg"]),
    "an image as a list of objects": talk(*ASKED, images=[{"path": "0.jpg", "bytes": None}]),
    "an image as bytes": talk(*ASKED, image={"bytes": "/9j/"}),
    "an image as a number": talk(*ASKED, image=7),
    "an image that is not there": talk(*ASKED, image="gone.jpg"),
    "an image outside": talk(*ASKED, image="../0.jpg"),
    "an image at the root": talk(*ASKED, image="/etc/passwd"),
    "an image at an address": talk(*ASKED, image="https://example.org/0.jpg"),
    "two images": talk(("human", "<image><image> Which?"), ("gpt", "Both."), images=["0.jpg", "1.jpg"]),
    "an image without its mark": talk(*PLAIN, image="0.jpg"),
    "a mark without its image": talk(*ASKED),
    "a mark in the answer": talk(("human", "What?"), ("gpt", "<image>"), image="0.jpg"),
    "the model speaks first": talk(("gpt", "Hello"), *PLAIN),
    "the model speaks first twice": talk(("gpt", "Hello"), ("gpt", "Hello"), *PLAIN),
    "the human speaks last": talk(*PLAIN, ("human", "Thanks")),
    "both": talk(("gpt", "Hello"), *PLAIN, ("human", "Thanks")),
    "only the model": talk(("gpt", "Hello")),
    "only the human": talk(("human", "Hello")),
    "the human twice": talk(("human", "Why?"), *PLAIN),
    "a system first": talk(("system", "Be short."), *PLAIN),
    "a system, then the model": talk(("system", "Be short."), ("gpt", "Hello"), *ASKED, image="0.jpg"),
    "a system as a field": talk(*ASKED, image="0.jpg", system="Be short."),
    "a blank system": talk(("system", " "), *PLAIN),
    "a system in the middle": talk(*PLAIN, ("system", "Be short."), *PLAIN),
    "two systems": talk(("system", "Be short."), *PLAIN, system="Be long."),
    "an unknown speaker": talk(("tool", "7"), *PLAIN),
    "a speaker that is a list": talk((["human"], "Why?")),  # type: ignore[arg-type]
    "an empty answer": talk(("human", "Why?"), ("gpt", " ")),
    "a text that is null": talk(("human", None), ("gpt", "So.")),
    "a text that is a number": talk(("human", 7), ("gpt", "So.")),
    "no turns": talk(),
    "turns that are texts": {"conversations": ["Why?", "So."]},
    "turns that are a text": {"conversations": "Why?"},
    "nothing": {"id": "x"},
    "odd characters": talk(("human", f"Why{BREAKS}?"), ("gpt", f"So{ODD}.")),
    "half an emoji": talk(("human", "Why?"), ("gpt", "smile \ud83d end")),
    "an emoji in two halves": talk(("human", "Why?"), ("gpt", "smile \ud83d\ude00 end")),
    "an id that is an object": talk(*PLAIN) | {"id": {"a": 1}},
}
"""Records by what is odd about them; ``0.jpg`` and ``1.jpg`` are there."""

turns = st.fixed_dictionaries(
    {},
    optional={
        "from": st.sampled_from(["human", "gpt", "system", "user", "tool"]) | scalars,
        "value": st.sampled_from(["<image>\nWhat?", "So.", "", "<image>", "</s>"]) | values,
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": texts,
    },
)
images = st.sampled_from(["0.jpg", "gone.jpg", "../0.jpg", {"path": "0.jpg"}, ["0.jpg"], ["0.jpg", "1.jpg"], ""])
records = st.fixed_dictionaries(
    {"conversations": st.lists(turns, max_size=5)},
    optional={"id": scalars, "image": images | values, "images": images | values, "system": texts | values},
)
"""Conversations that may be anything."""
