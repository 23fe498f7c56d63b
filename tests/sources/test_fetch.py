from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.readers.container import BadImage
from mminstruct.sources.fetch import Reach, fetch
from tests.sources.badworld import jpeg
from tests.sources.web import Web, serve

TRUST = ssl.create_default_context()
HERE = Reach(private=True, seconds=5, size=1 << 20)


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    yield from serve()


def reason(url: str, reach: Reach = HERE) -> str:
    with pytest.raises(BadImage) as caught:
        fetch(url, reach, TRUST)
    return caught.value.reason


def test_an_image_is_fetched_as_it_is(web: str) -> None:
    assert fetch(f"{web}/photo/7.jpg", HERE, TRUST) == jpeg(7)
    assert fetch(f"{web}/photo/7?name=naïve ☃#part", HERE, TRUST) == jpeg(7)


def test_addresses_that_are_not_public_are_refused_unless_allowed(web: str) -> None:
    assert reason(f"{web}/photo/1", Reach()) == "url_private"
    port = web.rsplit(":", 1)[1]
    for host in ("localhost", "127.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
        assert reason(f"http://{host}:{port}/photo/1", Reach()) in ("url_private", "url_failed"), host


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.215.14", "169.254.169.254")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    assert reason("http://two-faced.example/", Reach()) == "url_private"


def test_a_name_is_resolved_once_and_the_checked_address_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    connected: list[Any] = []

    def resolve(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        asked.append(host)
        ip = "93.184.215.14" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))]

    def connect(address: Any, *args: Any, **options: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    assert reason("http://rebinding.example:8080/", Reach()) == "url_failed"
    assert asked == ["rebinding.example"]
    assert connected == [("93.184.215.14", 8080)]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/y", "data:image/png;base64,AA", "/etc/passwd", "gopher://x", ""]
)
def test_only_http_is_spoken(url: str) -> None:
    assert reason(url) == "url_scheme"


@pytest.mark.parametrize(
    "url", ["http://", "http://user:word@127.0.0.1/", "http:///x", "http://[::1", "http://x:99999/", "http://a b/"]
)
def test_malformed_addresses_are_refused(url: str) -> None:
    assert reason(url) == "url_failed"


def test_redirects_are_refused_or_followed_as_far_as_allowed(web: str) -> None:
    once = f"{web}/redirect/photo/3"
    assert reason(once) == "url_redirect"
    assert fetch(once, Reach(private=True, redirects=1), TRUST) == jpeg(3)
    assert reason(f"{web}/redirect/redirect/photo/3", Reach(private=True, redirects=1)) == "url_redirect"
    assert reason(f"{web}/away", Reach(private=True, redirects=3)) == "url_scheme"


def test_a_redirect_into_a_private_network_is_refused(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def public_at_first(address: str) -> bool:
        seen.append(address)
        return len(seen) == 1

    monkeypatch.setattr("mminstruct.sources.fetch.public", public_at_first)
    assert reason(f"{web}/redirect/photo/3", Reach(redirects=2)) == "url_private"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("missing/404", "url_status"), ("missing/500", "url_status"), ("large/9999999999", "url_too_large"),
     ("endless", "url_too_large"), ("half", "url_failed"), ("zipped", "url_failed"), ("noai", "url_noai")],
)  # fmt: skip
def test_bad_answers_have_their_reasons(web: str, path: str, expected: str) -> None:
    assert reason(f"{web}/{path}") == expected


@pytest.mark.parametrize("path", ["busy/429", "busy/503", "broken/off"])
def test_a_host_that_is_busy_or_breaks_off_is_asked_again(web: str, path: str) -> None:
    assert fetch(f"{web}/{path}/twice/{time.monotonic_ns()}", HERE, TRUST) == jpeg(5)


@pytest.mark.parametrize(
    ("path", "expected", "asked"),
    [("busy/429/always", "url_status", 3), ("broken/off/always", "url_failed", 3), ("later/60", "url_status", 1),
     ("later/Sun, 06 Nov 2094 08:49:37 GMT", "url_status", 1), ("missing/500", "url_status", 1)],
)  # fmt: skip
def test_a_host_is_asked_three_times_at_most_and_never_past_the_deadline(
    web: str, path: str, expected: str, asked: int
) -> None:
    url = f"{web}/{path}/{time.monotonic_ns()}"
    began = time.monotonic()
    assert reason(url, Reach(private=True, seconds=5)) == expected
    assert time.monotonic() - began < 5
    assert Web.asked[url.removeprefix(web)] == asked


@pytest.mark.parametrize("header", ["", "soon", "-5", "Sun, 06 Nov 1994 08:49:37 GMT", "\u0663", "1e3"])
def test_what_retry_after_says_in_any_form_is_a_pause(web: str, header: str) -> None:
    assert fetch(f"{web}/once/{time.monotonic_ns()}/{quote(header)}", HERE, TRUST) == jpeg(5)


def test_a_redirect_may_be_written_in_utf_8_and_a_coding_may_be_none(web: str) -> None:
    follow = Reach(private=True, redirects=1)
    assert fetch(f"{web}/utf8", follow, TRUST) == jpeg(4)
    for coding in ("none", "identity", " Identity ", "NONE"):
        assert fetch(f"{web}/coded/{quote(coding)}", HERE, TRUST) == jpeg(6)
    assert reason(f"{web}/nowhere", follow) == "url_redirect"


@pytest.mark.parametrize("path", ["drip", "drip_header"])
def test_an_answer_that_drips_ends_at_the_deadline(web: str, path: str) -> None:
    began = time.monotonic()
    assert reason(f"{web}/{path}", Reach(private=True, seconds=0.5)) == "url_timeout"
    assert time.monotonic() - began < 2


def test_a_server_that_is_not_there_is_a_drop() -> None:
    assert reason("http://127.0.0.1:9/", HERE) == "url_failed"
    assert reason("http://does-not-exist.invalid/", HERE) == "url_failed"


def test_proxies_of_the_environment_are_not_used(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(f"{web}/photo/7", HERE, TRUST) == jpeg(7)


def test_the_request_says_who_asks_and_nothing_else(web: str) -> None:
    lines = fetch(f"{web}/agent", HERE, TRUST).decode().lower().splitlines()
    assert sorted(line.split(":")[0] for line in lines) == ["accept", "accept-encoding", "host", "user-agent"]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_refused_with_a_reason(text: str) -> None:
    assert reason(f"{text}://\x00{text}" if text else "x", Reach(seconds=1)).startswith("url_")
