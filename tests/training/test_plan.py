from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.training.config import Training
from mminstruct.training.data import Records, read, save
from mminstruct.training.plan import Plan, epoch_plan, shares
from tests.training import sets


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_every_row_comes_once_an_epoch(rows: int, batch: int, epoch: int, group: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    words_N, seen_N = rng.integers(1, 900, rows), rng.random(rows) < 0.6
    plan = epoch_plan(words_N, seen_N, batch=batch, seed=1, epoch=epoch, group=group)
    assert sorted(np.concatenate(plan).tolist()) == list(range(rows))
    assert len(plan) == -(-rows // batch)
    assert all(len(some) == batch for some in plan[:-1])


def test_batches_are_of_one_modality_and_of_like_length() -> None:
    rng = np.random.default_rng(0)
    words_N, seen_N = rng.integers(1, 900, 4000), rng.random(4000) < 0.6
    plan = epoch_plan(words_N, seen_N, batch=32, seed=1, epoch=0, group=True)
    assert sum(len(set(seen_N[some])) > 1 for some in plan) <= 1
    spread = np.mean([np.ptp(words_N[some]) for some in plan])
    loose = np.mean(
        [np.ptp(words_N[some]) for some in epoch_plan(words_N, seen_N, batch=32, seed=1, epoch=0, group=False)]
    )
    assert spread < loose / 10
    first = [words_N[some].mean() for some in plan]
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.4  # the batches come in random order


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 9), st.integers(1, 40))
def test_workers_share_a_step_without_overlap_and_all_have_as_many_parts(
    rows: int, world: int, micro: int, batch: int
) -> None:
    batch = max(batch, rows)
    parts = [shares(np.arange(rows), rank, world, micro, batch) for rank in range(world)]
    assert sorted(row for worker in parts for some in worker for row in some) == list(range(rows))
    assert {len(worker) for worker in parts} == {-(-batch // (world * micro))}
    assert max(len(some) for worker in parts for some in worker) <= micro


def test_a_step_has_the_same_rows_whoever_asks_and_whenever(tmp_path: Path) -> None:
    table, _ = read(str(sets.write(tmp_path / "data")), None)
    (tmp_path / "records.arrow").write_bytes(save(table))
    found, config = Records(tmp_path / "records.arrow"), Training()
    config.optim.batch, config.optim.epochs = 4, 3.0
    one, other = Plan(found, config, 5), Plan(found, config, 5)
    assert one.steps == 15
    forward = [one.step(step).tolist() for step in range(15)]
    assert [other.step(step).tolist() for step in reversed(range(15))] == forward[::-1]
    assert forward[:5] != forward[5:10]
