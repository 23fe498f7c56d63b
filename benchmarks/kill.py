"""Kills the driver or workers (kill -9) at random moments of a demo run, and repeats the same command until it is done.

    python benchmarks/kill.py --source data/microworld --calm runs/demo --kills 20

Passes if the tables are byte-identical to those of an undisturbed run, and no receipt was replaced.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil


def contents(folder: Path) -> dict[str, bytes]:
    """Every data file of the tables, by relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def receipts(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_ino, p.read_bytes()) for p in folder.glob("*/_receipts/*.json")}


def start(folder: Path, source: str, words: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mminstruct.cli", "build", "experiment=demo", f"out={folder}", f"source={source}"]
    return subprocess.Popen(
        [*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def victims(driver: int, whom: str) -> list[psutil.Process]:
    """The driver, or one busy Ray worker."""
    process = psutil.Process(driver)
    if whom == "driver":
        return [process]
    workers = [p for p in process.children(recursive=True) if "MapWorker" in " ".join(p.cmdline() or [p.name()])]
    return [random.choice(workers)] if workers else []


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True)
    parser.add_argument("--calm", type=Path, required=True, help="an undisturbed run of the same recipe")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--span", type=float, default=60.0, help="maximum time before a kill, seconds")
    parser.add_argument("words", nargs="*", help="more overrides, the same as for the undisturbed run")
    given = parser.parse_args()
    random.seed(given.seed)
    calm = contents(given.calm)
    kills = {"driver": 0, "worker": 0}
    rounds = redone = 0
    while sum(kills.values()) < given.kills:
        folder = given.calm.with_name(f"{given.calm.name}-killed-{rounds}")
        shutil.rmtree(folder, ignore_errors=True)
        finished = False
        while not finished:
            before = receipts(folder)
            run = start(folder, given.source, given.words)
            deadline = time.monotonic() + random.uniform(3, given.span)
            while run.poll() is None:
                time.sleep(0.1)
                if time.monotonic() < deadline or sum(kills.values()) >= given.kills:
                    continue
                whom = random.choice(("driver", "worker"))
                for process in victims(run.pid, whom):
                    os.kill(process.pid, signal.SIGKILL)
                    kills[whom] += 1
                    print(f"kill {sum(kills.values())}: {whom}, {len(receipts(folder))} receipts", flush=True)
                deadline = time.monotonic() + random.uniform(3, given.span)
            if run.returncode == -signal.SIGKILL:
                time.sleep(3)  # until its Ray has ended too
            elif run.returncode:
                raise SystemExit(f"exit {run.returncode}: {run.stderr.read().decode()[-3000:] if run.stderr else ''}")
            after = receipts(folder)
            redone += sum(after.get(name) != facts for name, facts in before.items())
            finished = run.returncode == 0
        same = contents(folder) == calm
        print(f"round {rounds}: tables byte-identical to the undisturbed run: {same}", flush=True)
        if not same:
            raise SystemExit(1)
        shutil.rmtree(folder)
        rounds += 1
    killed = f"{kills['driver']} drivers and {kills['worker']} workers killed in {rounds} runs"
    print(f"{killed}; receipts made again: {redone}")
    raise SystemExit(redone > 0)


if __name__ == "__main__":
    main()
