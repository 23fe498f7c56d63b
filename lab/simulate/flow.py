"""What is simulated: segments of stations, derived from a recipe, an engine's pools and the plan's estimate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.simulate.assumptions import Assumptions
from mminstruct.engine.config import EngineConfig, Pool, models, pools
from mminstruct.recipe import Recipe, primary, sources
from mminstruct.stage import Stage
from mminstruct.status.estimate import Cost, estimate


@dataclass(frozen=True, kw_only=True)
class Station:
    """A pool of workers and the units that it gets."""

    name: str
    """Its first table."""
    units: int
    seconds: float
    """Mean seconds of one worker for one unit, reads and writes not included."""
    workers: int
    gpus: float = 0.0
    """Of each worker."""
    cpus: float = 1.0
    in_flight: int = 2
    load: float = 0.0
    """Seconds until a new worker can take a unit."""
    records: float = 1.0
    """Units of tables in one unit of the pool: more than one where tables are fused."""


@dataclass(frozen=True)
class Segment:
    """Stations through which units stream; the next segment waits for all of them."""

    stations: tuple[Station, ...]

    @property
    def name(self) -> str:
        return " + ".join(one.name for one in self.stations)

    @property
    def gpus(self) -> float:
        return sum(one.workers * one.gpus for one in self.stations)


@dataclass(frozen=True)
class Flow:
    segments: tuple[Segment, ...]
    gpu_usd: float
    """Price of one GPU hour."""
    endpoints_usd: float


def flow(
    recipe: Recipe,
    engine: EngineConfig,
    images: int,
    rates: Mapping[str, Any],
    given: Assumptions,
    runs: Iterable[str] = (),
) -> Flow:
    """The segments of a build of *images* images.

    Args:
        rates: conf/rates.yaml.
        runs: Folders of earlier runs, whose measured seconds come before those of *rates*.

    Raises:
        ValueError: The speed of a stage is unknown; names the tables.
    """
    bill = estimate(recipe, engine, images, rates, runs)
    costs = {cost.table: cost for segment in bill.segments for pool in segment for cost in pool}
    if unknown := [f"{name}: {cost.how}" for name, cost in costs.items() if cost.seconds is None]:
        raise ValueError("no seconds for " + "\n".join(unknown))
    keys = _units(recipe, images, costs, given)
    made = []
    for segment in pools(engine, recipe):
        stations = [
            _station(recipe.stages(), group, pool, [keys[name] for name in group], costs, rates, given)
            for group, pool in segment
        ]
        made.append(Segment(tuple(stations)))
    usd = sum(cost.usd for cost in costs.values())
    return Flow(tuple(made), bill.gpu_usd or 0.0, usd)


def _units(recipe: Recipe, images: int, costs: Mapping[str, Cost], given: Assumptions) -> dict[str, int]:
    """Units of each table.

    A stage with only whole reads is one unit. It writes back by part if it has as many rows as there are images.
    """
    stages = recipe.stages()
    shards = math.ceil(images / given.shard_images)
    keys: dict[str, int] = {}
    parts: dict[str, int] = {}
    for name, stage in stages.items():
        if not stage.reads:
            rows = getattr(stage, "rows", 512)
            keys[name] = shards
            parts[name] = math.ceil(images / shards / rows) * shards
        elif primary(stage) is None:
            most = stage.most()
            out = costs[name].rows * stage.fan()
            many = (out if most is None else min(out, most)) >= images
            keys[name], parts[name] = 1, max(parts.values(), default=1) if many else 1
        else:
            keys[name] = parts[name] = parts[sources(recipe)[name]]
    return keys


def _station(
    stages: Mapping[str, Stage], group: list[str], pool: Pool, keys: list[int],
    costs: Mapping[str, Cost], rates: Mapping[str, Any], given: Assumptions,
) -> Station:  # fmt: skip
    units = keys[0]
    seconds = sum(_per_row(stages[name], costs[name], pool, given) * costs[name].rows for name in group) / units
    loads = [
        0.0 if model.remote else rates["models"].get(model.name, {}).get("gb", 0.0) / given.load_gbps
        + (given.engine_start if model.backend == "vllm" else 0.0)
        for name in group for model in models(stages[name])
    ]  # fmt: skip
    return Station(
        name=group[0], units=units, seconds=seconds, workers=pool.workers, gpus=pool.gpus, cpus=pool.cpus,
        in_flight=pool.in_flight, load=given.start + sum(loads), records=sum(keys) / units,
    )  # fmt: skip


def _per_row(stage: Stage, cost: Cost, pool: Pool, given: Assumptions) -> float:
    """Seconds of one worker for a row of *stage*'s input."""
    asked = models(stage)
    if asked and all(model.remote for model in asked):
        return given.request_seconds * stage.asks() * len(asked)
    assert cost.seconds is not None
    return cost.seconds / pool.gpus if cost.gpu else cost.seconds
