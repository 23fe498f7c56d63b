"""A model of a role behind an OpenAI-compatible endpoint, on Ray Serve.

One deployment: its replicas are the workers, each loads the model by its backend and answers HTTP itself. Backends with
a continuous batch (vLLM) or an endpoint of their own get each request at once; for the others, those that came while
one batch was computed make the next. A dead engine makes its replica unhealthy: Ray Serve replaces it, and its callers
get a 503, which says "try again".
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from mminstruct.engine import bodies, protocol
from mminstruct.engine.config import EngineConfig, Pool
from mminstruct.engine.data import connect
from mminstruct.engine.protocol import Asked, Refused
from mminstruct.models.model import Model, Reply
from mminstruct.stage import Halt, WorkerFault

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)
_T = TypeVar("_T")

EMBED = ("embedder", "clip")
"""Roles that embed texts; all others chat."""
CONTINUOUS = ("vllm", "openai")
"""Backends that batch what comes side by side by themselves, and can hold a reply to a JSON schema."""
_HEADERS = {
    408: {"connection": "close"},
    413: {"connection": "close"},
    429: {"retry-after": "1"},
    503: {"retry-after": "2"},
}


@dataclass(kw_only=True)
class Service:
    """How a model is served."""

    name: str | None = None
    """What clients call the model; None takes the model's own name."""
    host: str = "127.0.0.1"
    """Address to listen on; one that other machines reach needs token_env."""
    port: int = 8000
    token_env: str | None = None
    """NAME of the environment variable with the token that clients must send (``Authorization: Bearer ...``)."""
    requests: int = 256
    """Requests at once for each replica; as many again wait, and more are refused with 429."""
    batch: int = 32
    """Requests computed together at most, by backends without a batch of their own."""
    address: str | None = None
    """Of a running Ray cluster; None joins the one that RAY_ADDRESS names, or starts one here."""
    pool: Pool = field(default_factory=Pool)
    """The replicas; ``in_flight`` says nothing here."""

    def check(self) -> None:
        """Raise ValueError where this cannot work, or would be open to strangers."""
        if self.requests < 1 or self.batch < 1 or self.pool.workers < 1:
            raise ValueError("requests, batch and pool.workers are 1 or more")
        if self.token_env is not None and not _token(self.token_env):
            raise ValueError(f"token_env: the environment variable {self.token_env} is not set")
        if self.token_env is None and not _local(self.host):
            raise ValueError(
                f"host={self.host} can be reached from other machines: name a variable with a token in token_env, or"
                " take host=127.0.0.1 and an SSH tunnel"
            )


