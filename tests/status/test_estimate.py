"""Cost estimates: every number follows from the printed arithmetic."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import json
import re
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from mminstruct import config as configuration
from mminstruct.cli import main
from mminstruct.config import files as conf_files
from mminstruct.engine.config import EngineConfig, PoolConfig
from mminstruct.models.model import Model
from mminstruct.recipe import Recipe, manifests
from mminstruct.recipes import RECIPES, MMInstruct
from mminstruct.stage import Stage, Tokens
from mminstruct.stages.instruct import Instruct
from mminstruct.status import estimate as estimation
from mminstruct.status.estimate import Cost, Estimate, as_text, estimate
from mminstruct.store.datafile import Part
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store
from tests import world
from tests.doing_nothing import After, Count, Pass
from tests.stages.doubles import Player

STAGES = [
    (recipe, name, stage)
    for recipe, kind in RECIPES.items()
    for name, stage in typing.get_type_hints(kind).items()
    if inspect.isclass(stage) and issubclass(stage, Stage)
]
GPU = EngineConfig(gpu="H100", pool=PoolConfig(gpus=1))
PAPER = ("models=paper", "engine=node_8gpu", "recipe.match.per_image=1", "recipe.instruct.share=0.25")


def composed(*words: str) -> configuration.Build:
    configuration.register()
    with initialize_config_dir(str(configuration.conf()), version_base="1.3"):
        found = compose("build", ["out=run", "source=images", *words])
    made, _ = configuration.build(found, folders=[Path(__file__).parents[1]])  # with a small domains.yaml
    return made


def billed(images: int, *words: str, runs: tuple[str, ...] = (), **rates: Any) -> tuple[Estimate, dict[str, Cost]]:
    made = composed(*words)
    bill = estimate(made.recipe, made.engine, images, {**conf_files.rates(), **rates}, runs)
    return bill, {cost.table: cost for segment in bill.segments for group in segment for cost in group}


def ran(folder: Path, table: str, recipe: MMInstruct, engine: dict[str, Any], receipts: list[Receipt]) -> str:
    """A run with one table."""
    store = Store(str(folder))
    store.write(yaml.safe_dump({"config": {"engine": engine}}).encode(), "config.yaml")
    store.write(json.dumps(manifests(recipe)[table]).encode(), table, "manifest.json")
    (folder / table / "_receipts").mkdir()
    for receipt in receipts:
        store.table(table).commit(receipt)
    return str(folder)


def unit(key: str, rows_in: int, rows: int, seconds: float, cost: float = 0.0) -> Receipt:
    part = Part(part=key, file=f"{key}.parquet", rows=rows, bytes=1, sha256="0")
    return Receipt(key=key, parts=[part], rows_in=rows_in, kept=rows, dropped={}, seconds=seconds, cost=cost)


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
    assert costs["answer"].how == "2000 input tokens / 25,000 per s + 100 output tokens / 1,000 per s; a test"
    rates["models"]["mistralai/Mixtral-8x7B-Instruct-v0.1"]["by_host"] = True
    _, costs = billed(3600, *PAPER, "engine.gpu=A100", **rates)
    assert costs["answer"].seconds == pytest.approx(2000 / 6_250 + 100 / 1000)
    del rates["models"]["mistralai/Mixtral-8x7B-Instruct-v0.1"]["by_host"]
    _, costs = billed(3600, *PAPER, "engine.gpu=A100", **rates)
    assert costs["answer"].seconds == pytest.approx(2000 / 6250 + 100 / 500)


def test_an_endpoint_costs_its_tokens_at_its_price_and_no_gpu() -> None:
    _, costs = billed(1_000_000, *PAPER, "+models.instructor.options.price={input: 2, output: 10}")
    tokens = Instruct.call_tokens
    assert tokens is not None
    assert costs["instruct"].usd == pytest.approx(250_000 * (tokens.input * 2 + tokens.output * 10) / 1e6)
    assert costs["instruct"].hours == 0
    assert not costs["instruct"].gpu


def test_a_run_that_did_a_stage_with_the_same_model_is_asked_first(tmp_path: Path) -> None:
    recipe = composed(*PAPER).recipe
    receipts = [unit(f"p{i}", 100, 90, seconds=400, cost=0.5) for i in range(8)]
    engine = {"kind": "ray", "pools": {"answer": {"workers": 2, "gpus": 2, "in_flight": 4}}}
    url = ran(tmp_path / "run", "answer", recipe, engine, receipts)
    _, costs = billed(1000, *PAPER, runs=(url,))
    assert costs["answer"].seconds == pytest.approx(400 / 100 / 4 * 2)  # four units in flight, on two GPUs
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
    bill, costs = billed(1000, "models=laptop", "engine=one_gpu", models={})
    assert costs["caption"].hours is None
    told = as_text(bill)
    assert "rates.yaml has no models.Qwen/Qwen3-VL-2B-Instruct" in told
    assert told.splitlines()[-1].startswith("no total, since it would leave out caption, fuse, instruct, ")
    assert "GPU hours" not in told
    bill, costs = billed(1000, "models=modern", "engine=ray")
    assert as_text(bill).splitlines()[-1].startswith("name the machine that you have, for example engine=one_gpu")
    assert costs["answer"].how.startswith("no GPU for Qwen/Qwen3-30B-A3B-Instruct-2507 (engine.pools.answer.gpus")


def test_segments_wait_for_each_other_pools_do_not_and_tables_of_a_pool_share_it() -> None:
    def cost(name: str, hours: float, gpu: bool = True, lanes: float = 2) -> Cost:
        return Cost(name, 3600, "", seconds=hours, gpu=gpu, lanes=lanes)

    segments = [[[cost("a", 4)], [cost("b", 2), cost("c", 1)]], [[cost("d", 1, gpu=False, lanes=1)]]]
    told = as_text(Estimate(images=10, segments=segments, gpus=4, gpu="H100", gpu_usd=2.0)).splitlines()
    assert "  2.00 h for the tables above, limited by a" in told
    assert told[-4:] == [
        "work: 7.0 GPU hours, 1.0 CPU worker hours; endpoints: 0.00 US$",
        "time: 3.00 h x 4 GPUs = 12.0 GPU hours held, 58% of them at work",
        "GPUs: 24.00 US$ if held throughout, 14.00 US$ if only paid while at work",
        "memory: not compared, since engine.gpu names no GPU of rates.yaml",
    ]


def test_plan_needs_neither_folder_nor_images_to_say_what_they_would_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "images=10000000", *PAPER, "engine.gpu_usd=1.5"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("10,000,000 images on 8 H100 at 1.50 US$ per hour")
    assert "no total" not in told


def test_a_laptop_without_vllm_can_plan_what_it_cannot_build(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "vllm" else there(name, *more))
    assert main(["plan", "images=5", *PAPER]) == 0
    assert main(["plan", "out=run", "source=images", *PAPER]) == 2
    assert "answer.model needs the backend vllm, which is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("images=0", "must be 1 or more"),
        ("engine.gpu=H900", "rates.yaml has only RTX3090, RTX4080, RTX4090, L4, A10G, L40S, A100, H100, H200, B200"),
    ],
)
def test_what_cannot_be_estimated_is_refused(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "images=5", *PAPER, word]) == 2
    assert said in capsys.readouterr().err


def holds_a_model(stage: type[Stage]) -> bool:
    """Whether a field of *stage* is a model, or a mapping of models."""
    kinds = [typing.get_type_hints(stage)[item.name] for item in dataclasses.fields(stage)]
    return any(
        inspect.isclass(kind) and issubclass(kind, Model) for one in kinds for kind in (one, *typing.get_args(one))
    )


@pytest.mark.parametrize(("recipe", "name", "stage"), STAGES)
def test_every_stage_of_every_recipe_declares_what_plan_needs(recipe: str, name: str, stage: type[Stage]) -> None:
    if holds_a_model(stage):
        assert stage.call_tokens is not None
    else:
        seconds = stage.core_seconds or conf_files.rates().get("seconds", {}).get(name)
        assert seconds is not None
        assert seconds > 0


MADE = [world.recipe("images"), world.domains("images"), world.bench("run")]


@pytest.mark.parametrize("recipe", MADE, ids=lambda one: type(one).__name__)
def test_plan_lacks_nothing_but_the_speed_of_models(recipe: Recipe) -> None:
    encoder = {"tflop": 1.0, "evidence": "a test"}
    rates = {**conf_files.rates(), "models": dict.fromkeys(("scripted", "player", "referee"), encoder)}
    bill = estimate(recipe, GPU, 100, rates)
    known = [cost for segment in bill.segments for group in segment for cost in group]
    missing = {cost.table: cost.how for cost in known if cost.seconds is None}
    assert all(how.startswith("no price for referee") for how in missing.values()), missing
    assert all(cost.rows > 0 for cost in known)


def test_money_that_a_budget_does_not_allow_and_time_that_is_not_known_are_said() -> None:
    bill, _ = billed(10_000, "models=api")
    told = as_text(bill).splitlines()
    assert told[-2].startswith("not in the time: waiting for endpoints (caption, fuse, instruct, ")
    assert re.fullmatch(r"budget: the run stops at 50\.00 of 5\d\.\d\d US\$ \(options\.budget\.usd\)", told[-1])
    bill, _ = billed(5_000, "models=api")
    assert "budget" not in as_text(bill)


ASKER = ("models.asker.name=micro:llm", "models.verifier.name=micro:llm")  # composes without the weights of the asker


@pytest.mark.parametrize(
    "words",
    [
        ("models=micro", *ASKER), ("models=laptop",), ("models=laptop", "engine=one_gpu"), ("models=api",),
        ("models=paper", "engine=node_8gpu"), ("models=modern", "engine=node_8gpu"), ("models=modern", "engine=nodes_4"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_plan_of_the_recipe_domains_names_every_cost_of_every_choice_of_models(words: tuple[str, ...]) -> None:
    bill, costs = billed(100_000, "recipe=domains", *words)
    assert "no total" not in as_text(bill)
    assert (costs["ask"].rows, costs["converse"].rows) == (100_000, 1_300_000)
    assert costs["verify"].rows == pytest.approx(1_600_000)
    assert (costs["transcribe"].usd > 0) == (words[0] in ("models=api", "models=paper"))


def test_an_endpoint_is_paid_for_the_tokens_of_an_image_where_it_sees_one() -> None:
    rates = {**conf_files.rates(), "models": {}}
    costs = billed(1000, "recipe=domains", "models=api")[1]
    blind = billed(1000, "recipe=domains", "models=api", models=rates["models"])[1]
    assert costs["transcribe"].usd - blind["transcribe"].usd == pytest.approx(1000 * 765 * 2.5e-6)
    assert costs["ask"].usd == blind["ask"].usd


@pytest.mark.parametrize(("recipe", "name", "stage"), STAGES)
def test_no_fingerprint_covers_a_declaration_of_costs(recipe: str, name: str, stage: type[Stage]) -> None:
    fields = {item.name for item in dataclasses.fields(stage)}
    assert not fields & {"call_tokens", "core_seconds", "fan", "asks", "most"}


def test_the_estimate_names_no_stage_and_no_table() -> None:
    tree = ast.parse(inspect.getsource(estimation))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [module for module in modules if module.startswith(("mminstruct.stages", "mminstruct.recipes"))]
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not words & {name for _, name, _ in STAGES}


@dataclass(kw_only=True)
class Silent(Pass):
    """A custom stage with a model that declares no tokens."""

    model: Model = field(default_factory=lambda: Model(name="mine"))


@dataclass(kw_only=True)
class Declared(Silent):
    call_tokens = Tokens(input=100, output=10)

    def fan(self) -> float:
        return 3.0

    def asks(self) -> float:
        return 2.0

    def most(self) -> int:
        return 50


@dataclass(kw_only=True)
class Mine(Recipe):
    count: Count
    first: Silent
    second: After


MODEL = {"mine": {"active": 1.0, "decode": 10, "evidence": "a test"}}


def mine(first: Silent, images: int = 10, **rates: Any) -> dict[str, Cost]:
    recipe = Mine(count=Count(), first=first, second=After())
    bill = estimate(recipe, GPU, images, {**conf_files.rates(), "models": MODEL, **rates})
    return {cost.table: cost for segment in bill.segments for group in segment for cost in group}


def test_what_a_users_stage_does_not_declare_is_named() -> None:
    costs = mine(Silent())
    assert costs["first"].seconds is None
    assert costs["first"].how.startswith("Silent does not declare call_tokens")
    assert "fan() and asks()" in costs["first"].how
    assert "tokens.first in rates.yaml" in costs["first"].how
    assert costs["second"].seconds is None
    assert costs["second"].how.startswith("After does not declare core_seconds")


def test_what_a_users_stage_declares_is_used() -> None:
    costs = mine(Declared())
    assert costs["first"].how.startswith("2 calls per row x (100 input tokens")
    assert costs["first"].seconds == pytest.approx(2 * (100 / (989 * 0.4 * 1e3 / 2) + 10 / 10))
    assert costs["second"].rows == 30
    assert mine(Declared(), images=1000)["second"].rows == 50


def test_rates_yaml_replaces_what_a_stage_declares() -> None:
    given = {"tokens": {"first": {"in": 7, "out": 1}}, "asked": {"first": 0.5}, "seconds": {"second": 4.0}}
    costs = mine(Declared(), **given)
    assert costs["first"].how.startswith("0.5 calls per row x (7 input tokens")
    assert costs["second"].seconds == 4.0
    assert costs["second"].how == "4.0 s of a core (rates.yaml: seconds)"


def test_a_stage_with_several_models_costs_the_sum_of_them() -> None:
    price = {"price": {"input": 1, "output": 100}}
    recipe = world.bench("run")
    recipe.respond.contestants = {
        "local": Player(name="mine"),
        "remote": Player(name="other", backend="openai", options=price),
        "given": Player(name="", answers="answers.jsonl"),
    }
    bill = estimate(recipe, GPU, 10, {**conf_files.rates(), "models": MODEL})
    costs = {cost.table: cost for segment in bill.segments for group in segment for cost in group}
    tokens = recipe.respond.call_tokens
    assert tokens is not None
    calls = 1 + 2  # one without an earlier turn, two after one
    assert costs["respond"].usd == pytest.approx(10 * calls * (tokens.input + 100 * tokens.output) / 1e6)
    assert costs["respond"].seconds == pytest.approx(
        calls * (tokens.input / (989 * 0.4 * 1e3 / 2) + tokens.output / 10)
    )
    assert costs["judge"].rows == 10 * (2 + 2 + 1)


def test_a_source_of_annotations_has_several_rows_for_each_image_and_says_where_the_number_is_from() -> None:
    recipe = world.coco("images")
    bill = estimate(recipe, EngineConfig(), 1000, conf_files.rates())
    costs = {cost.table: cost for segment in bill.segments for group in segment for cost in group}
    assert set(costs) == set(recipe.stages())
    assert [costs[name].rows for name in ("ingest", "annotate", "template", "merge")] == [1000, 44000, 44000, 44000]
    assert costs["annotate"].how.endswith(
        "44 rows for each image (Annotate.fan(), assumed; set rows.annotate in rates.yaml)"
    )
    given = estimate(recipe, EngineConfig(), 1000, {**conf_files.rates(), "rows": {"annotate": 7}})
    costs = {cost.table: cost for segment in given.segments for group in segment for cost in group}
    assert costs["template"].rows == 7000
    assert costs["annotate"].how.endswith("7 rows for each image (rates.yaml: rows)")
