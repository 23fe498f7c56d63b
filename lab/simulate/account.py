"""Where the GPU hours of a simulated build went, and what it cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lab.simulate.assumptions import Assumptions
from lab.simulate.events import SegmentResult
from lab.simulate.flow import Flow

CAUSES = {
    "work": "computing for units that ended well",
    "finished": "the pool has ended, another pool of the segment has not",
    "starved": "waits for units of the pool before it, or for the object store",
    "no pool": "on no worker: a segment with few workers, or GPUs left over by the split",
    "tail": "no unit is left to start, the last ones are still computing",
    "start": "loads its model; its node boots",
    "driver": "the driver reads receipts and lists units between segments",
    "lost": "computing for units that were lost with their node",
    "release": "from the last segment with GPUs until idle nodes are given back",
}
"""Where GPU hours go, and what each word means."""


@dataclass(frozen=True)
class Account:
    hours: float
    """Wall-clock time of the whole build."""
    gpu_wall: float
    """Hours from the first segment with GPUs to the last one."""
    held: float
    """GPU hours paid for."""
    causes: dict[str, float]
    """GPU hours by cause; their sum is ``held``."""
    redone: int
    failed: int
    units: float
    """Units of tables, those that were lost included."""
    gpu_usd: float
    requests_usd: float
    cores_usd: float
    endpoints_usd: float

    @property
    def occupancy(self) -> float:
        return self.causes["work"] / self.held if self.held else math.nan

    @property
    def usd(self) -> float:
        return self.gpu_usd + self.requests_usd + self.cores_usd + self.endpoints_usd


def account(results: Sequence[SegmentResult], flow: Flow, given: Assumptions, gpus: int) -> Account:
    """The sums over all segments.

    GPUs are held from the first segment that has any to the last one, and ``idle`` seconds more. With autoscale=False
    they are held to the end.
    """
    with_gpus = [number for number, one in enumerate(results) if one.gpus]
    causes = dict.fromkeys(CAUSES, 0.0)
    held = 0.0
    if with_gpus:
        first, last = with_gpus[0], with_gpus[-1]
        for one in results[first : last + 1]:
            here = by_cause(one)
            held += one.held
            for cause, seconds in here.items():
                causes[cause] += seconds
        after = results[-1].ended - results[last].ended
        causes["release"] = (min(after, given.idle) if given.autoscale else after) * gpus
        held += causes["release"]
    pools = [pool for one in results for pool in one.pools]
    cores = sum(
        (one.ended - one.began) * sum(pool.station.workers * pool.station.cpus for pool in one.pools)
        for number, one in enumerate(results) if not with_gpus or not with_gpus[0] <= number <= with_gpus[-1]
    )  # fmt: skip
    units = sum((pool.done + pool.redone) * pool.station.records for pool in pools)
    return Account(
        hours=results[-1].ended / 3600,
        gpu_wall=(results[with_gpus[-1]].ended - results[with_gpus[0]].began) / 3600 if with_gpus else 0.0,
        held=held / 3600,
        causes={cause: seconds / 3600 for cause, seconds in causes.items()},
        redone=sum(pool.redone for pool in pools),
        failed=sum(pool.failed for pool in pools),
        units=units,
        gpu_usd=held / 3600 * flow.gpu_usd,
        requests_usd=units * given.requests_usd,
        cores_usd=cores / 3600 * given.core_usd,
        endpoints_usd=flow.endpoints_usd,
    )


def by_cause(one: SegmentResult) -> dict[str, float]:
    """GPU seconds of a segment by cause; their sum is ``one.held``."""
    found = {
        "work": _sum(one, "work"), "finished": _sum(one, "finished"), "starved": _sum(one, "starved"),
        "tail": _sum(one, "tail"), "start": _sum(one, "load") + one.boot, "driver": one.driver,
        "lost": _sum(one, "lost"),
    }  # fmt: skip
    return found | {"no pool": one.held - sum(found.values())}


def _sum(one: SegmentResult, what: str) -> float:
    return sum(float(getattr(pool, what)) * pool.station.gpus for pool in one.pools)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval (Student's t); nan where there is one value."""
    from scipy.stats import t

    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
