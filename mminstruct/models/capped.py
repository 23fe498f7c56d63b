"""HTTP clients for untrusted endpoints: they limit the size of replies and follow no redirects.

``Poster`` sends chat completions, by aiohttp, which takes less CPU time for each than the openai client over httpx2
(``python -m benchmarks.endpoint --openai``). ``Client`` is for all else that the openai client does: files and batches.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
import urllib.request
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import httpx2

from mminstruct.models.faults import TooLarge

KEEP = 5.0
"""Seconds that an idle connection is kept; servers close theirs later."""
HEADER = 2**16
"""Bytes of one header of an answer; gateways send more than the 8 KiB that aiohttp allows."""
POOL = 32
"""Connections in one pool: httpx2 scans all idle connections of a pool for each request."""


class Poster:
    """Posts JSON to one URL. Use it from one event loop only.

    Args:
        headers: Of each request, the key included.
        largest: Bytes of a body, decompressed: 1 MB of gzip can hold a gigabyte.
        connections: Upper limit.
        connect: Seconds to open a connection; the caller limits the whole exchange.
    """

    def __init__(self, url: str, headers: Mapping[str, str], largest: int, connections: int, connect: float) -> None:
        self._url, self._largest, self._connections = url, largest, connections
        own = {name.lower(): value for name, value in headers.items()}  # two spellings would be sent twice
        own |= {"content-type": "application/json", "accept-encoding": "gzip, deflate"}
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect)
        proxy = _proxy(url)
        # not of the session: a proxy that makes a tunnel would get those, the key included
        self._request = proxy | {"headers": own | proxy.get("headers", {}), "allow_redirects": False}
        # made here, as reading the certificates would count against the first request's time
        self._trust = httpx2.create_ssl_context() if url.startswith("https:") else True
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and decompressed body of the answer.

        Raises:
            TooLarge: for a body above the limit.
            aiohttp.ClientError, TimeoutError: There is no whole answer.
        """
        if self._session is None:  # its loop must run
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEEP, ssl=self._trust),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                max_line_size=HEADER,
                max_field_size=HEADER,
            )
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")
        async with self._session.post(self._url, data=data, **self._request) as answer:
            held = bytearray()
            async for piece in answer.content.iter_any():
                held += piece
                if len(held) > self._largest:
                    raise self._too_large()
            packed = answer.headers.get("content-encoding", "identity").lower()
            return answer.status, answer.headers, self._unpacked(held) if packed in _PACKED else bytes(held)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _unpacked(self, data: bytearray) -> bytes:
        """Decompress a body of gzip, zlib or bare deflate; one that is damaged or incomplete is returned as it is."""
        for format in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
            unpacker = zlib.decompressobj(format)
            try:
                made = unpacker.decompress(data, self._largest + 1)
            except zlib.error:
                continue
            if len(made) > self._largest:
                raise self._too_large()
            if unpacker.eof:
                return made
        return bytes(data)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the reply is larger than {self._largest / 2**20:.4g} MiB, decompressed (options.megabytes)")


_PACKED = ("gzip", "x-gzip", "deflate")


def _proxy(url: str) -> dict[str, Any]:
    """Arguments of a request for the proxy that the environment names for *url*, with its password.

    aiohttp's own reading of the environment would also send passwords of ``~/.netrc`` in place of the key.

    Raises:
        ValueError: for a proxy of another kind, such as SOCKS.
    """
    parts, proxies = urllib.parse.urlsplit(url), urllib.request.getproxies_environment()
    found = proxies.get(parts.scheme) or proxies.get("all")
    if not found or urllib.request.proxy_bypass(parts.netloc):
        return {}
    proxy = urllib.parse.urlsplit(found if "://" in found else f"http://{found}")
    if proxy.scheme not in ("http", "https"):
        raise ValueError(f"the proxy that the environment names must be http(s)://, not {proxy.scheme}://")
    login, _, host = proxy.netloc.rpartition("@")
    made: dict[str, Any] = {"proxy": proxy._replace(netloc=host).geturl()}
    if login:
        said = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
        # of https the proxy sees only the request for a tunnel, of http the request itself
        seen = "proxy_headers" if parts.scheme == "https" else "headers"
        made[seen] = {"proxy-authorization": f"Basic {said}"}
    return made


class Client(httpx2.AsyncClient):
    """Reads at most *largest* bytes of a decompressed body: 1 MB of gzip can hold a gigabyte.

    The same limit holds for error bodies. Of a streamed body, the caller must count the bytes.

    Args:
        connections: Upper limit; divided into pools of at most ``POOL``.
    """

    def __init__(self, largest: int, connections: int, timeout: httpx2.Timeout) -> None:
        # httpx2 decompresses these two in pieces, each of at most a megabyte
        trust = httpx2.create_ssl_context()  # one for all pools: it reads the file of certificates
        super().__init__(timeout=timeout, headers={"accept-encoding": "gzip, deflate"}, verify=trust)
        self._largest = largest
        count = -(-connections // POOL)
        size = -(-connections // count)
        limits = httpx2.Limits(max_connections=size, max_keepalive_connections=size)
        self._pools = [httpx2.AsyncClient(timeout=timeout, limits=limits, verify=trust) for _ in range(count)]
        self._busy = [0] * count

    async def send(self, request: httpx2.Request, *, stream: bool = False, **more: Any) -> httpx2.Response:
        place = min(range(len(self._pools)), key=self._busy.__getitem__)
        self._busy[place] += 1
        try:
            answer = await self._pools[place].send(request, stream=True, **(more | {"follow_redirects": False}))
            return answer if stream and answer.is_success else await self._whole(answer)
        finally:
            self._busy[place] -= 1

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()
        await super().aclose()

    async def _whole(self, answer: httpx2.Response) -> httpx2.Response:
        """*answer* with its decompressed body.

        Raises:
            TooLarge: for a body above the limit.
        """
        body = bytearray()
        try:
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > self._largest:
                    raise TooLarge(
                        f"the reply is larger than {self._largest / 2**20:.4g} MiB, decompressed (options.megabytes)"
                    )
        finally:
            await answer.aclose()
        headers = [
            (name, value)
            for name, value in answer.headers.multi_items()
            if name not in ("content-encoding", "content-length", "transfer-encoding")
        ]
        return httpx2.Response(
            answer.status_code,
            headers=headers,
            content=bytes(body),
            request=answer.request,
            extensions=answer.extensions,
        )


async def lines(pieces: AsyncIterator[bytes], *, longest: int, largest: int) -> AsyncIterator[bytes]:
    r"""The lines of a body in pieces, without their ``\n``; a line of more than *longest* bytes becomes ``b""``.

    Raises:
        TooLarge: after *largest* bytes.
    """
    line, dropping, size = bytearray(), False, 0
    async for piece in pieces:
        size += len(piece)
        if size > largest:
            raise TooLarge(f"the file is larger than {largest / 2**20:.4g} MiB, decompressed")
        *whole, rest = piece.split(b"\n")
        for end in whole:
            line += end
            yield b"" if dropping or len(line) > longest else bytes(line)
            line, dropping = bytearray(), False
        line += rest
        if len(line) > longest:
            line, dropping = bytearray(), True
    if line or dropping:
        yield b"" if dropping else bytes(line)
