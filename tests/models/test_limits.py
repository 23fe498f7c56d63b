from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.endpoint import Case, cases
from benchmarks.limiter import Jumping, load
from mminstruct.models.limits import KEPT, SOFT, TROUBLE, Limiter


class Clock:
    """A manual clock, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def fill(limiter: Limiter, crowd: int = 100) -> list[asyncio.Task[int]]:
    """Tasks that wait for a slot; as many are admitted as the limit allows."""
    tasks = [asyncio.create_task(limiter.acquire()) for _ in range(crowd)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def round_of_answers(limiter: Limiter, tasks: list[asyncio.Task[int]]) -> None:
    """Answer everything that is in flight now."""
    for _ in range(2):
        await asyncio.sleep(0)
    for task in [task for task in tasks if task.done()]:
        tasks.remove(task)
        limiter.release(task.result(), "answered")
    for _ in range(2):
        await asyncio.sleep(0)


async def drop(tasks: list[asyncio.Task[int]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_no_more_requests_are_in_flight_than_the_limit_says() -> None:
    async def go() -> None:
        limiter = Limiter(start=4, most=4)
        tasks = await fill(limiter)
        assert limiter.in_flight == sum(task.done() for task in tasks) == 4
        limiter.release(tasks[0].result(), "answered")
        await asyncio.sleep(0)
        assert limiter.in_flight == 4
        await drop(tasks)

    asyncio.run(go())


def test_the_limit_grows_by_half_with_each_round_until_the_first_refusal() -> None:
    async def go() -> None:
        limiter = Limiter(start=8, most=64)
        tasks = await fill(limiter, 200)
        await round_of_answers(limiter, tasks)
        assert limiter.limit == 12
        await round_of_answers(limiter, tasks)
        assert limiter.limit == 18
        await drop(tasks)

    asyncio.run(go())


def test_a_limit_without_waiting_requests_does_not_grow() -> None:
    async def go() -> None:
        limiter = Limiter(start=8)
        for _ in range(50):
            limiter.release(await limiter.acquire(), "answered")
        assert limiter.limit == 8

    asyncio.run(go())


def test_one_burst_of_refusals_cuts_once() -> None:
    async def go() -> None:
        limiter = Limiter(start=20)
        tasks = await fill(limiter)
        await round_of_answers(limiter, tasks)
        assert limiter.limit == 30
        for task in [task for task in tasks if task.done()][:5]:
            tasks.remove(task)
            limiter.release(task.result(), "refused")
        assert limiter.limit == int(30 * SOFT)
        await drop(tasks)

    asyncio.run(go())


def test_a_refusal_of_a_request_admitted_after_the_cut_cuts_again_and_harder() -> None:
    async def go() -> None:
        limiter = Limiter(start=20)
        tasks = await fill(limiter)
        limiter.release(tasks.pop(0).result(), "refused")
        before = limiter.limit
        for _ in range(6):  # 20 were in flight and 14 are allowed, so one waiting request is admitted
            limiter.release(tasks.pop(0).result(), "answered")
        await asyncio.sleep(0)
        fresh = [task for task in tasks if task.done()][-1]
        tasks.remove(fresh)
        limiter.release(fresh.result(), "refused")
        assert limiter.limit <= before * 0.75
        await drop(tasks)

    asyncio.run(go())


def test_server_faults_stop_growth_but_never_cut() -> None:
    async def go() -> None:
        limiter = Limiter(start=10)
        for _ in range(TROUBLE - 1):
            limiter.release(await limiter.acquire(), "fault")
        assert limiter.limit == 10

    asyncio.run(go())


def test_after_a_refusal_the_limit_does_not_probe_before_retry_after() -> None:
    async def go() -> None:
        clock = Clock()
        limiter = Limiter(start=10, clock=clock)
        tasks = await fill(limiter)
        refused = tasks.pop(0)
        limiter.release(refused.result(), "refused", wait=30)
        assert limiter.limit < 9
        for _ in range(8):
            await round_of_answers(limiter, tasks)
        assert limiter.limit == 9, "just below what was refused"
        clock.now += 31
        tasks += await fill(limiter)
        for _ in range(8):
            await round_of_answers(limiter, tasks)
        assert limiter.limit > 10
        await drop(tasks)

    asyncio.run(go())


def test_after_consecutive_failures_the_gate_closes_and_admits_one_request() -> None:
    async def go() -> None:
        limiter = Limiter(start=TROUBLE, most=TROUBLE, backoff=0.05)
        tasks = await fill(limiter)
        while limiter.in_flight:
            await asyncio.sleep(0)
            failed = next(task for task in tasks if task.done())
            tasks.remove(failed)
            limiter.release(failed.result(), "fault")
        await asyncio.sleep(0.01)
        assert limiter.in_flight == 0, "the gate is shut"
        await asyncio.sleep(0.1)
        assert limiter.in_flight == 1, "one may try"
        probe = next(task for task in tasks if task.done())
        tasks.remove(probe)
        limiter.release(probe.result(), "answered")
        await asyncio.sleep(0)
        assert limiter.in_flight == TROUBLE
        assert limiter.trouble == 0
        await drop(tasks)

    asyncio.run(go())


def test_an_opened_gate_admits_everybody() -> None:
    async def go() -> None:
        limiter = Limiter(start=4, backoff=60)
        tasks = await fill(limiter, TROUBLE + 4)
        while limiter.in_flight:
            await asyncio.sleep(0)
            failed = next(task for task in tasks if task.done())
            tasks.remove(failed)
            limiter.release(failed.result(), "fault")
        assert not any(task.done() for task in tasks)
        limiter.admit_all()
        await asyncio.sleep(0)
        assert any(task.done() for task in tasks)
        await drop(tasks)

    asyncio.run(go())


def test_retries_are_admitted_before_later_requests() -> None:
    async def go() -> None:
        limiter = Limiter(start=1, most=1)
        ticket = await limiter.acquire()
        late = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        again = asyncio.create_task(limiter.acquire(first=True))
        await asyncio.sleep(0)
        limiter.release(ticket, "answered")
        await asyncio.sleep(0)
        assert again.done()
        assert not late.done()
        await drop([late])

    asyncio.run(go())


def test_a_cancelled_waiter_leaves_no_slot_occupied() -> None:
    async def go() -> None:
        limiter = Limiter(start=2, most=2)
        tasks = await fill(limiter, 10)
        await drop(tasks[2:])
        for task in tasks[:2]:
            limiter.release(task.result(), "answered")
        assert limiter.in_flight == 0
        assert len(await asyncio.gather(limiter.acquire(), limiter.acquire())) == 2

    asyncio.run(go())


@given(st.lists(st.sampled_from(["answered", "refused", "fault", None]), max_size=300), st.integers(1, 8))
def test_the_limit_always_stays_between_its_bounds(outcomes: list, start: int) -> None:
    async def go() -> None:
        clock = Clock()
        limiter = Limiter(start=start, most=16, least=1, clock=clock)
        tasks: list[asyncio.Task[int]] = [asyncio.create_task(limiter.acquire()) for _ in range(len(outcomes) + 20)]
        for outcome in outcomes:
            await asyncio.sleep(0)
            clock.now += 40
            limiter._admit()
            await asyncio.sleep(0)
            done = next(task for task in tasks if task.done())
            tasks.remove(done)
            limiter.release(done.result(), outcome)
            assert 1 <= limiter.limit <= 16
            assert limiter.in_flight <= 16
        await drop(tasks)

    asyncio.run(go())


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="min 4, start 2"):
        Limiter(start=2, least=4)


def test_the_history_is_bounded() -> None:
    assert Limiter().history.maxlen == KEPT


@pytest.mark.parametrize("case", cases(20.0), ids=lambda case: case.name)
def test_the_limiter_uses_most_of_the_capacity_and_wastes_few_requests(case: Case) -> None:
    loop = Jumping()  # in virtual time, so other load does not change these numbers
    goodput, waste = loop.run_until_complete(load(case, 20.0, seed=0))
    loop.close()
    assert goodput >= case.aim
    assert waste <= 0.05


def test_workers_that_divide_a_known_limit_use_it_and_are_never_refused() -> None:
    loop = Jumping()
    goodput, waste = loop.run_until_complete(load(cases(20.0)[0], 20.0, seed=0, workers=2, most=32))
    loop.close()
    assert goodput >= 0.95
    assert waste == 0
