"""The command line: help, exit codes, and one-line messages for errors that a user can fix."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mminstruct import cli, config, job
from mminstruct.checksum import seal, unseal
from mminstruct.cli import main
from mminstruct.engine.local import Local
from mminstruct.recipes import RECIPES
from mminstruct.run import Run, claim, execute
from mminstruct.status.tables import TableStatus
from tests.doing_nothing import Small, small

COMMANDS = (
    *("build", "bench", "plan", "serve", "train", "status", "trace", "report", "review", "agree", "bench-power"),
    *("lmms", "lmms-task", "export", "mix", "delete", "microworld", "microworld-report", "diversity"),
)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``mminstruct build`` of stages that do nothing, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "small", Small)
    stages: dict[str, dict[str, object]] = {"count": {}, "first": {}, "second": {}, "sum": {}, "last": {}}
    file = tmp_path / "mine" / "recipe" / "small.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump({"defaults": ["small_schema", "_self_"], **stages}))
    words = ["--config-dir", str(tmp_path / "mine"), "recipe=small", "engine=local", "out=run", "source=x"]
    return lambda *more: main(["build", *words, *more])


def words_of(command: str, folder: Path) -> list[str]:
    return {
        "status": [str(folder)],
        "trace": [str(folder), "aaaa"],
        "export": [str(folder), "--format", "hf", "--to", str(folder / "to")],
    }[command]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in job.COMMANDS])
def test_every_command_helps(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert f"usage: mminstruct {command}" in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"    {command}" in said for command in COMMANDS)


@pytest.mark.parametrize(
    ("command", "words", "group", "key"),
    [
        ("build", "build out=RUN source=IMAGES", "engine", "fail_on_error: true"),
        ("plan", "build out=RUN source=IMAGES", "engine", "images: null"),
        ("bench", "bench out=RUN source=QUESTIONS", "engine", "both_orders: true"),
        ("serve", "serve [role=answerer]", "models", "token_env: null"),
        ("train", "train out=RUN data.path=LLAVA.json", "train", "save_every: 50"),
    ],
)
def test_what_hydra_composes_helps_with_its_words_groups_and_keys(
    command: str, words: str, group: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert f"mminstruct {words}" in said
    choices = next(line for line in said.splitlines() if line.startswith(f"{group}: ")).split(": ")[1].split(", ")
    assert {file.stem for file in (config.conf() / group).glob("*.yaml")} <= set(choices)
    assert key in said


def test_the_help_of_build_names_every_recipe_with_its_paper(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build", "--help"])
    said = capsys.readouterr().out
    for name in ("mm_instruct", "domains", "coco"):
        paper = RECIPES[name].method.paper.rpartition(", ")[2]
        line = next(line for line in said.split("\n") if line.startswith(f"recipe={name} "))
        assert RECIPES[name].method.title in line
        assert paper in line


@pytest.mark.parametrize(
    "words",
    [["biuld"], ["export", "run"], ["export", "run", "--format", "coco", "--to", "x"], ["status", "--jsn", "x"]],
    ids=" ".join,
)
def test_a_command_that_is_none_is_refused_with_exit_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "trace", "export"])
def test_a_folder_without_a_run_is_one_line_and_exit_code_1(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *words_of(command, tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"mminstruct {command}: {tmp_path}: no run here")
    assert said.count("\n") == 1


def test_a_reader_who_has_seen_enough_gets_no_complaint() -> None:
    words = [sys.executable, "-m", "mminstruct.cli", "bench-power", "--questions", "99"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.parametrize(("used", "said"), [("sys.modules['ray'] = None", "said\n"), ("pass", "said\nlate\n")])
def test_a_process_that_used_ray_ends_at_once_with_all_that_it_said(used: str, said: str) -> None:
    code = f"import atexit, sys; {used}; atexit.register(print, 'late'); print('said')"
    words = [sys.executable, "-c", f"{code}; from mminstruct.job import exit_process; exit_process(3)"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (3, said)


def test_a_run_that_ends_well_has_exit_code_0(build: Callable[..., int]) -> None:
    assert build() == 0


def test_failed_units_have_exit_code_3_and_are_named(
    build: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    poison = next(iter(small().count.load()("shard-00000"))).output.table["id"][0].as_py()
    assert build(f"recipe.first.poison='{poison}'") == 3
    said = capsys.readouterr().err
    assert "mminstruct build: 1 of 4 units of first failed:\nfirst/shard-00000-0000: ValueError: poison\n" in said
    assert "Traceback" not in said
    assert build(f"recipe.first.poison='{poison}'", "fail_on_error=1") == 0


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (TableStatus("filter", units=2, rows_in=7, kept=0, dropped={"dark": 2, "small": 5}),
         "\nThe cause: filter kept none of 7 rows (5 x small, 2 x dark)"),
        (TableStatus("filter", units=2), "\nfilter got no rows: is there an image in source=?"),
        (TableStatus("filter", units=2, rows_in=7, kept=1), ""),
        (TableStatus("filter"), ""),
    ],
)  # fmt: skip
def test_a_failure_names_the_stage_that_kept_nothing(stage: TableStatus, said: str) -> None:
    assert (
        job._emptied([TableStatus("ingest", units=1, rows_in=9, kept=7), stage, TableStatus("last", units=1)][:2])
        == said
    )


def test_a_halt_has_exit_code_4_and_the_same_command_goes_on(
    build: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("recipe.first.halts='budget is spent'") == 4
    assert capsys.readouterr().err == "mminstruct build: budget is spent\n"
    assert build() == 0


def test_a_fault_of_ours_comes_with_its_traceback(build: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mminstruct.config.record", lambda *given: {}["nothing"])
    with pytest.raises(KeyError):
        build()


def test_hydra_full_error_gives_the_traceback_of_any_error(
    build: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="units=0"):
        build("units=0")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_a_build_leaves_the_process_as_it_was(build: Callable[..., int]) -> None:
    before, words = dict(os.environ), list(sys.argv)
    assert build() == 0
    assert (dict(os.environ), sys.argv) == (before, words)


def test_sums_that_do_not_close_have_exit_code_1_at_the_end_of_a_build(
    build: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert build() == 0
    receipt = Path("run/first/_receipts/shard-00000-0000.json")
    receipt.write_bytes(seal(unseal(receipt.read_bytes(), "", "") | {"kept": 7}))
    assert build() == 1
    assert "FAULT: first/shard-00000-0000: 8 in, but 1 neither kept nor dropped" in capsys.readouterr().out


LEAVES = """
import atexit, sys, threading, time
from mminstruct.job import exit_process
atexit.register(lambda: print("tidied up"))
threading.Thread(target=time.sleep, args=(60,)).start()
print("all of it")
exit_process(int(sys.argv[1]))
"""


def test_every_command_ends_at_once_with_its_output_out_and_its_code(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LEAVES, "3"], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (3, "all of it\ntidied up\n")


def test_output_that_could_not_be_written_is_no_success() -> None:
    code = "from mminstruct.job import exit_process; print('all of it'); exit_process(0)"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, env=buffered, timeout=50, check=False)
    assert done.returncode == 1


SLOW = """
import sys, time
from dataclasses import dataclass
from mminstruct.recipes import RECIPES
from tests.doing_nothing import Pass, Small
load = Pass.load
def slow(self):
    through = load(self)
    return lambda count: (print("working", flush=True), time.sleep(60), through(count))[2]
