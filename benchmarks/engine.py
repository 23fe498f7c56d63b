"""Measures the overhead of the engines: stages that do nothing, compared with a plain loop over the same Parquet files.

    python -m benchmarks.engine [--rounds 3] [--rows 100352]
    python -m benchmarks.engine --keys 100000 [--units 3000]

100,352 rows (196 parts of 512) pass through a recipe of five stages: a source, and four that copy rows. The bare loop
calls the same source, and for each other stage reads and writes every part with the same codec and checksums, and
nothing else: no receipts, no digests, no row counts checked, no fsync. The loop "that syncs" adds the fsync of each
file, which a commit needs. All variants run alternately in one process, so that other load on the machine affects each
of them; the minimum time of each counts.

With ``--keys`` it gives that many one-part units to the Ray engine (fused, two workers). It prints when the
first ended, how many ended in a second after it (until there are ``--units``), and how much memory this process took.
With another version's folder in PYTHONPATH it measures that version.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from mminstruct.engine.config import EngineConfig, Pool
from mminstruct.engine.data import Ray, connect
from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.run import Engine, Run, claim, execute
from mminstruct.stage import Rows, Transform, part
from tests.doing_nothing import After, Count, Pass

STAGES = ("count", "first", "second", "third", "fourth")


@dataclass(kw_only=True)
class Third(After):
    reads = {"second": part("id", "value")}

    def load(self) -> Transform:
        through = Pass.load(self)
        return lambda second: through(count=second)


@dataclass(kw_only=True)
class Fourth(After):
    reads = {"third": part("id", "value")}

    def load(self) -> Transform:
        through = Pass.load(self)
        return lambda third: through(count=third)


@dataclass(kw_only=True)
class Chain(Recipe):
    """A source and four streaming stages."""

    count: Count
    first: Pass
    second: After
    third: Third
    fourth: Fourth


def chain(shards: int, parts: int, rows: int = 512) -> Chain:
    count = Count(shard_count=shards, parts=parts, rows=rows)
    return Chain(count=count, first=Pass(), second=After(), third=Third(), fourth=Fourth())


def bare(recipe: Chain, folder: Path, sync: bool) -> None:
    """Write the same files with a plain loop."""

    def write(table: pa.Table, file: Path) -> None:
        with file.open("wb") as handle:
            pq.write_table(table, handle, row_group_size=512, compression="zstd", write_page_checksum=True)
            if sync:
                handle.flush()
                os.fsync(handle.fileno())

    for name in STAGES:
        (folder / name).mkdir()
    count = recipe.count.load()
    for shard in recipe.count.shards():
        for number, rows in enumerate(cast(Iterator[Rows], count(shard))):
            file = f"{shard}-{number:04d}.parquet"
            write(rows.output.table, folder / "count" / file)
            for before, name in itertools.pairwise(STAGES):
                write(pq.read_table(folder / before / file, page_checksum_verification=True), folder / name / file)


def engine(recipe: Chain, folder: Path, how: Engine) -> None:
    run = Run(url=str(folder), recipe=recipe)
    claim(run)
    execute(run, how)


def timed(work: Callable[[Path], None], folder: Path) -> float:
    folder.mkdir()
    began = time.perf_counter()
    work(folder)
    seconds = time.perf_counter() - began
    files = sum(1 for _ in (folder / "fourth").glob("*.parquet"))
    if files != sum(1 for _ in (folder / "count").glob("*.parquet")):
        raise RuntimeError(f"{folder}: {files} parts of the last table, which is not all")
    shutil.rmtree(folder)
    return seconds


def many(keys: int, units: int) -> None:
    """Give *keys* units to Ray, and stop after *units*."""
    connect(EngineConfig())
    before, began, cpu = psutil.Process().memory_info().rss, time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(url=f"{scratch}/run", recipe=chain(shards=keys, parts=1, rows=1))
        claim(run)
        how = Ray(EngineConfig(fused=True, pool=Pool(workers=2, cpus=0.5)))
        events = how.run(run, ["count"], sorted(run.recipe.stages()["count"].shards()))  # type: ignore[attr-defined]
        next(events)
        first, busy = time.perf_counter(), time.process_time()
        for _ in itertools.islice(events, units):
            pass
        last, busy, after = time.perf_counter(), time.process_time() - busy, psutil.Process().memory_info().rss
        events.close()  # type: ignore[attr-defined]
    print(f"{keys} keys: the first unit ended after {first - began:.1f} s; then {units / (last - first):.0f} units/s,"
          f" {1000 * busy / units:.2f} CPU ms each in this process; in all {(time.process_time() - cpu):.1f} CPU s and"
          f" {(after - before) / 2**20:.0f} MB more in this process; load {os.getloadavg()[0]:.0f}")  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--rows", type=int, default=196 * 512)
    asked.add_argument("--keys", type=int)
    asked.add_argument("--units", type=int, default=3000)
    given = asked.parse_args()
    if given.keys:
        return many(given.keys, given.units)
    parts = max(1, given.rows // 512 // 14)
    recipe = chain(shards=14, parts=parts)
    units = 14 + 4 * 14 * parts

    fused = EngineConfig(fused=True, pool=Pool(workers=2, cpus=0.5))
    pooled = EngineConfig(pool=Pool(workers=1, cpus=0.4))
    began = time.perf_counter()
    connect(fused)
    started = time.perf_counter() - began
    kinds: dict[str, Callable[[Path], None]] = {
        "bare loop": lambda folder: bare(recipe, folder, sync=False),
        "bare loop that syncs": lambda folder: bare(recipe, folder, sync=True),
        "engine=local": lambda folder: engine(recipe, folder, Local()),
        "engine=ray, fused, 2 workers": lambda folder: engine(recipe, folder, Ray(fused)),
        "engine=ray, 5 pools of 1": lambda folder: engine(recipe, folder, Ray(pooled)),
    }
    least: dict[str, float] = {}
    loads: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(given.rounds):
            for kind, work in kinds.items():
                loads.append(os.getloadavg()[0])
                seconds = timed(work, Path(scratch) / f"{number}-{len(loads)}")
                least[kind] = min(seconds, least.get(kind, seconds))

    rows = 14 * parts * 512
    print(f"{rows} rows in {14 * parts} parts through 5 stages that do nothing, {units} units; least of {given.rounds}")
    load = f"load {min(loads):.1f} to {max(loads):.1f}"
    print(f"{os.cpu_count()} cores, {load}; Ray took {started:.1f} s to start, not counted\n")
    print(f"{'':<30} {'seconds':>8} {'x bare':>7} {'x synced':>9} {'ms a unit':>10} {'ms a unit over bare':>20}")
    for kind, seconds in least.items():
        over = (seconds - least["bare loop"]) / units * 1000
        synced = seconds / least["bare loop that syncs"]
        print(f"{kind:<30} {seconds:>8.2f} {seconds / least['bare loop']:>7.2f} {synced:>9.2f}"
              f" {seconds / units * 1000:>10.2f} {over:>20.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
