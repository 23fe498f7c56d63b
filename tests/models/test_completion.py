"""Parsing of replies: any JSON becomes a reply or a named fault, with its cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.models.completion import FINISH, MOST_TOKENS, usage
from mminstruct.models.connection import Answer, Settings
from mminstruct.models.exchange import Exchange, PaidReply
from mminstruct.models.faults import Fault, Secret
from mminstruct.models.model import Model
from mminstruct.models.prices import Price
from tests.models.asking import PRICE, ask, chatter, rows, unit
from tests.models.server import Answer as Sent
from tests.models.server import Endpoint, Request, echo, error, say

KEY = "sk-canary-0cc175b9c0f1b6a831c399e269772661"


def exchange(**options: Any) -> Exchange:
    model = Model(name="m", backend="openai", url="http://localhost:1/v1", options=options)
    return Exchange(model, Settings.of(model), Price(1000.0, 2000.0), Secret(KEY), "m at localhost")


def read(data: Any, **options: Any) -> PaidReply | Fault:
    door = exchange(**options)
    return door.read(Answer(data, len(json.dumps(data))), door.write(rows("hello")[0], 0, None))


def choice(content: Any = "A red bus.", finish: Any = "stop", **more: Any) -> dict[str, Any]:
    """A completion; *more* goes into its choice."""
    data = say("", finish=finish)
    data["choices"][0] |= {"message": {"role": "assistant", "content": content}, **more}
    return data


# Finish reasons


@pytest.mark.parametrize("name", FINISH)
def test_a_documented_finish_reason_is_understood_in_any_case(name: str) -> None:
    for spelt in (name, name.upper()):
        found = read(choice(finish=spelt))
        assert isinstance(found, PaidReply)
        assert found.finish == FINISH[name]


@pytest.mark.parametrize(
    "name",
    [
        "error",
        "abort",
        "tool_calls",
        "function_call",
        "insufficient_system_resource",
        "done",
        "",
        None,
        5,
        ["stop"],
        {},
    ],
)
def test_a_finish_reason_that_is_not_known_to_be_good_is_a_failed_reply(name: Any) -> None:
    found = read(choice(finish=name))
    assert isinstance(found, Fault)
    assert found.kind in ("unusable", "fault")
    assert found.message.startswith("finish reason ")
    assert found.cost == pytest.approx(0.02), "it was paid for"


def test_an_endpoints_own_finish_reasons_can_be_mapped_to_a_known_meaning_only() -> None:
    found = read(choice(finish=None), finish={"NULL": "stop"})
    assert isinstance(found, PaidReply)
    assert isinstance(read(choice(finish="done"), finish={"done": "length"}), PaidReply)
    with pytest.raises(ValueError, match=r"finish\.done is stop, length or filtered, not 'fine'"):
        exchange(finish={"done": "fine"})


def test_an_unknown_finish_reason_is_retried_and_then_fails_the_row_by_its_name() -> None:
    def script(request: Request) -> Sent:
        bad = request.asked == "worse" or request.number == 0
        return Sent(body=say("A red bus and a", finish="done_early")) if bad else echo(request)

    with Endpoint(script) as endpoint, chatter(endpoint) as made:
        assert ask(made, "better")[0].text == "re: better"
        (worse,) = ask(made, "worse")
    assert (worse.text, worse.finish) == ("", "error")
    assert "finish reason done_early is not known" in str(worse.error)
    assert endpoint.asked == ["better", "better", "worse", "worse"]


def test_an_endpoint_whose_replies_are_never_usable_stops_the_run_and_its_spending() -> None:
    sent = Sent(body=choice(finish=None))
    with Endpoint(lambda request: sent) as endpoint, chatter(endpoint, price=PRICE) as made:
        with pytest.raises(RuntimeError, match=r"answered no request so far \(finish reason null"):
            ask(made, *map(str, range(200)))
        assert made.spent == pytest.approx(0.02 * len(endpoint.requests))
    assert len(endpoint.requests) < 2 * 200  # two attempts for each row


# Shapes of a reply


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "A red"}, {"type": "text", "text": " bus."}], "A red bus."),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "A red bus."},
            ],
            "A red bus.",
        ),
        ([{"type": "reasoning", "text": "hm"}], ""),
        ([], ""),
        (None, ""),
        ("half \ud83d pair", "half ? pair"),
    ],
)
def test_text_parts_of_a_list_are_joined_and_thoughts_are_left_out(content: Any, text: str) -> None:
    found = read(choice(content))
    assert isinstance(found, PaidReply)
    assert (found.text, found.finish) == (text, "stop")


@pytest.mark.parametrize(
    "content",
    [5, {"text": "x"}, [{"type": "text", "text": 5}], [{"type": "image_url"}], ["x"], [[]], [{"type": ["text"]}]],
)
def test_content_of_another_kind_is_named(content: Any) -> None:
    found = read(choice(content))
    assert isinstance(found, Fault)
    assert found.kind == "unusable"
    assert "choices[0].message.content" in found.message


def test_an_error_inside_a_choice_is_classified_by_its_code() -> None:
    limited = choice("", "error", error={"code": 429, "message": "rate limited upstream"})
    found = read(limited)
    assert isinstance(found, Fault)
    assert (found.kind, "rate limited upstream" in found.message) == ("refused", True)

    def script(request: Request) -> Sent:
        return Sent(body=limited) if request.number == 0 else echo(request)

    with Endpoint(script) as endpoint, chatter(endpoint) as made:
        assert ask(made, "a")[0].text == "re: a"
        assert made.statistics()["refused"] == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [("400", "row"), (503, "fault"), ("rate_limit", "fault"), ("²", "fault"), ("9" * 5000, "fault"), ([[]], "fault"), (200, "fault")],
)  # fmt: skip
def test_the_code_of_an_error_is_a_status_or_a_servers_fault(code: Any, kind: str) -> None:
    found = read({"error": {"code": code, "message": "no"}})
    assert isinstance(found, Fault)
    assert (found.kind, found.cost) == (kind, 0.0), "an error that names no tokens costs nothing"


def test_the_choice_with_index_0_is_the_reply() -> None:
    data = choice("first", index=0)
    data["choices"].insert(0, {"index": 1, "message": {"content": "second"}, "finish_reason": "stop"})
    found = read(data)
    assert isinstance(found, PaidReply)
    assert found.text == "first"


def test_a_tool_call_is_not_an_empty_reply() -> None:
    data = choice(None)
    data["choices"][0]["message"]["tool_calls"] = [{"type": "function"}]
    assert isinstance(read(data), Fault)


def test_a_key_that_a_model_echoes_is_not_kept() -> None:
    found = read(choice(f"The key is {KEY}, or {KEY[:9]}***{KEY[-4:]}. sk-c… is long; testing... is not."))
    assert isinstance(found, PaidReply)
    assert found.text == "The key is ***, or ***. *** is long; testing... is not."
    failed = read({"error": {"code": 400, "message": f"Bearer {KEY}"}})
    assert isinstance(failed, Fault)
    assert KEY not in failed.message
    assert Secret("EMPTY").scrub("The box is EMPTY.", shortest=8) == "The box is EMPTY."


# Usage

ODD = [None, "5", -1, 5.0, 1.5, True, 10**30, MOST_TOKENS + 1, [5], {"n": 5}, float("inf")]


@pytest.mark.parametrize("count", ODD)
def test_an_impossible_token_count_is_estimated_and_noted(count: Any) -> None:
    for told in ({"prompt_tokens": 10, "completion_tokens": count}, {"prompt_tokens": count, "completion_tokens": 5}):
        used = usage({"usage": told}, tokens_in=100, tokens_out=50)
        assert used.guessed
        assert (used.tokens_in, used.tokens_out) in ((10, 50), (100, 5))
    with unit() as work:
        assert isinstance(read({**choice(), "usage": {"prompt_tokens": 10, "completion_tokens": count}}), PaidReply)
    assert work.notes == {"usage_guessed": 1}


@pytest.mark.parametrize("told", [None, [], "5", 5, {}])
def test_missing_usage_is_estimated(told: Any) -> None:
    assert usage({"usage": told}, tokens_in=100, tokens_out=50).guessed
    assert usage(told, tokens_in=100, tokens_out=50).guessed


@pytest.mark.parametrize("details", [None, [], {"cached_tokens": -4}, {"cached_tokens": "4"}, {"cached_tokens": 10**9}])
def test_an_impossible_cache_discount_is_not_believed(details: Any) -> None:
    told = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": details}
    assert usage({"usage": told}, tokens_in=1, tokens_out=1).cached == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([429, "429", "stop"]),
    lambda some: st.lists(some, max_size=3)
    | st.dictionaries(
        st.sampled_from(["error", "code", "message", "type", "text", "content", "index", "finish_reason", "x"]), some, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "error": JSON,
        "usage": JSON
        | st.fixed_dictionaries(
            {}, optional={"prompt_tokens": JSON, "completion_tokens": JSON, "prompt_tokens_details": JSON}
        ),
        "choices": JSON
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "message": JSON
                    | st.fixed_dictionaries(
                        {}, optional={"content": JSON | st.lists(JSON), "refusal": JSON, "tool_calls": JSON}
                    ),
                    "finish_reason": JSON,
                    "error": JSON,
                    "index": JSON,
                },
            ),
            max_size=2,
        ),
    },
)


@given(JSON | LIKELY)
def test_any_json_becomes_a_reply_or_a_named_fault_that_can_be_stored(data: Any) -> None:
    found = read(data)
    text = found.text if isinstance(found, PaidReply) else found.message
    json.dumps(text, ensure_ascii=False).encode()  # the journal needs text that can be encoded
    assert found.cost is not None
    assert 0 <= found.cost < float("inf")
    if isinstance(found, PaidReply):
        assert found.finish in ("stop", "length", "filtered")
    else:
        assert found.message


@given(LIKELY, st.integers(0, MOST_TOKENS), st.integers(0, MOST_TOKENS))
def test_the_cost_of_an_answer_is_never_lost(data: dict[str, Any], tokens_in: int, tokens_out: int) -> None:
    found = read(data | {"usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}})
    assert found.cost == pytest.approx((tokens_in * 1000 + tokens_out * 2000) / 1e6)


def test_json_nested_deeper_than_python_can_walk_is_a_fault() -> None:
    deep = "[" * 900 + "]" * 900
    for body in (
        f'{{"error": {deep}}}',
        f'{{"choices": [{{"finish_reason": {deep}, "message": {{"content": {deep}}}}}]}}',
    ):
        assert isinstance(read(json.loads(body)), Fault)


# Money


def test_a_budget_stops_replies_that_are_paid_for_and_cannot_be_used() -> None:
    sent = Sent(body=choice([{"type": "hologram"}]))
    options = {"price": PRICE, "budget": {"usd": 0.5}, "body": {"max_tokens": 5}, "concurrency": {"start": 1, "max": 1}}
    with Endpoint(lambda request: sent) as endpoint, chatter(endpoint, **options) as made, unit() as work:
        with pytest.raises(RuntimeError, match=r"budget of \$0\.50"):
            ask(made, *map(str, range(19)))
        assert made.spent == pytest.approx(0.02 * len(endpoint.requests))
        assert work.cost == pytest.approx(made.spent)
    assert 20 <= len(endpoint.requests) <= 25, "2 cents each"


def test_an_unknown_cost_counts_as_the_most_that_the_request_can_cost() -> None:
    late, cut = Sent(body=say("late"), delay=3.0), Sent(body=say("cut"), cut=20)
    refused = error(503, "busy")
    for sent, paid in ((late, True), (cut, True), (refused, False)):
        with Endpoint(lambda request, sent=sent: sent) as endpoint:  # type: ignore[misc]
            options = {"price": PRICE, "body": {"max_tokens": 5}, "timeout": 0.3}
            with chatter(endpoint, **options) as made:
                (reply,) = ask(made, "a")
                most = made._exchange.max_cost(made._exchange.write(rows("a")[0], 0, None))
                assert reply.finish == "error"
                assert made.spent == pytest.approx(3 * most if paid else 0.0)