Pass.load = slow
RECIPES["small"] = Small
from mminstruct.checksum import seal, unseal
from mminstruct.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_control_c_is_one_line_and_exit_code_130(build: Callable[..., int], tmp_path: Path) -> None:
    words = ["build", "--config-dir", str(tmp_path / "mine"), "recipe=small", "engine=local", "out=run", "source=x"]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, *words],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs of a shell ignore SIGINT
    ) as process:
        assert process.stdout is not None
        while "working" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "mminstruct build: stopped; the same command continues from here"
    assert "Traceback" not in said


def test_only_the_exit_that_ray_makes_of_sigterm_is_called_a_stop(capsys: pytest.CaptureFixture[str]) -> None:
    assert job._tell("build", [], SystemExit(int(signal.SIGTERM))) == 143
    assert "the same command continues" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="a library gave up"):
        job._tell("build", [], SystemExit("a library gave up"))


def test_microworld_draws_what_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["microworld", "--images", "3", "--to", str(tmp_path / "world")]) == 0
    assert "3 images and their truth" in capsys.readouterr().out
    assert (tmp_path / "world" / "_truth").is_dir()


def test_status_of_a_run_on_another_disk_is_read_by_its_url(tmp_path: Path) -> None:
    run = Run(url=str(tmp_path), recipe=small())
    claim(run)
    execute(run, Local())
    assert main(["status", f"file://{tmp_path}"]) == 0
