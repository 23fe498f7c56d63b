"""Measures how well lab.simulate predicts a real run: the Ray engine with stages that sleep, beside the simulated time.

    python -m benchmarks.simulate [--shards 6] [--parts 16]

A source and three stages, each a pool of its own. A stage sleeps for every unit by a lognormal factor that depends on
the unit's content; one unit at a time for each worker, as on a GPU, whatever the number in flight. The simulation is
told when the workers of the first stage were ready on average, which depends on the load of the machine. It is not told
the factors that the units drew, only their spread. Sleeping needs no core, so the rest holds on a busy machine, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from lab.simulate.assumptions import Assumptions
from lab.simulate.events import Simulation
from lab.simulate.flow import Segment, Station
from mminstruct.engine.config import EngineConfig, PoolConfig
from mminstruct.engine.data import Ray, connect
from mminstruct.recipe import Recipe
from mminstruct.run import Run, claim, execute
from mminstruct.stage import StageOutput, Transform, part, runtime
from tests.doing_nothing import Count, Pass

SPREAD = 0.5
POOLS = {"first": (3, 0.9), "second": (2, 0.5), "third": (1, 0.2)}
"""Workers and mean seconds of a unit."""


@dataclass(kw_only=True)
class Asleep(Pass):
    seconds: float = runtime(0.0)
    ready: str = runtime("")
    """File that gets the time at which each worker is ready."""

    def load(self) -> Transform:
        if self.ready:
            with open(self.ready, "a") as file:
                file.write(f"{time.time()}\n")
        device = threading.Lock()  # units in flight compute one after another

        def sleep(**given: pa.Table) -> StageOutput:
            (table,) = given.values()
            dice = random.Random(str(table["id"][0]))
            with device:
                time.sleep(self.seconds * dice.lognormvariate(-(SPREAD**2) / 2, SPREAD))
            return StageOutput(table, [])

        return sleep


@dataclass(kw_only=True)
class Second(Asleep):
    reads = {"first": part("id", "value")}


@dataclass(kw_only=True)
class Third(Asleep):
    reads = {"second": part("id", "value")}


@dataclass(kw_only=True)
class Chain(Recipe):
    count: Count
    first: Asleep
    second: Second
    third: Third


def measured(folder: Path, shards: int, parts: int) -> tuple[float, float]:
    """Seconds of a real run, and the mean seconds until a worker of its first stage was ready."""
    times = Path(f"{folder}.ready")
    recipe = Chain(
        count=Count(shard_count=shards, parts=parts, rows=8),
        first=Asleep(seconds=POOLS["first"][1], ready=str(times)),
        second=Second(seconds=POOLS["second"][1]),
        third=Third(seconds=POOLS["third"][1]),
    )
    pools = {name: PoolConfig(workers=workers, cpus=0.2) for name, (workers, _) in POOLS.items()}
    engine = Ray(EngineConfig(pool=PoolConfig(workers=1, cpus=0.2), pools=pools))
    run = Run(url=str(folder), recipe=recipe)
    claim(run)
    began = time.time()
    execute(run, engine)
    ended = time.time()
    ready = [float(line) - began for line in times.read_text().split()]
    return ended - began, sum(ready) / len(ready)


def simulated(shards: int, parts: int, start: float, given: Assumptions, seed: int) -> float:
    """Seconds of the same run by the simulation."""
    stations = [Station(name="count", units=shards, seconds=0.0, workers=1, load=start)]
    stations += [
        Station(name=name, units=shards * parts, seconds=seconds, workers=workers, load=start)
        for name, (workers, seconds) in POOLS.items()
    ]
    simulation = Simulation(given, 0, seed)
    (result,) = simulation.run((Segment(tuple(stations)),))
    return result.ended


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--shards", type=int, default=6)
    asked.add_argument("--parts", type=int, default=16)
    asked.add_argument("--rounds", type=int, default=2)
    words = asked.parse_args()
    given = dataclasses.replace(
        Assumptions(), spread=SPREAD, straggler_share=0.0, slow_share=0.0, mtbf_hours=0.0, latency=0.02, start=0.0,
    )  # fmt: skip
    connect(EngineConfig())
    units = words.shards * words.parts
    bound = max(units * seconds / workers for workers, seconds in POOLS.values())
    print(f"{units} parts through {POOLS} (workers, seconds); the slowest pool alone needs {bound:.1f} s")
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(words.rounds):
            load = os.getloadavg()[0]
            real, start = measured(Path(scratch) / f"{number}", words.shards, words.parts)
            guesses = [simulated(words.shards, words.parts, start, given, seed) for seed in range(40)]
            guess, sigma = statistics.fmean(guesses), statistics.stdev(guesses)
            print(
                f"start {start:.1f} s; measured {real:.1f} s, simulated {guess:.1f} s (sigma {sigma:.1f}),"
                f" error {(guess - real) / real:+.1%}; load {load:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
