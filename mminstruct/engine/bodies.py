"""Bodies of requests, read under limits of size, time and memory."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from mminstruct.engine.protocol import Refused

if TYPE_CHECKING:
    from starlette.requests import Request

LARGEST = 64 * 2**20
"""Bytes of a request: some images."""
PAUSE = 10.0
"""Seconds without a byte after which a half-sent request is given up."""
SLOWEST = 120.0
"""Seconds for a whole body."""
HELD = 2**30
"""Bytes of bodies that one replica holds at once while they come."""
OPEN = 4096
"""Requests of one replica whose bodies may be on their way at once."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Bodies:
    """Reads requests of one replica, in one event loop."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, request: Request) -> Any:
        """The JSON in *request*'s body.

        Raises:
            Refused: where it is none, comes too slowly, is too large, or there is no room for it now.
        """
        from starlette.requests import ClientDisconnect

        data = bytearray()
        try:
            async with asyncio.timeout(SLOWEST):
                await self._collect(request, data)
        except TimeoutError:
            raise Refused(408, f"the rest of the body did not come: {len(data)} bytes did", code="timeout") from None
        except ClientDisconnect:
            raise Refused(400, "the client left before its body was there") from None
        finally:
            self._held -= len(data)
        return _json(data)

    async def _collect(self, request: Request, data: bytearray) -> None:
        pieces = request.stream()
        while True:
            async with asyncio.timeout(PAUSE):
                piece = await anext(pieces, None)
            if piece is None:
                return
            data += piece
            self._held += len(piece)
            if len(data) > LARGEST:
                raise Refused(413, f"the request has more than {LARGEST} bytes")
            if self._held > HELD:
                raise Refused(503, "too many large requests at once; try again")


def _json(data: bytearray) -> Any:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if _SURROGATE.search(data):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Refused(400, "the body has half a surrogate pair (\\ud800 to \\udfff): no such character") from None
    return found
