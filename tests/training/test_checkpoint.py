"""A checkpoint is loaded only if every byte is unchanged, and nothing in it can run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mminstruct.stage import Halt
from mminstruct.store.tables import Store
from mminstruct.training.checkpoint import Checkpoint, File, Resumed, _tensors_only, completed, newest
from mminstruct.training.rank import Rank
from tests.training.two_workers import flip, plant


class Alone(Rank):
    """A single worker without a process group."""

    def __init__(self) -> None:
        super().__init__(index=0, world=1, local=0)

    def barrier(self) -> None: ...

    def gather(self, thing: Any) -> list[Any]:
        return [thing]


def write(store: Store, step: int, *, complete: bool = True) -> Path:
    import torch

    name = f"step-{step:08d}"
    folder = Path(store.path("checkpoints", name))
    folder.mkdir(parents=True)
    for file in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_optim_states.pt"):
        torch.save({"weights": torch.full((400,), float(step)), "step": step}, folder / file)
    if complete:
        files = {path.name: File.of(path) for path in folder.iterdir()}
        (folder / "complete.json").write_bytes(Checkpoint(name, step, 2, files).as_json())
    return folder


def taken(store: Store) -> tuple[int, dict[str, str]]:
    one = newest(store, Alone())
    assert one is not None
    return one.checkpoint.step, one.lost


def test_what_is_not_finished_does_not_count(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert newest(store, Alone()) is None
    write(store, 100, complete=False)
    assert newest(store, Alone()) is None
    write(store, 50)
    assert taken(store) == (50, {})


def test_damage_is_named_and_the_one_before_is_taken(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    folders = {step: write(store, step) for step in (100, 200, 300, 400, 500)}
    flip(folders[500] / "zero_pp_rank_0_optim_states.pt")
    assert taken(store) == (
        400, {"step-00000500": "zero_pp_rank_0_optim_states.pt has changed: its SHA-256 differs"}
    )  # fmt: skip
    os.truncate(folders[400] / "mp_rank_00_model_states.pt", 10)
    assert taken(store)[0] == 300
    assert "mp_rank_00_model_states.pt has 10 bytes instead of " in taken(store)[1]["step-00000400"]
    (folders[300] / "zero_pp_rank_0_optim_states.pt").unlink()
    assert "zero_pp_rank_0_optim_states.pt is missing" in taken(store)[1]["step-00000300"]
    (folders[200] / "complete.json").write_text('{"na')
    assert "complete.json is truncated" in taken(store)[1]["step-00000200"]
    (folders[100] / "complete.json").write_text(json.dumps({"name": "x", "step": 1, "world": 1, "files": {"a": 3}}))
    with pytest.raises(Halt, match=r"no checkpoint in .* is intact") as stopped:
        newest(store, Alone())
    said = str(stopped.value)
    assert all(f"step-00000{step}00" in said for step in (1, 2, 3, 4, 5))
    assert said.endswith(f"rm -r {tmp_path}/checkpoints")


def test_every_bit_of_every_file_counts(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    folder = write(store, 100)
    file = folder / "zero_pp_rank_0_optim_states.pt"
    whole = file.read_bytes()
    for place in range(0, len(whole), 97):
        flip(file, place)
        with pytest.raises(Halt, match="SHA-256 differs"):
            newest(store, Alone())
        file.write_bytes(whole)
    assert taken(store) == (100, {})


def test_a_pickle_that_runs_a_command_is_refused_by_name_though_its_digest_is_right(tmp_path: Path) -> None:
    import torch

    store = Store(str(tmp_path / "run"))
    folder = write(store, 100)
    plant(folder, tmp_path / "ran")
    with pytest.raises(
        Halt, match=r"mp_rank_00_model_states.pt contains more than tensors and is not loaded: .*system"
    ):
        newest(store, Alone())
    with _tensors_only(), pytest.raises(Exception, match="system"):
        torch.load(folder / "mp_rank_00_model_states.pt", weights_only=False)  # as DeepSpeed calls it
    assert not (tmp_path / "ran").exists()
    torch.load(folder / "mp_rank_00_model_states.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # so the command works


def test_states_that_are_split_are_converted_for_another_number_of_workers(tmp_path: Path) -> None:
    def resumed(file: str) -> Resumed:
        return Resumed(Checkpoint("a", 1, 2, {file: File(1, "")}), tmp_path, {}, fetched=False)

    assert resumed("zero_pp_rank_0_optim_states.pt").needs_conversion(1)
    assert not resumed("zero_pp_rank_0_optim_states.pt").needs_conversion(2)
    assert not resumed("mp_rank_00_model_states.pt").needs_conversion(1)  # ZeRO-0: every worker holds all states


def test_receipts_are_read_as_they_were_written(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, 100)
    (one,), unreadable = completed(store)
    assert Checkpoint.from_json(one.as_json()) == one
    assert not unreadable
