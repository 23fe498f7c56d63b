"""Every switch of the configuration has an effect. A switch is a boolean field, or one with a closed list of values.

``switches`` finds them in the dataclasses, so a new switch fails here until a test proves its effect: a small
call below, or a test elsewhere that fails if the switch does nothing.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mminstruct import config as configuration
from mminstruct.bench.contestant import Contestant
from mminstruct.bench.juror import Juror
from mminstruct.config.checks import check_pools
from mminstruct.engine.config import EngineConfig, PoolConfig, check_placement, pools
from mminstruct.engine.service import Service
from mminstruct.export.mix import Mix
from mminstruct.holdout import Holdout
from mminstruct.holdout.choice import Choice
from mminstruct.models.backends import BACKENDS, load
from mminstruct.models.connection import Settings
from mminstruct.models.model import Model
from mminstruct.recipes import RECIPES
from mminstruct.stages.ingest import Ingest
from mminstruct.stages.match import Match
from mminstruct.stages.select import Select
from mminstruct.training import config as training
from mminstruct.training.config import Base, Lora, Train, Training, Workers, Zero
from tests.stages.test_ingest import ingest, jpeg
from tests.world import bench, recipe

ROOT = Path(__file__).parents[1]
NONE_SUCH: dict[Any, Any] = {str: "no_such", list[str]: ["no_such"], tuple[str, ...]: ("no_such",)}
NOT_SWITCHES = {"Service.host", "Service.token_env", "Contestant.answers", "Contestant.model_id"}
"""Fields that refuse unknown words, but hold an address, the name of an environment variable, or paths."""

ELSEWHERE = {
    "Ingest.links": "stages/test_ingest.py::test_folders_come_with_sidecars_and_metadata_and_links_are_not_followed",
    "Ingest.allow_private": "stages/test_ingest.py::test_lists_of_addresses_are_fetched",
    "Match.strategy": "stages/test_match.py::test_top1_takes_the_nearest_and_random_takes_any",
    "Match.prices": "stages/test_match.py::test_prices_hold_a_hub_to_its_cap_and_force_up_nobody",
    "Fuse.on_leak": "stages/test_fuse.py::test_a_failed_fusion_leaves_where_the_configuration_says_so",
    "Filter.rules": "stages/test_filter.py::test_a_rule_that_is_not_named_is_not_asked",
    "Filter.languages": "stages/test_filter.py::test_limits_reach_the_rules",
    "Rate.enable": "stages/test_rate.py::test_a_disabled_stage_is_in_no_run_and_nothing_reads_it",
    "Rate.axes": "stages/test_rate.py::test_each_axis_is_asked_once_per_pair_and_only_two_of_them_with_the_image",
    "Review.disputed": "stages/test_review.py::test_a_disputed_pair_is_dropped_kept_or_left_to_the_first",
    "Review.require": "stages/test_review.py::test_pairs_that_nobody_saw_leave_where_that_is_required",
    "Select.prefer": "stages/test_select.py::"
    "test_what_people_kept_stays_first_at_quotas_in_the_balance_and_among_like_answers",
    "Select.balance": "stages/test_select.py::test_of_judgements_as_many_yes_as_no_stay_in_each_domain",
    "Merge.overflow": "stages/test_merge.py::test_what_does_not_fit_begins_another_conversation_or_is_dropped",
    "Merge.order": "stages/test_merge.py::test_formats_are_spread_so_that_no_two_neighbours_have_the_same",
    "Merge.phrases": "stages/test_merge.py::test_a_phrase_is_shown_every_time_the_first_time_or_never",
    "Holdout.by": "stages/test_select.py::test_whole_domains_kinds_or_images_are_held_out",
    "Pick.turns": "stages/test_pick.py::test_any_turn_of_a_run_s_dialogues_and_any_split_may_be_asked",
    "Pick.split": "stages/test_pick.py::test_any_turn_of_a_run_s_dialogues_and_any_split_may_be_asked",
    "Respond.shuffle": "stages/test_respond.py::"
    "test_turns_are_shuffled_for_each_question_and_not_by_the_order_of_questions_or_the_contestant",
    "Judge.both_orders": "stages/test_judge.py::test_a_baseline_leaves_out_the_comparisons_without_it",
    "Judge.baseline": "stages/test_judge.py::test_a_baseline_leaves_out_the_comparisons_without_it",
    "Juror.asks": "stages/test_judge.py::test_each_answer_is_graded_by_itself_and_the_grade_is_not_a_verdict",
    "Juror.image": "stages/test_judge.py::"
    "test_a_judge_sees_what_it_is_configured_to_and_a_caption_where_there_is_no_image",
    "Juror.caption": "stages/test_judge.py::"
    "test_a_judge_sees_what_it_is_configured_to_and_a_caption_where_there_is_no_image",
    "EngineConfig.gpu": "status/test_estimate.py::test_a_models_time_is_tokens_read_and_written_over_its_rates",
    "EngineConfig.autoscale": "engine/test_cluster.py::test_a_node_taken_away_half_way_changes_no_byte",
    "Build.fail_on_error": "test_cli.py::test_failed_units_have_exit_code_3_and_are_named",
    "Settings.mode": "models/test_batch.py::test_batch_answers_out_of_order_are_matched_to_their_rows_at_half_the_price",
    "Source.repeat": "export/test_mix.py::test_rows_may_be_repeated_where_that_is_allowed",
    "Train.trackers": "engine/test_train.py::test_checkpoints_and_the_model_live_on_a_bucket_too",
    "Training.tune_llm": "training/test_llava.py::"
    "test_stage_1_learns_the_projector_alone_and_stage_2_the_language_model_too",
    "Training.tune_projector": "training/test_llava.py::test_what_is_said_to_learn_learns",
    "Training.tune_vision": "training/test_llava.py::test_what_is_said_to_learn_learns",
    "Training.gradient_checkpointing": "training/test_llava.py::test_attention_and_checkpointing_are_the_models",
    "Training.attention": "training/test_llava.py::test_attention_and_checkpointing_are_the_models",
    "Training.packing": "training/test_data.py::test_packed_rows_cost_what_they_cost_apart",
    "Training.liger": "training/test_llava.py::test_liger_patches_the_model_that_learns",
}
"""Switches whose effect a test in another file proves."""

UNPROVED = {
    "cuvs of Cluster.backend": "it needs a GPU",
    "flash_attention_2 of Training.attention": "it needs a GPU",
    "wandb and mlflow of Train.trackers": "they are not installed with the tests",
    "the kernels behind Training.liger": "they need Triton and a GPU: proved is that the model is handed to them",
    "the collectives behind Workers.gpu": "NCCL needs a GPU: proved is that GPUs are asked for",
}
"""Parts of tested switches that cannot be tested here, and why; for readers only, no test uses it."""

HERE: dict[str, Callable[[Path], None]] = {}


def proves(*names: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def put(call: Callable[[Path], None]) -> Callable[[Path], None]:
        HERE.update(dict.fromkeys(names, call))
        return call

    return put


def kinds() -> Iterator[type]:
    """Every distinct dataclass of the configuration."""
    left: list[Any] = [
        configuration.Build, configuration.Bench, configuration.Serve, Train, Settings, Mix, *RECIPES.values()
    ]  # fmt: skip
    seen = set()
    while left:
        kind = left.pop()
        if kind in seen:
            continue
        seen.add(kind)
        yield kind
        for hint in typing.get_type_hints(kind).values():
            left += [one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)]


def owner(kind: type, name: str) -> str:
    """The class that declares the field, which *kind* may inherit."""
    return next(base.__name__ for base in reversed(kind.__mro__) if name in inspect.get_annotations(base))


def _plain(hint: Any) -> Any:
    """*hint* without its None."""
    some = [one for one in typing.get_args(hint) if one is not type(None)]
    return some[0] if type(None) in typing.get_args(hint) and len(some) == 1 else hint


def complaints(kind: type, name: str, value: Any) -> str:
    """Errors of the checks for a valid configuration in which *name* of *kind* is set to *value*."""
    whole: Any = recipe("nowhere") if not _of_bench(kind) else bench("nowhere")
    stages = {type(stage): stage for stage in whole.stages().values()}
    train = Train(out="out", base=Base(model="m"))
    engine = EngineConfig()
    said: list[str] = []
    try:
        if kind in stages:
            setattr(stages[kind], name, value)
            stages[kind].check()
            whole.check()
        elif kind in (Train, Training, Zero, Workers):
            holder = {Train: train, Training: train.train, Zero: train.train.zero, Workers: train.workers}[kind]
            setattr(holder, name, value)
            training.check(train)
        elif kind is EngineConfig:
            setattr(engine, name, value)
            check_placement(engine, whole)
        elif kind is Settings:
            Settings.of(Model(name="m", backend="openai", options={name: value}))
        elif kind is Holdout:
            said = Holdout(**{name: value}).faults()
        elif kind is Service:
            Service(**{name: value}).check()
        elif kind in (Model, Juror, Contestant):
            one = kind(**{"name": "m", "backend": "openai"} | {name: value})
            said = [*one.unknown(), *(one.faults() if isinstance(one, Juror | Contestant) else [])]
    except ValueError as error:
        said = [str(error)]
    return "; ".join(said)


def _of_bench(kind: type) -> bool:
    return kind in {type(stage) for stage in bench("nowhere").stages().values()}


def switches() -> set[str]:
    """``Class.field`` of every boolean field, and of every field that refuses an unknown word."""
    found = set()
    for kind in kinds():
        hints = typing.get_type_hints(kind)
        for item in dataclasses.fields(kind):
            hint = _plain(hints[item.name])
            if typing.get_origin(hint) is typing.Literal or hint is bool:
                found.add(f"{owner(kind, item.name)}.{item.name}")
            elif hint in NONE_SUCH and not {"files", "where", "prompt", "seeds"} & item.metadata.keys():
                before = complaints(kind, item.name, copy.copy(_default(item)))
                after = complaints(kind, item.name, NONE_SUCH[hint])
                if after and after != before:
                    found.add(f"{owner(kind, item.name)}.{item.name}")
    return found - NOT_SWITCHES


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return None if item.default is dataclasses.MISSING else item.default


def test_every_switch_has_a_proof_and_every_proof_a_switch() -> None:
    proved = HERE.keys() | ELSEWHERE.keys()
    assert HERE.keys() & ELSEWHERE.keys() == set()
    assert sorted(switches() - proved) == []
    fields = {f"{owner(kind, item.name)}.{item.name}" for kind in kinds() for item in dataclasses.fields(kind)}
    assert sorted(proved - fields) == []


def test_a_new_switch_would_be_missed() -> None:
    assert {"Ingest.layout", "Match.prices", "Zero.offload", "Settings.json", "Model.backend"} <= switches()
    assert "Caption.seed" not in switches()


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_the_proof_elsewhere_is_there(place: str) -> None:
    file, _, name = place.partition("::")
    body = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8")).body
    (found,) = [item for item in body if isinstance(item, ast.FunctionDef) and item.name == name]
    assert not any("skip" in ast.unparse(mark) for mark in found.decorator_list)
    assert any(isinstance(item, ast.Assert | ast.With) for item in ast.walk(found))


@proves("Ingest.layout")
def _(folder: Path) -> None:
    (folder / "1.jpg").write_bytes(jpeg(1))
    (folder / "list.csv").write_text("url\nhttps://example.com/1.jpg\n")
    assert [list(Ingest(path=str(folder), name="x", layout=how).shards()) for how in ("folder", "urls", "auto")] == [
        ["x-0000"], ["list-00000000"], ["x-0000"]
    ]  # fmt: skip


@proves("Ingest.key")
def _(folder: Path) -> None:
    for name, data in (("7.left.jpg", jpeg(1)), ("7.txt", b"seven"), ("7.left.txt", b"left")):
        (folder / name).write_bytes(data)
    texts = {how: ingest(Ingest(path=str(folder), key=how))[0]["7.left.jpg"]["alt_text"] for how in ("last", "first")}
    assert texts["last"] == "left"
    assert texts["first"] != "left"


@proves("Ingest.strict", "Ingest.formats")
def _(folder: Path) -> None:
    data = jpeg(17)
    at = len(data) // 2
    (folder / "hole.jpg").write_bytes(data[:at] + bytes(64) + data[at + 64 :])
    assert [len(ingest(Ingest(path=str(folder), strict=strict))[0]) for strict in (True, False)] == [0, 1]
    assert ingest(Ingest(path=str(folder), strict=False, formats=("PNG",)))[1]["hole.jpg"].reason == "img_format"


def _evaluation(folder: Path) -> str:
    Image.linear_gradient("L").convert("RGB").save(folder / "seen.png")
    (folder / "lost.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    return str(folder)


@proves("Match.eval_unreadable")
def _(folder: Path) -> None:
    images = _evaluation(folder)
    encoder: Any = SimpleNamespace(images=lambda images: np.zeros((len(images), 2)))
    model = Model(name="m")
    with pytest.raises(ValueError, match=r"lost\.heic"):
        Match(model=model, eval_images=images)._evaluation(encoder)
    assert Match(model=model, eval_images=images, eval_unreadable="note")._evaluation(encoder)[0] == ["seen.png"]


@proves("Select.eval_unreadable")
def _(folder: Path) -> None:
    images = _evaluation(folder)
    none = Choice([], {}), np.empty(0, np.uint64), np.empty(0, bool)
    with pytest.raises(ValueError, match=r"lost\.heic"):
        Select(eval_images=images)._evaluation_images(*none)
    Select(eval_images=images, eval_unreadable="note")._evaluation_images(*none)


@proves("Cluster.backend")
def _(folder: Path) -> None:
    from mminstruct.models import kmeans_fits
    from mminstruct.stages.cluster import Cluster

    used: Counter[str] = Counter()
    points_ND = np.eye(4, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("numpy", "faiss"):
            fit = kmeans_fits.FITS[name]
            patch.setitem(
                kmeans_fits.FITS, name, lambda *a, fit=fit, name=name, **k: used.update([name]) or fit(*a, **k)
            )
        for name in ("numpy", "faiss"):
            before = used.copy()
            Cluster(k=2, backend=name)._fit(points_ND)
            assert set(used - before) == {name}


@proves("Score.cluster", "Score.truth")
def _(folder: Path) -> None:
    from mminstruct.bench import result
    from tests.report import runs

    url = str(folder / "bench")
    runs.bench(url, {"q1": ["a", "a"], "q2": ["b", "a"]})
    manifest = folder / "bench" / "score" / "manifest.json"
    seen = []
    summarize = result.summarize
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result, "summarize", lambda *a, **how: seen.append(how["cluster"]) or summarize(*a, **how))
        assert result.result(url)["truth"] is None
        changed = manifest.read_text().replace('"cluster": "question_id"', '"cluster": "instruction_id", "truth": "j"')
        manifest.write_text(changed)
        assert result.result(url)["truth"] == "j"
    assert seen == ["question_id", "instruction_id"]


@proves("EngineConfig.kind")
def _(folder: Path) -> None:
    engines = [type(configuration.engine(EngineConfig(kind=kind))).__name__ for kind in ("local", "ray")]
    assert engines == ["Local", "Ray"]


@proves("EngineConfig.fused")
def _(folder: Path) -> None:
    apart, together = (pools(EngineConfig(fused=fused), recipe("nowhere")) for fused in (False, True))
    assert all(len(names) == 1 for segment in apart for names, _ in segment)
    assert max(len(names) for segment in together for names, _ in segment) > 1


@proves("Model.backend")
def _(folder: Path) -> None:
    for name, backend in BACKENDS.items():
        kinds = {load(path) for path in (backend.chat, backend.embed) if path}
        assert {kind.__module__.rpartition(".")[2] for kind in kinds} == {"judges" if name == "oracle" else name}


@proves("Settings.json")
def _(folder: Path) -> None:
    from mminstruct.models.exchange import Exchange
    from mminstruct.models.faults import Secret

    sent = []
    for how in ("schema", "object", "prompt"):
        model = Model(name="m", backend="openai", options={"json": how})
        exchange = Exchange(model, Settings.of(model), None, Secret(""), "m")
        sent.append(exchange.write([{"role": "user", "content": "?"}], 0, {"type": "object"}).body)
    assert [body.get("response_format", {}).get("type") for body in sent] == ["json_schema", "json_object", None]


@proves("Serve.role")
def _(folder: Path) -> None:
    from hydra import compose, initialize_config_dir

    configuration.register()
    with initialize_config_dir(str(configuration.conf()), version_base="1.3"):
        composed = [compose("serve", ["models=micro", f"role={role}"]) for role in ("answerer", "clip")]
    assert [configuration.serve(one)[2].name for one in composed] == ["micro:llm", "micro:clip"]


def _trained(**fields: Any) -> Train:
    return Train(out="out", base=Base(model="m"), train=Training(**fields))


@proves("Training.precision")
def _(folder: Path) -> None:
    from mminstruct.training import deepspeed

    made = [
        deepspeed.settings(_trained(precision=name), 1, gpu=gpu)["bf16"]["enabled"]
        for name in training.PRECISIONS for gpu in (False, True)
    ]  # fmt: skip
    assert dict(zip(training.PRECISIONS, zip(made[::2], made[1::2], strict=True), strict=True)) == {
        "auto": (False, True), "bf16": (True, True), "fp32": (False, False)
    }  # fmt: skip


@proves("Zero.stage", "Zero.offload")
def _(folder: Path) -> None:
    from mminstruct.training import deepspeed

    stages = [
        deepspeed.settings(_trained(zero=Zero(stage=n)), 1, gpu=True)["zero_optimization"]["stage"] for n in range(4)
    ]
    assert stages == [0, 1, 2, 3]
    made = [deepspeed.settings(_trained(zero=Zero(offload=to)), 1, gpu=True) for to in training.OFFLOADS]
    moved = [[key for key in one["zero_optimization"] if key.startswith("offload")] for one in made]
    assert moved == [[], ["offload_optimizer"], ["offload_optimizer", "offload_param"]]
    assert [one["optimizer"]["params"]["torch_adam"] for one in made] == [True, False, False]


@proves("Training.template")
def _(folder: Path) -> None:
    from mminstruct.training.data import template_of

    processor = SimpleNamespace(chat_template="{{ mine }}", tokenizer=SimpleNamespace(chat_template=None))
    assert [template_of(name, processor) for name in ("own", "v1", "{{ x }}")] == ["{{ mine }}", "v1", "{{ x }}"]


@proves("Training.group")
def _(folder: Path) -> None:
    from mminstruct.training.plan import Plan

    class Records(SimpleNamespace):
        def __len__(self) -> int:
            return len(self.words_N)

    rng = np.random.default_rng(0)
    records: Any = Records(words_N=rng.integers(1, 500, 64), seen_N=np.arange(64) % 2 == 0)
    mixed = []
    for group in (True, False):
        plan = Plan(records, Training(group=group, optim=training.Optim(batch=8)), seed=0)
        mixed.append(sum(len(set(records.seen_N[plan.step(step)])) > 1 for step in range(8)))
    assert mixed[0] == 0 < mixed[1]


@proves("Workers.kind")
def _(folder: Path) -> None:
    from mminstruct.engine import train as module

    went: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "prepare", lambda config, commit: {"data": {}})
        patch.setattr(module, "_in_process", lambda config, hook: went.append("local"))
        patch.setattr(module, "_on_ray", lambda config, hook: went.append("ray"))
        for kind in ("local", "ray"):
            module.train(Train(out=str(folder / kind), workers=Workers(kind=kind)), say=lambda line: None)
    assert went == ["local", "ray"]


@proves("Workers.gpu")
def _(folder: Path) -> None:
    from mminstruct.engine.train import _check_resources

    _check_resources(Train(out="out", workers=Workers(gpu=False)), {"CPU": 4})
    with pytest.raises(ValueError, match="wants 1 GPUs, the cluster has 0"):
        _check_resources(Train(out="out", workers=Workers(gpu=True)), {"CPU": 4})


@pytest.mark.parametrize("trusted", [True, False])
def test_code_from_a_hub_is_run_where_an_option_says_so(trusted: bool) -> None:
    from mminstruct.models.transcript import source

    assert source(Model(name="m", options={"trust_remote_code": trusted}))["trust_remote_code"] is trusted


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"backend": "vlm"}, "backend 'vlm' is not one of vllm, openai"),
        ({"backend": "json"}, "backend 'json' is not one of"),
        ({"options": {"batchsize": 4}}, "backend transformers has no option 'batchsize'; did you mean batch_size?"),
        ({"backend": "open_clip", "options": {"dtype": "float16"}}, "backend open_clip has no option 'dtype'; it has"),
        ({"backend": "cogvlm", "options": {"chat_template": "x"}}, "backend cogvlm has no option 'chat_template'"),
    ],
)
def test_a_word_that_no_backend_knows_is_refused_before_anything_is_loaded(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        Model(name="m", **fields).chat()
    stages = dataclasses.replace(recipe("nowhere"))
    stages.answer.model = Model(name="m", **fields)
    from mminstruct.recipe import check

    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        check(stages, installed=False)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tune_vision": True, "lora": Lora(r=8)}, "train.tune_vision=true has no effect with train.lora.r"),
        ({"tune_llm": False, "lora": Lora(r=8)}, "train.tune_llm=false, but train.lora.r adapts the language model"),
        ({"template": "v2"}, "train.template=v2: must be one of v1, plain, own, or Jinja text"),
    ],
)
def test_what_would_do_nothing_in_training_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        training.check(_trained(**fields))


def test_a_pool_of_no_stage_is_refused() -> None:
    with pytest.raises(ValueError, match=r"engine\.pools\.captoin: no stage of that name; did you mean caption\?"):
        check_pools(EngineConfig(pools={"captoin": PoolConfig()}), recipe("nowhere"))
    check_pools(EngineConfig(pools={"caption": PoolConfig(), "judge": PoolConfig()}), recipe("nowhere"))


@pytest.mark.parametrize(("stage", "key"), [("judge", "baseline"), ("score", "truth")])
def test_a_contestant_or_judge_who_does_not_take_part_is_refused(stage: str, key: str) -> None:
    whole = bench("nowhere")
    setattr(getattr(whole, stage), key, "nobody")
    with pytest.raises(ValueError, match=rf"{stage}\.{key}=nobody is none of "):
        whole.check()
    setattr(getattr(whole, stage), key, {"baseline": "one@1", "truth": "referee"}[key])
    whole.check()


@pytest.mark.parametrize("name", sorted(HERE))
def test_a_switch_changes_what_it_says(name: str, tmp_path: Path) -> None:
    HERE[name](tmp_path)
