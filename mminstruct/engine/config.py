"""How a run is carried out: never part of what it makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mminstruct.models.model import Model
from mminstruct.recipe import Recipe, holders, segments

KINDS = ("ray", "local")


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
    autoscale: bool = False
    """Whether the cluster grows when asked: pools that want more than it has then wait for nodes, not refused."""
    gpu: str = ""
    """Kind of the GPUs, by its name in conf/rates.yaml (H100); only plan looks at it."""
    gpu_usd: float | None = None
    """Price of one GPU for an hour, US dollars; None takes that of conf/rates.yaml."""
    fused: bool = False
    """One pool for a whole segment instead of one for each stage: on few cores, where every worker pays its imports."""
    retries: int = 3
    """How often a worker may die at a unit before that counts as failed. The first death does not count, since any unit
    then in hand may be the cause: from then on it is tried alone."""
    pool: Pool = field(default_factory=Pool)
    """For stages (or fused segments) that pools does not name."""
    pools: dict[str, Pool] = field(default_factory=dict)
    """By stage; a fused segment goes by the name of its first stage."""


def pools(config: EngineConfig, recipe: Recipe) -> list[list[tuple[list[str], Pool]]]:
    """For each segment of *recipe* the pools that run side by side in it, each with the tables that it works on."""
    return [side_by_side(config, recipe, tables) for tables in segments(recipe)]


def side_by_side(config: EngineConfig, recipe: Recipe, tables: list[str]) -> list[tuple[list[str], Pool]]:
    """The pools of one segment, each with its tables: one table a pool, or fused."""
    groups = [[name] for name in tables]
    if config.fused:
        groups = [tables[:1], tables[1:]] if len(tables) > 1 and fans_out(recipe, tables[0]) else [tables]
    return [(names, config.pools.get(names[0], config.pool)) for names in groups]


def fans_out(recipe: Recipe, table: str) -> bool:
    """Whether a unit of *table* makes several parts: so do sources, and stages of only whole reads."""
    return all(read.mode == "whole" for read in recipe.stages()[table].reads.values())


def check_placement(config: EngineConfig, recipe: Recipe) -> None:
    """Refuse an unknown engine, and GPU workers that could not hold their model's tensor-parallel replica.

    Raises:
        ValueError: naming the first such pool.
    """
    if config.kind not in KINDS:
        raise ValueError(f"engine.kind={config.kind}: take {' or '.join(KINDS)}")
    stages = recipe.stages()
    for group, pool in (item for segment in pools(config, recipe) for item in segment):
        for name in group:
            for model in (holder for _, holder in holders(name, stages[name]) if isinstance(holder, Model)):
                wants = _gpus(model.backend, model.options)
                if wants > 1 and 0 < pool.gpus < wants:
                    raise ValueError(
                        f"engine.pools.{group[0]}.gpus is {pool.gpus:g}, and the model of {name} ({model.name}) is"
                        f" spread over {wants} GPUs: engine.pools.{group[0]}.gpus={wants}"
                    )


def register_resolvers() -> None:
    """Let conf/engine follow the models: ``${gpus:answerer}`` and ``${replicas:8,answerer}``.

    The first is how many GPUs one worker of that role needs: none for an endpoint, else its tensor and pipeline
    parallel sizes multiplied. The second is how many such workers 8 GPUs hold; 1 for an endpoint, whose client has many
    requests in flight by itself.
    """

    def gpus(role: str, *, _root_: DictConfig) -> int:
        model = OmegaConf.select(_root_, f"models.{role}")
        return 1 if model is None else _gpus(model.backend, model.options)

    def replicas(of: int, role: str, *, _root_: DictConfig) -> int:
        return max(1, of // max(gpus(role, _root_=_root_), 1)) if gpus(role, _root_=_root_) else 1

    OmegaConf.register_new_resolver("gpus", gpus, replace=True)
    OmegaConf.register_new_resolver("replicas", replicas, replace=True)


def _gpus(backend: str, options: Any) -> int:
    """GPUs of one replica."""
    sizes = [int(options.get(f"{how}_parallel_size", 1)) for how in ("tensor", "pipeline")]
    return 0 if backend == "openai" else sizes[0] * sizes[1]
