"""The simulation of the engine: conservation laws, results known from queueing theory, and the recipe's own graph."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.simulate.__main__ import Case, case, main
from lab.simulate.account import CAUSES, account, by_cause
from lab.simulate.assumptions import Assumptions
from lab.simulate.events import SegmentResult, Simulation
from lab.simulate.flow import Flow, Segment, Station
from mminstruct.recipe import segments
from tests.engine.test_cluster import built

CALM = Assumptions(
    spread=0.0, straggler_share=0.0, slow_share=0.0, mtbf_hours=0.0, driver_seconds=0.0, key_seconds=0.0,
    receipt_seconds=0.0, latency=0.0,
)  # fmt: skip
"""Nothing varies, nothing fails, and only the stages take time."""


def station(name: str = "one", units: int = 60, seconds: float = 10.0, workers: int = 3, **more: Any) -> Station:
    return Station(name=name, units=units, seconds=seconds, workers=workers, **{"gpus": 1.0, **more})


def run(stations: list[Station], assumed: Assumptions, gpus: int = 8, seed: int = 0, **more: Any) -> SegmentResult:
    return Simulation(assumed, gpus, seed, **more).run((Segment(tuple(stations)),))[0]


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.floats(0.0, 40.0), st.integers(1, 4)), min_size=1, max_size=4),
    units=st.integers(1, 80),
    fan=st.integers(1, 5),
    spot=st.sampled_from([0.0, 3.0, 40.0]),
    queue=st.sampled_from([None, 0.5, 2.0]),
    hand_over=st.sampled_from([None, 30.0]),
    seed=st.integers(0, 9),
)
def test_every_unit_ends_once_and_every_gpu_second_has_one_cause(
    sizes: list[tuple[int, float, int]], units: int, fan: int, spot: float, queue: float | None,
    hand_over: float | None, seed: int,
) -> None:  # fmt: skip
    assumed = Assumptions(spot_per_hour=spot, away=60.0, boot=20.0, queue=queue, hand_over=hand_over, retries=1)
    stations = [
        station(f"{at}", units * (fan if at else 1), seconds, workers, in_flight=in_flight, load=5.0)
        for at, (workers, seconds, in_flight) in enumerate(sizes)
    ]
    result = run(stations, assumed, gpus=24, seed=seed)
    for pool in result.pools:
        assert pool.done + pool.failed + pool.never == pool.station.units
        assert (pool.failed == 0 and pool.never == 0) or spot
    assert result.pools[0].never == 0
    assert result.units == sum(pool.done + pool.redone for pool in result.pools)
    assert result.held <= 24 * (result.ended - result.began) + 1e-6
    causes = by_cause(result)
    assert sum(causes.values()) == pytest.approx(result.held)
    assert all(seconds >= -1e-6 for seconds in causes.values()), causes


def test_without_spread_and_failures_the_time_is_the_bound() -> None:
    result = run([station(units=60, seconds=10.0, workers=3, load=7.0)], CALM)
    assert result.ended == pytest.approx(7.0 + 60 / 3 * 10.0)
    # a stream takes as long as its slowest pool, beside one unit's way through the others
    stream = [station("a", 60, 4.0, 2), station("b", 60, 10.0, 3), station("c", 60, 1.0, 1)]
    assert run(stream, CALM).ended == pytest.approx(4.0 + 60 / 3 * 10.0 + 1.0, abs=4.0)
    # the next segment waits for all of them
    both = Simulation(CALM, 8, 0).run((Segment((station(),)), Segment((station(),))))
    assert [one.ended for one in both] == pytest.approx([200.0, 400.0])


def test_the_driver_and_the_store_bound_the_rate() -> None:
    driver = dataclasses.replace(CALM, driver_seconds=0.5)
    assert run([station(units=400, seconds=0.1, workers=8)], driver).ended == pytest.approx(400 * 0.5, rel=0.01)
    alone = dataclasses.replace(CALM, latency=5.0, ahead=0)
    assert run([station(units=30, workers=1, in_flight=1)], alone).ended == pytest.approx(30 * 15.0)
    assert run([station(units=30, workers=1, in_flight=2)], alone).ended == pytest.approx(30 * 10.0 + 5.0)


@pytest.mark.parametrize(("servers", "load", "sigma"), [(1, 0.7, None), (4, 0.8, None), (1, 0.6, 0.8)], ids=str)
def test_the_mean_wait_is_that_of_queueing_theory(servers: int, load: float, sigma: float | None) -> None:
    """M/M/c by Erlang's C, M/G/1 by Pollaczek and Khinchine; one saturated exponential server makes the arrivals."""
    mean, units = 1.0, 8_000
    between = mean / (servers * load)

    def draw(dice: random.Random, of: Station) -> float:
        if of.name == "arrivals":
            return dice.expovariate(1 / between)
        return dice.expovariate(1 / mean) if sigma is None else mean * dice.lognormvariate(-(sigma**2) / 2, sigma)

    stations = [
        station("arrivals", units, between, 1, in_flight=1),
        station("served", units, mean, servers, in_flight=1),
    ]
    waits = [
        run(stations, dataclasses.replace(CALM, ahead=0), seed=seed, draw=draw).pools[1].wait / units
        for seed in range(3)
    ]
    if sigma is None:
        busy = servers * load
        top = busy**servers / math.factorial(servers) / (1 - load)
        delayed = top / (sum(busy**k / math.factorial(k) for k in range(servers)) + top)
        expected = delayed * mean / (servers * (1 - load))
    else:
        expected = load * mean * math.exp(sigma**2) / (2 * (1 - load))
    assert sum(waits) / len(waits) == pytest.approx(expected, rel=0.1)


