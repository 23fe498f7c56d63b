"""Configuration of the engine: how a run is executed. It never changes the tables."""

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
    """Actors. The number is fixed: a pool that grows can take the resources of the stage that feeds it."""
    cpus: float = 1.0
    gpus: float = 0.0
    """Of each worker; a tensor-parallel replica needs ``tensor_parallel_size`` of them."""
    in_flight: int = 2
    """Units that one worker executes concurrently, so that writing and computing overlap."""
    memory_gb: float = 0.0
    """Memory that each worker reserves; 0 reserves none."""
    resources: dict[str, float] = field(default_factory=dict)
    """Ray custom resources, to place workers on certain nodes."""
    env: dict[str, Any] = field(default_factory=dict)
    """Ray runtime environment of the workers, such as ``{py_executable: /opt/cuml/bin/python}``."""


@dataclass(kw_only=True)
class EngineConfig:
    """The engine and its pools."""

    kind: str = "ray"
    """ray, or local: a loop in this process, for debugging."""
    address: str | None = None
    """Of a running cluster; None joins the one that RAY_ADDRESS names (ray job submit sets it), or starts one here."""
    cpus: int | None = None
    """Of a cluster started here; None takes all of the machine."""
    autoscale: bool = False
    """Whether the cluster can grow: pools larger than the cluster then wait for nodes instead of being refused."""
    gpu: str = ""
    """GPU model, by its name in conf/rates.yaml (H100); used by plan only."""
    gpu_usd: float | None = None
    """US dollars for one GPU hour; None takes the price of conf/rates.yaml."""
    fused: bool = False
    """One pool per segment instead of one per stage: for few cores, where the imports of each worker cost much."""
    retries: int = 3
    """How often a unit may kill its worker before it fails. The first death does not count, since any concurrent unit
    may be the cause; each of them is then retried alone."""
    pool: Pool = field(default_factory=Pool)
    """Default for stages (or fused segments) that are missing in pools."""
    pools: dict[str, Pool] = field(default_factory=dict)
    """By stage; a fused segment has the name of its first stage."""


def pools(config: EngineConfig, recipe: Recipe) -> list[list[tuple[list[str], Pool]]]:
    """For each segment of *recipe*, its concurrent pools, each with the tables that it makes."""
    return [side_by_side(config, recipe, tables) for tables in segments(recipe)]


def side_by_side(config: EngineConfig, recipe: Recipe, tables: list[str]) -> list[tuple[list[str], Pool]]:
    """The pools of one segment, each with its tables: one table per pool, or fused."""
    groups = [[name] for name in tables]
    if config.fused:
        groups = [tables[:1], tables[1:]] if len(tables) > 1 and fans_out(recipe, tables[0]) else [tables]
    return [(names, config.pools.get(names[0], config.pool)) for names in groups]


def fans_out(recipe: Recipe, table: str) -> bool:
    """Whether a unit of *table* makes several parts: true for sources, and for stages with only whole reads."""
    return all(read.mode == "whole" for read in recipe.stages()[table].reads.values())


def check_placement(config: EngineConfig, recipe: Recipe) -> None:
    """Check the engine's name, and that GPU workers have enough GPUs for their model.

    Raises:
        ValueError: the engine is unknown, or a pool has too few GPUs for each worker.
    """
    if config.kind not in KINDS:
        raise ValueError(f"engine.kind={config.kind}: must be {' or '.join(KINDS)}")
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
    """Register ``${gpus:answerer}`` and ``${replicas:8,answerer}``, with which conf/engine follows the models.

    ``gpus`` is the number of GPUs for one worker of a role: 0 for an endpoint, else tensor times pipeline size.
    ``replicas`` is the number of such workers that 8 GPUs hold; 1 for an endpoint, whose client keeps many requests in
    flight itself.
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
