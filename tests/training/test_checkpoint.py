from __future__ import annotations

import json
from pathlib import Path

from mminstruct.store import Store
from mminstruct.training.checkpoint import Checkpoint, found, needs_conversion


def write(store: Store, step: int, *, complete: bool = True) -> None:
    name = f"step-{step:08d}"
    files = {"mp_rank_00_model_states.pt": b"m" * step, "zero_pp_rank_0_optim_states.pt": b"o" * step}
    for file, data in files.items():
        store.write(data, "checkpoints", name, file)
    if complete:
        facts = {"name": name, "step": step, "world": 2, "files": {file: len(data) for file, data in files.items()}}
        store.write(json.dumps(facts).encode(), "checkpoints", name, "complete.json")


def test_what_is_torn_or_not_finished_does_not_count(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert found(store) == []
    for step in (100, 200, 300, 400):
        write(store, step, complete=step != 400)
    assert [one.step for one in found(store)] == [300, 200, 100]
    with open(tmp_path / "checkpoints/step-00000300/mp_rank_00_model_states.pt", "r+b") as file:
        file.truncate(10)
    assert [one.step for one in found(store)] == [200, 100]
    (tmp_path / "checkpoints/step-00000200/zero_pp_rank_0_optim_states.pt").unlink()
    assert [one.step for one in found(store)] == [100]
    (tmp_path / "checkpoints/step-00000100/complete.json").write_text('{"na')
    assert found(store) == []


def test_states_that_are_split_are_converted_for_another_number_of_workers() -> None:
    split = Checkpoint("a", 1, 2, {"zero_pp_rank_0_optim_states.pt": 1})
    assert needs_conversion(split, 1)
    assert not needs_conversion(split, 2)
    assert not needs_conversion(Checkpoint("a", 1, 2, {"mp_rank_00_model_states.pt": 1}), 1)  # ZeRO-0: all have all
