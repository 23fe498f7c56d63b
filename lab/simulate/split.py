"""How many GPUs each stage should have, by the plan's seconds; and presets for another number of GPUs."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from mminstruct.engine.config import EngineConfig, PoolConfig, pools
from mminstruct.recipe import Recipe
from mminstruct.status.estimate import Cost, estimate


def scaled(engine: EngineConfig, recipe: Recipe, gpus: int) -> EngineConfig:
    """A copy of *engine* for *gpus* GPUs: workers and GPUs of its pools in proportion; single workers stay single."""
    has = max(sum(pool.workers * pool.gpus for _, pool in segment) for segment in pools(engine, recipe))
    factor = gpus / has if has else 1.0
    made = copy.deepcopy(engine)
    for entry in [made.pool, *made.kinds.values(), *made.pools.values()]:
        entry.total_gpus = entry.total_gpus and max(1.0, float(int(entry.total_gpus * factor + 1e-9)))
        entry.workers = int(entry.workers * factor) if entry.workers and entry.workers > 1 else entry.workers
    return made


def best_split(
    recipe: Recipe, engine: EngineConfig, gpus: int, rates: Mapping[str, Any], images: int, runs: Iterable[str] = ()
) -> dict[str, int]:
    """GPUs of each stage that has any, so that the slowest pool of each segment is as fast as can be.

    Each pool gets one worker; then the slowest pool gets one more, as long as one fits. A segment with one pool gets
    all GPUs.

    Raises:
        ValueError: *gpus* are too few for one worker of each pool.
    """
    bill = estimate(recipe, engine, images, rates, runs)
    found: dict[str, int] = {}
    for segment, costs in zip(pools(engine, recipe), bill.segments, strict=True):
        hours = {group[0]: _hours(some) for (group, _), some in zip(segment, costs, strict=True)}
        single = {name for (name,), pool in segment if pool.workers == 1 and len(segment) == 1}  # one unit
        sizes = {group[0]: int(pool.gpus) for group, pool in segment if pool.gpus >= 1 and group[0] not in single}
        given = dict(sizes)
        if sum(given.values()) > gpus:
            raise ValueError(f"{gpus} GPUs are too few for {', '.join(f'{n} {size}' for n, size in sizes.items())}")
        while fitting := [name for name in sizes if sum(given.values()) + sizes[name] <= gpus]:
            slowest = max(sizes, key=lambda name: (hours[name] / given[name], name))
            if slowest not in fitting:
                break
            given[slowest] += sizes[slowest]
        found |= given
    return found


def _hours(costs: list[Cost]) -> float:
    return sum(cost.hours or 0.0 for cost in costs)


def with_split(engine: EngineConfig, split: Mapping[str, int]) -> EngineConfig:
    """A copy of *engine* with the GPUs of *split*."""
    made = copy.deepcopy(engine)
    for name, gpus in split.items():
        entry = made.pools.get(name) or PoolConfig()
        made.pools[name] = dataclasses.replace(entry, total_gpus=float(gpus), workers=None)
    return made
