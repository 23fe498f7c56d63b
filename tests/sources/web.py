"""A server on this machine that answers like the open web."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.sources.badworld import jpeg


class Web(BaseHTTPRequestHandler):
    """Every kind of answer that the open web gives."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        name, _, argument = self.path.strip("/").partition("/")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"give_{name}")(argument)

    def give_photo(self, seed: str) -> None:
        self.answer(200, jpeg(int(seed.partition("?")[0].partition(".")[0])))

    def give_page(self, _: str) -> None:
        self.answer(200, b"<html>not found, says a page with status 200</html>")

    def give_missing(self, status: str) -> None:
        self.answer(int(status), b"gone")

    def give_redirect(self, to: str) -> None:
        self.answer(302, Location=f"/{to}")

    def give_away(self, _: str) -> None:
        self.answer(302, Location="file:///etc/passwd")

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
