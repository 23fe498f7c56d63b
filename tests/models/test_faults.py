from __future__ import annotations

import email.utils
import json
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.models import faults
from tests.models.asking import QUICK, ask, chatter
from tests.models.server import Answer, Capacity, Endpoint, Request, echo, error, say

# Refusals and faults


def test_a_burst_of_refusals_loses_nothing_and_wastes_few_requests() -> None:
    capacity = Capacity(most=8, latency=0.05)
    with Endpoint(capacity) as endpoint, chatter(endpoint, concurrency={"start": 24}) as made:
        replies = ask(made, *map(str, range(300)))
        statistics = made.statistics()
    assert [reply.text for reply in replies] == [f"re: {i}" for i in range(300)]
    assert statistics["answered"] == 300
    assert statistics["refused"] == len(capacity.refused) < 90
    assert min(limit for _, limit in statistics["history"]) < 10


def header_seconds() -> dict[str, str]:
    return {"retry-after": "0.4"}


def header_milliseconds() -> dict[str, str]:
    return {"retry-after-ms": "400"}


def header_date() -> dict[str, str]:
    now = 1_800_000_000  # far from this machine's clock: only the difference counts
    dates = [email.utils.formatdate(stamp, usegmt=True) for stamp in (now, now + 1)]
    return {"date": dates[0], "retry-after": dates[1]}


@pytest.mark.parametrize("header", [header_seconds, header_milliseconds, header_date])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_in_all_formats(header: Any, status: int) -> None:
    def script(request: Request) -> Answer:
        return Answer(status, b"{}", header()) if request.number == 0 else echo(request)

    with Endpoint(script) as endpoint, chatter(endpoint) as made:
        assert ask(made, "a")[0].text == "re: a"
    first, second = endpoint.requests
    assert 0.35 <= second.at - first.at < 2.0


def test_an_endpoint_that_asks_to_wait_longer_than_our_patience_stops_the_run() -> None:
    with (
        Endpoint(lambda request: error(429, "later", retry_after="3600")) as endpoint,
        chatter(endpoint) as made,
        pytest.raises(faults.EndpointError, match="asks to wait 3600 s"),
    ):
        ask(made, "a")
    assert len(endpoint.requests) == 1


def test_a_burst_of_server_errors_fails_no_row() -> None:
    def script(request: Request) -> Answer:
        return error((500, 502, 503, 504)[request.number % 4]) if 10 <= request.number < 30 else echo(request)

    with Endpoint(script) as endpoint, chatter(endpoint, retries={**QUICK, "attempts": 6}) as made:
        replies = ask(made, *map(str, range(40)))
        assert made.limiter.limit >= 16, "server errors say nothing about capacity"
    assert [reply.text for reply in replies] == [f"re: {i}" for i in range(40)]


def test_an_outage_does_not_count_against_the_rows() -> None:
    began = time.monotonic()

    def script(request: Request) -> Answer:
        return echo(request) if request.at - began > 1.5 else error(503, "restarting")

    patient = {**QUICK, "attempts": 2, "patience": 20}
    with Endpoint(script) as endpoint, chatter(endpoint, retries=patient) as made:
        replies = ask(made, *map(str, range(60)))
    assert [reply.text for reply in replies] == [f"re: {i}" for i in range(60)]


def test_a_row_that_always_fails_fails_alone() -> None:
    def script(request: Request) -> Answer:
        return error(500, "boom") if request.asked == "poison" else echo(request)

    with Endpoint(script) as endpoint, chatter(endpoint) as made:
        replies = ask(made, "a", "poison", "b")
    assert [reply.finish for reply in replies] == ["stop", "error", "stop"]
    assert "HTTP 500" in str(replies[1].error)
    assert endpoint.asked.count("poison") == QUICK["attempts"]


@pytest.mark.parametrize(
    "bad",
    [
        Answer(body=b"<html>It works!</html>", headers={"content-type": "text/html"}),
        Answer(body=b""),
        Answer(body=b'{"choices": ['),
        Answer(body={"choices": []}),
        Answer(body={"hello": "world"}),
        Answer(body=b"[1, 2]"),
        Answer(body={"choices": [{"message": {"content": 5}}]}),
    ],
)
def test_garbage_with_status_200_is_retried_once_and_then_fails_the_row(bad: Answer) -> None:
    def script(request: Request) -> Answer:
        return bad if request.asked == "worse" or request.number == 0 else echo(request)

    with Endpoint(script) as endpoint, chatter(endpoint) as made:
        assert ask(made, "better")[0].text == "re: better"
        (worse,) = ask(made, "worse")
    assert (worse.text, worse.finish) == ("", "error")
    assert endpoint.asked == ["better", "better", "worse", "worse"]


def test_an_error_that_a_gateway_returns_with_status_200_is_found() -> None:
    def script(request: Request) -> Answer:
        hidden = Answer(body={"error": {"code": 429, "message": "slow down"}})
        return hidden if request.number == 0 else echo(request)

    with Endpoint(script) as endpoint, chatter(endpoint) as made:
        assert ask(made, "a")[0].text == "re: a"
        assert made.statistics()["refused"] == 1


