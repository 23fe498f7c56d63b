from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.models.model import Reply
from mminstruct.models.structured import InvalidJson, closed, valid_json
from tests.models.asking import COLOURS, ask, chatter, unit
from tests.models.server import Answer, Endpoint, Request, say


def test_valid_json_is_returned_without_the_text_around_it() -> None:
    text = 'Sure!\n```json\n{"colour": "red"}\n```\nAnything else?'
    with Endpoint(lambda request: Answer(body=say(text))) as endpoint, chatter(endpoint) as made:
        assert ask(made, "a", schema=COLOURS)[0].text == '{"colour": "red"}'
    form = endpoint.requests[0].json["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "reply", "schema": COLOURS, "strict": True}}


def test_invalid_json_is_repaired_once() -> None:
    def script(request: Request) -> Answer:
        fixed = len(request.json["messages"]) == 3
        return Answer(body=say('{"colour": "red"}' if fixed else '{"color": "red"}'))

    with Endpoint(script) as endpoint, chatter(endpoint) as made, unit() as work:
        (reply,) = ask(made, "a", schema=COLOURS)
    assert reply == Reply('{"colour": "red"}', "stop", 20, 10)
    assert work.notes == {"json_repaired": 1}
    assert "'colour' is a required property" in endpoint.requests[1].asked


def test_json_that_cannot_be_repaired_is_an_error_after_two_requests() -> None:
    with Endpoint(lambda request: Answer(body=say("no"))) as endpoint, chatter(endpoint) as made:
        (reply,) = ask(made, "a", schema=COLOURS)
    assert (reply.text, reply.finish) == ("no", "error"), "what there was is kept, for whoever wants to look"
    assert str(reply.error).startswith("bad json")
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"colour": "red"}{"colour": "blue"}',
        '```json\n{"colour": "red"}\n```\nNo, wait:\n```json\n{"colour": "blue"}\n```',
        '{"colour": "red"} or {"color": "blue"}',
        '{"colour": "red"}\nFinal colour: blue',
        '{"colour": "red"} {"colour": "blue"',
    ],
)
def test_a_reply_with_different_answers_is_an_error_and_none_of_them_is_chosen(text: str) -> None:
    with Endpoint(lambda request: Answer(body=say(text))) as endpoint, chatter(endpoint) as made:
        (reply,) = ask(made, "a", schema=COLOURS)
    assert (reply.text, reply.finish) == (text, "error")
    assert len(endpoint.requests) == 1, "which one it means is not asked"


def test_an_answer_that_is_repeated_unchanged_is_taken() -> None:
    assert valid_json('{"colour": "red"} I repeat: {"colour": "red"} (colour: red)', COLOURS) == '{"colour": "red"}'


def test_a_duplicate_key_is_not_json() -> None:
    with pytest.raises(InvalidJson, match="twice"):
        valid_json('{"colour": "red", "colour": "blue"}', COLOURS)


def test_a_reply_of_only_braces_is_read_quickly() -> None:
    began = time.process_time()
    for text in ("{" * 200_000, '{"a":' * 100_000, "[" * 200_000):
        with pytest.raises(InvalidJson):
            valid_json("{} " + text, {})
    assert time.process_time() - began < 20


@given(st.text() | st.from_regex(r"[\[{\"a:,\]}` \n]*"))
def test_no_text_breaks_the_reader_of_json(text: str) -> None:
    with contextlib.suppress(InvalidJson):
        json.loads(valid_json(text, {"type": ["object", "array"]}))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_is_returned_unchanged(value: Any) -> None:
    if isinstance(value, dict | list):
        assert json.loads(valid_json(f"Here: {json.dumps(value)} Done.", {})) == value


def test_strict_mode_is_only_asked_for_where_the_schema_allows_it() -> None:
    assert closed(COLOURS)
    assert not closed({"type": "object", "properties": {"a": {"type": "string"}}})
    assert not closed({**COLOURS, "properties": {"colour": {"type": "object"}}})
