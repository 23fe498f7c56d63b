"""Measures how many paid replies a kill -9 loses, and the cost of the journal, with 500 requests in flight.

    python -m benchmarks.journal [--against FOLDER] [--kills 8] [--seconds 10]

A client process requests paid rows from an endpoint process. It is killed at random moments and restarted until all
rows are done, and the endpoint counts requests. *Bought again*: requests beyond the first for a row. *In service*:
requests accepted but not answered when the client was killed. *In flight*: requests sent, or answered and not in the
journal yet (at most the client's limit). Throughput is that of a client that is not killed. ``--against`` alternates
with the package in another folder (``git worktree add FOLDER COMMIT``).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from tests.models.server import Answer, Endpoint, Request, say

HERE = Path(__file__).parents[1]
BUYER = """
import sys
from mminstruct.store.journal import Calls
from mminstruct.models.model import Model
from mminstruct.models.openai import Chatter
from mminstruct.unit import UNIT, Unit
from mminstruct.store.tables import Store
run, url, rows, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
options = {"price": {"input": 1, "output": 1}, "concurrency": {"start": at_once, "max": at_once, "min": at_once}}
made = Chatter(Model(name="m", backend="openai", url=url, options=options))
UNIT.set(Unit("caption", "p0", journal=Calls(Store(run).table("caption"), "p0")))
replies = made.chat([[{"role": "user", "content": str(row)}] for row in range(rows)], seeds=[0] * rows)
assert [reply.text for reply in replies] == [f"re: {row} " + "word " * 60 for row in range(rows)]
"""


def serve(pipe: Connection, latency: float) -> None:
    """Answer after about *latency* seconds; count the requests for each row, and the requests that wait."""
    chance = random.Random(0)

    def script(request: Request) -> Answer:
        return Answer(body=say(f"re: {request.asked} " + "word " * 60), delay=latency * chance.uniform(0.5, 1.5))

    with Endpoint(script) as endpoint:
        pipe.send(endpoint.url)
        while pipe.recv() == "count":
            pipe.send((endpoint.in_flight, endpoint.peak, len(endpoint.requests)))
        pipe.send(Counter(endpoint.asked))


class Server:
    """An endpoint in a separate process."""

    def __init__(self, latency: float) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=serve, args=(theirs, latency), daemon=True)
        self._process.start()
        self.url = str(self._pipe.recv())

    def counts(self) -> tuple[int, int, int]:
        """(requests in service, their maximum, requests in total)."""
        self._pipe.send("count")
        in_service, peak, requests = self._pipe.recv()
        return in_service, peak, requests

    def close(self) -> Counter[str]:
        """Number of requests for each row."""
        self._pipe.send("stop")
        asked: Counter[str] = self._pipe.recv()
        self._process.join()
        return asked


def buyer(package: Path, run: Path, url: str, rows: int, at_once: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(package)}
    return subprocess.Popen(
        [sys.executable, "-c", BUYER, str(run), url, str(rows), str(at_once)], cwd=package, env=environment
    )


def killed(package: Path, given: argparse.Namespace, seed: int) -> dict[str, int]:
    """Kill and restart a client until all rows are bought."""
    chance, folder = random.Random(seed), Path(tempfile.mkdtemp(dir=given.folder))
    server = Server(given.latency)
    at_work, kills, lost = 0, 0, []
    while True:
        process = buyer(package, folder, server.url, given.rows, given.at_once)
        before = server.counts()[2]
        while process.poll() is None and server.counts()[2] == before:
            time.sleep(0.01)
        moment = time.monotonic() + chance.uniform(0.2, given.span)
        while process.poll() is None and (kills >= given.kills or time.monotonic() < moment):
            time.sleep(0.005)
        if process.poll() is not None:
            break
        in_service = server.counts()[0]
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        at_work += in_service
        lost.append(server.counts()[2])
        time.sleep(2 * given.latency)
    if process.returncode:
        raise SystemExit(f"the buyer ended with {process.returncode}")
    peak = server.counts()[1]
    asked = server.close()
    shutil.rmtree(folder)
    again = sum(asked.values()) - len(asked)
    return {
        "kills": kills, "bought again": again, "in service": at_work, "in flight": kills * given.at_once, "peak": peak,
    }  # fmt: skip


def undisturbed(package: Path, given: argparse.Namespace) -> float:
    """Replies per second, from the first request to the last."""
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    server = Server(given.latency)
    process = buyer(package, folder, server.url, given.rows, given.at_once)
    while not server.counts()[2]:
        time.sleep(0.01)
    began = time.monotonic()
    if process.wait():
        raise SystemExit(f"the buyer ended with {process.returncode}")
    took = time.monotonic() - began
    server.close()
    shutil.rmtree(folder)
    return float(given.rows / took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--against", type=Path, help="another checkout, measured alternately with this one")
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--at-once", type=int, default=500)
    parser.add_argument("--latency", type=float, default=0.4, help="latency of the endpoint, seconds")
    parser.add_argument("--kills", type=int, default=8, help="kills in each round")
    parser.add_argument(
        "--span", type=float, default=3.0, help="maximum time from the first request to the kill, seconds"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where the runs are written: the disk to measure")
    given = parser.parse_args()
    sides = {"this": HERE} | ({"other": given.against.resolve()} if given.against else {})
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(given.rounds):
        for side, package in sides.items():
            speeds[side].append(undisturbed(package, given))
            found = killed(package, given, number)
            print(f"{side:6} {json.dumps(found)}, {speeds[side][-1]:.0f} replies a second undisturbed", flush=True)
    if given.against:
        ratios = [mine / theirs for mine, theirs in zip(speeds["this"], speeds["other"], strict=True)]
        print(f"throughput, this over other: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
