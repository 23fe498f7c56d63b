"""Serves the model of one role as an OpenAI-compatible endpoint, on Ray Serve.

There is one deployment, whose replicas (``replica``) each load the model. When an engine dies, Ray Serve replaces its
replica, and clients get a 503 until then.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from mminstruct.engine.config import EngineConfig
from mminstruct.engine.data import connect
from mminstruct.engine.replica import Replica
from mminstruct.engine.service import Service
from mminstruct.models.model import Model

log = logging.getLogger(__name__)
_MAX_OPEN = 4096
"""Requests to one replica whose bodies may be incomplete at once."""


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
