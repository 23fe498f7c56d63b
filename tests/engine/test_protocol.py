from __future__ import annotations

import base64
import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.engine import protocol
from mminstruct.engine.protocol import RequestError
from mminstruct.models.model import Reply, Sampling, with_image

OURS = Sampling(0.0, 1.0, 64)


def turn(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def body(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [turn("hello")], **more}


def read(given: Any, *, grammar: bool = True) -> protocol.ChatRequest:
    return protocol.chat_request(given, name="m", sampling=OURS, grammar=grammar)


def test_a_request_overrides_the_models_sampling() -> None:
    asked = read(body(temperature=0.5, seed=2**40 + 3))
    assert (asked.sampling, asked.seed) == (Sampling(0.5, 1.0, 64), 3)
    assert read(body(max_tokens=3, max_completion_tokens=5)).sampling.max_tokens == 5
    assert read(body(user="me", stream=False, n=1, stop=None, presence_penalty=0.0)).sampling == OURS
    assert len({read(body()).seed for _ in range(20)}) > 1, "without a seed each request gets a random one"


def test_images_are_passed_on_unchanged() -> None:
    given = with_image([{"role": "user", "content": "look"}], b"\x89PNG")
    assert read(body(messages=given)).messages == given


@pytest.mark.parametrize(
    ("given", "param", "said"),
    [
        ("text", None, "JSON object"),
        ({"model": "other", "messages": []}, "model", "does not exist; this endpoint serves `m`"),
        (body(messages=[]), "messages", "at least 1 item"),
        (body(messages=[{"role": "tool", "content": "x"}]), "messages[0].role", "got 'tool'"),
        (body(messages=[{"role": "user", "content": 5}]), "messages[0].content", "got 5"),
        (body(messages=[turn([{"type": "video"}])]), "messages[0].content[0]", "'text', 'image_url'"),  # type: ignore[arg-type]
        (
            body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/x"}}]}]),
            "messages[0].content[0].image_url.url",
            "no address is fetched",
        ),
        (
            body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%"}}]}]),
            "messages[0].content[0].image_url.url",
            "got 'data:image/png;base64,%'",
        ),
        (body(messages=[turn([{"type": "text"}])]), "messages[0].content[0].text", "required"),  # type: ignore[arg-type]
        ({"model": "m"}, "messages", "required"),
        (body(stream=True), "stream", "not supported here"),
        (body(n=2), "n", "not supported here"),
        (body(tools=[{"type": "function"}]), "tools", "not supported here"),
        (body(temprature=1), "temprature", "unrecognized request argument"),
        (body(temperature="hot"), "temperature", "valid number (got 'hot')"),
        (body(temperature=3), "temperature", "less than or equal to 2 (got 3)"),
        (body(max_tokens=0.5), "max_tokens", "valid integer (got 0.5)"),
        (body(seed=True), "seed", "valid integer (got True)"),
        (body(temperature=float("nan")), "temperature", "finite number"),
        (body(temperature=10**400), "temperature", "temperature: "),
        (body(response_format={"type": "json_schema"}), "response_format", "with a schema"),
        (body(response_format={"type": "json_schema", "json_schema": {}}), "response_format.json_schema.schema", "required"),
    ],
)  # fmt: skip
def test_an_invalid_request_is_refused_with_the_path_of_the_field(given: Any, param: str | None, said: str) -> None:
    with pytest.raises(RequestError) as refused:
        read(given)
    told = refused.value.body()["error"]
    assert told["param"] == param
    assert said in told["message"]
    assert told["type"] == "invalid_request_error"


def test_a_schema_is_taken_where_replies_can_be_held_to_it_and_refused_where_not() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
    assert read(body(response_format=form)).schema == {"type": "integer"}
    assert read(body(response_format={"type": "text"}), grammar=False).schema is None
    with pytest.raises(RequestError, match="cannot constrain replies to JSON"):
        read(body(response_format=form), grammar=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=8), some, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["messages", "temperature", "top_p", "max_tokens", "seed", "response_format", "stop", "n"])


@given(st.dictionaries(FIELDS, JSON, max_size=5), JSON)
def test_any_body_at_all_is_read_or_refused(fields: dict[str, Any], messages: Any) -> None:
    for some in (fields, {"model": "m", "messages": messages, **fields}, body(**fields)):
        with contextlib.suppress(RequestError):  # and nothing else
            assert 0 <= read(some).seed < 2**31


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply("", "error", error="the prompt has 900 tokens, the model's context only 64"), "context_length_exceeded"),
        (Reply("", "error", error="broken image: OSError"), None),
    ],
)
def test_a_reply_that_is_an_error_becomes_openais_error(reply: Reply, code: str | None) -> None:
    with pytest.raises(RequestError) as refused:
        protocol.completion(reply, "m")
    assert (refused.value.status, refused.value.code) == (400, code)
    assert str(refused.value) == reply.error


def test_vectors_come_as_numbers_or_as_bytes() -> None:
    vectors = np.array([[0.25, -1.5]], np.float32)
    as_numbers = protocol.embeddings(vectors, "m", "float")["data"][0]["embedding"]
    assert as_numbers == [0.25, -1.5]
    as_bytes = base64.b64decode(protocol.embeddings(vectors, "m", "base64")["data"][0]["embedding"])
    assert np.frombuffer(as_bytes, "<f4").tolist() == [0.25, -1.5]
