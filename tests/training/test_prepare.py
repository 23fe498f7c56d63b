from __future__ import annotations

import json
from pathlib import Path

import pytest

from mminstruct.config import conf, register, train
from mminstruct.training.config import Train, Workers, check
from mminstruct.training.prepare import prepare
from mminstruct.training.template import V1
from tests.training import sets


@pytest.fixture
def config(tmp_path: Path, llava: Path) -> Train:
    return sets.settings(tmp_path / "run", llava, sets.write(tmp_path / "data"))


def test_a_manifest_ties_the_model_to_its_data_configuration_and_code(config: Train) -> None:
    made = prepare(config, commit="abc")
    kept = json.loads((Path(config.out) / "train" / "manifest.json").read_text())
    assert kept == made
    assert kept["commit"] == "abc"
    assert kept["data"]["train"]["kept"] == 20
    assert len(kept["data"]["train"]["sha256"]) == 64
    assert kept["identity"]["train"]["optim"]["lr"] == 2e-3
    assert "workers" not in kept["identity"]
    assert kept["packages"]["torch"]


def test_a_changed_training_is_refused_by_the_names_of_what_changed(config: Train) -> None:
    prepare(config)
    config.workers = Workers(count=4)  # these are not part of the identity
    config.train.micro_batch, config.train.packing = 2, True
    prepare(config)
    config.train.optim.lr, config.seed = 1e-3, 1
    with pytest.raises(ValueError, match=r"started with other settings: seed, train\.optim\.lr changed"):
        prepare(config)


def test_changed_data_are_refused(config: Train, tmp_path: Path) -> None:
    prepare(config)
    sets.write(tmp_path / "data", rows=21)
    with pytest.raises(ValueError, match=r"data\.train changed"):
        prepare(config)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("base.model=null", "base: set base.model"),
        ("base.llm=x", "base"),
        ("train.zero.stage=4", "train.zero.stage=4"),
        ("train.zero.offload=all", "train.zero.offload is for GPUs"),
        ("train.zero.offload=disk", "must be one of none, optimizer, all"),
        ("train.precision=fp8", "train.precision=fp8"),
        ("train.liger=true", "train.liger is for NVIDIA GPUs"),
        ("train.template=plain", "for stage 1: set train.tune_llm=false"),
        ("train.optim.batch=0", "must be 1 or more"),
        ("train.optim.epochs=0", "train.optim.epochs=0"),
        ("workers.count=2", "workers.kind=local is one process"),
        ("trackers=[notion]", "tensorboard, wandb, mlflow"),
    ],
)
def test_what_cannot_work_is_refused_with_a_way_out(config: Train, change: str, said: str) -> None:
    from omegaconf import OmegaConf

    config.train.optim.steps = None
    made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config), OmegaConf.from_dotlist([change])))
    assert isinstance(made, Train)
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        check(made)


def test_a_tracker_that_is_not_installed_is_missed_before_anything_starts(config: Train) -> None:
    config.trackers = ["mlflow"]
    with pytest.raises(ValueError, match="mlflow is not installed: pip install mlflow"):
        prepare(config)


@pytest.mark.parametrize("name", sorted(file.stem for file in (conf() / "train").glob("*.yaml")))
def test_every_configuration_we_ship_composes_and_passes_its_checks(name: str) -> None:
    from hydra import compose, initialize_config_dir

    register()
    with initialize_config_dir(str(conf()), version_base="1.3"):
        made = train(compose("train", [f"train={name}", "out=run", "data.path=mix.json"]))
    check(made)
    t, published = made.train, {"llava_7b": (2e-5, 128, 3), "llava_13b": (2e-5, 128, 3), "lora": (2e-4, 128, 3),
                                "offload": (2e-5, 128, 3), "pretrain_7b": (1e-3, 256, 2)}  # fmt: skip
    if name in published:
        assert (t.optim.lr, t.optim.batch, t.zero.stage) == published[name]
        assert (t.optim.warmup, t.optim.weight_decay, t.optim.epochs, t.max_length) == (0.03, 0.0, 1.0, 2048)
        # a step has the published batch size with any number of GPUs
        assert t.optim.batch % (t.micro_batch * made.workers.count) == 0


def test_a_template_that_refuses_a_kind_of_row_is_refused_before_anything_starts(config: Train) -> None:
    config.train.template = "{{ raise_exception('alternate!') if messages|length > 2 }}" + V1
    with pytest.raises(ValueError, match=r"train\.template, with row row-\d+: the chat template refuses .*alternate!"):
        prepare(config)
    assert not (Path(config.out) / "train" / "manifest.json").exists()


def test_a_limit_that_cuts_every_image_is_refused_before_anything_starts(config: Train) -> None:
    config.train.max_length = 5
    with pytest.raises(ValueError, match=r"row row-\d+: an image has 16 tokens and does not fit into max_length=5"):
        prepare(config)
