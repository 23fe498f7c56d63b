"""From words to a checked run: what is misspelt is told in a line, what is secret is never written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from mminstruct import config
from mminstruct.cli import main
from mminstruct.config import build, explain, register
from mminstruct.models.model import Model
from mminstruct.recipe import manifests
from mminstruct.recipes import RECIPES
from mminstruct.run import Run
from mminstruct.store.tables import Store
from tests.doing_nothing import Small

ROLES = ["captioner", "fuser", "instructor", "embedder", "summarizer", "clip", "exemplar", "answerer"]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for --config-dir: models that are nowhere, and a recipe of stages that do nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "small", Small)
    folder = tmp_path / "mine"
    models = {role: {"name": f"someone/{role}"} for role in ROLES}
    write(folder / "models" / "test.yaml", dict(models))
    stages: dict[str, dict[str, object]] = {"count": {}, "first": {}, "second": {}, "sum": {}, "last": {}}
    write(folder / "recipe" / "small.yaml", {"defaults": ["small_schema", "_self_"], **stages})
    return folder


def write(file: Path, facts: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(facts))


Words = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(mine: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Words:
    """Run a command on *mine*: exit code, output, complaint."""

    def run(command: str, *words: str) -> tuple[int, str, str]:
        there = [f"source={tmp_path}"] if not any(word.startswith("source=") for word in words) else []
        code = main([command, "--config-dir", str(mine), "models=test", *there, *words])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def composed(mine: Path, *words: str) -> DictConfig:
    register()
    with initialize_config_dir(str(config.conf()), version_base="1.3"):
        return compose("build", [f"hydra.searchpath=[file://{mine}]", "models=test", *words])


def made(mine: Path, *words: str, folders: list[Path] | None = None) -> Run:
    return build(composed(mine, "out=run", f"source={mine}", *words), folders)[1]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("recipe.match.stratgey=top1", "there is no key 'recipe.match.stratgey'; did you mean 'recipe.match.strategy'?"),
        ("recipe.macth.strategy=top1", "there is no key 'recipe.macth.strategy'; did you mean 'recipe.match.strategy'?"),
        ("+recipe.match.stratgey=top1", "there is no key 'recipe.match.stratgey'; did you mean 'recipe.match.strategy'?"),
        ("sorce=x", "there is no key 'sorce'; did you mean 'source'?"),
        ("engine.poll.workers=2", "there is no key 'engine.poll.workers'; did you mean 'engine.pool.workers'?"),
        ("models.clip.tempreature=1", "there is no key 'models.clip.tempreature'; did you mean 'models.clip.temperature'?"),
        ("gpu=H100", "there is no key 'gpu'; did you mean 'engine.gpu'?"),
        ("pool.workers=2", "there is no key 'pool.workers'; did you mean 'engine.kinds.NAME.workers' or 'engine.pool.workers' or"),
        ("models.clip.options={threads: 1, batchsize: [1, 2}", "quote values that contain"),
        ("models.clip={nmae: x}", "there is no key 'models.clip.nmae'; did you mean 'models.clip.name'?"),
        ("engine.pools.caption.wrokers=2", "no key 'engine.pools.caption.wrokers'; did you mean 'engine.pools.caption.workers'"),
        ("engine.pools={caption: {wrokers: 2}}", "no key 'engine.pools.caption.wrokers'; did you mean 'engine.pools.caption.workers'"),
        ("experiment=dmeo", "experiment=dmeo is not for build: there is none of that name; there is demo"),
        ("experiment=rounds", "experiment=rounds is not for build: there is no key 'train'; there is demo"),
        ("experiment=oracle", "experiment=oracle is not for build: there is no key 'judges'; there is demo"),
        ("+experiment=demo", "+experiment=: omit the plus; experiment=NAME chooses one"),
        ("models=lpatop", "there is no models/lpatop; there is api, gpu24, laptop, micro, modern, paper"),
        ("recipe=mm_instrcut", "there is no recipe/mm_instrcut; there is bench, coco, domains, mm_instruct"),
        ("engine=lcal", "there is no engine/lcal; there is local, node_8gpu, nodes_4, one_gpu, ray"),
        ("recipe.match.per_image=two", "Value 'two' of type 'str' could not be converted to Integer"),
        ("recipe.match.strategy=best", "recipe.match.strategy='best' is not one of sample, top1, random"),
        ("recipe.fuse.on_leak=best", "on_leak is 'best': choose caption or drop"),
        ("recipe.match.strategy=${models.nobody}", "Interpolation key 'models.nobody' not found"),
        ("out=a=b", "quote values that contain ="),
        ("units=0", "units=0: take 1 or more parts"),
        ("fail_on_error=maybe", "fail_on_error=maybe: take true, false, a share below 1, or a number of units"),
        ("base=nowhere", "base=nowhere: no run here"),
        ("source=nowhere", "path=nowhere does not exist"),
        ("recipe.answer.prompt=anser", "recipe.answer.prompt: no file prompts/anser.md; did you mean 'answer'?"),
        ("recipe.instruct.seeds=[sedes]", "recipe.instruct.seeds: no file /sedes.yaml; did you mean 'seeds'?"),
    ],
)  # fmt: skip
def test_a_slip_is_told_in_one_line_with_exit_code_2(say: Words, word: str, said: str) -> None:
    words = [word] if word.startswith("out=") else ["out=run", word]
    code, _, told = say("plan", *words)
    assert said in told
    assert code == 2
    assert told.count("\n") == 1
    assert told.startswith("mminstruct plan: ")


def test_a_slip_in_a_file_is_told_like_one_on_the_command_line(say: Words, mine: Path) -> None:
    write(mine / "recipe" / "wrong.yaml", {"defaults": ["mm_instruct_schema", "_self_"], "match": {"stratgey": "top1"}})
    code, _, told = say("plan", "out=run", "recipe=wrong")
    assert code == 2
    assert "there is no key" in told
    assert "did you mean 'recipe.match.strategy'?" in told
    assert told.count("\n") == 1


def test_out_and_source_are_asked_for_by_their_meaning(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine_too = ["--config-dir", str(mine), "models=test"]
    assert main(["plan", *mine_too, "source=x"]) == 2
    assert capfd.readouterr().err == "mminstruct plan: out= is missing: the folder of the run\n"
    assert main(["plan", *mine_too, "out=x"]) == 2
    assert (
        capfd.readouterr().err == "mminstruct plan: source= is missing: where the images are (for recipe.ingest.path)\n"
    )


def test_a_role_without_a_model_is_asked_for_only_where_a_stage_plays_it(say: Words, mine: Path) -> None:
    write(mine / "models" / "few.yaml", {})
    assert say("plan", "out=run", "models=few", "recipe=small")[0] == 0
    code, _, told = say("plan", "out=run", "models=few")
    assert code == 2
    assert "models.captioner.name= is missing" in told


def test_a_prompt_is_read_from_its_file_with_all_its_braces(mine: Path) -> None:
    text = "## user\n${source} {{ instruction }} {{ description }} ${oc.env:HOME} $ {not} \\{\n{% for e in examples %}{% endfor %}"
    (mine / "prompts").mkdir()
    (mine / "prompts" / "odd.md").write_text(text)
    run = made(mine, "recipe.answer.prompt=odd", folders=[mine])
    assert run.stages["answer"].prompt == text  # type: ignore[attr-defined]
    assert manifests(run.recipe)["answer"]["config"]["prompt"] == text


@pytest.mark.parametrize(
    "data",
    [b"\xef\xbb\xbf%s", "\ufeff%s".encode("utf-16-le"), "\ufeff%s".encode("utf-16-be"), b"%s"],
    ids=["UTF-8 with a mark", "UTF-16", "UTF-16, big end first", "Windows' line ends"],
)
def test_a_prompt_is_the_same_however_an_editor_saved_it(mine: Path, data: bytes) -> None:
    text = "## system\nBe kind.\n\n## user\nDescribe it: caf\u00e9\u2028now."
    codec = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(data[:2], "utf-8")
    (mine / "prompts").mkdir()
    written = data.decode(codec).replace("%s", text.replace("\n", "\r\n")).encode(codec)
    (mine / "prompts" / "odd.md").write_bytes(written)
    assert made(mine, "recipe.caption.prompt=odd", folders=[mine]).stages["caption"].prompt == text  # type: ignore[attr-defined]


def test_a_prompt_in_cp1252_is_read_and_said_so(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    (mine / "prompts").mkdir()
    (mine / "prompts" / "odd.md").write_bytes(b"## user\nDescribe the caf\xe9.")
    stage = made(mine, "recipe.caption.prompt=odd", folders=[mine]).stages["caption"]
    assert stage.prompt == "## user\nDescribe the café."  # type: ignore[attr-defined]
    assert "odd.md is not UTF-8 and was read as text_cp1252" in caplog.text


def test_prompts_of_my_own_folder_win(say: Words, mine: Path, tmp_path: Path) -> None:
    (mine / "prompts").mkdir()
    (mine / "prompts" / "answer.md").write_text("## user\n{{ nobody_fills_this_in }}")
    code, _, told = say("plan", "out=run")
    assert code == 2
    assert "answer.prompt uses {{ nobody_fills_this_in }}, which this stage does not fill in" in told


def test_a_prompt_may_be_the_path_of_its_file(say: Words, mine: Path) -> None:
    (mine / "short.md").write_text("## user\n{{ instruction }} {{ description }} {# without examples #}")
    assert "without examples" in made(mine, f"recipe.answer.prompt={mine / 'short.md'}").stages["answer"].prompt  # type: ignore[attr-defined]
    code, _, told = say("plan", "out=run", f"recipe.answer.prompt={mine / 'shrot.md'}")
    assert code == 2
    assert f"recipe.answer.prompt={mine / 'shrot.md'}: there is no such file" in told


def test_a_prompt_that_is_no_prompt_is_refused(mine: Path) -> None:
    (mine / "prompts").mkdir()
    (mine / "prompts" / "odd.md").write_text("Answer, please.")
    with pytest.raises(ValueError, match=r"caption.prompt: a prompt starts with a line"):
        made(mine, "recipe.caption.prompt=odd", folders=[mine])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_prompt_in_another_encoding_is_read_with_a_warning_that_names_its_file(
    mine: Path, encoding: str, caplog: pytest.LogCaptureFixture
) -> None:
    (mine / "prompts").mkdir()
    (mine / "prompts" / "odd.md").write_text("## user\nWhat is this?", encoding=encoding)
    run = made(mine, "recipe.caption.prompt=odd", folders=[mine])
    assert run.stages["caption"].prompt == "## user\nWhat is this?"  # type: ignore[attr-defined]
    assert ("odd.md is not UTF-8" in caplog.text) == (encoding == "utf-16")


def test_a_prompt_that_is_no_text_is_refused_by_its_file(mine: Path) -> None:
    (mine / "prompts").mkdir()
    (mine / "prompts" / "odd.md").write_bytes(b"## user\n\x81\x00\x8d")
    with pytest.raises(ValueError, match=r"prompts/odd.md"):
        made(mine, "recipe.caption.prompt=odd", folders=[mine])


def test_seeds_are_the_instructions_of_their_files(mine: Path) -> None:
    write(mine / "more.yaml", {"poetry": ["Write ${a} {{ poem }}."], "empty": None})
    run = made(mine, "recipe.instruct.seeds=[seeds,more]", folders=[mine])
    seeds = run.stages["instruct"].seeds  # type: ignore[attr-defined]
    assert seeds[-1] == "Write ${a} {{ poem }}."
    assert len(seeds) > 30
    assert all(isinstance(seed, str) for seed in seeds)


@pytest.mark.parametrize(
    ("text", "said"),
    [("- a\n- b\n", "no list of instructions"), ("a: [1, 2]\n", "no list of instructions"), ("a: [", "no valid YAML")],
)
def test_a_file_of_seeds_that_is_none_is_refused(mine: Path, text: str, said: str) -> None:
    (mine / "odd.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"recipe.instruct.seeds: odd.yaml is {said}"):
        made(mine, "recipe.instruct.seeds=[odd]", folders=[mine])


@pytest.mark.parametrize(
    "words",
    [
        ["models.answerer.backend=openai"],
        ["models.answerer.url=http://localhost:8000/v1", "models.answerer.key_env=SOME_KEY"],
        ["+models.answerer.options.batch_size=7"],
        ["engine=local"],
        ["engine.pool.workers=9", "engine.retries=1"],
        ["recipe.ingest.concurrency=2"],
        ["out=elsewhere"],
        ["units=3", "fail_on_error=false"],
    ],
    ids=" ".join,
)
def test_how_a_thing_runs_does_not_change_what_it_is(mine: Path, words: list[str]) -> None:
    assert manifests(made(mine, *words).recipe) == manifests(made(mine).recipe)


@pytest.mark.parametrize("models", ["micro", "laptop", "modern", "paper"])
@pytest.mark.parametrize(
    "word",
    [
        "models.captioner={name: THUDM/cogvlm-chat-hf, backend: cogvlm, options: {tokenizer: lmsys/vicuna, batch_size: 16}}",
        "models.captioner.options.tokenizer=lmsys/vicuna",
        "+models.captioner.options.tokenizer=lmsys/vicuna",
        "models.captioner.options={tokenizer: lmsys/vicuna}",
    ],
)
def test_options_are_the_users_to_fill_whatever_a_preset_has_in_them(models: str, word: str) -> None:
    register()
    with initialize_config_dir(str(config.conf()), version_base="1.3"):
        found = compose("build", [f"models={models}", *config.opened("build", [word])])
    assert found.models.captioner.options.tokenizer == "lmsys/vicuna"
    assert OmegaConf.get_type(found.models.captioner) is Model


@pytest.mark.parametrize(
    ("words", "workers", "cpus"),
    [
        (["engine.pools.caption.workers=3", "engine.pools.caption.cpus=2"], 3, 2.0),
        (["engine.pools={caption: {workers: 3}}"], 3, None),
        (["engine.pools.caption={workers: 3, cpus: 2}"], 3, 2.0),
    ],
)
def test_a_pool_that_is_new_is_made_and_one_that_is_there_is_changed(
    words: list[str], workers: int, cpus: float | None
) -> None:
    register()
    with initialize_config_dir(str(config.conf()), version_base="1.3"):
        found = compose("build", ["engine=local", *config.opened("build", words)]).engine.pools.caption
        there = compose("build", ["engine=node_8gpu", *config.opened("build", words)]).engine.pools.caption
    assert (found.workers, found.cpus) == (workers, cpus)
    assert there.workers == workers


def test_every_suggested_key_is_one_that_there_is() -> None:
    for schema in config.SCHEMAS.values():
        known = set(explain.keys(schema))
        for key in sorted(known)[::25]:  # a second for each hundred
            told = explain.unknown(f"{key}x", schema)
            assert all(
                one.replace("NAME", "*") in known for one in re.findall(r"mean '([^']+)'|or '([^']+)'", told)[0] if one
            ), told


@pytest.mark.parametrize(
    ("word", "tables"),
    [
        ("models.answerer.name=someone/else", {"answer"}),
        ("models.answerer.temperature=0.5", {"answer"}),
        ("seed=1", {"caption", "fuse", "instruct", "cluster", "summarize", "match", "exemplify", "answer", "select", "merge"}),
        ("recipe.match.cap=2", {"match"}),
    ],
)  # fmt: skip
def test_what_a_thing_is_changes_the_tables_that_say_so(mine: Path, word: str, tables: set[str]) -> None:
    before, after = manifests(made(mine).recipe), manifests(made(mine, word).recipe)
    assert {name for name in before if before[name]["config"] != after[name]["config"]} == tables


def test_cfg_job_shows_the_configuration_and_does_nothing(say: Words, tmp_path: Path) -> None:
    code, shown, _ = say("build", "--cfg", "job", "out=run", "recipe.match.strategy=top1")
    assert code == 0
    assert yaml.safe_load(shown)["recipe"]["match"]["strategy"] == "top1"
    assert not (tmp_path / "run").exists()


def test_build_of_a_recipe_of_ones_own_ends_with_its_sums(say: Words, tmp_path: Path) -> None:
    code, shown, _ = say("build", "recipe=small", "engine=local", "out=run", "recipe.first.drop=3")
    assert code == 0
    assert "first: 12 x divides" in shown
    assert "Done: run" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "run"]


def test_multirun_builds_a_folder_for_each_value_and_tells_them_side_by_side(say: Words, tmp_path: Path) -> None:
    code, shown, told = say(
        "build", "--multirun", "recipe=small", "engine=local", "out=run-${recipe.first.drop}", "recipe.first.drop=2,3"
    )
    assert code == 0, told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "run-2", "run-3"]  # none of the sweep's own
    last = shown.splitlines()[-3:]
    assert last[0] == "2 runs:"
    assert [line.split()[:5] for line in last[1:]] == [
        [f"run-{drop}", f"recipe.first.drop={drop}", "exit", "code", "0"] for drop in (2, 3)
    ]
    assert all(line.endswith(" rows") for line in last[1:])
    for drop in (2, 3):
        assert Store(f"run-{drop}").table("sum").receipts()["all"].rows_in == 32 - 4 * -(-8 // drop)


def test_a_sweep_ends_with_the_worst_code_of_its_jobs(say: Words) -> None:
    words = ["recipe=small", "engine=local", "out=run"]
    code, _, told = say("build", "--multirun", *words, "recipe.first.drop=2,3")
    assert code == 2
    assert "first.drop: 2 -> 3" in told


def test_the_same_command_again_does_nothing_and_another_recipe_is_refused(say: Words) -> None:
    words = ["recipe=small", "engine=local", "out=run"]
    assert say("build", *words)[0] == 0
    assert say("build", *words)[0] == 0
    code, _, told = say("build", *words, "recipe.first.drop=3")
    assert code == 2
    assert told.startswith("mminstruct build: recipe.first.drop: 0 -> 3\n")
    assert "out=NEW base=run" in told


def test_plan_says_how_to_go_on_where_the_recipe_is_refused(say: Words) -> None:
    words = ["recipe=small", "engine=local", "out=run"]
    assert say("build", *words)[0] == 0
    assert "out=NEW" not in say("plan", *words)[1]
    refused = say("plan", *words, "recipe.first.drop=3")[1]
    assert "build is refused:\nrecipe.first.drop: 0 -> 3\n" in refused
    assert refused.rstrip().splitlines()[-1].strip().startswith("mminstruct build out=run-2 base=run ")


def test_base_takes_over_what_did_not_change(say: Words) -> None:
    words = ["recipe=small", "engine=local"]
    assert say("build", *words, "out=old")[0] == 0
    code, shown, _ = say("build", *words, "out=new", "base=old", "recipe.first.drop=3")
    assert code == 0
    assert "count: 2 units reused from old\n" in shown
    assert "units taken over" not in shown.replace("count: 2 units taken over", "")


def test_a_path_with_odd_letters_survives(say: Words, tmp_path: Path) -> None:
    odd = tmp_path / "a=b, ü {c} $d"
    code, shown, told = say("build", "recipe=small", "engine=local", f'out="{odd}"')
    assert code == 0, told
    assert (odd / "config.yaml").exists()
    assert f"Done: {odd}" in shown


def test_config_yaml_tells_what_ran(say: Words) -> None:
    assert say("build", "recipe=small", "engine=local", "out=run", "seed=7")[0] == 0
    facts = yaml.safe_load(Path("run/config.yaml").read_text())
    assert (facts["config"]["seed"], facts["config"]["engine"]["kind"]) == (7, "local")
    assert {"pyarrow", "mminstruct"} <= set(facts["packages"])
    folder, *words = facts["command"][1:]
    assert facts["command"][0] == "--config-dir"
    assert Path(folder) == Path("mine").absolute()
    assert set(words) >= {"recipe=small", "engine=local", "out=run", "seed=7"}


SECRET = "sk-proj-abc123"


@pytest.mark.parametrize(
    "word",
    [
        f"models.clip.key_env={SECRET}",
        f"+models.clip.options.api_key={SECRET}",
        f"+models.clip.options.headers={{Authorization:{SECRET}}}",
        f"+engine.pool.env.env_vars.OPENAI_API_KEY={SECRET}",
        f"+models.clip.options.list=[{{password:{SECRET}}}]",
        f'models.clip.url="https://user:{SECRET}@example.org/v1"',
        f'source="s3://key:{SECRET}@bucket/images"',
    ],
)
def test_a_secret_is_refused_before_anything_is_written_and_never_repeated(
    say: Words, word: str, tmp_path: Path
) -> None:
    code, shown, told = say("build", "recipe=small", "engine=local", "out=run", word)
    assert code == 2
    assert "secret" in told or "password" in told
    assert SECRET not in shown + told
    assert not (tmp_path / "run").exists()


def test_the_value_of_a_key_never_reaches_config_yaml(say: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", SECRET)
    words = ["models.clip.key_env=SOME_KEY", "+models.clip.options.api_key=${oc.env:SOME_KEY}"]
    words += [f"models.fuser.key_env={SECRET}", "models.fuser.key_env=SOME_KEY"]  # the later word counts
    assert say("build", "recipe=small", "engine=local", "out=run", *words)[0] == 0
    everything = b"".join(file.read_bytes() for file in Path("run").rglob("*") if file.is_file())
    assert SECRET.encode() not in everything
    assert b"SOME_KEY" in everything


def test_every_shipped_experiment_and_set_of_models_composes(mine: Path) -> None:
    for group in ("experiment", "models", "engine"):
        for file in sorted((config.conf() / group).glob("*.yaml")):
            job = {"rounds": "train", "oracle": "bench"}.get(file.stem)
            if job is None:
                composed(mine, f"{group}={file.stem}", "out=run", "source=x")
            else:
                with initialize_config_dir(str(config.conf()), version_base="1.3"):
                    compose(job, [f"{group}={file.stem}", "out=run"])


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (
            "build",
            [],
            "experiment=dmeo is not for build: there is none of that name; there is demo, demo_coco, demo_domains, demo_hard, ours",
        ),
        ("bench", ["source=x"], "experiment=dmeo is not for bench: there is none of that name; there is oracle"),
        ("train", ["data.path=x"], "experiment=dmeo is not for train: there is none of that name; there is rounds"),
    ],
)
def test_an_experiment_that_is_not_there_is_refused_with_those_of_the_command(
    mine: Path, capfd: pytest.CaptureFixture[str], command: str, words: list[str], said: str
) -> None:
    (mine / "experiment").mkdir()
    (mine / "experiment" / "ours.yaml").write_text("# @package _global_\nrecipe: {match: {strategy: top1}}\n")
    assert main([command, "--config-dir", str(mine), "out=run", "experiment=dmeo", *words]) == 2
    told = capfd.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_benchmark_of_another_recipe_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "experiment=demo_coco", "out=run", "source=x"]) == 2
    said = capfd.readouterr().err
    assert "experiment=demo_coco is not for bench" in said
    assert said.endswith("there is oracle\n")


def test_an_experiment_of_ones_own_does_what_it_says(say: Words, mine: Path) -> None:
    (mine / "experiment").mkdir()
    (mine / "experiment" / "ours.yaml").write_text("# @package _global_\nrecipe: {match: {strategy: top1}}\n")
    code, shown, _ = say("build", "--cfg", "job", "out=run", "experiment=ours")
    assert code == 0
    assert yaml.safe_load(shown)["recipe"]["match"]["strategy"] == "top1"


def test_one_part_and_then_all_with_base_and_a_refusal_whose_command_works_when_pasted(say: Words) -> None:
    words = ("recipe=small", "engine=local", "source=x")
    assert say("build", *words, "out=runs/mine", "units=1")[0] == 0
    code, _, refused = say("build", *words, "out=runs/mine")
    assert code == 2
    assert "sum was made from second, which has 1 part, and 1 of 2 shards are not read yet\n" in refused
    pasted = shlex.split(refused.splitlines()[-1])
    assert pasted[:4] == ["mminstruct", "build", "out=runs/mine-2", "base=runs/mine"]
    _, planned, _ = say("plan", *words, "out=runs/mine")
    assert "build is refused:\n" + refused.removeprefix("mminstruct build: ") in planned
    assert main(pasted[1:]) == 0
    code, said, _ = say("build", *words, "out=runs/mine-2")
    assert code == 0
    assert {line.split()[4] for line in said.splitlines() if line.startswith("sum ")} == {"32"}, "rows of all parts"
    code, said, _ = say("build", *words, "out=runs/mine2", "base=runs/mine")
    assert code == 0
    assert "first: 1 units reused from runs/mine" in said


DOMAINS = (
    "recipe=domains",
    *(f"models.{role}={{name: someone/{role}}}" for role in ("asker", "verifier", "transcriber")),
)


def test_domains_are_those_of_their_files_and_two_stages_read_them(mine: Path) -> None:
    (mine / "domains.yaml").write_text((Path(__file__).parents[1] / "domains.yaml").read_text())
    run = made(mine, *DOMAINS, folders=[mine])
    retrieve, ask = (run.stages[name].domains for name in ("retrieve", "ask"))  # type: ignore[attr-defined]
    assert [one.name for one in retrieve] == [one.name for one in ask] == ["colours", "places", "signs"]
    before = manifests(run.recipe)
    (mine / "domains.yaml").write_text((mine / "domains.yaml").read_text().replace("Say all about", "Tell all about"))
    after = manifests(made(mine, *DOMAINS, folders=[mine]).recipe)
    changed = {name for name in before if before[name]["fingerprint"] != after[name]["fingerprint"]}
    assert "ask" in changed
    assert not changed & {"retrieve", "transcribe", "caption"}


def test_a_domain_file_with_a_fault_is_refused_by_file_domain_and_line(mine: Path) -> None:
    text = (Path(__file__).parents[1] / "domains.yaml").read_text()
    (mine / "domains.yaml").write_text(
        text.replace("Does the <thing> look <colour>?", "Does the <thng> look <colour>?")
    )
    with pytest.raises(ValueError, match=r"recipe\.retrieve\.domains: domains\.yaml, line 10, colours: .* <thng>"):
        made(mine, *DOMAINS, folders=[mine])
    with pytest.raises(ValueError, match=r"recipe\.retrieve\.domains: no file /none\.yaml"):
        made(mine, *DOMAINS, "recipe.retrieve.domains=[none]", folders=[mine])


def test_a_domain_that_is_retrieved_and_cannot_be_asked_is_refused(mine: Path) -> None:
    whole = (Path(__file__).parents[1] / "domains.yaml").read_text()
    (mine / "domains.yaml").write_text(whole)
    (mine / "fewer.yaml").write_text(whole[: whole.index("places:")])
    with pytest.raises(ValueError, match=r"recipe\.ask\.domains lacks places, signs"):
        made(mine, *DOMAINS, "recipe.ask.domains=[fewer]", folders=[mine])
