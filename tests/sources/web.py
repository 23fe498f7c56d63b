"""A server on this machine that answers like the open web."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote

from tests.sources.badworld import jpeg


class Web(BaseHTTPRequestHandler):
    """Every kind of answer that the open web gives."""

    protocol_version = "HTTP/1.1"

    asked: ClassVar[Counter[str]] = Counter()
    """How often each path was asked for."""

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.asked[unquote(self.path)] += 1
        name, _, argument = self.path.strip("/").partition("/")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if unquote(name) == "caf\u00e9":
                self.answer(200, jpeg(4))
            else:
                getattr(self, f"give_{name}")(argument)

    def give_photo(self, seed: str) -> None:
        self.answer(200, jpeg(int(seed.partition("?")[0].partition(".")[0])))

    def give_page(self, _: str) -> None:
        self.answer(200, b"<html>not found, says a page with status 200</html>")

    def give_missing(self, status: str) -> None:
        self.answer(int(status.partition("/")[0]), b"gone")

    def give_redirect(self, to: str) -> None:
        self.answer(302, Location=f"/{to}")

    def give_away(self, _: str) -> None:
        self.answer(302, Location="file:///etc/passwd")

    def give_busy(self, which: str) -> None:
        status, how, _ = which.split("/")
        if how == "always" or self.asked[unquote(self.path)] < 3:
            self.answer(int(status), b"busy", Retry_After="0")
        else:
            self.answer(200, jpeg(5))

    def give_broken(self, which: str) -> None:
        if "always" in which or self.asked[unquote(self.path)] < 3:
            self.close_connection = True
        else:
            self.answer(200, jpeg(5))

    def give_later(self, when: str) -> None:
        self.answer(429, b"busy", Retry_After=unquote(when.partition("/")[0]))

    def give_once(self, when: str) -> None:
        if self.asked[unquote(self.path)] == 1:
            self.answer(503, b"busy", Retry_After=unquote(when.partition("/")[2]).encode().decode("latin-1"))
        else:
            self.answer(200, jpeg(5))

    def give_utf8(self, _: str) -> None:
        self.answer(301, Location="/caf\u00e9".encode().decode("latin-1"))

    def give_nowhere(self, _: str) -> None:
        self.answer(302, Location="//[")

    def give_coded(self, coding: str) -> None:
        self.answer(200, jpeg(6), Content_Encoding=unquote(coding))

    def give_large(self, size: str) -> None:
        self.answer(200, bytes(1000), Content_Length=size)

    def give_endless(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            self.wfile.write(bytes(65536))

    def give_drip(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        while True:
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def give_drip_header(self, _: str) -> None:
        while True:
            self.wfile.write(b"H")
            self.wfile.flush()
            time.sleep(0.05)

    def give_half(self, _: str) -> None:
        self.answer(200, jpeg(1)[:500], Content_Length=str(len(jpeg(1))))
        self.close_connection = True

    def give_zipped(self, _: str) -> None:
        self.answer(200, bytes(10), Content_Encoding="gzip")

    def give_noai(self, _: str) -> None:
        self.answer(200, jpeg(1), X_Robots_Tag="noindex, noai")

    def give_agent(self, _: str) -> None:
        self.answer(200, "\n".join(f"{name}: {value}" for name, value in self.headers.items()).encode())


def serve() -> Iterator[str]:
    """For a fixture: address of a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
