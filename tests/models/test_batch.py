from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from mminstruct.models.faults import EndpointError
from mminstruct.models.model import Model
from mminstruct.models.openai import Chatter
from mminstruct.store.spending import BudgetExceeded, Ledger
from tests.models.asking import COLOURS, PRICE, MemoryJournal, ask, unit
from tests.models.server import Answer, Endpoint, Request, error, say


class BatchServer:
    """OpenAI's files and batches, answered out of order; subclasses add faults."""

    polls = 1
    """Times that a batch is still in progress when asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.bought: list[str] = []

    def __call__(self, request: Request) -> Answer:
        path = request.path.removeprefix("/v1").partition("?")[0]
        found = re.fullmatch(r"/(files|batches)(?:/([\w-]+))?(/content)?", path)
        assert found is not None, f"{path} is no business of a batch"
        kind, name, content = found.groups()
        if kind == "files" and request.method == "POST":
            return Answer(body=self.upload(request))
        if content:
            return Answer(body=self.files[name], headers={"content-type": "application/octet-stream"})
        if request.method == "POST":
            return Answer(body=self.create(request.json))
        if name is None:
            return Answer(body={"object": "list", "data": list(self.batches.values())[::-1], "has_more": False})
        batch = self.batches[name]
        batch["polled"] += 1
        if batch["polled"] > self.polls and batch["status"] == "in_progress":
            self.finish(batch)
        return Answer(body=batch)

    def upload(self, request: Request) -> dict[str, Any]:
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        parts = request.raw.split(b"--" + boundary)
        data = next(part for part in parts if b'name="file"' in part).partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        return {"id": self.store(data), "object": "file", "purpose": "batch", "bytes": len(data), "created_at": 0,
                "filename": "x.jsonl", "status": "processed"}  # fmt: skip

    def store(self, data: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = data
        return name

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = f"batch-{len(self.batches)}"
        self.batches[name] = {
            "id": name, "object": "batch", "status": "in_progress", "created_at": 0, "polled": 0, "errors": None,
            "output_file_id": None, "error_file_id": None, **asked,
        }  # fmt: skip
        return self.batches[name]

    def finish(self, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        random.Random(0).shuffle(lines)
        good, bad = self.answers(lines)
        batch["output_file_id"] = self.store("".join(good).encode())
        batch["error_file_id"] = self.store("".join(bad).encode()) if bad else None
        batch["status"] = "completed"

    def answers(self, lines: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
        return [self.answer(line) for line in lines], []

    def answer(self, line: dict[str, Any], status: int = 200, body: dict[str, Any] | None = None) -> str:
        asked = line["body"]["messages"][-1]["content"]
        if status == 200:
            self.bought.append(asked)
        answer = {"status_code": status, "request_id": "r", "body": body or say(f"re: {asked}")}
        return json.dumps({"id": "l", "custom_id": line["custom_id"], "response": answer, "error": None}) + "\n"


@contextlib.contextmanager
def chatter(endpoint: Endpoint, ledger: Ledger | None = None, **options: Any) -> Iterator[Chatter]:
    batch = {"poll": 0.01, **options.pop("batch", {})}
    options = {"mode": "batch", "batch": batch, "price": PRICE, "retries": {"backoff": 0.02, "patience": 1}, **options}
    made = Chatter(Model(name="m", backend="openai", url=endpoint.url, options=options), budget=ledger)
    try:
        yield made
    finally:
        made.close()


TEXTS = [str(i) for i in range(20)]
REPLIES = [f"re: {i}" for i in range(20)]


def test_batch_answers_out_of_order_are_matched_to_their_rows_at_half_the_price() -> None:
    server, ledger = BatchServer(), Ledger()
    with Endpoint(server) as endpoint, chatter(endpoint, ledger) as made, unit() as work:
        replies = ask(made, *TEXTS)
    assert [reply.text for reply in replies] == REPLIES
    assert len(server.batches) == 1
    assert (work.calls, work.tokens_in, work.tokens_out) == (20, 200, 100)
    assert work.cost == ledger.spent == pytest.approx(0.2)
    first = json.loads(server.files["file-0"].splitlines()[0])
    assert (first["method"], first["url"]) == ("POST", "/v1/chat/completions")
    assert "seed" in first["body"]


def test_missing_torn_foreign_and_repeated_lines_lose_and_duplicate_no_reply() -> None:
    class Careless(BatchServer):
        def answers(self, lines: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
            good = [self.answer(line) for line in lines]
            if len(self.batches) == 1:
                stranger = self.answer({"custom_id": "who?", "body": {"messages": [{"content": "stranger"}]}})
                good = [*good[3:], good[5], stranger, good[0][:30] + "\n", "\n", "null\n", '{"custom_id": 3}\n']
                good[0] = json.dumps(json.loads(good[0]) | {"id": "one\u2028two\x85three"}, ensure_ascii=False) + "\r\n"
            return good, []

    server = Careless()
    with Endpoint(server) as endpoint, chatter(endpoint) as made, unit() as work:
        replies = ask(made, *TEXTS)
    assert [reply.text for reply in replies] == REPLIES
    assert len(server.files[server.batches["batch-1"]["input_file_id"]].splitlines()) == 3
    assert work.notes["batch_requeued"] == 3
    assert work.calls == 20


def test_failed_lines_are_retried_failed_or_filtered_by_their_error() -> None:
    class Failing(BatchServer):
        def answers(self, lines: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
            good, bad = [], []
            for line in lines:
                asked, again = line["body"]["messages"][-1]["content"], len(self.batches) > 1
                if asked == "0":
                    bad.append(self.answer(line, 400, {"error": {"message": "bad image", "code": "invalid_image"}}))
                elif asked == "1":
                    bad.append(self.answer(line, 400, {"error": {"message": "no", "code": "content_filter"}}))
                elif asked == "2" and not again:
                    bad.append(self.answer(line, 500, {"error": {"message": "boom"}}))
                elif asked == "3" and not again:
                    late = {"code": "batch_expired", "message": "not in time"}
                    bad.append(json.dumps({"custom_id": line["custom_id"], "response": None, "error": late}) + "\n")
                elif asked == "4":
                    bad.append(self.answer(line, 503, {"error": {"message": "always"}}))
                else:
                    good.append(self.answer(line))
            return good, bad

    server = Failing()
    with Endpoint(server) as endpoint, chatter(endpoint) as made:
        replies = ask(made, *TEXTS)
    assert [reply.finish for reply in replies[:5]] == ["error", "filtered", "stop", "stop", "error"]
    assert [reply.text for reply in replies[5:]] == REPLIES[5:]
    assert "bad image" in str(replies[0].error)
    assert "no answer in 3 batches (HTTP 503" in str(replies[4].error)
    assert len(server.bought) == len(set(server.bought)) == 17


def test_an_expired_batch_gives_what_it_has_and_the_rest_is_requested_again() -> None:
    class Slow(BatchServer):
        def finish(self, batch: dict[str, Any]) -> None:
            super().finish(batch)
            if len(self.batches) == 1:
                batch["status"] = "expired"

        def answers(self, lines: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
            return super().answers(lines[:12] if len(self.batches) == 1 else lines)

    server = Slow()
    with Endpoint(server) as endpoint, chatter(endpoint) as made:
        assert [reply.text for reply in ask(made, *TEXTS)] == REPLIES
    assert len(server.batches) == 2
    assert len(server.bought) == 20


def test_a_batch_without_any_answer_is_not_retried_for_ever() -> None:
    class Forgetful(BatchServer):
        def answers(self, lines: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
            return super().answers(lines if len(self.batches) > 1 else [])

    server = Forgetful()
    with Endpoint(server) as endpoint, chatter(endpoint) as made, unit(MemoryJournal()):
        assert [reply.text for reply in ask(made, *TEXTS)] == REPLIES
    assert len(server.batches) == 2


@pytest.mark.parametrize("journal_survives", [True, False])
def test_a_batch_submitted_before_a_crash_is_collected_and_not_paid_again(journal_survives: bool) -> None:
    class Hanging(BatchServer):
        polls = 10**9

    server, journal = Hanging(), MemoryJournal()
    with Endpoint(server) as endpoint:
        with chatter(endpoint) as made, unit(journal):
            made._loop.call_soon_threadsafe(made._loop.call_later, 0.5, made._stop_all, EndpointError("power cut"))
            with pytest.raises(EndpointError, match="power cut"):
                ask(made, *TEXTS)
        assert len(server.batches) == 1
        server.polls = 0
        with chatter(endpoint) as made, unit(journal if journal_survives else MemoryJournal()):
            assert [reply.text for reply in ask(made, *TEXTS)] == REPLIES
    assert len(server.batches) == 1


def test_a_batch_collected_before_a_crash_costs_nothing_more() -> None:
    server, journal = BatchServer(), MemoryJournal()
    with Endpoint(server) as endpoint:
        for _ in range(2):
            with chatter(endpoint) as made, unit(journal) as work:
                assert [reply.text for reply in ask(made, *TEXTS)] == REPLIES
            assert work.cost == pytest.approx(0.2)
    assert len(server.bought) == 20


def test_a_batch_whose_creation_was_not_confirmed_is_not_created_twice() -> None:
    server = BatchServer()

    def lossy(request: Request) -> Answer:
        answer = server(request)
        lost = request.method == "POST" and request.path == "/v1/batches"
        return error(504) if lost else answer

    with Endpoint(lossy) as endpoint, chatter(endpoint) as made:
        assert [reply.text for reply in ask(made, *TEXTS)] == REPLIES
    assert len(server.batches) == 1
    assert len(server.bought) == 20


def test_large_work_is_split_by_requests_and_by_bytes() -> None:
    server = BatchServer()
    with Endpoint(server) as endpoint, chatter(endpoint, batch={"requests": 8}) as made:
        assert [reply.text for reply in ask(made, *TEXTS)] == REPLIES
    sizes = [len(server.files[batch["input_file_id"]].splitlines()) for batch in server.batches.values()]
    assert sorted(sizes) == [4, 8, 8]
    server = BatchServer()
    with Endpoint(server) as endpoint, chatter(endpoint, batch={"megabytes": 0.002}) as made:
        assert [reply.text for reply in ask(made, *TEXTS)] == REPLIES
    assert len(server.batches) > 2
    assert all(len(server.files[batch["input_file_id"]]) <= 2000 for batch in server.batches.values())


def test_repairs_go_into_one_batch_of_their_own() -> None:
    class Colours(BatchServer):
        def answer(self, line: dict[str, Any], status: int = 200, body: dict[str, Any] | None = None) -> str:
            turns = line["body"]["messages"]
            good = len(turns) == 3 or int(turns[0]["content"]) % 2
            return super().answer(line, 200, say('{"colour": "red"}' if good else "red"))

    server = Colours()
    with Endpoint(server) as endpoint, chatter(endpoint) as made:
        replies = ask(made, *TEXTS, schema=COLOURS)
    assert {reply.text for reply in replies} == {'{"colour": "red"}'}
    sizes = [len(server.files[batch["input_file_id"]].splitlines()) for batch in server.batches.values()]
    assert sizes == [20, 10]


def test_a_batch_that_the_endpoint_refuses_stops_the_run_with_its_message() -> None:
    class Refusing(BatchServer):
        def finish(self, batch: dict[str, Any]) -> None:
            data = [{"code": "model_not_found", "message": "m takes no batches", "line": 1, "param": None}]
            batch |= {"status": "failed", "errors": {"object": "list", "data": data}}

    with (
        Endpoint(Refusing()) as endpoint,
        chatter(endpoint) as made,
        pytest.raises(EndpointError, match="m takes no batches"),
    ):
        ask(made, *TEXTS)


def test_a_full_queue_is_retried_until_there_is_room() -> None:
    class Full(BatchServer):
        def finish(self, batch: dict[str, Any]) -> None:
            if len(self.batches) < 3:
                data = [{"code": "token_limit_exceeded", "message": "queue full", "line": None, "param": None}]
                batch |= {"status": "failed", "errors": {"object": "list", "data": data}}
            else:
                super().finish(batch)

    server = Full()
    with Endpoint(server) as endpoint, chatter(endpoint) as made, unit(MemoryJournal()):
        assert [reply.text for reply in ask(made, *TEXTS)] == REPLIES
    assert len(server.batches) == 3


def test_a_batch_that_would_exceed_the_budget_is_not_submitted() -> None:
    server = BatchServer()
    with Endpoint(server) as endpoint, chatter(endpoint, budget={"usd": 0.1}) as made, pytest.raises(BudgetExceeded):
        ask(made, *TEXTS)
    assert not server.batches


def test_faults_while_polling_are_waited_out_and_a_refused_key_is_not() -> None:
    server = BatchServer()

    def flaky(request: Request) -> Answer:
        return error(502) if request.number % 3 == 1 else server(request)

    with Endpoint(flaky) as endpoint, chatter(endpoint) as made:
        assert [reply.text for reply in ask(made, *TEXTS)] == REPLIES
    with (
        Endpoint(lambda request: error(401, "no")) as endpoint,
        chatter(endpoint) as made,
        pytest.raises(EndpointError, match="key is refused"),
    ):
        ask(made, *TEXTS)
    assert len(server.batches) == 1