@pytest.mark.parametrize(
    "bad",
    [
        Answer(body=say("too late"), delay=3.0),
        Answer(body=say("drop by drop"), drip=0.05),
        Answer(body=say("half of it"), cut=20),
        Answer(body=say("nothing"), cut=0),
    ],
    ids=["late", "dripping", "cut", "reset"],
)
def test_a_body_that_is_incomplete_at_the_timeout_is_requested_again(bad: Answer) -> None:
    def script(request: Request) -> Answer:
        return bad if request.number == 0 else echo(request)

    with Endpoint(script) as endpoint, chatter(endpoint, timeout=0.4) as made:
        began = time.monotonic()
        assert ask(made, "a")[0].text == "re: a"
        assert time.monotonic() - began < 2.0


def test_an_endpoint_that_goes_away_and_comes_back_costs_time_only() -> None:
    with Endpoint(Capacity(latency=0.02)) as endpoint, chatter(endpoint, retries={**QUICK, "patience": 20}) as made:
        ask(made, "first")
        threading.Timer(0.1, endpoint.stop).start()
        threading.Timer(0.8, endpoint.start).start()
        replies = ask(made, *map(str, range(200)))
    assert [reply.text for reply in replies] == [f"re: {i}" for i in range(200)]


def test_an_endpoint_that_never_answers_stops_the_run_in_time() -> None:
    with Endpoint(echo) as endpoint, chatter(endpoint) as made:
        endpoint.stop()
        began = time.monotonic()
        with pytest.raises(faults.EndpointError, match="nothing but failures"):
            ask(made, *map(str, range(20)))
        assert time.monotonic() - began < 10


# Permanent faults


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (error(401, "Incorrect API key provided"), "key is refused"),
        (error(403, "Country not supported"), "key is refused"),
        (error(404, "The model `m` does not exist", "model_not_found"), "no such model"),
        (error(402, "Payment required"), "no money left"),
        (error(429, "You exceeded your current quota", "insufficient_quota"), "no money left"),
    ],
)
def test_a_fault_that_only_a_person_can_fix_stops_all_rows_at_once(answer: Answer, said: str) -> None:
    with (
        Endpoint(lambda request: answer) as endpoint,
        chatter(endpoint, concurrency={"start": 4}) as made,
        pytest.raises(faults.EndpointError, match=said),
    ):
        ask(made, *map(str, range(100)))
    with pytest.raises(faults.EndpointError, match=said):
        ask(made, "later")
    assert len(endpoint.requests) <= 4


def test_other_threads_stop_too_when_the_endpoint_is_lost() -> None:
    def script(request: Request) -> Answer:
        return error(401) if request.number >= 10 else Answer(body=say("fine"), delay=0.02)

    with Endpoint(script) as endpoint, chatter(endpoint, concurrency={"start": 2, "max": 2}) as made:
        raised: list[BaseException] = []

        def work() -> None:
            try:
                ask(made, *map(str, range(200)))
            except faults.EndpointError as stopped:
                raised.append(stopped)

        threads = [threading.Thread(target=work) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join(5) for thread in threads]
    assert len(raised) == 3
    assert len(endpoint.requests) <= 12


@pytest.mark.parametrize(
    ("answer", "finish", "said"),
    [
        (
            error(400, "This model's maximum context length is 8192 tokens", "context_length_exceeded"),
            "error",
            "too long",
        ),
        (error(413, "Payload too large"), "error", "too long"),
        (error(429, "Request too large for gpt-4o on tokens per min", "rate_limit_exceeded"), "error", "too long"),
        (error(400, "The response was filtered", "content_filter"), "filtered", "filtered"),
        (error(400, "Invalid image"), "error", "Invalid image"),
        (error(422, "Unprocessable"), "error", "Unprocessable"),
    ],
)
def test_a_row_that_cannot_succeed_is_not_retried(answer: Answer, finish: str, said: str) -> None:
    with Endpoint(lambda r: answer if r.asked == "bad" else echo(r)) as endpoint, chatter(endpoint) as made:
        good, bad = ask(made, "good", "bad")
    assert good.text == "re: good"
    assert (bad.text, bad.finish) == ("", finish)
    assert said in str(bad.error)
    assert endpoint.asked.count("bad") == 1


def test_an_endpoint_that_rejects_every_request_stops_the_run() -> None:
    with (
        Endpoint(lambda request: error(400, "Unsupported parameter: 'seed'")) as endpoint,
        chatter(endpoint) as made,
        pytest.raises(faults.EndpointError, match=r"answered no request so far.*'seed'"),
    ):
        ask(made, *map(str, range(200)))
    assert len(endpoint.requests) < 80


def test_a_link_to_the_billing_page_in_a_message_is_not_an_empty_account() -> None:
    body = {"error": {"message": "Rate limit reached. Add a payment method at https://host/account/billing."}}
    assert faults.of_status(429, {}, json.dumps(body), who="m").kind == "refused"


@given(st.integers(100, 599), st.binary(max_size=200), st.text(max_size=30))
def test_any_answer_at_all_is_classified(status: int, body: bytes, wait: str) -> None:
    fault = faults.of_status(status, {"retry-after": wait}, body, who="m")
    assert fault.wait >= 0
    assert "\n" not in fault.message
    assert len(fault.message) < 1000
