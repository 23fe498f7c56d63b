"""Measures memory of driver and workers, and time per unit, for runs with 1, 10 and 100 times as many parts.

    python -m benchmarks.memory [--parts 16]

Stages do nothing, so only the engine's memory can grow. Each size runs in a separate process with its own Ray; the peak
is the kernel's (VmHWM) of the driver and of the largest worker. "claim" is the time of the same command when everything
is done: it reads every receipt and executes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import psutil

from benchmarks.engine import chain
from mminstruct.engine.config import EngineConfig, Pool
from mminstruct.engine.data import Ray, connect
from mminstruct.engine.local import Local
from mminstruct.run import Run, claim, execute

FACTORS = (1, 10, 100)
SHARDS = 8


class Peaks:
    """Polls this process's workers four times per second and keeps the highest peak of one."""

    def __init__(self) -> None:
        self.worker = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        driver = psutil.Process()
        while not self._over.wait(0.25):
            for process in driver.children(recursive=True):
                try:
                    if "MapWorker" in " ".join(process.cmdline()):
                        self.worker = max(self.worker, peak(process.pid))
                except (psutil.Error, OSError):  # it ended in the meantime
                    continue


def peak(pid: int) -> float:
    """Highest resident memory of a process so far, MiB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


def one(kind: str, parts: int) -> dict[str, float]:
    """Measure one run of *parts* parts: MiB and seconds."""
    recipe = chain(SHARDS, parts // SHARDS, rows=64)
    engine = Local() if kind == "local" else Ray(EngineConfig(fused=True, pool=Pool(workers=2, cpus=0.5)))
    if kind == "ray":
        connect(EngineConfig())
    with tempfile.TemporaryDirectory() as folder, Peaks() as peaks:
        before = peak(os.getpid())
        began = time.perf_counter()
        run = Run(url=folder, recipe=recipe)
        claim(run)
        execute(run, engine)
        seconds = time.perf_counter() - began
        driver = peak(os.getpid())
        began = time.perf_counter()
        again = Run(url=folder, recipe=recipe)
        claim(again)
        execute(again, engine)
        resumed = time.perf_counter() - began
    units = SHARDS + 4 * parts
    return {"before": before, "driver": driver, "worker": peaks.worker, "unit": seconds / units * 1000,
            "claim": resumed / units * 1000}  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--parts", type=int, default=16, help="number of parts of the smallest run")
    asked.add_argument("--one", nargs=2, metavar=("ENGINE", "PARTS"), help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.one:
        print(json.dumps(one(given.one[0], int(given.one[1]))))
        return
    load = os.getloadavg()[0]
    print(f"5 stages that do nothing, {SHARDS} shards; {os.cpu_count()} cores, load {load:.1f} at the start\n")
    print(f"{'engine':<8} {'parts':>6} {'units':>6} {'driver MiB':>11} {'of it imports':>14} {'worker MiB':>11}"
          f" {'ms a unit':>10} {'ms a unit, all done':>20}")  # fmt: skip
    for kind in ("local", "ray"):
        for factor in FACTORS:
            parts = given.parts * factor
            done = subprocess.run([sys.executable, "-m", "benchmarks.memory", "--one", kind, str(parts)],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)  # fmt: skip
            found = json.loads(done.stdout.splitlines()[-1])
            worker = f"{found['worker']:.0f}" if kind == "ray" else "-"
            print(f"{kind:<8} {parts:>6} {SHARDS + 4 * parts:>6} {found['driver']:>11.0f} {found['before']:>14.0f}"
                  f" {worker:>11} {found['unit']:>10.2f} {found['claim']:>20.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
