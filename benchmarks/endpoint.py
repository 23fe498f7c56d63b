"""Measures how much of an endpoint's capacity the client uses, with a scripted server in a separate process.

    python -m benchmarks.endpoint [--seconds 20]

Goodput is the share of the possible answers in the same time; waste is the share of refused requests. Goodput excludes
the warm-up (the first quarter) and the drain at the end; waste includes them. ``--openai`` measures each case a second
time with requests that the openai client sends over httpx2 instead of ``capped.Poster``. With ``--workers 2`` two
chatters share the endpoint, each with its own event loop; each case is measured with chatters that know how many they
are, and with others that do not.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

from mminstruct.models import connection
from mminstruct.models.connection import Answer
from mminstruct.models.model import Model
from mminstruct.models.openai import Chatter
from mminstruct.unit import SHARERS
from tests.models.server import Capacity, Endpoint

SIGMA = 0.6


@dataclass(frozen=True)
class Case:
    """One endpoint: its capacity over time, and the target goodput."""

    name: str
    capacity: dict[str, Any]
    aim: float
    rows: int = 256
    """Asked at once, in calls of 32; four for each slot, as a call lasts as long as its slowest row."""


def halves(high: float, low: float, period: float) -> Callable[[float], float]:
    return lambda seconds: high if int(seconds / period) % 2 == 0 else low


def cases(seconds: float) -> list[Case]:
    third = seconds / 4
    return [
        Case("64 at once, 0.25 s", {"most": 64, "latency": 0.25, "sigma": SIGMA}, 0.95),
        Case(
            "64 at once, 0.25 s, Retry-After 1", {"most": 64, "latency": 0.25, "sigma": SIGMA, "retry_after": "1"}, 0.95
        ),
        Case("512 at once, 0.5 s", {"most": 512, "latency": 0.5, "sigma": SIGMA}, 0.95, rows=2048),
        Case("16 at once, 1 s", {"most": 16, "latency": 1.0, "sigma": SIGMA}, 0.95),
        Case("64, 32, 64, 32 at once", {"most": halves(64, 32, third), "latency": 0.25, "sigma": SIGMA}, 0.80),
        Case("50, 10, 50, 10 at once", {"most": halves(50, 10, third), "latency": 0.25, "sigma": SIGMA}, 0.80),
        Case("100 a second, 0.25 s", {"rate": 100, "latency": 0.25, "sigma": SIGMA, "retry_after": "1"}, 0.95),
        Case("100, 50, 100, 50 a second", {"rate": halves(100, 50, third), "latency": 0.25, "sigma": SIGMA}, 0.80),
    ]


def serve(pipe: Connection, case: Case) -> None:
    capacity = Capacity(**case.capacity)
    with Endpoint(capacity) as endpoint:
        pipe.send(endpoint.url)
        pipe.recv()
        pipe.send((capacity.served, capacity.refused, capacity.busy))


def possible(case: Case, mean: float, start: float, end: float) -> float:
    """Number of answers, *mean* seconds each, that the endpoint could give between *start* and *end*."""
    limit: Any = case.capacity.get("rate", case.capacity.get("most"))
    step = 0.01
    moments = [start + step * i for i in range(int((end - start) / step))]
    total: float = sum(limit(t) if callable(limit) else limit for t in moments) * step
    return total if "rate" in case.capacity else total / mean


def measure(case: Case, seconds: float, workers: int = 1, divide: bool = True) -> tuple[float, float, float]:
    """(goodput, waste, CPU milliseconds per request)."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(theirs, case), daemon=True)
    server.start()
    model = Model(name="m", backend="openai", url=ours.recv())
    chatters = [Chatter(model) for _ in range(workers)]
    until = time.monotonic() + seconds
    began = time.process_time()

    def ask(worker: int) -> None:
        turn, chatter = 0, chatters[worker % workers]
        SHARERS.set({(model.url, None): workers} if divide else {})
        while time.monotonic() < until:
            rows = [[{"role": "user", "content": f"{worker} {turn} {row}"}] for row in range(32)]
            chatter.chat(rows, seeds=list(range(32)))  # type: ignore[arg-type]
            turn += 1

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(workers * case.rows // 32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu = time.process_time() - began
    ours.send("stop")
    served, refused, busy = ours.recv()
    server.join()
    for chatter in chatters:
        chatter.close()
    start, end = seconds / 4, seconds
    good = sum(start <= moment < end for moment in served)
    return (
        good / possible(case, busy / len(served), start, end),
        len(refused) / (len(served) + len(refused)),
        cpu * 1000 / len(served),
    )


async def by_openai(self: Any, body: dict[str, Any], timeout: float) -> Any:
    """``Connection.post`` by the openai client."""
    import asyncio
    import json

    import httpx2

    try:
        async with asyncio.timeout(timeout):
            answer = await self.client.post("/chat/completions", cast_to=httpx2.Response, body=body)
    except Exception as error:
        return self.fault(error)
    return Answer(json.loads(answer.content), len(answer.content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each case")
    parser.add_argument("--only", default="", help="run only cases whose name contains this")
    parser.add_argument("--openai", action="store_true", help="measure the openai client, too")
    parser.add_argument("--workers", type=int, default=1, help="chatters that share the endpoint")
    args = parser.parse_args()
    print(f"{'endpoint':38}{'goodput':>9}{'aim':>7}{'waste':>8}{'CPU ms':>8}")
    for case in cases(args.seconds):
        if args.only in case.name:
            for name in ["", *["openai"] * args.openai, *["alone"] * (args.workers > 1)]:
                other = mock.patch.object(connection.Connection, "post", by_openai)
                with other if name == "openai" else contextlib.nullcontext():
                    goodput, waste, cpu = measure(case, args.seconds, args.workers, divide=name != "alone")
                print(f"{case.name:31}{name:7}{goodput:9.1%}{case.aim:7.0%}{waste:8.2%}{cpu:8.2f}", flush=True)


if __name__ == "__main__":
    main()
