"""A scripted endpoint over real HTTP: slow, overloaded, broken, or healthy.

    with Endpoint(script) as endpoint:
        Model(name="m", backend="openai", url=endpoint.url)

A script is called with each request and returns the answer. The server uses plain asyncio streams, so it can also
misbehave below HTTP: send slowly, stop in the middle, reset.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import random
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Request:
    """A received request, and the number of requests in progress at that time."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    in_flight: int
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def asked(self) -> str:
        """Text of the last turn."""
        content = self.json["messages"][-1]["content"]
        return str(content if isinstance(content, str) else content[-1]["text"])


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and how it is sent."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    """Seconds between bytes."""
    cut: int | None = None
    """Bytes of the body after which the connection is reset."""


Script = Callable[[Request], Answer | Awaitable[Answer]]


def say(text: str | None, *, finish: str = "stop", tokens: tuple[int, int] = (10, 5), **more: Any) -> dict[str, Any]:
    """A chat completion; *more* goes into its message."""
    message = {"role": "assistant", "content": text, **more}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }  # fmt: skip


def error(status: int, message: str = "", code: str | None = None, **headers: str) -> Answer:
    """An error in OpenAI's format."""
    body = {"error": {"message": message, "type": "error", "code": code, "param": None}}
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def echo(request: Request) -> Answer:
    """Echoes the last turn."""
    return Answer(body=say(f"re: {request.asked}"))


class Capacity:
    """An endpoint with a limited number of concurrent requests or requests per second; others are refused.

    Args:
        most: Concurrent requests, a number or a function of the seconds since the first request.
        rate: Requests per second, likewise; None for no limit.
        burst: Seconds of *rate* that accumulate.
        latency: Median seconds; lognormal with *sigma*.
        retry_after: Header of refusals.
        clock: Seconds; replaced for virtual time.
    """

    def __init__(
        self,
        *,
        most: float | Callable[[float], float] = math.inf,
        rate: float | Callable[[float], float] | None = None,
        burst: float = 0.2,
        latency: float = 0.05,
        sigma: float = 0.0,
        retry_after: str | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.most, self.rate, self.burst = most, rate, burst
        self.latency, self.sigma, self.retry_after = latency, sigma, retry_after
        self.served: list[float] = []
        """When each was done, seconds since the first request."""
        self.refused: list[float] = []
        self.busy = 0.0
        """Seconds spent on those."""
        self._random = random.Random(seed)
        self._inside = 0
        self._began: float | None = None
        self._tokens = 0.0
        self._filled = 0.0

    async def __call__(self, request: Request) -> Answer:
        if self._began is None:
            self._began = request.at
        now = request.at - self._began
        if not self._takes(now):
            self.refused.append(now)
            headers = {} if self.retry_after is None else {"retry-after": self.retry_after}
            return error(429, "Rate limit reached", "rate_limit_exceeded", **headers)
        self._inside += 1
        try:
            entered = self._clock()
            await asyncio.sleep(self.latency * math.exp(self.sigma * self._random.gauss(0, 1)))
            self.busy += self._clock() - entered
        finally:
            self._inside -= 1
        self.served.append(self._clock() - self._began)
        return echo(request)

    def _takes(self, now: float) -> bool:
        if self._inside >= (self.most(now) if callable(self.most) else self.most):
            return False
        if self.rate is not None:
            rate = self.rate(now) if callable(self.rate) else self.rate
            self._tokens = min(rate * self.burst, self._tokens + (now - self._filled) * rate)
            self._filled = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
        return True


class Endpoint:
    """Serves *script* on a free port, in its own thread, within the context."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.in_flight = self.peak = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def asked(self) -> list[str]:
        """Last turns of the chat requests, in order of arrival."""
        return [request.asked for request in self.requests if request.path.endswith("/chat/completions")]

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def start(self) -> None:
        """Listen, on the previous port if there was one."""

        async def listen() -> None:
            self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port, limit=2**26)
            self.port = self._server.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(5)

    def stop(self) -> None:
        """Refuse connections and close the open ones."""

        async def close() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in list(self._open):
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(5)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        raw = await self._body(reader, headers)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        request = Request(len(self.requests), method, path, headers, raw, self.in_flight, time.monotonic())
        self.requests.append(request)
        try:
            answer = self.script(request)
            answer = await answer if inspect.isawaitable(answer) else answer
            if answer.delay:
                await asyncio.sleep(answer.delay)
        finally:
            self.in_flight -= 1
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        sent = {"content-type": "application/json", "content-length": str(len(body)), **answer.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        writer.write(f"HTTP/1.1 {answer.status} Scripted\r\n{lines}\r\n".encode("latin-1"))
        if answer.cut is not None:
            writer.write(body[: answer.cut])
            await writer.drain()
            writer.transport.abort()
            return False
        if answer.drip:
            for place in range(len(body)):
                writer.write(body[place : place + 1])
                await writer.drain()
                await asyncio.sleep(answer.drip)
        else:
            writer.write(body)
        await writer.drain()
        return True

    @staticmethod
    async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", 0)))
        pieces = []
        while size := int((await reader.readline()).strip(), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return b"".join(pieces)
