"""One worker of ``serve``: a loaded model that answers HTTP requests.

Backends with continuous batching (vLLM) or an endpoint of their own get each request at once. For the others, requests
that arrive while one batch is computed form the next batch.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from mminstruct.engine import bodies, protocol
from mminstruct.engine.protocol import ChatRequest, RequestError
from mminstruct.engine.service import Service, token
from mminstruct.models.backends import find
from mminstruct.models.model import Model, Reply
from mminstruct.stage import Halt, WorkerFault

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)
_T = TypeVar("_T")

EMBED = ("embedder", "clip")
"""Roles that embed texts; all others chat."""
_HEADERS = {
    408: {"connection": "close"},
    413: {"connection": "close"},
    429: {"retry-after": "1"},
    503: {"retry-after": "2"},
}


class Replica:
    """The model, and the paths of the protocol. Ray Serve replaces it once its engine has died."""

    def __init__(self, service: Service, role: str, model: Model) -> None:
        self._token = token(service.token_env) if service.token_env else ""
        if service.token_env and not self._token:
            raise ValueError(f"token_env: the environment variable {service.token_env} is not set on this worker")
        self._model, self._created = model, int(time.time())
        self._name = service.name or model.name
        self._fault: WorkerFault | None = None
        self._bodies = bodies.Bodies()
        self._capacity, self._admitted = 2 * service.requests, 0
        self._threads = ThreadPoolExecutor(service.requests, thread_name_prefix="request")
        self._chat = self._embed = None
        if role in EMBED:
            self._embed = model.embed()
        else:
            self._chat = model.chat()
        self._reply: Callable[[ChatRequest], Any] = self._reply_alone
        if not find(model.backend).continuous:
            from ray import serve as library

            batched = library.batch(max_batch_size=service.batch, batch_wait_timeout_s=0.01)
            self._reply = batched(self._reply_together)

    async def __call__(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        try:
            return JSONResponse(await self._answer(request))
        except RequestError as error:
            return JSONResponse(error.body(), error.status, _HEADERS.get(error.status))

    def check_health(self) -> None:
        """Raise if the engine died; Ray Serve then replaces this replica."""
        if self._fault is not None:
            raise self._fault

    async def _answer(self, request: Request) -> dict[str, Any]:
        if self._token:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                said = "the token is missing or wrong: send Authorization: Bearer TOKEN"
                raise RequestError(401, said, code="invalid_api_key")
        path = request.url.path.rstrip("/")
        if path == "/v1/models" and request.method == "GET":
            return protocol.models(self._name, self._created)
        if path == "/v1/chat/completions" and request.method == "POST" and self._chat:
            grammar = find(self._model.backend).continuous
            body = await self._bodies.read(request)
            chat = protocol.chat_request(body, name=self._name, sampling=self._model.sampling, grammar=grammar)
            return protocol.completion(await self._admit(lambda: self._reply(chat)), self._name)
        if path == "/v1/embeddings" and request.method == "POST" and (embed := self._embed):
            asked = protocol.embedding_request(await self._bodies.read(request), self._name)
            vectors = await self._admit(lambda: self._run(embed.texts, asked.input))
            return protocol.embeddings(vectors, self._name, asked.encoding_format)
        raise RequestError(404, f"there is no {request.method} {path or '/'} here", code="not_found")

    async def _admit(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """The result of *work*, if the number of requests under way allows it.

        Raises:
            RequestError: this replica is at its capacity.
        """
        if self._admitted >= self._capacity:
            raise RequestError(429, "too many concurrent requests; try again", code="rate_limit")
        self._admitted += 1
        try:
            return await work()
        finally:
            self._admitted -= 1

    async def _reply_alone(self, request: ChatRequest) -> Reply:
        return (await self._replies([request]))[0]

    async def _reply_together(self, requests: list[ChatRequest]) -> list[Reply]:
        """Replies to concurrent requests; those with equal sampling and schema share a batch."""
        alike: dict[str, list[int]] = {}
        for place, one in enumerate(requests):
            alike.setdefault(json.dumps([str(one.sampling), one.schema], sort_keys=True), []).append(place)
        replies: dict[int, Reply] = {}
        for places in alike.values():
            replies |= zip(places, await self._replies([requests[place] for place in places]), strict=True)
        return [replies[place] for place in range(len(requests))]

    async def _replies(self, requests: list[ChatRequest]) -> list[Reply]:
        assert self._chat is not None
        seeds, first = [one.seed for one in requests], requests[0]
        more = {} if first.sampling == self._model.sampling else {"sampling": first.sampling}
        messages = [one.messages for one in requests]
        found: list[Reply] = await self._run(self._chat.chat, messages, seeds=seeds, schema=first.schema, **more)
        return found

    async def _run(self, what: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call *what* in a thread.

        Raises:
            RequestError: it failed; the cause is logged, and not sent to the client.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: what(*args, **more))
        except WorkerFault as fault:
            self._fault = fault
            raise RequestError(503, "the engine died and is being replaced; try again") from fault
        except Halt as halt:
            raise RequestError(502, str(halt)) from halt
        except Exception as error:
            log.exception("a request failed")
            raise RequestError(500, f"{type(error).__name__}; see the server's log") from error
