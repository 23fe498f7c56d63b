"""Group commit: one flush for many replies, and a bounded number of replies that a crash can lose."""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import journal as benchmark
from mminstruct.models.recorder import Recorder
from tests.models.asking import PRICE, MemoryJournal, ask, chatter, unit
from tests.models.server import Endpoint, echo


class Slow(MemoryJournal):
    """A journal whose disk blocks until it is released, and may be full."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[list[str]] = []
        self.writing, self.go_on = threading.Event(), threading.Event()
        self.full = False

    def put(self, replies: Mapping[str, dict[str, Any]]) -> None:
        self.writing.set()
        assert self.go_on.wait(30)
        if self.full:
            self.full = False
            raise OSError("no space left on device")
        self.groups.append(sorted(replies))
        super().put(replies)


async def puts(recorder: Recorder, journal: Slow, names: str) -> list[asyncio.Task[None]]:
    """The first reply, whose write has begun when this returns, and those that arrived after it."""
    tasks = [asyncio.create_task(recorder.put(names[0], {"n": 0}))]
    await asyncio.to_thread(journal.writing.wait, 30)
    tasks += [asyncio.create_task(recorder.put(name, {"n": n})) for n, name in enumerate(names[1:], 1)]
    await asyncio.sleep(0.05)
    return tasks


def test_replies_that_arrive_while_a_group_is_written_form_the_next_one() -> None:
    async def run() -> Slow:
        journal = Slow()
        tasks = await puts(Recorder(journal), journal, "abcd")
        assert not any(task.done() for task in tasks), "nobody goes on before his reply is safe"
        journal.go_on.set()
        await asyncio.gather(*tasks)
        return journal

    journal = asyncio.run(run())
    assert journal.groups == [["a"], ["b", "c", "d"]]
    assert sorted(journal.replies) == ["a", "b", "c", "d"]


def test_a_group_that_cannot_be_written_fails_all_its_replies_and_not_the_next_group() -> None:
    async def run() -> list[BaseException | None]:
        journal = Slow()
        journal.full = True
        tasks = await puts(Recorder(journal), journal, "abc")
        journal.go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, *others = asyncio.run(run())
    assert isinstance(first, OSError)
    assert others == [None, None]


def test_a_reply_is_written_even_if_its_caller_is_cancelled() -> None:
    async def run() -> Slow:
        journal = Slow()
        tasks = await puts(Recorder(journal), journal, "ab")
        tasks[1].cancel()
        journal.go_on.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        while len(journal.groups) < 2:
            await asyncio.sleep(0.01)
        return journal

    assert sorted(asyncio.run(run()).replies) == ["a", "b"]


def test_a_request_keeps_its_slot_until_its_reply_is_journaled() -> None:
    journal = Slow()
    four = {"concurrency": {"start": 4, "max": 4}, "price": PRICE}
    with Endpoint(echo) as endpoint, chatter(endpoint, **four) as made, unit(journal):
        threading.Timer(1.0, journal.go_on.set).start()
        threading.Timer(0.8, lambda: sent.append(len(endpoint.requests))).start()
        sent: list[int] = []
        ask(made, *map(str, range(20)))
    assert sent == [4], "the endpoint had answered four, and none of them was safe"
    assert len(journal.replies) == 20


@pytest.mark.slow
def test_after_kill_9_no_more_replies_are_paid_again_than_were_in_flight(tmp_path: Path) -> None:
    here = Path(benchmark.HERE)
    given = argparse.Namespace(rows=600, at_once=100, latency=0.3, kills=3, span=1.0, folder=tmp_path)
    began = time.monotonic()
    found = benchmark.killed(here, given, seed=0)
    assert found["kills"] >= 1, f"all rows were bought before the first kill, in {time.monotonic() - began:.0f} s"
    assert found["peak"] <= 100
    assert found["bought again"] <= found["in flight"]
