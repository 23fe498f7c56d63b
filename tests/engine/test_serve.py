from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from starlette.requests import Request

from mminstruct.engine.config import Pool
from mminstruct.engine.replica import Replica
from mminstruct.engine.serve import serve
from mminstruct.engine.service import Service
from mminstruct.microworld.drawing.render import render
from mminstruct.microworld.scene import draw_scene
from mminstruct.models.model import Model, Reply, with_image
from mminstruct.models.openai import Chatter
from mminstruct.stage import Halt, WorkerFault
from tests.engine.test_protocol import body, turn
from tests.stages import doubles

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-test"


# One replica, in this process


class Chat:
    """A model that calls a function."""

    def __init__(self, play: Any) -> None:
        self.play, self.calls = play, []  # type: ignore[var-annotated]

    def chat(self, messages: Any, *, seeds: Any, schema: Any = None, sampling: Any = None) -> list[Reply]:
        self.calls.append({"messages": messages, "seeds": seeds, "schema": schema, "sampling": sampling})
        return [self.play(one) for one in messages]


def replica(play: Any, *, role: str = "answerer", backend: str = "openai", **service: Any) -> tuple[Replica, Chat]:
    made = Chat(play)

    @dataclass(kw_only=True)
    class Fake(Model):
        def chat(self) -> Any:
            return made

        def embed(self) -> Any:
            return doubles.Encoder()

    return Replica(Service(**service), role, Fake(name="m", backend=backend)), made


async def call(made: Replica, path: str, given: Any = None, token: str = "") -> tuple[int, Any]:
    data = b"" if given is None else given if isinstance(given, bytes) else json.dumps(given).encode()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    scope = {
        "type": "http", "method": "GET" if given is None else "POST", "path": path, "headers": headers,
        "query_string": b"", "server": ("127.0.0.1", 80), "scheme": "http",
    }  # fmt: skip
    answer = await made(Request(scope, receive))
    return answer.status_code, json.loads(bytes(answer.body))


def echo(messages: Any) -> Reply:
    return Reply(f"re: {messages[-1]['content']}", "stop", 3, 2)


def test_requests_that_come_while_a_batch_is_computed_make_the_next_and_get_their_own_replies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # this check asks Ray Serve for the replica's context, which does not exist here
    monkeypatch.setattr(
        "ray.serve.batching._BatchQueue._warn_if_max_batch_size_exceeds_max_ongoing_requests", lambda _: None
    )
    began, free = threading.Event(), threading.Event()

    def slow(messages: Any) -> Reply:
        began.set()
        free.wait(30)
        return echo(messages)

    async def talk() -> tuple[list[Any], Chat]:
        made, chat = replica(slow, backend="transformers", batch=8)
        first = asyncio.create_task(call(made, "/v1/chat/completions", body(messages=[turn("first")])))
        await asyncio.to_thread(began.wait, 30)
        hot = {"temperature": 1.0}
        rest = [
            asyncio.create_task(
                call(made, "/v1/chat/completions", body(messages=[turn(str(i))], **(hot if i % 2 else {})))
            )
            for i in range(6)
        ]
        await asyncio.sleep(0.2)
        free.set()
        return [await first, *[await one for one in rest]], chat

    answers, chat = asyncio.run(talk())
    assert [status for status, _ in answers] == [200] * 7
    said = [answer["choices"][0]["message"]["content"] for _, answer in answers]
    assert said == ["re: first", *[f"re: {i}" for i in range(6)]]
    assert [len(one["messages"]) for one in chat.calls] == [1, 3, 3], "one, then those that draw alike together"


def test_a_reply_has_its_usage_and_its_reason_to_finish() -> None:
    made, _ = replica(lambda messages: Reply("half", "length", 7, 4))
    status, answer = asyncio.run(call(made, "/v1/chat/completions", body()))
    assert status == 200
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    assert answer["choices"][0]["finish_reason"] == "length"
    filtered, _ = replica(lambda messages: Reply("", "filtered", 7, 0, "no"))
    assert (
        asyncio.run(call(filtered, "/v1/chat/completions", body()))[1]["choices"][0]["finish_reason"]
        == "content_filter"
    )


