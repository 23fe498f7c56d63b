from __future__ import annotations

import asyncio
from typing import Any

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


def shared(case: Case, seconds: float, **how: Any) -> tuple[float, float]:
    loop = Jumping()
    found = loop.run_until_complete(load(case, seconds, seed=0, workers=2, **how))
    loop.close()
    return found


@pytest.mark.parametrize(("number", "seconds"), [(0, 60.0), (2, 20.0)], ids=["64 at once", "512 at once"])
def test_two_workers_find_a_shared_limit_use_it_and_are_hardly_ever_refused(number: int, seconds: float) -> None:
    goodput, waste = shared(cases(seconds)[number], seconds)
    assert goodput >= 0.95
    assert waste <= 0.001


def test_two_workers_that_divide_a_known_limit_are_refused_by_a_few_probes_alone() -> None:
    goodput, waste = shared(cases(60.0)[0], 60.0, most=64)
    assert goodput >= 0.95
    assert waste <= 0.001


def test_what_one_worker_leaves_unused_another_gets() -> None:
    goodput, waste = shared(cases(120.0)[0], 120.0, most=64, idle=1)
    assert goodput >= 0.9, "half of it until the first probe above the share"
    assert waste == 0, "both together never ask for more than there is"


@given(st.integers(1, 64), st.lists(st.integers(1, 100), min_size=1, max_size=5))
def test_shares_never_exceed_the_bound_together_and_one_worker_has_all_of_it(most: int, workers: list[int]) -> None:
    limiter = Limiter(start=1, most=most)
    limiter.counts["answered"] = 1
    for number in [*workers, 1]:
        if number != limiter._workers:
            limiter.limit = float(most)  # as far as it can have grown
        limiter.divide(number)
        assert 1 <= limiter.limit <= limiter._share
        assert limiter._share * number <= max(most, number), "each worker has at least one"
    assert limiter._share == most


def test_a_fixed_limit_is_divided_and_stays_fixed() -> None:
    async def go() -> None:
        limiter = Limiter(start=8, most=8, least=8)
        limiter.divide(2)
        tasks = await fill(limiter, 200)
        for _ in range(30):
            assert limiter.in_flight == limiter.limit == 4
            await round_of_answers(limiter, tasks)
        await drop(tasks)

    asyncio.run(go())


def test_each_refused_probe_makes_the_next_one_wait_longer() -> None:
    async def go() -> None:
        limiter = Limiter(start=10)
        tasks = await fill(limiter, 5000)
        waits = []
        for _ in range(5):
            last = [task for task in tasks if task.done()][-1]
            tasks.remove(last)
            limiter.release(last.result(), "refused")
            waits.append(0)
            while limiter.limit < 10:
                await round_of_answers(limiter, tasks)
                waits[-1] += 1
        assert waits[1] < waits[2] < waits[3] < waits[4] <= 2 * waits[3], "the first has to grow again, too"
        await drop(tasks)

    asyncio.run(go())
