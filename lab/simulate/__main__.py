"""Simulate a build: occupancy of the GPUs, where the rest goes, and the cost.

    python -m lab.simulate recipe=mm_instruct models=modern engine=nodes_8 images=100000000 gpus=64 seed=0

Words are those of `mminstruct plan`, and beside them:

    gpus=N                scale the preset's pools to N GPUs; without it, as many as the preset is for
    split=preset|best     GPUs of each stage as in the preset, or by the plan's seconds
    seeds=N               this many simulations, from seed on, for the interval
    spot_per_hour=0.05    any assumption of lab/simulate/assumptions.py
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.simulate.account import CAUSES, Account, account, by_cause, interval
from lab.simulate.assumptions import Assumptions
from lab.simulate.events import SegmentResult, Simulation
from lab.simulate.flow import Flow, flow
from lab.simulate.split import best_split, scaled, with_split


@dataclass(frozen=True)
class Case:
    """What is simulated."""

    flow: Flow
    given: Assumptions
    gpus: int
    split: dict[str, int]
    """GPUs of each stage that has any."""

    def run(self, seed: int) -> tuple[Account, list[SegmentResult]]:
        results = Simulation(self.given, self.gpus, seed).run(self.flow.segments)
        return account(results, self.flow, self.given, self.gpus), results


def case(words: Sequence[str]) -> Case:
    """The case that *words* describe, those of ``Case`` and of ``mminstruct plan`` together.

    Raises:
        ValueError: A word is wrong, or the pools do not fit the nodes.
    """
    from hydra import compose, initialize_config_dir

    from mminstruct import config as configuration
    from mminstruct.config.files import conf, rates

    given, rest = _assumed(words)
    split = rest.pop("split", "preset")
    gpus = int(rest.pop("gpus", 0))
    if split not in ("preset", "best"):
        raise ValueError(f"split={split}: take preset or best")
    if "images" not in rest:
        raise ValueError("images=N is missing: the number of images to simulate")
    configuration.register()
    with initialize_config_dir(str(conf()), version_base="1.3"):
        said = [f"{key}={value}" for key, value in rest.items()]
        made, _ = configuration.build(compose("build", ["out=none", "source=none", *said]), estimated=True)
    images = int(rest["images"])
    engine = scaled(made.engine, made.recipe, gpus) if gpus else made.engine
    known = rates()
    if split == "best":
        if not gpus:
            raise ValueError("split=best needs gpus=N")
        engine = with_split(engine, best_split(made.recipe, engine, gpus, known, images))
    found = flow(made.recipe, engine, images, known, given)
    most = int(max(segment.gpus for segment in found.segments))
    stations = [station for segment in found.segments for station in segment.stations if station.gpus]
    return Case(found, given, gpus or most, {one.name: int(one.workers * one.gpus) for one in stations})


def _assumed(words: Sequence[str]) -> tuple[Assumptions, dict[str, str]]:
    """The assumptions with the values that *words* give them, and the other words."""
    types = typing.get_type_hints(Assumptions)
    ours: dict[str, Any] = {}
    rest: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word}: take key=value")
        if key not in types:
            rest[key] = value
        elif types[key] is bool:
            ours[key] = value == "true"
        else:
            ours[key] = None if value == "null" else int(value) if types[key] is int else float(value)
    return dataclasses.replace(Assumptions(), **ours), rest


def as_text(made: Case, runs: Sequence[tuple[Account, list[SegmentResult]]]) -> str:
    """Segments of the first run, then the sums over all runs with intervals."""
    lines = [f"{'segment':<46} {'hours':>8} {'occupancy':>9}  GPU hours not at work, by cause"]
    for one in runs[0][1]:
        causes = by_cause(one)
        rest = ", ".join(
            f"{cause} {seconds / 3600:,.1f}"
            for cause, seconds in sorted(causes.items(), key=lambda item: -item[1])
            if cause != "work" and seconds > 180
        )
        share = f"{causes['work'] / one.held:>9.1%}" if one.gpus else f"{'no GPU':>9}"
        lines.append(f"{one.name:<46} {(one.ended - one.began) / 3600:>8.2f} {share}  {rest if one.gpus else ''}")
        for pool in one.pools:
            station = pool.station
            busy = pool.work / pool.held if pool.held else 0.0
            size = f"{station.workers} x {station.gpus:g} GPUs" if station.gpus else f"{station.workers} workers"
            work = f"{station.units:>8} units of {station.seconds:,.1f} s, {busy:.1%} at work"
            lines.append(f"    {station.name:<20} {size:<16} {work}")
    accounts = [one for one, _ in runs]
    split = " ".join(f"engine.pools.{name}.total_gpus={gpus}" for name, gpus in made.split.items())
    lines.append(f"\nthis split: {split}")
    lines.append(f"{made.gpus} GPUs, {len(runs)} seeds, mean and 95 % interval")
    lines.append(f"occupancy      {_mean([100 * one.occupancy for one in accounts])} %")
    lines += [
        f"  {cause:<12} {_mean([100 * one.causes[cause] / one.held for one in accounts])} %  {what}"
        for cause, what in CAUSES.items()
        if cause != "work" and accounts[0].held
    ]
    for name, what in {
        "gpu_wall": "hours with GPUs", "hours": "hours in all", "held": "GPU hours", "gpu_usd": "US$ GPUs",
        "requests_usd": "US$ requests", "cores_usd": "US$ cores", "endpoints_usd": "US$ endpoints", "usd": "US$ in all",
        "redone": "units done again", "failed": "units failed",
    }.items():  # fmt: skip
        lines.append(f"{what:<18} {_mean([float(getattr(one, name)) for one in accounts])}")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    mean, half = interval(values)
    return f"{mean:>12,.2f}" + (f" ± {half:,.2f}" if half == half else "")


def main(words: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if words is None else words)
    if not given or given[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    named = dict(word.split("=", 1) for word in given if "=" in word)
    seeds = int(named.pop("seeds", 1))
    first = int(named.get("seed", 0))
    try:
        made = case([f"{key}={value}" for key, value in named.items()])
    except ValueError as error:
        print(f"lab.simulate: {error}", file=sys.stderr)
        return 2
    print(as_text(made, [made.run(seed) for seed in range(first, first + seeds)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
