"""How a run is carried out: never part of what it makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Pool:
    """The workers of one stage, or of a fused segment."""

    workers: int = 1
    """Actors; fixed, since a pool that may grow can starve what feeds it."""
    cpus: float = 1.0
    gpus: float = 0.0
    """Of each worker; a tensor-parallel replica has as many as its ``tensor_parallel_size``."""
    in_flight: int = 2
    """Units that one worker has in hand at once, so that writing and computing overlap."""
    memory_gb: float = 0.0
    """Heap that each worker reserves; 0 reserves none."""
    resources: dict[str, float] = field(default_factory=dict)
    """Custom resources, to place workers on a kind of node."""
    env: dict[str, Any] = field(default_factory=dict)
    """Ray runtime environment of the workers, such as ``{py_executable: /opt/cuml/bin/python}``."""


@dataclass(kw_only=True)
class EngineConfig:
    """Which engine, and its pools."""

    kind: str = "ray"
    """ray, or local: a loop in this process, for debugging."""
    address: str | None = None
    """Of a running cluster; None joins the one that RAY_ADDRESS names (ray job submit sets it), or starts one here."""
    cpus: int | None = None
    """Of a cluster started here; None takes the machine's."""
    fused: bool = False
    """One pool for a whole segment instead of one for each stage: on few cores, where every worker pays its imports."""
    retries: int = 3
    """How often a worker may die at a unit before that counts as failed. The first death does not count, since any unit
    then in hand may be the cause: from then on it is tried alone."""
    pool: Pool = field(default_factory=Pool)
    """For stages (or fused segments) that pools does not name."""
    pools: dict[str, Pool] = field(default_factory=dict)
    """By stage; a fused segment goes by the name of its first stage."""
