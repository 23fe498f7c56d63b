"""What actors report of their units in progress, and what the driver is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.engine.config import EngineConfig, PoolConfig
from mminstruct.engine.data import Ray
from mminstruct.engine.reports import KEPT, Reports
from mminstruct.models.model import Model
from mminstruct.run import Run, claim, execute
from mminstruct.status import progress
from mminstruct.status.progress import Progress
from mminstruct.unit import Counters
from tests.asked import Asked, Asking
from tests.doing_nothing import Count
from tests.models.server import Answer, Endpoint, Request, say


def unit(key: str, done: int) -> Counters:
    return Counters("answer", key, 1.0, 100, done, done)


def test_a_unit_that_was_begun_again_elsewhere_is_told_once_by_the_newer_report() -> None:
    made = Reports()
    made.tell("dead", [unit("a", 90), unit("b", 50)])
    made.tell("alive", [unit("a", 10)])
    assert sorted(made.told()) == [unit("a", 10), unit("b", 50)]
    made.tell("dead", [unit("a", 95)])
    assert made.told() == [unit("a", 95)]


def test_an_actor_that_reports_no_more_is_forgotten() -> None:
    now = 0.0
    made = Reports(lambda: now)
    made.tell("dead", [unit("a", 90)])
    now = KEPT
    assert made.told() == [unit("a", 90)]
    now = KEPT + 1
    made.tell("alive", [unit("b", 10)])
    assert made.told() == [unit("b", 10)]


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.lists(st.sampled_from("abcd"), unique=True)), max_size=30))
def test_told_are_the_units_of_the_last_report_of_each_actor_each_once(said: list[tuple[str, list[str]]]) -> None:
    made, last = Reports(), dict[str, list[str]]()
    for number, (actor, keys) in enumerate(said):
        made.tell(actor, [unit(key, number) for key in keys])
        last[actor] = keys
        told = [one.key for one in made.told()]
        assert sorted(told) == sorted({key for keys in last.values() for key in keys})


@pytest.mark.slow
def test_on_ray_a_long_unit_speaks_while_it_lasts_and_is_counted_once(
    tmp_path: Path, ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker dies halfway: the unit is done again by another one, whose replies are those of the journal."""
    monkeypatch.setattr(progress, "_WITHIN", 1.0)
    monkeypatch.setattr(progress, "_LOOK", 0.1)

    def slow(request: Request) -> Answer:
        return Answer(body=say("yes"), delay=1.0)

    lines: list[str] = []
    with Endpoint(slow) as endpoint:
        options = {"concurrency": {"start": 2, "max": 2}, "price": {"input": 1.0, "output": 2.0}}
        model = Model(name="m", backend="openai", url=endpoint.url, options=options)
        asked = Asked(model=model, dies_once=str(tmp_path / "died"))
        recipe = Asking(count=Count(shard_count=1, parts=1, rows=30), asked=asked)
        run = Run(url=str(tmp_path / "run"), recipe=recipe)
        claim(run)
        engine = Ray(EngineConfig(pool=PoolConfig(cpus=0.25)))
        watched = Progress(lines.append, engine.in_hand)
        monkeypatch.setattr(watched, "live", None)
        with watched:
            execute(run, engine, watch=watched.watch, begin=watched.begin)
    assert (tmp_path / "died").exists()
    within = [line for line in lines if "in progress" in line]
    assert len(within) >= 2, lines
    done = [int(line.partition(" in progress (")[2].partition("/30 rows)")[0]) for line in within]
    assert done == sorted(done)
    assert 0 < done[0] < 30
    assert all(f", {count} calls, {10 * count} tokens in, {5 * count} out, $0.0" in line
               for count, line in zip(done, within, strict=True))  # fmt: skip
    assert lines[-1].startswith("asked: 1/1 units, 30 kept, 0 dropped, ")
    assert ", 30 calls, 300 tokens in, 150 out, $0.0006" in lines[-1]
    assert watched.lines["asked"].usage()[0] == run.table("asked").receipts()["shard-00000-0000"].calls
