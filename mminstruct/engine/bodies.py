"""Reads request bodies under limits on size, time and memory."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from mminstruct.engine.protocol import RequestError

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_BYTES = 64 * 2**20
"""Bytes of one body; enough for several images."""
IDLE_TIMEOUT = 10.0
"""Seconds without a new byte."""
TOTAL_TIMEOUT = 120.0
"""Seconds for a whole body."""
MAX_BUFFERED = 2**30
"""Bytes of all incomplete bodies in one replica."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Bodies:
    """Reads the bodies of one replica, in one event loop."""

    def __init__(self) -> None:
        self._buffered = 0

    async def read(self, request: Request) -> Any:
        """The parsed JSON body of *request*.

        Raises:
            RequestError: the body is not JSON, too slow, too large, or exceeds the replica's buffer.
        """
        from starlette.requests import ClientDisconnect

        data = bytearray()
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT):
                await self._collect(request, data)
        except TimeoutError:
            said = f"timeout: the body is incomplete, {len(data)} bytes were received"
            raise RequestError(408, said, code="timeout") from None
        except ClientDisconnect:
            raise RequestError(400, "the client disconnected before it had sent the whole body") from None
        finally:
            self._buffered -= len(data)
        return _json(data)

    async def _collect(self, request: Request, data: bytearray) -> None:
        pieces = request.stream()
        while True:
            async with asyncio.timeout(IDLE_TIMEOUT):
                piece = await anext(pieces, None)
            if piece is None:
                return
            data += piece
            self._buffered += len(piece)
            if len(data) > MAX_BYTES:
                raise RequestError(413, f"the body is larger than {MAX_BYTES} bytes")
            if self._buffered > MAX_BUFFERED:
                raise RequestError(503, "too many large requests are being received; try again")


def _json(data: bytearray) -> Any:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise RequestError(400, "the body is not JSON") from None
    if _SURROGATE.search(data):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            said = "the body has half a surrogate pair (\\ud800 to \\udfff), which is not a character"
            raise RequestError(400, said) from None
    return found