def test_a_token_is_asked_for_on_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_TEST_TOKEN", TOKEN)
    made, chat = replica(echo, token_env="SERVE_TEST_TOKEN")
    for path, sent in (("/v1/models", None), ("/v1/chat/completions", body()), ("/else", None)):
        for wrong in ("", "x", TOKEN + "x", TOKEN[:-1], "é"):
            status, answer = asyncio.run(call(made, path, sent, wrong))
            assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
            assert TOKEN not in json.dumps(answer)
    assert not chat.calls
    assert asyncio.run(call(made, "/v1/models", None, TOKEN))[1]["data"][0]["id"] == "m"


def test_an_endpoint_is_not_open_to_strangers_by_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    Service().check()
    Service(host="::1").check()
    with pytest.raises(ValueError, match="can be reached from other machines"):
        Service(host="0.0.0.0").check()
    with pytest.raises(ValueError, match="NO_SUCH_TOKEN is not set"):
        Service(host="0.0.0.0", token_env="NO_SUCH_TOKEN").check()
    with pytest.raises(ValueError, match="not set on this worker"):
        replica(echo, token_env="NO_SUCH_TOKEN")


def test_replicas_that_could_never_start_are_refused_instead_of_waited_for(ray_here: None) -> None:
    with pytest.raises(ValueError, match="want 64 GPUs, and this machine has"):
        serve(Service(pool=Pool(workers=64, gpus=1)), "answerer", Model(name="micro:llm"), print)


def test_a_dead_engine_is_told_as_try_again_and_has_the_replica_replaced() -> None:
    def die(messages: Any) -> Reply:
        raise WorkerFault("the device fell off the bus")

    made, _ = replica(die)
    made.check_health()
    status, answer = asyncio.run(call(made, "/v1/chat/completions", body()))
    assert (status, answer["error"]["type"]) == (503, "server_error")
    with pytest.raises(WorkerFault):
        made.check_health()


@pytest.mark.parametrize(("error", "status"), [(Halt("the key is refused"), 502), (KeyError("secret detail"), 500)])
def test_other_faults_are_the_servers_and_say_no_more_than_they_should(error: Exception, status: int) -> None:
    def fail(messages: Any) -> Reply:
        raise error

    made, _ = replica(fail)
    told = asyncio.run(call(made, "/v1/chat/completions", body()))
    assert told[0] == status
    assert "secret detail" not in json.dumps(told[1])
    made.check_health()


def test_bodies_that_are_no_json_or_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = replica(echo)
    assert asyncio.run(call(made, "/v1/chat/completions", b"{"))[0] == 400
    monkeypatch.setattr("mminstruct.engine.bodies.MAX_BYTES", 10)
    assert asyncio.run(call(made, "/v1/chat/completions", body()))[0] == 413


