"""Both engines, with stages that do nothing: the same bytes with any workers."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mminstruct.engine.actor import Operator
from mminstruct.engine.config import EngineConfig, PoolConfig
from mminstruct.engine.data import Ray
from mminstruct.engine.local import Local
from mminstruct.run import Engine, Event, FailedUnits, Run, claim, execute
from mminstruct.stage import Halt
from mminstruct.work import Worker
from tests.doing_nothing import Count, Small, small


def build(folder: Path, recipe: Small, engine: Engine) -> tuple[dict[str, bytes], list[Event]]:
    run = Run(url=str(folder), recipe=recipe)
    claim(run)
    events: list[Event] = []
    execute(run, engine, watch=events.append)
    return contents(folder), events


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


@pytest.mark.parametrize(
    ("workers", "fused", "cpus"),
    [(1, False, 0.25), (2, True, 1.0), (3, False, 0.25)],
    ids=["one worker", "two, fused, every CPU taken", "three workers"],
)
def test_the_ray_engine_makes_the_bytes_of_the_local_engine(
    tmp_path: Path, workers: int, fused: bool, cpus: float, ray_here: None
) -> None:
    recipe = small(Count(shard_count=3, parts=2, rows=20), drop=3)
    local, _ = build(tmp_path / "local", recipe, Local())
    engine = Ray(EngineConfig(fused=fused, pool=PoolConfig(workers=workers, cpus=cpus)))
    ray, events = build(tmp_path / "ray", recipe, engine)
    assert ray == local
    assert len(events) == 3 + 6 + 6 + 1 + len([k for k in local if k.startswith("last/")])


def engine(**options: object) -> Ray:
    return Ray(EngineConfig(pool=PoolConfig(cpus=0.25), **options))  # type: ignore[arg-type]


def first_id(recipe: Small) -> str:
    return next(iter(recipe.count.load()("shard-00000"))).output.table["id"][0].as_py()


def test_a_unit_that_kills_its_worker_is_given_up_and_the_others_go_on(tmp_path: Path, ray_here: None) -> None:
    recipe = small(poison="!" + first_id(small()))
    with pytest.raises(
        FailedUnits, match=r"1 of 4 units of first failed:\nfirst/shard-00000-0000: its worker died 2 times"
    ):
        build(tmp_path, recipe, engine(retries=2))
    run = Run(url=str(tmp_path), recipe=recipe)
    assert len(run.table("second").receipts()) == 3


def test_units_that_die_with_a_poisonous_one_are_not_blamed(tmp_path: Path, ray_here: None) -> None:
    (tmp_path / "company").mkdir()
    recipe = small(poison="!" + first_id(small()), company=str(tmp_path / "company"))
    pool = PoolConfig(cpus=0.25, in_flight=4)
    with pytest.raises(FailedUnits, match=r"1 of 4 units of first failed:\nfirst/shard-00000-0000: .* died 1 times"):
        build(tmp_path / "run", recipe, Ray(EngineConfig(retries=1, pool=pool)))
    assert len(list((tmp_path / "company").iterdir())) == 3


def test_a_dead_worker_is_replaced_and_its_unit_done(tmp_path: Path, ray_here: None) -> None:
    build(tmp_path / "calm", small(), Local())
    build(tmp_path / "ray", small(dies_once=str(tmp_path / "died")), engine())
    assert (tmp_path / "died").exists()
    assert contents(tmp_path / "ray") == contents(tmp_path / "calm")
    assert not list((tmp_path / "ray").rglob("_running-*"))


def test_a_twin_of_a_worker_thought_dead_disturbs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(url=str(tmp_path), recipe=small())
    claim(run)
    early, late = (Operator(None, 3, "session") for _ in range(2))
    one, other = (Worker(run, "count") for _ in range(2))
    make = other.make

    def overtaken(key: str) -> Event:
        assert early._attempt(one, key).fresh  # Ray sent the unit again, and the second attempt finished first
        return make(key)

    monkeypatch.setattr(other, "make", overtaken)
    assert late._attempt(other, "shard-00000").receipt


def test_a_worker_that_cannot_load_ends_the_run_with_its_reason(tmp_path: Path, ray_here: None) -> None:
    for one in (engine(), Local()):
        with pytest.raises(Halt, match="first: its worker cannot start: OSError: no such model"):
            build(tmp_path, small(broken="no such model"), one)


def test_a_halt_comes_back_as_itself(tmp_path: Path, ray_here: None) -> None:
    with pytest.raises(Halt, match="budget"):
        build(tmp_path, small(halts="budget"), engine())


def test_pools_that_cannot_all_start_are_refused_before_they_wait(tmp_path: Path, ray_here: None) -> None:
    greedy = Ray(EngineConfig(pool=PoolConfig(workers=2, cpus=3)))
    with pytest.raises(ValueError, match=r"want 18 CPUs \(count 2 x 3, first 2 x 3, second 2 x 3\); the cluster has 4"):
        build(tmp_path, small(), greedy)


def test_workers_of_one_process_load_one_at_a_time(tmp_path: Path, ray_here: None) -> None:
    recipe = small(Count(shard_count=4, parts=2), loads_alone=str(tmp_path / "loading"))
    build(tmp_path / "run", recipe, Ray(EngineConfig(fused=True, pool=PoolConfig(workers=1, cpus=0.25, in_flight=4))))
    assert (tmp_path / "loading").read_text() == "in out in out "


def test_an_engine_leaves_a_cluster_that_it_found_as_it_was(tmp_path: Path, ray_here: None) -> None:
    import ray

    build(tmp_path, small(), engine())
    assert ray.is_initialized()


def test_what_ray_says_of_a_full_disk_or_a_dead_node_is_one_line_with_its_cause() -> None:
    from ray.exceptions import NodeDiedError, RayTaskError

    from mminstruct.engine.data import _one_line

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/a/part.parquet")
    told = _one_line(RayTaskError("work", "Traceback\n" * 50, full))
    assert str(told).startswith("Ray: OSError: [Errno 28] No space left on device: '/runs/a/part.parquet'; its logs")
    assert "\n" not in str(_one_line(NodeDiedError("the node\nis gone")))
    ours = RayTaskError("work", "Traceback\n", ValueError("a fault of ours"))
    assert _one_line(ours) is ours


def test_one_line_of_native_code_is_left_out_of_stderr_and_all_others_stay(capfd: pytest.CaptureFixture[str]) -> None:
    from mminstruct.engine.data import _without_line

    def start() -> None:
        with _without_line("Set ray log level"):
            os.write(2, b"one\n[now] logging.cc:303: Set ray log level from X to 3\ntwo\nthree")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        start()
    os.write(2, b" after\n")
    assert capfd.readouterr().err == "one\ntwo\nthree after\n"


def test_an_address_where_no_ray_answers_is_refused_at_once() -> None:
    from mminstruct.engine.data import _check_address

    with pytest.raises(
        ConnectionError, match=r"engine\.address=127\.0\.0\.1:1: no Ray answers there .*ray start --head"
    ):
        _check_address("127.0.0.1:1")
