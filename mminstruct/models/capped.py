"""An HTTP client for untrusted endpoints: it limits the size of replies and follows no redirects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2

from mminstruct.models.faults import TooLarge

POOL = 32
"""Connections in one pool: httpx2 scans all idle connections of a pool for each request."""


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
