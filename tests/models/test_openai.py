from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from mminstruct.models.model import Model, Reply, with_image
from mminstruct.models.openai import Chatter
from mminstruct.unit import SHARERS
from tests.models.asking import PRICE, MemoryJournal, ask, chatter, rows, unit
from tests.models.server import Answer, Capacity, Endpoint, Request, echo, say

# Replies


def test_replies_come_in_the_order_of_the_rows_however_long_each_takes() -> None:
    def script(request: Request) -> Answer:
        return Answer(body=say(f"re: {request.asked}"), delay=0.1 / (1 + int(request.asked)))

    with Endpoint(script) as endpoint, chatter(endpoint) as made:
        replies = ask(made, *map(str, range(10)))
    assert [reply.text for reply in replies] == [f"re: {i}" for i in range(10)]
    assert {(reply.finish, reply.tokens_in, reply.tokens_out) for reply in replies} == {("stop", 10, 5)}


def test_a_request_has_all_settings_of_the_model_and_never_streams() -> None:
    with Endpoint(echo) as endpoint:
        model = Model(name="m", backend="openai", url=endpoint.url, temperature=0.7, top_p=0.9, max_tokens=33)
        made = Chatter(model)
        made.chat(rows("hello"), seeds=[7])
        made.close()
    body = endpoint.requests[0].json
    assert body == {
        "model": "m", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.7, "top_p": 0.9,
        "max_tokens": 33, "seed": 7, "stream": False,
    }  # fmt: skip
    assert endpoint.requests[0].headers["authorization"] == "Bearer none", "no key of the environment goes to strangers"


def test_fields_of_a_request_can_be_added_and_removed() -> None:
    body = {"max_tokens": None, "max_completion_tokens": 9, "reasoning_effort": "low"}
    with Endpoint(echo) as endpoint, chatter(endpoint, body=body) as made:
        ask(made, "hello")
    sent = endpoint.requests[0].json
    assert "max_tokens" not in sent
    assert (sent["max_completion_tokens"], sent["reasoning_effort"]) == (9, "low")


def test_an_image_is_sent_as_a_data_url() -> None:
    with Endpoint(echo) as endpoint, chatter(endpoint) as made:
        made.chat([with_image(rows("what is this?")[0], b"\x89PNG-bytes")], seeds=[0])
    picture, text = endpoint.requests[0].json["messages"][0]["content"]
    assert base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,")) == b"\x89PNG-bytes"
    assert text["text"] == "what is this?"


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (say("half a", finish="length"), Reply("half a", "length", 10, 5)),
        (say(None, finish="length"), Reply("", "length", 10, 5)),
        (say("", finish="content_filter"), Reply("", "filtered", 10, 5, "refused by the endpoint: content filter")),
        (say(None, refusal="I can't."), Reply("", "filtered", 10, 5, "refused by the endpoint: I can't.")),
        (say("half \ud83d pair"), Reply("half ? pair", "stop", 10, 5)),
    ],
)
def test_every_finish_is_distinguished(body: dict[str, Any], reply: Reply) -> None:
    with Endpoint(lambda request: Answer(body=body)) as endpoint, chatter(endpoint) as made:
        assert ask(made, "hello") == [reply]
    assert len(endpoint.requests) == 1


def test_many_threads_share_one_limit() -> None:
    with Endpoint(Capacity(latency=0.02)) as endpoint, chatter(endpoint, concurrency={"start": 4, "max": 4}) as made:
        found: dict[int, list[Reply]] = {}

        def work(number: int) -> None:
            found[number] = ask(made, *(f"{number}-{i}" for i in range(10)))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert endpoint.peak == 4
    assert all([r.text for r in found[n]] == [f"re: {n}-{i}" for i in range(10)] for n in range(6))


def test_equal_rows_with_equal_seeds_are_one_request() -> None:
    with Endpoint(echo) as endpoint, chatter(endpoint) as made:
        replies = made.chat(rows("a", "a", "a"), seeds=[1, 1, 2])
    assert [reply.text for reply in replies] == ["re: a"] * 3
    assert len(endpoint.requests) == 2


# The journal


def test_a_paid_reply_is_never_paid_twice_after_a_crash() -> None:
    class Crash(BaseException):
        pass

    class Dying(MemoryJournal):
        def put(self, replies: Mapping[str, dict[str, Any]]) -> None:
            if len(self.replies) == 7:
                raise OSError("no space left on device")
            super().put(replies)

    journal = Dying()
    with Endpoint(echo) as endpoint:
        one = {"concurrency": {"start": 1, "max": 1}, "price": PRICE}
        with chatter(endpoint, **one) as made, unit(journal), pytest.raises(OSError, match="no space"):
            ask(made, *map(str, range(10)))
        kept = MemoryJournal()
        kept.replies = dict(journal.replies)
        before = len(endpoint.requests)
        with chatter(endpoint, **one) as made, unit(kept) as work:
            replies = ask(made, *map(str, range(10)))
    assert [reply.text for reply in replies] == [f"re: {i}" for i in range(10)]
    assert len(kept.replies) == 10
    assert len(endpoint.requests) - before == 3
    assert work.calls == 10


def test_a_reply_is_in_the_journal_before_it_is_returned() -> None:
    journal = MemoryJournal()
    with Endpoint(echo) as endpoint, chatter(endpoint, price=PRICE) as made, unit(journal):
        ask(made, "a")
        (kept,) = journal.replies.values()
        assert kept["text"] == "re: a"
        ask(made, "a")
    assert len(endpoint.requests) == 1


def test_another_seed_or_temperature_is_another_request() -> None:
    journal = MemoryJournal()
    with Endpoint(echo) as endpoint, unit(journal):
        for seed, temperature in ((1, 0.0), (2, 0.0), (1, 0.5)):
            model = Model(
                name="m", backend="openai", url=endpoint.url, temperature=temperature, options={"price": PRICE}
            )
            made = Chatter(model)
            made.chat(rows("a"), seeds=[seed])
            made.close()
    assert len(endpoint.requests) == len(journal.replies) == 3


def test_replies_that_cost_nothing_are_not_journaled() -> None:
    journal = MemoryJournal()
    with Endpoint(echo) as endpoint, chatter(endpoint) as made, unit(journal):
        ask(made, "a")
    assert not journal.replies


def test_a_worker_takes_its_share_of_the_endpoint_that_the_engine_says_others_use_too() -> None:
    def slow(request: Request) -> Answer:
        return Answer(body=say("yes"), delay=0.01)

    with Endpoint(slow) as endpoint, chatter(endpoint, concurrency={"start": 16, "max": 16}) as made:
        token = SHARERS.set({(endpoint.url, None): 4, (endpoint.url, "OTHER_KEY"): 3})
        try:
            ask(made, *map(str, range(60)))
        finally:
            SHARERS.reset(token)
        assert endpoint.peak == 4
        ask(made, *map(str, range(200)))
        assert endpoint.peak == 16
