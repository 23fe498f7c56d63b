from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.models.model import Reply
from mminstruct.models.structured import Unfit, closed, fitting
from tests.models.asking import COLOURS, ask, chatter, unit
from tests.models.server import Answer, Endpoint, Request, say


def test_json_that_fits_is_returned_without_its_wrapping() -> None:
    text = 'Sure!\n```json\n{"colour": "red"}\n```\nAnything else?'
    with Endpoint(lambda request: Answer(body=say(text))) as endpoint, chatter(endpoint) as made:
        assert ask(made, "a", schema=COLOURS)[0].text == '{"colour": "red"}'
    form = endpoint.requests[0].json["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "reply", "schema": COLOURS, "strict": True}}


def test_json_that_does_not_fit_is_repaired_once() -> None:
    def script(request: Request) -> Answer:
        fixed = len(request.json["messages"]) == 3
        return Answer(body=say('{"colour": "red"}' if fixed else '{"color": "red"}'))

    with Endpoint(script) as endpoint, chatter(endpoint) as made, unit() as work:
        (reply,) = ask(made, "a", schema=COLOURS)
    assert reply == Reply('{"colour": "red"}', "stop", 20, 10)
    assert work.notes == {"json_repaired": 1}
    assert "'colour' is a required property" in endpoint.requests[1].asked


def test_json_that_cannot_be_repaired_is_an_error_and_not_asked_for_a_third_time() -> None:
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
def test_a_reply_that_contradicts_itself_is_an_error_and_never_cut_to_one_of_its_answers(text: str) -> None:
    with Endpoint(lambda request: Answer(body=say(text))) as endpoint, chatter(endpoint) as made:
        (reply,) = ask(made, "a", schema=COLOURS)
    assert (reply.text, reply.finish) == (text, "error")
    assert len(endpoint.requests) == 1, "which one it means is not asked"


def test_an_answer_that_is_only_said_twice_is_taken() -> None:
    assert fitting('{"colour": "red"} I repeat: {"colour": "red"} (colour: red)', COLOURS) == '{"colour": "red"}'


def test_a_key_that_is_there_twice_is_no_json() -> None:
    with pytest.raises(Unfit, match="twice"):
        fitting('{"colour": "red", "colour": "blue"}', COLOURS)


def test_a_reply_of_nothing_but_braces_ends_soon() -> None:
    began = time.process_time()
    for text in ("{" * 200_000, '{"a":' * 100_000, "[" * 200_000):
        with pytest.raises(Unfit):
            fitting("{} " + text, {})
    assert time.process_time() - began < 20


@given(st.text() | st.from_regex(r"[\[{\"a:,\]}` \n]*"))
def test_no_text_breaks_the_reader_of_json(text: str) -> None:
    with contextlib.suppress(Unfit):
        json.loads(fitting(text, {"type": ["object", "array"]}))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_comes_back_as_it_was_said(value: Any) -> None:
    if isinstance(value, dict | list):
        assert json.loads(fitting(f"Here: {json.dumps(value)} Done.", {})) == value


def test_strict_mode_is_only_asked_for_where_the_schema_allows_it() -> None:
    assert closed(COLOURS)
    assert not closed({"type": "object", "properties": {"a": {"type": "string"}}})
    assert not closed({**COLOURS, "properties": {"colour": {"type": "object"}}})
