"""Training as users start it: on Ray, to an object store, by the command, as a sweep."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from mminstruct.cli import main
from mminstruct.engine.train import line, train
from mminstruct.stage import Halt
from mminstruct.store.tables import Store
from mminstruct.training import tracking
from mminstruct.training.config import Train, Workers, Zero
from tests.models import tiny
from tests.training import sets


class DiesOnce:
    """Kills the first worker that has completed three steps, as if its node had died."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, step: int) -> None:
        if step == 3:
            try:
                self.mark.touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava(tmp_path_factory.mktemp("llava") / "model")


def losses(config: Train) -> list[float]:
    return [row["loss"] for row in tracking.read(Store(config.out + "/train")) if "loss" in row]


def settings(tmp_path: Path, llava: Path, name: str) -> Train:
    data = sets.write(tmp_path / "data")
    return sets.settings(tmp_path / name, llava, data, zero=Zero(stage=2), micro_batch=2, gradient_checkpointing=False)


@pytest.mark.slow
def test_a_dead_worker_is_replaced_and_the_curve_is_that_of_one_that_lived(
    tmp_path: Path, llava: Path, ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, shot = settings(tmp_path, llava, "calm"), settings(tmp_path, llava, "shot")
    train(calm, lambda _: None)
    monkeypatch.chdir(tmp_path)  # Ray's workers start elsewhere
    shot.out, shot.data.path, shot.base.model = "shot", "data/train.json", os.path.relpath(llava)
    shot.workers = Workers(count=2, cpus=1, threads=1)
    said: list[str] = []
    model = train(shot, said.append, after_step=DiesOnce(tmp_path / "dead"))
    assert (tmp_path / "dead").exists()
    assert losses(shot) == pytest.approx(losses(calm), rel=1e-4)
    assert Path(model, "model.safetensors").exists()
    assert said[-1].startswith("step 6/6, loss ")
    assert [name for name in os.listdir(f"{shot.out}/train") if name.startswith("_ray")] == []


@pytest.mark.slow
def test_checkpoints_and_the_model_live_on_a_bucket_too(tmp_path: Path, llava: Path, bucket: str) -> None:
    here, there = settings(tmp_path, llava, "here"), settings(tmp_path, llava, "there")
    train(here, lambda _: None)
    there.out, there.trackers = f"{bucket}/train-{tmp_path.name}", ["tensorboard"]

    def stop(step: int) -> None:
        if step == 5:
            raise Halt("the power went")

    with pytest.raises(Halt):
        train(there, lambda _: None, after_step=stop)
    train(there, lambda _: None)
    store = Store(there.out + "/train")
    assert losses(there) == pytest.approx(losses(here), rel=1e-6)
    assert store.names("checkpoints") == ["step-00000004", "step-00000006"]
    assert store.read("model", "model.safetensors") == Path(here.out, "train/model/model.safetensors").read_bytes()
    assert store.names("tensorboard")


@pytest.mark.slow
def test_the_command_sweeps_and_a_finished_run_is_left_as_it_is(
    tmp_path: Path, llava: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sets.write(tmp_path / "data")
    words = ["train", "--multirun", f"out={tmp_path}/lr-${{train.optim.lr}}", f"data.path={data}",
             f"base.model={llava}", "train.optim.lr=0.001,0.002", "train.optim.steps=2", "train.optim.batch=4",
             "train.max_length=200", "workers.kind=local"]  # fmt: skip
    assert main(words) == 0, capsys.readouterr().err
    models = [tmp_path / f"lr-{lr}" / "train" / "model" / "model.safetensors" for lr in ("0.001", "0.002")]
    assert models[0].read_bytes() != models[1].read_bytes()
    assert list((tmp_path / "lr-0.001" / "train" / "tensorboard").iterdir())
    before = models[0].stat().st_mtime_ns
    one = [word.replace("0.001,0.002", "0.001") for word in words if word != "--multirun"]
    assert main(one) == 0
    assert models[0].stat().st_mtime_ns == before
    assert main([*one, "seed=4"]) == 2
    assert "started with other settings: seed changed" in capsys.readouterr().err


def test_workers_that_could_never_all_start_are_refused(tmp_path: Path, llava: Path, ray_here: None) -> None:
    config = settings(tmp_path, llava, "run")
    config.workers = Workers(count=3, cpus=2)
    with pytest.raises(ValueError, match=r"workers.count=3 wants 6 CPUs, the cluster has 4: lower workers.count or"):
        train(config, lambda _: None)


def test_progress_says_what_matters_in_a_line() -> None:
    row = {"step": 7, "of": 70, "loss": 2.5, "tokens_per_second": 12345.6, "images_per_second": 9.87, "mfu": 0.416,
           "memory_gb": 61.24, "broken": 0, "eta_seconds": 3725.0}  # fmt: skip
    said = line(row, {"eval_loss": 2.25})
    assert said == (
        "step 7/70, loss 2.5000, held out 2.2500, 12,346 tokens/s, 9.9 images/s, MFU 42%, 61.2 GB, 01:02:05 left"
    )
