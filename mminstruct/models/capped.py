"""An HTTP client that trusts no endpoint: it reads so much of a reply and no more, and follows no redirection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2

from mminstruct.models.faults import TooLarge


class Client(httpx2.AsyncClient):
    """Reads at most *largest* bytes of a body, counted unpacked: 1 MB of gzip can hold a gigabyte.

    Errors are read under the same cap. A body that is asked for as a stream is the caller's to count.
    """

    def __init__(self, largest: int, **more: Any) -> None:
        # two encodings that httpx2 unpacks piece by piece, each with at most a megabyte in memory
        super().__init__(follow_redirects=False, headers={"accept-encoding": "gzip, deflate"}, **more)
        self._largest = largest

    async def send(self, request: httpx2.Request, *, stream: bool = False, **more: Any) -> httpx2.Response:
        answer = await super().send(request, stream=True, **more)
        if stream and answer.is_success:
            return answer
        try:
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > self._largest:
                    raise TooLarge(
                        f"the reply is larger than {self._largest / 2**20:.4g} MiB, unpacked (options.megabytes)"
                    )
        finally:
            await answer.aclose()
        unpacked = [
            (name, value)
            for name, value in answer.headers.multi_items()
            if name not in ("content-encoding", "content-length", "transfer-encoding")
        ]
        return httpx2.Response(
            answer.status_code, headers=unpacked, content=bytes(body), request=request, extensions=answer.extensions
        )


async def lines(pieces: AsyncIterator[bytes], *, longest: int, largest: int) -> AsyncIterator[bytes]:
    r"""The lines of a body that comes in pieces, ended by ``\n``; a line of more than *longest* bytes comes as ``b""``.

    Raises:
        TooLarge: after *largest* bytes.
    """
    line, dropping, size = bytearray(), False, 0
    async for piece in pieces:
        size += len(piece)
        if size > largest:
            raise TooLarge(f"the file is larger than {largest / 2**20:.4g} MiB, unpacked")
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