def test_a_unit_fails_after_the_deaths_that_the_engine_allows_and_takes_its_parts_along() -> None:
    storm = dataclasses.replace(CALM, spot_per_hour=3600 / 50, away=1.0, boot=0.0, retries=2)
    result = run([station("a", 4, 400.0, 2, in_flight=1), station("b", 40, 1.0, 1)], storm)
    first, second = result.pools
    assert first.failed
    assert second.never == 10 * first.failed
    assert first.redone <= 4 * (storm.retries + 1)
    assert second.done + second.failed + second.never == 40


def test_losses_take_time_and_the_lost_work_is_in_the_account() -> None:
    calm = [station(units=400, seconds=60.0, workers=16)]
    quiet, stormy = run(calm, CALM, 16), run(calm, dataclasses.replace(CALM, spot_per_hour=4.0), 16)
    assert 0 < stormy.pools[0].lost < stormy.pools[0].redone * 60 / 2  # of the units in hand, one is being computed
    assert by_cause(stormy)["start"] >= 8 * 300  # a node that boots is paid for
    assert stormy.pools[0].redone > 0
    assert stormy.ended > quiet.ended
    assert quiet.pools[0].lost == 0


def test_workers_that_are_handed_over_make_a_bad_split_good() -> None:
    bad = [station("a", 800, 30.0, 8, load=10.0), station("b", 800, 90.0, 8, load=10.0)]
    fixed, moving = run(bad, CALM, 16), run(bad, dataclasses.replace(CALM, hand_over=20.0), 16)
    assert fixed.ended == pytest.approx(800 * 90 / 8, rel=0.02)
    assert moving.ended < 1.1 * 800 * (90 + 30) / 16


WORDS = ["recipe=mm_instruct", "models=modern", "engine=nodes_4", "images=500000"]


@functools.cache
def made(*words: str) -> Case:
    return case([*WORDS, *words])


def test_the_graph_the_pools_and_the_units_are_those_of_the_recipe_and_the_preset() -> None:
    recipe = built("engine=nodes_4", "models=modern").recipe
    plain = made()
    assert [[one.name for one in segment.stations] for segment in plain.flow.segments] == segments(recipe)
    by_name = {one.name: one for segment in plain.flow.segments for one in segment.stations}
    assert (by_name["ingest"].units, by_name["caption"].units) == (45, 45 * 22)
    assert (by_name["cluster"].units, by_name["merge"].units) == (1, 45 * 22)
    assert (by_name["caption"].workers, by_name["caption"].in_flight) == (16, 4)
    assert by_name["caption"].seconds * by_name["caption"].units == pytest.approx(1410.54 * 3600 / 200, rel=0.001)
    small = made("recipe.ingest.rows=128", "recipe.match.per_image=1", "gpus=64")
    changed = {one.name: one for segment in small.flow.segments for one in segment.stations}
    assert changed["caption"].units == 45 * 87
    assert changed["caption"].workers == 32
    halved = changed["answer"].seconds * changed["answer"].units  # one pair for an image instead of two
    assert halved == pytest.approx(by_name["answer"].seconds * by_name["answer"].units / 2)


def test_the_best_split_is_the_best_of_all_splits() -> None:
    hours = ("caption", "fuse", "instruct", "embed")
    whole = made("gpus=32", "split=best").split
    assert sum(whole[name] for name in hours) == 32
    work = {name: made().flow.segments[0].stations[at].seconds for at, name in enumerate(hours, 1)}

    def slowest(counts: tuple[int, ...]) -> float:
        return max(work[name] / count for name, count in zip(hours, counts, strict=True))

    every = [counts for counts in itertools.product(range(1, 30), repeat=4) if sum(counts) == 32]
    assert slowest(tuple(whole[name] for name in hours)) == pytest.approx(min(map(slowest, every)))


def test_the_sums_of_an_account_agree_and_a_seed_gives_the_same_again() -> None:
    whole = made("gpus=32", "split=best")
    one = whole.run(0)[0]
    assert set(one.causes) == set(CAUSES)
    assert sum(one.causes.values()) == pytest.approx(one.held)
    assert one.usd == pytest.approx(one.gpu_usd + one.requests_usd + one.cores_usd)
    assert whole.run(0)[0] == one
    assert whole.run(1)[0] != one


def test_gpus_that_no_later_segment_needs_are_given_back() -> None:
    stations = [Segment((station(),)), Segment((station("cpu", 10, 3600.0, 1, gpus=0.0),))]
    for autoscale, held in ((True, 200 + 600), (False, 200 + 36_000)):
        assumed = dataclasses.replace(CALM, autoscale=autoscale)
        results = Simulation(assumed, 8, 0).run(tuple(stations))
        found = account(results, Flow(tuple(stations), 3.0, 0.0), assumed, 8)
        assert found.held == pytest.approx(8 * held / 3600)
        assert found.hours == pytest.approx((200 + 36_000) / 3600)


def test_the_command_prints_occupancy_and_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "gpus=64", "split=best", "seeds=2"]) == 0
    said = capsys.readouterr().out
    assert "occupancy" in said
    assert "±" in said
    assert "engine.pools.caption.total_gpus=38" in said
    assert main(["models=modern", "engine=nodes_4"]) == 2
    assert main([*WORDS, "split=other"]) == 2
    assert "split=other" in capsys.readouterr().err
