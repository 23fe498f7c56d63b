"""Configuration of the engine: how a run is executed. It never changes the tables."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mminstruct.models.model import Model
from mminstruct.recipe import Recipe, holders, segments
from mminstruct.stage import Stage
from mminstruct.unit import Endpoint

ENGINES = ("ray", "local")
KINDS = ("vision", "text", "encoder", "cpu")
"""What the workers of a stage need (``Stage.kind``)."""


@dataclass(kw_only=True)
class PoolConfig:
    """Settings for the workers of a stage, or of a fused segment. A field without a value is taken from the more
    general entry: from ``pools``, then ``kinds``, then ``pool``.
    """

    workers: int | None = None
    """Actors, 1 by default; fixed, since a pool that grows can take the resources of the stage that feeds it."""
    cpus: float | None = None
    """Of each worker; 1 by default."""
    gpus: float | None = None
    """Of each worker, 0 by default; a tensor-parallel replica needs ``tensor_parallel_size`` of them."""
    total_gpus: float | None = None
    """GPUs of all workers together. ``workers`` and ``gpus`` then follow from the stage's model, unless they are given
    beside it: a worker has the GPUs of one replica, and there are as many workers as fit, at least one. A model behind
    an endpoint gets one worker without a GPU: it has many requests in flight by itself."""
    in_flight: int | None = None
    """Units that one worker executes concurrently, so that writing and computing overlap; 2 by default."""
    memory_gb: float | None = None
    """Memory that each worker reserves; none by default."""
    resources: dict[str, float] = field(default_factory=dict)
    """Ray custom resources, to place workers on certain nodes."""
    env: dict[str, Any] = field(default_factory=dict)
    """Ray runtime environment of the workers, such as ``{py_executable: /opt/other/bin/python}``."""


@dataclass(kw_only=True)
class Pool:
    """The workers of one stage, or of a fused segment; fields as in ``PoolConfig``."""

    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    in_flight: int = 2
    memory_gb: float = 0.0
    resources: dict[str, float] = field(default_factory=dict)
    env: dict[str, Any] = field(default_factory=dict)


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
    """GPU model, by its name in conf/rates.yaml (H100). ``plan`` takes its price and speed, and the models of a segment
    must fit its memory."""
    gpu_usd: float | None = None
    """US dollars for one GPU hour; None takes the price of conf/rates.yaml."""
    fused: bool = False
    """One pool per segment instead of one per stage: for few cores, where the imports of each worker cost much."""
    retries: int = 3
    """How often a unit may kill its worker before it fails. The first death does not count, since any concurrent unit
    may be the cause; each of them is then retried alone."""
    pool: PoolConfig = field(default_factory=PoolConfig)
    """For every stage (or fused segment)."""
    kinds: dict[str, PoolConfig] = field(default_factory=dict)
    """For every stage of a kind: vision, text, encoder (it asks a model of that kind) or cpu."""
    pools: dict[str, PoolConfig] = field(default_factory=dict)
    """For one stage, by its name; a fused segment has the name of its first stage."""


def pools(config: EngineConfig, recipe: Recipe) -> list[list[tuple[list[str], Pool]]]:
    """For each segment of *recipe*, its concurrent pools, each with the tables that it makes."""
    return [side_by_side(config, recipe, tables) for tables in segments(recipe)]


def side_by_side(config: EngineConfig, recipe: Recipe, tables: list[str]) -> list[tuple[list[str], Pool]]:
    """The pools of one segment, each with its tables: one table per pool, or fused."""
    groups = [[name] for name in tables]
    if config.fused:
        groups = [tables[:1], tables[1:]] if len(tables) > 1 and fans_out(recipe, tables[0]) else [tables]
    return [(names, pool_of(config, recipe.stages(), names)) for names in groups]


@dataclass(frozen=True, kw_only=True)
class Actors:
    """The actors of one operator in a pipeline of Ray Data."""

    name: str
    """The first table that they work on."""
    pool: Pool
    models: tuple[str, ...] = ()
    """Models that they hold on their GPUs."""
    lend: bool = False
    """Whether a unit borrows more workers like them (``worker_group``)."""


def actors(config: EngineConfig, recipe: Recipe, tables: list[str], units: int) -> list[Actors]:
    """The actors that a segment of *units* units needs, in the order in which a unit meets them.

    The two pools of a fused segment are one if the second can do the work of the first: its actors then take the
    source's units and the parts made of them.
    """
    grows, stages = fans_out(recipe, tables[0]), recipe.stages()
    found = []
    for number, (names, pool) in enumerate(side_by_side(config, recipe, tables)):
        if not config.fused and not (grows and number):  # only these can have more workers than units
            pool = dataclasses.replace(pool, workers=min(pool.workers, units))
        held = sorted({repr(model) for name in names for model in models(stages[name])}) if pool.gpus else []
        lends = any(getattr(stages[name], "ranks", 1) > 1 for name in names)
        found.append(Actors(name=names[0], pool=pool, models=tuple(held), lend=lends))
    if config.fused and len(found) == 2 and goes_on(found[1:], found[:1]):
        return found[1:]
    return found


def sharers(groups: list[list[str]], pools: list[Actors], stages: dict[str, Stage]) -> dict[Endpoint, int]:
    """How many actors ask an endpoint in a segment of *groups* of tables, those that have not started yet included."""
    found: Counter[Endpoint] = Counter()
    for number, one in enumerate(pools):
        names = groups[number] if len(groups) == len(pools) else [name for group in groups for name in group]
        asked = {model.endpoint for name in names for model in models(stages[name])}
        found.update({endpoint: one.pool.workers for endpoint in asked if endpoint is not None})
    return dict(found)


def goes_on(old: list[Actors], new: list[Actors]) -> bool:
    """Whether the actors of a segment can execute the *new* one, too; otherwise they end, and their resources are free.

    Actors with GPUs go on only with the same models, since nothing but the end of a process frees all of a GPU's
    memory. More actors than are wanted go on only where nothing else needs their resources.
    """
    return len(old) == len(new) and all(
        dataclasses.replace(there.pool, workers=0) == dataclasses.replace(here.pool, workers=0)
        and there.models == here.models
        and (
            there.pool.workers == here.pool.workers
            or (there.pool.workers > here.pool.workers and len(new) == 1 and not here.pool.gpus and not here.lend)
        )
        for there, here in zip(old, new, strict=True)
    )


def pool_of(config: EngineConfig, stages: dict[str, Stage], names: list[str]) -> Pool:
    """The pool that works on the tables *names*."""
    first = stages[names[0]]
    settings: dict[str, Any] = {}
    for entry in (config.pool, config.kinds.get(first.kind), config.pools.get(names[0])):
        given = _given(entry)
        if "total_gpus" in given:
            settings = {key: value for key, value in settings.items() if key not in ("workers", "gpus")}
        settings |= given
    if total := settings.pop("total_gpus", None):
        settings.setdefault(
            "gpus", max((replica_gpus(model) for name in names for model in models(stages[name])), default=1)
        )
        settings.setdefault("workers", max(1, int(total // settings["gpus"])) if settings["gpus"] else 1)
    one_unit = first.reads and all(read.mode == "whole" for read in first.reads.values())
    if one_unit and "workers" not in _given(config.pools.get(names[0])):
        settings["workers"] = 1
    return Pool(**settings)


def _given(entry: PoolConfig | None) -> dict[str, Any]:
    """The fields that *entry* gives a value."""
    return {key: value for key, value in vars(entry).items() if value not in (None, {})} if entry else {}


def models(stage: Stage) -> list[Model]:
    """The models in a stage's fields, and in mappings there."""
    return [holder for _, holder in holders("", stage) if isinstance(holder, Model)]


