from __future__ import annotations

import io
import json
import logging
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest

from mminstruct.models import faults
from mminstruct.models.connection import Settings
from mminstruct.models.model import Model
from mminstruct.models.openai import Chatter
from tests.models.asking import PRICE, QUICK, MemoryJournal, ask, unit
from tests.models.server import Answer, Endpoint, Request, echo, error, say

CANARY = "sk-canary-5d41402abc4b2a76b9719d911017c592"


def test_a_key_never_reaches_logs_replies_journals_or_tracebacks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CANARY_API_KEY", CANARY)
    caplog.set_level(logging.DEBUG)

    def script(request: Request) -> Answer:
        assert request.headers["authorization"] == f"Bearer {CANARY}"
        texts = {
            "deny": error(401, f"Incorrect API key provided: {CANARY}. Also {CANARY[:7]}***{CANARY[-4:]}"),
            "bad": error(400, f"header was Bearer {CANARY}"),
            "fail": error(500, CANARY),
            "html": Answer(body=f"<html>{CANARY}</html>".encode()),
            "echo": Answer(body=say(f"your key is {CANARY}, in short {CANARY[:7]}***{CANARY[-4:]}")),
            "refuse": Answer(body=say(None, refusal=f"not with {CANARY}")),
            "part": Answer(body=say([{"type": CANARY}])),  # type: ignore[arg-type]
            "finish": Answer(body=say("x", finish=CANARY)),
            "away": Answer(307, b"", {"location": f"http://127.0.0.1:1/{CANARY}"}),
        }
        return texts.get(request.asked) or echo(request)

    journal, seen = MemoryJournal(), io.StringIO()
    with Endpoint(script) as endpoint:
        options = {"retries": QUICK, "price": PRICE}
        model = Model(name="m", backend="openai", url=endpoint.url, key_env="CANARY_API_KEY", options=options)
        made = Chatter(model)
        with unit(journal) as work:
            print(ask(made, "good", "bad", "fail", "html", "echo", "refuse", "part", "finish"), file=seen)
            print(work, made.statistics(), file=seen)
            for stops in ("away", "deny"):
                again = Chatter(model)
                with pytest.raises(faults.EndpointError) as stopped:
                    ask(again, stops)
                told = traceback.TracebackException.from_exception(stopped.value, capture_locals=True)
                print("".join(told.format()), pickle.dumps(stopped.value), file=seen)
                again.close()
        made.close()
    out, err = capfd.readouterr()
    everything = "\n".join(
        [seen.getvalue(), json.dumps(journal.replies), repr(model), repr(vars(made)), caplog.text, out, err]
    )
    assert "key is refused" in everything
    assert "your key is ***" in everything
    assert "redirects to" in everything
    assert CANARY not in everything
    assert CANARY[:7] + "***" not in everything


def test_an_error_of_our_own_that_holds_the_key_is_raised_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_API_KEY", CANARY)
    with Endpoint(echo) as endpoint:
        made = Chatter(Model(name="m", backend="openai", url=endpoint.url, key_env="CANARY_API_KEY"))

        async def fail(*_: Any, **__: Any) -> None:
            raise LookupError(f"illegal header value 'Bearer {CANARY}'")

        monkeypatch.setattr(made._connection._poster, "post", fail)
        with pytest.raises(RuntimeError, match=r"LookupError: illegal header value 'Bearer \*\*\*'") as raised:
            ask(made, "a")
        made.close()
    assert CANARY not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("bad", ["sk-with a-blank-in-it", "sk-with\nline-end", "sk-wíth-an-accent"])
def test_a_key_that_no_header_can_hold_is_refused_and_its_variable_named(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_API_KEY", bad)
    with pytest.raises(ValueError, match="the key in CANARY_API_KEY") as refused:
        Chatter(Model(name="m", backend="openai", url="http://localhost:1/v1", key_env="CANARY_API_KEY"))
    assert bad not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key_env": "NOT_SET_API_KEY"}, "NOT_SET_API_KEY"),
        ({"key_env": CANARY}, "NAME of a set environment variable"),
        ({"key_env": "hf_abcdefabcdefabcdef"}, "NAME of a set environment variable"),
        ({"url": f"http://user:{CANARY}@localhost/v1"}, "must not be in url"),
        ({"url": f"http://localhost/v1?key={CANARY}"}, "must not be in url"),
        ({"url": "localhost:8000"}, "and this one is not"),
        ({"options": {"concurency": {}}}, "did you mean concurrency"),
        ({"options": {"budget": {"eur": 5}}}, "no 'eur'"),
        ({"options": {"mode": "later"}}, "live or batch"),
        ({"options": {"finish": {"done": "yes"}}}, "stop, length or filtered"),
        ({"options": {"megabytes": 0}}, "above 0"),
        ({"options": {"retries": {"attempts": "many"}}}, "retries.attempts is a number, not 'many'"),
        ({"options": {"concurrency": {"max": None}}}, "concurrency.max is a number, not None"),
        ({"options": {"batch": {"requests": float("inf")}}}, "batch.requests is a number, not inf"),
        ({"options": {"batch": {"polls": 1}}}, "options.batch has no 'polls'; did you mean poll"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_repeating_a_key(change: dict[str, Any], said: str) -> None:
    model = Model(**{"name": "m", "backend": "openai", "url": "http://localhost:1/v1", **change})
    with pytest.raises(ValueError, match=said) as refused:
        Chatter(model)
    assert CANARY not in str(refused.value)
    assert "hf_abc" not in str(refused.value)


def test_concurrency_starts_at_its_maximum_where_that_is_small() -> None:
    first = [
        Settings.of(Model(name="m", backend="openai", options={"concurrency": given})).concurrency.start
        for given in ({}, {"max": 4}, {"max": 400}, {"start": 2, "max": 4})
    ]
    assert first == [16, 4, 16, 2]


def test_azure_gets_requests_on_its_own_paths_with_its_own_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TEST_KEY", "azure-key")
    with Endpoint(echo) as endpoint:
        url = endpoint.url.removesuffix("/v1")
        options = {"azure": {"api_version": "2024-10-21"}}
        made = Chatter(Model(name="mine", backend="openai", url=url, key_env="AZURE_TEST_KEY", options=options))
        assert ask(made, "a")[0].text == "re: a"
        made.close()
    (request,) = endpoint.requests
    assert request.path == "/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == "azure-key"
