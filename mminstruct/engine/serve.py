"""Serves the model of one role as an OpenAI-compatible endpoint, on Ray Serve.

There is one deployment, whose replicas (``replica``) each load the model. When an engine dies, Ray Serve replaces its
replica, and clients get a 503 until then.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mminstruct.engine.config import EngineConfig, Pool
from mminstruct.engine.data import connect
from mminstruct.models.model import Model

log = logging.getLogger(__name__)
_MAX_OPEN = 4096
"""Requests to one replica whose bodies may be incomplete at once."""


@dataclass(kw_only=True)
class Service:
    """How a model is served."""

    name: str | None = None
    """The model's name for clients; None takes the model's own name."""
    host: str = "127.0.0.1"
    """Address to listen on; one that other machines can reach needs token_env."""
    port: int = 8000
    token_env: str | None = None
    """NAME of the environment variable with the token that clients must send (``Authorization: Bearer ...``)."""
    requests: int = 256
    """Concurrent requests of each replica; as many again wait, further ones are refused with 429."""
    batch: int = 32
    """Requests in one batch at most, for backends without continuous batching."""
    address: str | None = None
    """Of a running Ray cluster; None joins the one that RAY_ADDRESS names, or starts one here."""
    pool: Pool = field(default_factory=Pool)
    """The replicas; ``in_flight`` is not used."""

    def check(self) -> None:
        """Raise ValueError if this cannot work, or other machines could use the endpoint without a token."""
        if self.requests < 1 or self.batch < 1 or self.pool.workers < 1:
            raise ValueError("requests, batch and pool.workers must be 1 or more")
        if self.token_env is not None and not token(self.token_env):
            raise ValueError(f"token_env: the environment variable {self.token_env} is not set")
        if self.token_env is None and not _local(self.host):
            raise ValueError(
                f"host={self.host} can be reached from other machines: set token_env to the name of a variable that"
                " holds a token, or use host=127.0.0.1 and an SSH tunnel"
            )


def serve(service: Service, role: str, model: Model, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        ready: Called with the base URL once the endpoint answers.

    Raises:
        ValueError: the configuration cannot work, or the model cannot be loaded.
    """
    service.check()
    import ray

    try:
        from ray import serve as library
        from ray.serve.config import HTTPOptions
    except ImportError as error:
        raise ValueError(f"serve needs the extra of that name: pip install 'mminstruct[serve]' ({error})") from None
    from mminstruct.engine.replica import Replica

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
    stop = threading.Event()  # set up after Ray, whose own handler of SIGTERM would exit with 1 and no message
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        library.start(http_options=HTTPOptions(host=service.host, port=service.port))
        deployment = library.deployment(
            Replica,
            name=role,
            num_replicas=pool.workers,
            # Replica itself limits requests with a complete body; incomplete ones must not use up that limit
            max_ongoing_requests=2 * service.requests + _MAX_OPEN,
            max_queued_requests=_MAX_OPEN,  # 200 incomplete requests at once filled a shorter queue
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
        library.delete("mminstruct")  # and not all of Serve, which a shared cluster may use for more
        if joined:
            ray.shutdown()


def token(name: str) -> str:
    """The value of the environment variable *name*; empty if it is not set."""
    return os.environ.get(name, "").strip()


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