def fans_out(recipe: Recipe, table: str) -> bool:
    """Whether a unit of *table* makes several parts: true for sources, and for stages with only whole reads."""
    return all(read.mode == "whole" for read in recipe.stages()[table].reads.values())


def check_placement(config: EngineConfig, recipe: Recipe) -> None:
    """Check the engine's name, and that GPU workers have enough GPUs for their model.

    Raises:
        ValueError: the engine is unknown, or a pool has too few GPUs for each worker.
    """
    if config.kind not in ENGINES:
        raise ValueError(f"engine.kind={config.kind}: must be {' or '.join(ENGINES)}")
    if strange := sorted(set(config.kinds) - set(KINDS)):
        raise ValueError(f"engine.kinds.{strange[0]}: take {', '.join(KINDS)}")
    stages = recipe.stages()
    for group, pool in (item for segment in pools(config, recipe) for item in segment):
        for name in group:
            for model in models(stages[name]):
                wants = replica_gpus(model)
                if wants > 1 and 0 < pool.gpus < wants:
                    raise ValueError(
                        f"engine.pools.{group[0]}.gpus is {pool.gpus:g}, and the model of {name} ({model.name}) is"
                        f" spread over {wants} GPUs: engine.pools.{group[0]}.gpus={wants}"
                    )


def replica_gpus(model: Model) -> int:
    """GPUs of one replica; none for a remote model."""
    sizes = [int(model.options.get(f"{how}_parallel_size", 1)) for how in ("tensor", "pipeline")]
    return 0 if model.remote else sizes[0] * sizes[1]
