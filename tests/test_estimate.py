"""What so many images cost: every number can be redone by hand from what is shown."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from mminstruct import conf_files
from mminstruct import config as configuration
from mminstruct.cli import main
from mminstruct.estimate import Cost, Estimate, as_text, estimate
from mminstruct.recipe import manifests
from mminstruct.recipes import MMInstruct
from mminstruct.store import Part, Receipt, Store

PAPER = ("models=paper", "engine=node_8gpu", "recipe.match.per_image=1", "recipe.instruct.share=0.25")


def composed(*words: str) -> configuration.Build:
    configuration.register()
    with initialize_config_dir(str(configuration.conf()), version_base="1.3"):
        made, _ = configuration.build(compose("build", ["out=run", "source=images", *words]))
    return made


def billed(images: int, *words: str, runs: tuple[str, ...] = (), **rates: Any) -> tuple[Estimate, dict[str, Cost]]:
    made = composed(*words)
    bill = estimate(made.recipe, made.engine, images, {**conf_files.rates(), **rates}, runs)
    return bill, {cost.table: cost for segment in bill.segments for group in segment for cost in group}


def ran(folder: Path, table: str, recipe: MMInstruct, engine: dict[str, Any], receipts: list[Receipt]) -> str:
    """A run of which one table is there."""
    store = Store(str(folder))
    store.write(yaml.safe_dump({"config": {"engine": engine}}).encode(), "config.yaml")
    store.write(json.dumps(manifests(recipe)[table]).encode(), table, "manifest.json")
    (folder / table / "_receipts").mkdir()
    for receipt in receipts:
        store.table(table).commit(receipt)
    return str(folder)


def unit(key: str, taken: int, rows: int, seconds: float, cost: float = 0.0) -> Receipt:
    part = Part(part=key, file=f"{key}.parquet", rows=rows, bytes=1, sha256="0")
    return Receipt(key=key, parts=[part], taken=taken, kept=rows, dropped={}, seconds=seconds, cost=cost)


def test_rows_follow_the_recipe_from_images_to_pairs() -> None:
    _, costs = billed(1000, "models=paper", "engine=node_8gpu", "recipe.instruct.share=0.5", "recipe.cluster.k=40")
    rows = {name: cost.rows for name, cost in costs.items()}
    assert rows["caption"] == rows["instruct"] == rows["match"] == 1000
    assert rows["embed"] == rows["cluster"] == 500
    assert rows["summarize"] == rows["exemplify"] == 40
    assert rows["answer"] == rows["filter"] == rows["export"] == 2000


def test_a_models_time_is_tokens_read_and_written_over_its_rates() -> None:
    rates = {
        "gpus": {"H100": {"usd": 2.0, "tflops": 1000, "tbs": 3.35}, "A100": {"usd": 1.0, "tflops": 250, "tbs": 1.675}},
        "mfu": 0.5,
        "tokens": {"answer": {"in": 3000, "cached": 1000, "out": 100}},
        "models": {"mistralai/Mixtral-8x7B-Instruct-v0.1": {"active": 10.0, "decode": 1000, "evidence": "a test"}},
    }
    _, costs = billed(3600, *PAPER, **rates)
    # 500 TFLOP/s over 2 x 10 GFLOP a token: 25,000 tokens read a second
    assert costs["answer"].seconds == pytest.approx(2000 / 25_000 + 100 / 1000)
    assert costs["answer"].hours == pytest.approx(0.18)
    assert costs["answer"].wall == pytest.approx(0.18 / 8)
    assert costs["answer"].how == "2000 tokens read / 25,000 a s + 100 written / 1,000 a s; a test"
    _, costs = billed(3600, *PAPER, "engine.gpu=A100", **rates)
    assert costs["answer"].seconds == pytest.approx(2000 / 6250 + 100 / 500)


def test_an_endpoint_costs_its_tokens_at_its_price_and_no_gpu() -> None:
    _, costs = billed(1_000_000, *PAPER, "+models.instructor.options.price={input: 2, output: 10}")
    tokens = conf_files.rates()["tokens"]["instruct"]
    assert costs["instruct"].usd == pytest.approx(250_000 * (tokens["in"] * 2 + tokens["out"] * 10) / 1e6)
    assert costs["instruct"].hours == 0
    assert not costs["instruct"].gpu


def test_a_run_that_did_a_stage_with_the_same_model_is_asked_first(tmp_path: Path) -> None:
    recipe = composed(*PAPER).recipe
    receipts = [unit(f"p{i}", 100, 90, seconds=400, cost=0.5) for i in range(8)]
    engine = {"kind": "ray", "pools": {"answer": {"workers": 2, "gpus": 2, "in_flight": 4}}}
    url = ran(tmp_path / "run", "answer", recipe, engine, receipts)
    _, costs = billed(1000, *PAPER, runs=(url,))
    assert costs["answer"].seconds == pytest.approx(400 / 100 / 4 * 2)  # four in hand at once, on two GPUs
    assert costs["answer"].usd == pytest.approx(5)
    assert costs["filter"].rows == pytest.approx(900)
    assert "measured in" in costs["answer"].how
    _, other = billed(1000, *PAPER, "models.answerer.temperature=0.5", runs=(url,))
    assert "measured" not in other["answer"].how
    _, shots = billed(1000, *PAPER, "recipe.answer.shots=1", runs=(url,))
    assert "measured" in shots["answer"].how  # the same model
    assert shots["filter"].rows == 1000  # but what it drops may differ


def test_few_units_were_never_in_hand_together(tmp_path: Path) -> None:
    recipe = composed("engine=ray").recipe
    url = ran(tmp_path / "run", "cluster", recipe, {"fused": True, "pool": {"workers": 2}}, [unit("all", 10, 10, 20.0)])
    _, costs = billed(10, "engine=ray", runs=(url,))
    assert costs["cluster"].seconds == pytest.approx(2.0)


def test_what_nobody_knows_is_named_and_never_counted_as_nothing() -> None:
    bill, costs = billed(1000, "models=laptop", "engine=one_gpu")
    assert costs["caption"].hours is None
    told = as_text(bill)
    assert "rates.yaml has no models.Qwen/Qwen3-VL-2B-Instruct" in told
    assert told.splitlines()[-1].startswith("WITHOUT caption, fuse, instruct, ")
    _, costs = billed(1000, "models=modern", "engine=ray")
    assert costs["answer"].how.startswith("engine gives Qwen/Qwen3-30B-A3B-Instruct-2507 no GPU")


def test_segments_wait_for_each_other_pools_do_not_and_tables_of_a_pool_share_it() -> None:
    def cost(name: str, hours: float, gpu: bool = True, lanes: float = 2) -> Cost:
        return Cost(name, 3600, "", seconds=hours, gpu=gpu, lanes=lanes)

    segments = [[[cost("a", 4)], [cost("b", 2), cost("c", 1)]], [[cost("d", 1, gpu=False, lanes=1)]]]
    told = as_text(Estimate(images=10, segments=segments, gpus=4, gpu="H100", gpu_usd=2.0)).splitlines()
    assert "  2.00 h until all of these are done, set by a" in told
    assert told[-3:] == [
        "work: 7.0 GPU hours, 1.0 CPU worker hours; endpoints: 0.00 US$",
        "time: 3.00 h x 4 GPUs = 12.0 GPU hours held, 58% of them at work",
        "GPUs: 24.00 US$ if held throughout, 14.00 US$ if only paid while at work",
    ]


def test_plan_needs_neither_folder_nor_images_to_say_what_they_would_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "images=10000000", *PAPER, "engine.gpu_usd=1.5"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("10,000,000 images on 8 H100 at 1.50 US$ an hour")
    assert "WITHOUT" not in told


def test_a_laptop_without_vllm_can_plan_what_it_cannot_build(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "vllm" else there(name, *more))
    assert main(["plan", "images=5", *PAPER]) == 0
    assert main(["plan", "out=run", "source=images", *PAPER]) == 2
    assert "answer.model needs the backend vllm, which is not installed" in capsys.readouterr().err


def test_build_refuses_the_word_that_only_plan_understands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", f"out={tmp_path}/run", f"source={tmp_path}", "images=5"]) == 2
    assert "images= is for plan, which estimates the cost; units=N builds" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("word", "said"), [("images=0", "take 1 or more"), ("engine.gpu=H900", "rates.yaml knows A100, H100, H200")]
)
def test_what_cannot_be_estimated_is_refused(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "images=5", *PAPER, word]) == 2
    assert said in capsys.readouterr().err
