"""GPU memory: what models of a segment need together, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mminstruct.cli import main
from mminstruct.config.files import conf, rates
from mminstruct.engine.memory import PROCESS_GB, check_memory, fits
from tests.engine.test_cluster import MODELS, built

RATES = rates()


def shares(*words: str) -> dict[tuple[str, ...], float]:
    """Gigabytes by the tables whose workers share GPUs."""
    made = built(*words)
    return {tuple(need.table for need in fit.needs): fit.gb for fit in fits(made.engine, made.recipe, RATES)}


def test_models_that_share_a_gpu_add_up_with_their_cache_and_their_process() -> None:
    found = shares("models=laptop", "engine=one_gpu")
    words, sight = RATES["models"]["Qwen/Qwen2.5-1.5B-Instruct"], RATES["models"]["Qwen/Qwen3-VL-2B-Instruct"]
    caption = sight["gb"] + 4 * (40 + sight["image"] + 384) * sight["kib"] * 1024 / 1e9
    fuse = words["gb"] + 16 * (330 + 384) * words["kib"] * 1024 / 1e9
    instruct = words["gb"] + 16 * (450 + 64) * words["kib"] * 1024 / 1e9
    expected = caption + fuse + instruct + 0.1 + 4 * PROCESS_GB
    assert found["caption", "fuse", "instruct", "embed"] == pytest.approx(expected)


def test_a_vllm_engine_takes_its_share_and_its_weights_and_longest_sequence_must_fit_into_it() -> None:
    assert shares("models=gpu24", "engine=one_gpu", "engine.gpu=RTX4090")["answer",] == pytest.approx(0.9 * 24)
    with pytest.raises(ValueError, match=r"answer: Qwen/.* needs 14\.\d GB and may take 12\.0 GB of its GPU"):
        built("models=gpu24", "engine=one_gpu", "engine.gpu=RTX4090", "+models.answerer.options.gpu_memory_utilization=0.5",
              "models.answerer.options.max_model_len=16384")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("models=modern", "engine=one_gpu"), r"217\.2 GB on one GPU of 80 GB at the same time: caption 72\.0, fuse 72\.0"),
        (("models=laptop", "engine=one_gpu", "engine.gpu=RTX4090", "recipe=domains"), "on one GPU of 24 GB"),
        (("models=modern", "engine=node_8gpu", "engine.gpu=L40S"), r"answer: Qwen/.* needs 6\d\.\d GB and may take 43\.2 GB"),
    ],
    ids=str,
)  # fmt: skip
def test_models_that_do_not_fit_are_refused_before_anything_starts(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        built(*words)


def test_quantised_weights_and_replicas_over_several_gpus_need_less_of_each() -> None:
    small = ("models=modern", "engine=node_8gpu", "engine.gpu=L40S")
    quantised = [f"+models.{role}.options.quantization=fp8" for role in ("answerer", "fuser", "instructor", "exemplar",
                                                                         "summarizer")]  # fmt: skip
    built(*small, *quantised)
    spread = [word.replace("quantization=fp8", "tensor_parallel_size=2") for word in quantised]
    built(*small, *spread)


def test_every_model_of_a_preset_has_a_size_and_every_gpu_its_memory() -> None:
    for name in MODELS:
        for role in yaml.safe_load((conf() / "models" / f"{name}.yaml").read_text()).values():
            if role.get("backend") != "openai" and not role["name"].startswith("micro:"):
                assert RATES["models"][role["name"]]["gb"] > 0, role["name"]
    assert all(gpu["gb"] >= 16 for gpu in RATES["gpus"].values())


def test_a_model_without_a_size_is_named_by_plan_and_endpoints_and_cpu_models_need_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = built("models=laptop", "engine=one_gpu", "models.answerer.name=me/mine")
    check_memory(made.engine, made.recipe, RATES)
    words = [
        "models=laptop",
        "engine=one_gpu",
        "models.answerer.name=me/mine",
        "images=10",
        f"out={tmp_path}",
        "source=x",
    ]
    assert main(["plan", *words]) == 0
    assert "without me/mine, whose gb rates.yaml does not have" in capsys.readouterr().out
    assert shares("models=api", "engine=one_gpu", "+models.embedder.options.device=cpu") == {("match",): 1.3}