def slowly(pieces: list[bytes], path: str = "/v1/chat/completions") -> Request:
    """A request whose body stops after *pieces*."""

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": True}

    return Request({"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}, receive)


def test_a_body_that_stops_coming_is_given_up_and_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mminstruct.engine.bodies.IDLE_TIMEOUT", 0.1)
    made, chat = replica(echo)
    answer = asyncio.run(made(slowly([b'{"model"', b": "])))
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert b"10 bytes were received" in bytes(answer.body)
    assert made._bodies._buffered == 0
    assert not chat.calls


def test_a_body_that_drips_for_ever_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mminstruct.engine.bodies.TOTAL_TIMEOUT", 0.1)
    made, _ = replica(echo)
    assert asyncio.run(made(slowly([b"["] * 3))).status_code == 408


def test_bodies_that_are_too_much_together_are_refused_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mminstruct.engine.bodies.MAX_BUFFERED", 10)
    made, _ = replica(echo)
    answer = asyncio.run(made(slowly([b"x" * 8, b"x" * 8])))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert made._bodies._buffered == 0


def test_half_sent_requests_take_no_place_from_whole_ones() -> None:
    async def talk() -> tuple[int, Any]:
        made, _ = replica(echo, requests=1)
        half = [asyncio.create_task(made(slowly([b"{"]))) for _ in range(50)]
        await asyncio.sleep(0)
        try:
            return await call(made, "/v1/chat/completions", body())
        finally:
            [task.cancel() for task in half]

    assert asyncio.run(talk())[0] == 200


def test_more_requests_than_the_model_and_its_queue_take_get_429() -> None:
    free = threading.Event()

    def slow(messages: Any) -> Reply:
        free.wait(30)
        return echo(messages)

    async def talk() -> list[int]:
        made, _ = replica(slow, requests=2)
        asked = [asyncio.create_task(call(made, "/v1/chat/completions", body())) for _ in range(6)]
        await asyncio.wait(asked, timeout=30, return_when=asyncio.FIRST_COMPLETED)  # a refused request does not wait
        free.set()
        return sorted([(await task)[0] for task in asked])

    assert asyncio.run(talk()) == [200, 200, 200, 200, 429, 429]


@pytest.mark.parametrize("half", ["\\ud83d", "\\uDE00", "\\ude00\\ud83d"])
def test_half_a_surrogate_pair_anywhere_is_the_requests_fault(half: str) -> None:
    made, chat = replica(echo)
    raw = json.dumps(body(messages=[turn("HERE")])).replace("HERE", half).encode()
    status, answer = asyncio.run(call(made, "/v1/chat/completions", raw))
    assert (status, "half a surrogate pair" in answer["error"]["message"]) == (400, True)
    assert not chat.calls
    whole = json.dumps(body(messages=[turn("HERE")])).replace("HERE", "\\ud83d\\ude00 \\\\ud83d").encode()
    assert asyncio.run(call(made, "/v1/chat/completions", whole))[0] == 200
    embedder, _ = replica(echo, role="embedder")
    raw = json.dumps({"model": "m", "input": ["HERE"]}).replace("HERE", half).encode()
    assert asyncio.run(call(embedder, "/v1/embeddings", raw))[0] == 400


def test_an_embedder_embeds_and_does_not_chat() -> None:
    made, _ = replica(echo, role="embedder")
    status, answer = asyncio.run(call(made, "/v1/embeddings", {"model": "m", "input": ["a red robot", "a tree"]}))
    assert status == 200
    assert np.allclose([row["embedding"] for row in answer["data"]], doubles.Encoder().texts(["a red robot", "a tree"]))
    assert asyncio.run(call(made, "/v1/chat/completions", body()))[0] == 404
    assert asyncio.run(call(made, "/v1/embeddings", {"model": "m", "input": [1]}))[0] == 400


# End to end: the command, Ray Serve, vLLM on two ranks, HTTP


PROMPTS = [f"Describe {count} {colour} {thing}." for count in ("one", "two") for colour in ("red", "blue", "green", "grey")
           for thing in ("robot", "tree", "lamp", "boat", "cat")]  # fmt: skip


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[str]:
    """Run ``mminstruct serve`` in a subprocess; yields the address that it prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    environment = os.environ | {"SERVE_TEST_TOKEN": TOKEN, "VLLM_CPU_KVCACHE_SPACE": "1"}
    command = [sys.executable, "-m", "mminstruct.cli", "serve", f"port={port}", "token_env=SERVE_TEST_TOKEN", *words]
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 500
        while not (found := re.search(r"answers at (http\S+);", log.read_text())):
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < until, log.read_text()[-4000:]
            time.sleep(0.3)
        yield found.group(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        assert TOKEN not in log.read_text()
    finally:
        process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded Mixtral on vLLM, with weights on two ranks."""
    words = (
        "role=answerer", "models.answerer.backend=vllm", "pool.cpus=2", "name=answers",
        "+models.answerer.options.tensor_parallel_size=2", "+models.answerer.options.max_model_len=512",
    )  # fmt: skip
    with serving(tmp_path_factory.mktemp("serve"), *words) as url:
        yield url


@pytest.mark.slow
def test_replies_over_http_from_two_ranks_are_those_of_transformers_in_process(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVE_TEST_TOKEN", TOKEN)
    micro = Model(name="micro:llm", max_tokens=24, options={"threads": 1})
    here = micro.chat().chat([[turn(text)] for text in PROMPTS], seeds=[0] * len(PROMPTS))  # type: ignore[misc]
    there = Chatter(Model(name="answers", backend="openai", url=served, key_env="SERVE_TEST_TOKEN", max_tokens=24))
    got = there.chat([[turn(text)] for text in PROMPTS], seeds=[0] * len(PROMPTS))  # type: ignore[misc]
    same = sum(one == other for one, other in zip(got, here, strict=True))
    assert same >= len(PROMPTS) - 1, "two ranks sum in another order, so one near tie may be decided differently"
    assert len({reply.text for reply in got}) > 10
    hot = Chatter(
        Model(name="answers", backend="openai", url=served, key_env="SERVE_TEST_TOKEN", max_tokens=24, temperature=1.0)
    )
    twice = [hot.chat([[turn(PROMPTS[0])]] * 4, seeds=[1, 2, 3, 4]) for _ in range(2)]  # type: ignore[list-item]
    assert twice[0] == twice[1], "equal seeds give equal replies"
    assert len({reply.text for reply in twice[0]}) > 1
    form = {
        "type": "object",
        "properties": {"score": {"enum": [1, 2, 3]}},
        "required": ["score"],
        "additionalProperties": False,
    }
    (held,) = there.chat([[turn("Rate it.")]], seeds=[0], schema=form)  # type: ignore[misc]
    assert json.loads(held.text)["score"] in (1, 2, 3)


@pytest.mark.slow
def test_openais_own_client_understands_all_that_is_said(served: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as closed:
        urllib.request.urlopen(f"{served}/models")
    assert closed.value.code == 401
    client = openai.OpenAI(base_url=served, api_key=TOKEN, max_retries=0)
    assert [model.id for model in client.models.list()] == ["answers"]
    answer = client.chat.completions.create(model="answers", messages=[turn("hello")], max_tokens=5, temperature=0)  # type: ignore[list-item]
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 5
    with pytest.raises(openai.NotFoundError, match="serves `answers`"):
        client.chat.completions.create(model="gpt-4", messages=[turn("hello")])  # type: ignore[list-item]
    with pytest.raises(openai.BadRequestError, match="context") as long:
        client.chat.completions.create(model="answers", messages=[turn("word " * 2000)])  # type: ignore[list-item]
    assert long.value.code == "context_length_exceeded"


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded embedder, for two concurrent requests."""
    with serving(tmp_path_factory.mktemp("embedder"), "role=embedder", "requests=2") as url:
        yield url


@pytest.mark.slow
def test_vectors_over_http_are_those_of_the_embedder_in_process(embedding: str) -> None:
    here = Model(name="micro:embedder", options={"threads": 1}).embed().texts(PROMPTS)
    client = openai.OpenAI(base_url=embedding, api_key=TOKEN, max_retries=0)
    for form in ("float", "base64"):
        answer = client.embeddings.create(model="micro:embedder", input=PROMPTS, encoding_format=form)  # type: ignore[arg-type]
        there = [
            np.frombuffer(base64.b64decode(row.embedding), "<f4") if isinstance(row.embedding, str) else row.embedding
            for row in answer.data
        ]
        assert np.allclose(there, here, atol=1e-6)


@pytest.mark.slow
def test_many_half_sent_requests_block_no_other_and_are_given_up(embedding: str) -> None:
    host, port = re.findall(r"//([^:]+):(\d+)/", embedding)[0]
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {TOKEN}\r\n"
        "content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    ).encode()
    half = [socket.create_connection((host, int(port))) for _ in range(200)]
    try:
        for connection in half:
            connection.sendall(head)
        client = openai.OpenAI(base_url=embedding, api_key=TOKEN, max_retries=0, timeout=60)
        for _ in range(3):
            assert client.embeddings.create(model="micro:embedder", input="a red robot").data
        half[-1].settimeout(120)
        assert half[-1].recv(100).startswith(b"HTTP/1.1 408")
    finally:
        [connection.close() for connection in half]


@pytest.mark.slow
def test_captions_over_http_are_those_of_the_captioner_in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVE_TEST_TOKEN", TOKEN)
    asked: list[Any] = []
    for number in range(4):
        jpeg = io.BytesIO()
        render(draw_scene(number, 2000)).image.save(jpeg, "JPEG")
        asked.append(with_image([{"role": "user", "content": "Describe the image."}], jpeg.getvalue()))
    micro = Model(name="micro:captioner", max_tokens=48, options={"threads": 1})
    here = micro.chat().chat(asked, seeds=[0] * 4)
    with serving(tmp_path, "role=captioner") as url:
        client = Model(name="micro:captioner", backend="openai", url=url, key_env="SERVE_TEST_TOKEN", max_tokens=48)
        there = client.chat().chat(asked, seeds=[0] * 4)
    assert [reply.text for reply in there] == [reply.text for reply in here]
    assert len({reply.text for reply in here}) == 4
