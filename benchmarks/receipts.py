"""Measures what a command costs that only reads receipts, for runs with 1,000, 10,000 and 100,000 parts.

    python -m benchmarks.receipts [--parts 1000 10000 100000] [--folder DIR] [--tree DIR]

The runs are synthetic: a small run of five stages is built, and its receipts are written again under other keys; all
parts of a shard are hard links of one file, with digests of their own in the receipts. So a run of 100,000 parts has
405,000 units and about a million files. "status" and "build again" (claim, execute with nothing to do, progress, and
the state at the end) are separate processes; "first build" is the same build, before there is an object that has all
receipts of a table. CPU seconds are those of the process, imports included; the peak of its memory is the kernel's.
"x" is the exponent of growth, from the size before. With ``--tree`` the same commands also run in another checkout,
alternately, on the same run.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.engine import STAGES, chain
from mminstruct.checksum import seal, unseal
from mminstruct.engine.local import Local
from mminstruct.run import Run, claim, execute
from mminstruct.status.progress import Progress
from mminstruct.status.tables import all_faults, incomplete, table_statuses

EACH = 20
"""Parts of a shard; a shard of SA-1B has 22 of 512 images."""
ROWS = 4


def synthetic(folder: Path, parts: int) -> None:
    """Write a complete run of *parts* parts for the recipe ``chain(parts // EACH, EACH, ROWS)``."""
    recipe = chain(parts // EACH, EACH, ROWS)
    with tempfile.TemporaryDirectory(dir=folder.parent) as small:
        run = Run(url=small, recipe=chain(1, 1, ROWS))
        claim(run)
        execute(run, Local())
        claim(Run(url=str(folder), recipe=recipe))
        for name in STAGES:
            file = next(Path(small, name).glob("*.parquet"))
            made = unseal(next(Path(small, name, "_receipts").iterdir()).read_bytes(), "", "")
            (folder / name / "_receipts").mkdir(parents=True)
            ending = file.name.split(".", 1)[1]
            for shard, facts in recipe.count.shards().items():
                keys = [f"{shard}-{number:04d}" for number in range(EACH)]
                paths = [folder / name / f"{key}.{ending}" for key in keys]
                shutil.copyfile(file, paths[0])  # a copy for each shard: ext4 allows 65,000 links of a file
                for path in paths[1:]:
                    os.link(paths[0], path)
                named = [
                    {**made["parts"][0], "part": key, "file": f"{key}.{ending}", "sha256": _digest(name, key)}
                    for key in keys
                ]
                if name == STAGES[0]:
                    rows = {
                        "rows_in": ROWS * EACH,
                        "kept": ROWS * EACH,
                        "inputs": {k: str(v) for k, v in facts.items()},
                    }
                    _receipt(folder / name, {**made, **rows, "key": shard, "parts": named})
                else:
                    (before,) = made["inputs"]
                    for key, part in zip(keys, named, strict=True):
                        inputs = {before: _digest(before, key)[:16]}
                        _receipt(folder / name, {**made, "key": key, "parts": [part], "inputs": inputs})


def _digest(name: str, key: str) -> str:
    """A digest for each part, as in a real run: equal ones would take no bytes in the objects of all receipts."""
    return hashlib.sha256(f"{name}/{key}".encode()).hexdigest()


def _receipt(table: Path, facts: dict[str, object]) -> None:
    (table / "_receipts" / f"{facts['key']}.json").write_bytes(seal(facts))


def one(what: str, folder: str, parts: int) -> dict[str, float]:
    """Run one command here; CPU seconds, seconds, and the peak in MiB."""
    began = time.perf_counter()
    if what == "status":
        statuses = table_statuses(folder)
    else:
        run = Run(url=folder, recipe=chain(parts // EACH, EACH, ROWS))
        claim(run)
        with Progress() as progress:
            if "finished" in inspect.signature(execute).parameters:
                execute(run, Local(), watch=progress.watch, begin=progress.begin, finished=progress.finished)
            else:  # a version before there was one call for all units that are done
                execute(run, Local(), watch=progress.watch, begin=progress.begin)
        statuses = table_statuses(folder, recount=False, tables=run.table)
    if all_faults(statuses) or incomplete(statuses) or sum(s.units for s in statuses) != parts // EACH + 4 * parts:
        raise SystemExit(f"the run is not as it was written: {all_faults(statuses)[:3]}, {incomplete(statuses)}")
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
    return {"cpu": used.ru_utime + used.ru_stime, "wall": time.perf_counter() - began, "peak": peak}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--parts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    asked.add_argument("--folder", help="where the runs are written and removed again; default: the temporary folder")
    asked.add_argument("--tree", help="another checkout of this repository to compare with")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--one", nargs=3, metavar=("WHAT", "RUN", "PARTS"), help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.one:
        print(json.dumps(one(given.one[0], given.one[1], int(given.one[2]))))
        return
    trees = [os.getcwd(), *([given.tree] if given.tree else [])]
    print(f"{'command':<12} {'tree':<24} {'parts':>7} {'CPU s':>7} {'x':>5} {'s':>7} {'peak MiB':>9} {'x':>5}")
    before: dict[tuple[str, str], tuple[int, float, float]] = {}
    for parts in given.parts:
        place = Path(tempfile.mkdtemp(dir=given.folder))
        try:
            synthetic(place / "run", parts)
            found: dict[tuple[str, str], list[dict[str, float]]] = {}
            for number in range(given.rounds):
                for tree in trees:
                    for what in (*(["first build"] if not number else []), "status", "build again"):
                        done = subprocess.run(
                            [sys.executable, __file__, "--one", what, str(place / "run"), str(parts)],
                            env={**os.environ, "PYTHONPATH": tree}, stdout=subprocess.PIPE, text=True, check=True,
                        )  # fmt: skip
                        found.setdefault((what, tree), []).append(json.loads(done.stdout.strip().split("\n")[-1]))
            for (what, tree), some in found.items():
                cpu, wall, peak = (statistics.median(one[key] for one in some) for key in ("cpu", "wall", "peak"))
                growth = ["", ""]
                if (what, tree) in before:
                    was = before[what, tree]
                    growth = [f"{math.log(now / then) / math.log(parts / was[0]):.2f}"
                              for now, then in ((cpu, was[1]), (peak, was[2]))]  # fmt: skip
                before[what, tree] = (parts, cpu, peak)
                print(f"{what:<12} {tree[-24:]:<24} {parts:>7} {cpu:>7.2f} {growth[0]:>5} {wall:>7.2f} {peak:>9.0f}"
                      f" {growth[1]:>5}", flush=True)  # fmt: skip
        finally:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
