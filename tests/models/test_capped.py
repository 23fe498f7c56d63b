"""Replies of excessive size, and endpoints that redirect."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.models.capped import Poster, lines
from mminstruct.models.faults import EndpointError, Fault, TooLarge, of_exception
from mminstruct.models.model import Model
from mminstruct.models.openai import Chatter
from tests.models.asking import PRICE, QUICK, ask, chatter
from tests.models.server import Answer, Endpoint, Request, echo, error, say
from tests.models.test_batch import BatchServer
from tests.models.test_batch import chatter as batch_chatter

ROOT = Path(__file__).parents[2]
SMALL = {"megabytes": 0.01}


def packed(data: bytes, how: str) -> Answer:
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    pack = {
        "gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes,
        "bare": lambda data: bare.compress(data) + bare.flush(),
    }[how]  # fmt: skip
    return Answer(body=pack(data), headers={"content-encoding": "deflate" if how == "bare" else how})


@pytest.mark.parametrize("how", ["gzip", "deflate", "bare", "identity"])
def test_a_reply_is_read_compressed_or_not_and_not_beyond_its_limit(how: str) -> None:
    def script(request: Request) -> Answer:
        length = 20_000 if request.asked == "long" else 100
        return packed(json.dumps(say("x" * length)).encode(), how)

    with Endpoint(script) as endpoint, chatter(endpoint, **SMALL) as made:
        short, long = ask(made, "short", "long")
    assert short.text == "x" * 100
    assert long.finish == "error"
    assert "MiB, decompressed (options.megabytes)" in str(long.error)
    assert endpoint.asked.count("long") == 2


def test_an_error_is_read_under_the_same_limit() -> None:
    def script(request: Request) -> Answer:
        if request.asked == "bad":
            bomb = packed(json.dumps({"error": {"message": "x" * 20_000}}).encode(), "gzip")
            return Answer(400, bomb.body, bomb.headers)
        return echo(request)

    with Endpoint(script) as endpoint, chatter(endpoint, **SMALL) as made:
        good, bad = ask(made, "good", "bad")
    assert good.text == "re: good"
    assert "decompressed" in str(bad.error)


BOMB = """
import resource, sys
from mminstruct.models.model import Model
from mminstruct.models.openai import Chatter
quick = {"attempts": 2, "backoff": 0.02, "patience": 1.0}
made = Chatter(Model(name="m", backend="openai", url=sys.argv[1], options={"retries": quick, "timeout": 60}))
ask = lambda text: made.chat([[{"role": "user", "content": text}]], seeds=[0])[0]
assert ask("plain").text == "re: plain"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(ask("bomb").error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_decompression_bomb_costs_a_worker_no_more_memory_than_the_limit() -> None:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(250)) + packer.flush()
    assert len(bomb) < 2 * 2**20, "a megabyte that unpacks to 250"

    def script(request: Request) -> Answer:
        return Answer(body=bomb, headers={"content-encoding": "gzip"}) if request.asked == "bomb" else echo(request)

    with Endpoint(script) as endpoint:
        done = subprocess.run(
            [sys.executable, "-c", BOMB, endpoint.url], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
        )  # fmt: skip
    said, grown = done.stdout.strip().split("\n")
    assert "larger than 16 MiB" in said
    assert int(grown) < 100, "MiB; it was 250 and more"


def test_a_redirect_is_not_followed_and_its_target_gets_nothing() -> None:
    with Endpoint(echo) as other:
        away = Answer(307, b"", {"location": f"{other.url}/chat/completions"})
        with (
            Endpoint(lambda request: away) as endpoint,
            chatter(endpoint) as made,
            pytest.raises(EndpointError, match=rf"redirects to {other.url}/chat/completions .*set url to"),
        ):
            ask(made, "a private prompt")
        assert not other.requests
    assert len(endpoint.requests) == 1


