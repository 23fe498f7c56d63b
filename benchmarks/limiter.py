"""Measures the rate limiter alone, in virtual time: how much of a scripted capacity it uses on any machine.

    python -m benchmarks.limiter [--seconds 120] [--seeds 5] [--workers 2]

With several workers, each case runs twice: with limiters that know how many they are, and with others that do not.

The endpoints are those of ``benchmarks.endpoint``, without HTTP, and the clock jumps to the next event: two minutes
take a second. Capacity lost here is due to the algorithm; capacity lost only there is due to the machine or the client.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
from typing import Any

from benchmarks.endpoint import Case, cases, possible
from mminstruct.models.limits import Limiter
from tests.models.server import Capacity, Request


class Jumping(asyncio.SelectorEventLoop):
    """An event loop that never sleeps: its clock jumps instead."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        real = self._selector.select  # type: ignore[attr-defined]

        def select(timeout: float | None) -> Any:
            self._now += timeout or 0.0
            return real(0)

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now


async def load(
    case: Case, seconds: float, seed: int, *, workers: int = 1, most: int = 512, divide: bool = True, idle: int = 0
) -> tuple[float, float]:
    """(goodput, waste) of concurrent rows that send requests as ``Chatter`` does, each of *workers* through a limiter.

    Args:
        most: Upper bound of all of them.
        divide: Whether each knows how many there are.
        idle: Workers of those that ask nothing.
    """
    loop = asyncio.get_running_loop()
    random.seed(seed)
    capacity = Capacity(**case.capacity, seed=seed, clock=loop.time)
    limiters = [Limiter(most=most, clock=loop.time) for _ in range(workers)]
    for limiter in limiters if divide else ():
        limiter.divide(workers)
    body = b'{"messages": [{"content": "x"}]}'

    async def ask(limiter: Limiter) -> None:
        while loop.time() < seconds:
            tries = 0
            while True:
                ticket = await limiter.acquire(first=tries > 0)
                answer = await capacity(Request(0, "POST", "/", {}, body, 0, loop.time()))
                wait = float(answer.headers.get("retry-after", 0))
                limiter.release(ticket, "answered" if answer.status == 200 else "refused", wait=wait)
                if answer.status == 200:
                    break
                tries += 1
                pause = min(30.0, 0.5 * 2 ** min(10, tries - 1)) * random.uniform(0.75, 1.25)
                await asyncio.sleep(max(wait, pause))

    await asyncio.gather(*[ask(limiter) for limiter in limiters[idle:] for _ in range(case.rows)])
    served, refused = capacity.served, capacity.refused
    good = sum(seconds / 4 <= moment < seconds for moment in served)
    able = possible(case, capacity.busy / len(served), seconds / 4, seconds)
    return good / able, len(refused) / (len(served) + len(refused))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="processes that share the endpoint")
    args = parser.parse_args()
    print(f"{'endpoint':40}{'goodput':>9}{'aim':>7}{'waste':>8}   least goodput, most waste")
    for case in cases(args.seconds):
        for name in ("", "alone")[: min(args.workers, 2)]:
            found = []
            for seed in range(args.seeds):
                loop = Jumping()
                run = load(case, args.seconds, seed, workers=args.workers, divide=not name)
                found.append(loop.run_until_complete(run))
                loop.close()
            good, waste = zip(*found, strict=True)
            said = f"{statistics.median(good):9.1%}{case.aim:7.0%}{statistics.median(waste):8.2%}"
            print(f"{case.name:34}{name:6}{said}   {min(good):.1%}, {max(waste):.2%}", flush=True)


if __name__ == "__main__":
    main()