def serve(service: Service, role: str, model: Model, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        ready: Told the base URL once the model is loaded and answers.

    Raises:
        ValueError: for a configuration that cannot work, and for a model that cannot be loaded.
    """
    service.check()
    import ray

    try:
        from ray import serve as library
        from ray.serve.config import HTTPOptions
    except ImportError as error:
        raise ValueError(f"serve needs the extra of that name: pip install 'mminstruct[serve]' ({error})") from None
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    began = time.monotonic()
    pool = service.pool
    joined = connect(EngineConfig(address=service.address, cpus=max(2, int(pool.workers * pool.cpus) + 1)))
    wanted, there = pool.workers * pool.gpus, ray.cluster_resources().get("GPU", 0)
    if wanted > there and not (service.address or os.environ.get("RAY_ADDRESS")):  # a cluster may grow, this does not
        if joined:
            ray.shutdown()
        raise ValueError(
            f"pool.workers={pool.workers} with pool.gpus={pool.gpus:g} want {wanted:g} GPUs, and this machine has"
            f" {there:g}: lower them, or join a cluster by address="
        )
    stop = threading.Event()  # after Ray, whose own handler of SIGTERM leaves with 1 and without a word
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        library.start(http_options=HTTPOptions(host=service.host, port=service.port))
        deployment = library.deployment(
            Replica,
            name=role,
            num_replicas=pool.workers,
            # requests that are still on their way here take none of the model's places: Replica counts those itself
            max_ongoing_requests=2 * service.requests + bodies.OPEN,
            max_queued_requests=bodies.OPEN,  # 200 half-sent ones that came at once filled a shorter queue for all
            backpressure_config={"status_code": 429, "retry_after_s": 1},
            health_check_period_s=2,
            graceful_shutdown_timeout_s=10,
            max_constructor_retry_count=1,
            ray_actor_options={
                "num_cpus": pool.cpus,
                "num_gpus": pool.gpus,
                "memory": pool.memory_gb * 2**30,
                "resources": pool.resources,
                "runtime_env": pool.env,
            },
        )
        try:
            library.run(deployment.bind(service, role, model), name="mminstruct", route_prefix="/")
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines() if "Error" in line]
            raise ValueError(f"{model.name} cannot be served: {lines[-1] if lines else error}") from None
        log.info("%s serves after %.1f s", model.name, time.monotonic() - began)
        ready(f"http://{service.host}:{service.port}/v1")
        stop.wait()
    finally:
        library.delete("mminstruct")  # not all of Serve: a shared cluster may serve more
        if joined:
            ray.shutdown()


class Replica:
    """One worker: the model, and the few paths of the protocol."""

    def __init__(self, service: Service, role: str, model: Model) -> None:
        self._token = _token(service.token_env) if service.token_env else ""
        if service.token_env and not self._token:
            raise ValueError(f"token_env: the environment variable {service.token_env} is not set on this worker")
        self._model, self._since = model, int(time.time())
        self._name = service.name or model.name
        self._fault: WorkerFault | None = None
        self._bodies = bodies.Bodies()
        self._most, self._inside = 2 * service.requests, 0
        self._threads = ThreadPoolExecutor(service.requests, thread_name_prefix="request")
        self._chat = self._embed = None
        if role in EMBED:
            self._embed = model.embed()
        else:
            self._chat = model.chat()
        self._reply: Callable[[Asked], Any] = self._at_once
        if model.backend not in CONTINUOUS:
            from ray import serve as library

            self._reply = library.batch(max_batch_size=service.batch, batch_wait_timeout_s=0.01)(self._together)

    async def __call__(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        try:
            return JSONResponse(await self._answer(request))
        except Refused as refused:
            return JSONResponse(refused.body(), refused.status, _HEADERS.get(refused.status))

    def check_health(self) -> None:
        """Ray Serve replaces a replica that raises here."""
        if self._fault is not None:
            raise self._fault

    async def _answer(self, request: Request) -> dict[str, Any]:
        if self._token:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                raise Refused(401, "no or a wrong token: send Authorization: Bearer ...", code="invalid_api_key")
        path = request.url.path.rstrip("/")
        if path == "/v1/models" and request.method == "GET":
            return protocol.models(self._name, self._since)
        if path == "/v1/chat/completions" and request.method == "POST" and self._chat:
            grammar = self._model.backend in CONTINUOUS
            body = await self._bodies.read(request)
            asked = protocol.asked(body, name=self._name, sampling=self._model.sampling, grammar=grammar)
            return protocol.completion(await self._admitted(lambda: self._reply(asked)), self._name)
        if path == "/v1/embeddings" and request.method == "POST" and (embed := self._embed):
            body = await self._bodies.read(request)
            texts = protocol.texts(body, self._name)
            vectors = await self._admitted(lambda: self._work(embed.texts, texts))
            return protocol.embeddings(vectors, self._name, body.get("encoding_format", "float"))
        raise Refused(404, f"there is no {request.method} {path or '/'} here", code="not_found")

    async def _admitted(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """What *work* brings, where the model has a place or a queue for it."""
        if self._inside >= self._most:
            raise Refused(429, "as many requests as this endpoint takes are under way; try again", code="rate_limit")
        self._inside += 1
        try:
            return await work()
        finally:
            self._inside -= 1

    async def _at_once(self, asked: Asked) -> Reply:
        return (await self._some([asked]))[0]

    async def _together(self, asked: list[Asked]) -> list[Reply]:
        """Replies to requests that came side by side; those that draw tokens alike share a batch."""
        alike: dict[str, list[int]] = {}
        for place, one in enumerate(asked):
            alike.setdefault(json.dumps([str(one.sampling), one.schema], sort_keys=True), []).append(place)
        replies: dict[int, Reply] = {}
        for places in alike.values():
            replies |= zip(places, await self._some([asked[place] for place in places]), strict=True)
        return [replies[place] for place in range(len(asked))]

    async def _some(self, asked: list[Asked]) -> list[Reply]:
        assert self._chat is not None
        seeds, first = [one.seed for one in asked], asked[0]
        more = {} if first.sampling == self._model.sampling else {"sampling": first.sampling}
        messages = [one.messages for one in asked]
        found: list[Reply] = await self._work(self._chat.chat, messages, seeds=seeds, schema=first.schema, **more)
        return found

    async def _work(self, what: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call *what* in a thread; faults of the engine are told as the protocol has it."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: what(*args, **more))
        except WorkerFault as fault:
            self._fault = fault
            raise Refused(503, "the engine died and is being replaced; try again") from fault
        except Halt as halt:
            raise Refused(502, str(halt)) from halt
        except Exception as error:
            log.exception("a request failed")
            raise Refused(500, f"{type(error).__name__}; the log says more") from error


def _token(name: str) -> str:
    return os.environ.get(name, "").strip()


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