def test_a_proxy_of_the_environment_gets_the_request_and_its_own_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with Endpoint(echo) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        made = Chatter(Model(name="m", backend="openai", url="http://no-such-host.invalid/v1"))
        assert ask(made, "through")[0].text == "re: through"
        made.close()
        (request,) = proxy.requests
        assert request.path == "http://no-such-host.invalid/v1/chat/completions"
        assert request.headers["proxy-authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"
        assert request.headers["authorization"] == "Bearer none"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with Endpoint(echo) as endpoint, chatter(endpoint) as made:
            assert ask(made, "past it")[0].text == "re: past it"
        assert "proxy-authorization" not in endpoint.requests[0].headers
        assert len(proxy.requests) == 1


def test_a_tunnel_of_https_is_asked_for_with_the_password_of_the_proxy_and_without_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TUNNEL_API_KEY", "sk-tunnel-0123456789")
    with Endpoint(lambda request: error(407, "who are you?")) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:pass@127.0.0.1:{proxy.port}")
        options = {"retries": QUICK}
        url = "https://no-such-host.invalid/v1"
        made = Chatter(Model(name="m", backend="openai", url=url, key_env="TUNNEL_API_KEY", options=options))
        assert "ClientHttpProxyError" in str(ask(made, "a")[0].error)
        made.close()
    assert (proxy.requests[0].method, proxy.requests[0].path) == ("CONNECT", "no-such-host.invalid:443")
    assert proxy.requests[0].headers["proxy-authorization"] == f"Basic {base64.b64encode(b'me:pass').decode()}"
    assert not any("sk-tunnel" in str(request.headers) for request in proxy.requests)


def test_a_connection_that_never_opens_costs_nothing_and_a_reply_that_never_ends_may() -> None:
    async def asked(url: str) -> Fault:
        poster = Poster(url, {}, 1000, 1, connect=0.3)
        try:
            async with asyncio.timeout(2.0):
                await poster.post({})
        except Exception as failed:
            return of_exception(failed, who="m")
        finally:
            await poster.close()
        raise AssertionError("it answered")

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        with socket.create_connection(full.getsockname()):  # its queue is full: the next one waits
            unopened = asyncio.run(asked(url))
    refused = asyncio.run(asked(url))
    with Endpoint(lambda request: Answer(delay=5.0)) as endpoint:
        unanswered = asyncio.run(asked(endpoint.url))
    assert [(fault.kind, fault.cost) for fault in (unopened, refused, unanswered)] == [
        ("offline", 0.0), ("offline", 0.0), ("fault", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.3\r\n\r\n", "fault"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nxxx", "fault"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\nxx\r\n0\r\n\r\n", "fault"),
        (b"HTTP/1.1 503 No\r\nx: " + b"a" * 20_000 + b"\r\ncontent-length: 0\r\n\r\n", "fault"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\n\x1f\x8bzzzz", "garbage"),
        (b"", "fault"),
    ],
)
def test_bytes_that_are_no_http_are_a_fault_of_the_request(sent: bytes, kind: str) -> None:
    def serve(server: socket.socket) -> None:
        talk, _ = server.accept()
        with talk:
            talk.recv(65536)
            talk.sendall(sent)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        made = Chatter(Model(name="m", backend="openai", url=f"http://127.0.0.1:{server.getsockname()[1]}/v1"))
        found = asyncio.run_coroutine_threadsafe(made._connection.post({}, 5.0), made._loop).result(10)
        thread.join()
        made.close()
    assert isinstance(found, Fault)
    assert found.kind == kind
    assert "timeout" not in found.message


# Files of a batch


class Large(BatchServer):
    """One answer of 20 kB among others."""

    def answer(self, line: dict[str, Any], status: int = 200, body: dict[str, Any] | None = None) -> str:
        long = line["body"]["messages"][-1]["content"] == "long"
        return super().answer(line, status, say("x" * 20_000) if long else body)


def test_a_line_beyond_the_limit_is_skipped_and_the_others_are_read() -> None:
    with Endpoint(Large()) as endpoint, batch_chatter(endpoint, price=PRICE, **SMALL) as made:
        long, *others = ask(made, "long", "a", "b")
    assert [reply.text for reply in others] == ["re: a", "re: b"]
    assert long.finish == "error"


def test_an_output_file_beyond_its_limit_stops_the_run_and_names_the_option() -> None:
    with (
        Endpoint(Large()) as endpoint,
        batch_chatter(endpoint, price=PRICE, batch={"answers": 0.01}) as made,
        pytest.raises(EndpointError, match=r"the file is larger than .*MiB, decompressed.*options\.batch\.answers"),
    ):
        ask(made, "long", "a", "b")


@given(st.lists(st.binary(max_size=6), max_size=12), st.integers(1, 8), st.lists(st.integers(1, 9), max_size=20))
def test_lines_are_the_same_however_the_body_is_cut_into_pieces(
    texts: list[bytes], longest: int, cuts: list[int]
) -> None:
    body = b"\n".join(texts)

    async def pieces() -> AsyncIterator[bytes]:
        place = 0
        for cut in [*cuts, len(body)]:
            yield body[place : place + cut]
            place += cut

    async def read() -> list[bytes]:
        return [line async for line in lines(pieces(), longest=longest, largest=10**6)]

    expected = [line if len(line) <= longest else b"" for line in body.split(b"\n")]
    assert asyncio.run(read()) == (expected if body.rpartition(b"\n")[2] else expected[:-1])


def test_a_body_beyond_its_limit_is_not_read_to_its_end() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100

    async def read() -> None:
        async for _ in lines(endless(), longest=10, largest=1000):
            pass

    with pytest.raises(TooLarge):
        asyncio.run(read())
