"""A run on several nodes, one of which is killed; a program, since a process can join only one cluster.

    python -m tests.engine.nodes FOLDER

It starts on a cluster too small for its pools, and adds a second node later. When a unit is executed in the second stage,
it adds a third node and kills the unit's node, as happens to spot instances. Results are in FOLDER/saw.json.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from mminstruct.engine.config import EngineConfig, PoolConfig
from mminstruct.engine.data import Ray
from mminstruct.run import Event, Run, claim, execute
from mminstruct.stage import StageOutput, Transform, runtime
from tests.doing_nothing import After, Count, Last, Pass, Small, Sum

PATIENCE = {"health_check_timeout_ms": 100_000, "health_check_period_ms": 1000}
"""A node that answers slowly on a busy machine stays alive; a killed one is noticed within five seconds."""


@dataclass(kw_only=True)
class Held(After):
    """Writes a file named by its node's id and waits for the file ``go``."""

    folder: str = runtime("")

    def load(self) -> Transform:
        through = super().load()

        def held(first: pa.Table) -> StageOutput:
            if self.folder:
                import ray

                (Path(self.folder) / ray.get_runtime_context().get_node_id()).touch()
                _wait(lambda: (Path(self.folder) / "go").exists())
            return through(first)

        return held


@dataclass(kw_only=True)
class Holding(Small):
    second: Held


def recipe(folder: str = "") -> Holding:
    return Holding(
        count=Count(shard_count=6, parts=2, rows=20),
        first=Pass(drop=3),
        second=Held(folder=folder),
        sum=Sum(),
        last=Last(),
    )


def free_ports(count: int) -> list[int]:
    """Free ports below the system's ephemeral range, so that none is taken before Ray uses it.

    A raylet with fixed agent ports does not wait for its agents; else it aborts after 15 s, which is too short on a busy
    machine (Ray 2.60, node_manager.cc; no setting changes it).
    """
    found: set[int] = set()
    while len(found) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.add(port)
    return list(found)


def patiently(start: Callable[[], Any]) -> Any:
    """Retry *start* up to three times: Ray gives a node 30 s to start, which is too short on a busy machine."""
    for left in reversed(range(4)):
        try:
            return start()
        except Exception as error:
            if not left or "timed out" not in str(error):
                raise


def _ports() -> dict[str, int]:
    agents = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
    return dict(zip(agents, free_ports(len(agents)), strict=True))


def _take_away(cluster: Any, node: Any) -> None:
    """Kill a node and all its processes: if only its raylet dies, its workers continue for a while."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    raylet.suspend()  # so that it neither starts nor reports anything meanwhile
    there = raylet.children(recursive=True)
    cluster.remove_node(node, allow_graceful=False)
    for process in there:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not until() and time.monotonic() < end:
        time.sleep(0.05)


def main(folder: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    signs = folder / "signs"
    signs.mkdir(parents=True)
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": PATIENCE}
    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args={**head, **_ports()}))

    def add() -> Any:
        return patiently(lambda: cluster.add_node(wait=False, num_cpus=2, **_ports()))

    first = add()
    cluster.wait_for_nodes(timeout=300)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    saw: dict[str, object] = {"at first": ray.cluster_resources()["CPU"]}
    events: list[Event] = []
    run = Run(url=str(folder / "run"), recipe=recipe(str(signs)))
    claim(run)
    pools = {"first": PoolConfig(workers=3, cpus=1)}  # one more than there are CPUs
    engine = Ray(EngineConfig(fused=True, autoscale=True, pools=pools, pool=PoolConfig(cpus=1)))
    building = threading.Thread(
        target=execute, args=(run, engine), kwargs={"watch": events.append}, daemon=True
    )  # nodes can only be started in the main thread
    building.start()
    time.sleep(2)
    nodes = {node.node_id: node for node in (first, add())}
    _wait(lambda: any(signs.iterdir()) or not building.is_alive())
    add()
    gone = next(signs.iterdir()).name
    _take_away(cluster, nodes[gone])
    saw["gone"] = gone
    (signs / "go").touch()
    building.join()
    saw["remade"] = sum(not event.fresh for event in events)
    (folder / "saw.json").write_text(json.dumps(saw))  # not to stdout, where Ray's threads print too
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
