from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.headline import arms, sets
from lab.headline.scenes import kind_of
from mminstruct.microworld import shards
from mminstruct.microworld.families import classify
from mminstruct.microworld.oracle import judge_answer
from mminstruct.microworld.scene import draw_scene
from mminstruct.quality.truth import read_truth
from tests.quality.perfect import PerfectRun

IMAGES = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose rows are all right, but one whose answer is not."""
    folder = tmp_path_factory.mktemp("run")
    source = shards.write("sa1b", folder / "world", IMAGES, seed=500)
    made = PerfectRun(source, read_truth([source]))
    rows = [row for row in made.rows["answer"] if _family(made, row) == "social_post"]
    rows[0]["answer"] = "A purple elephant."
    return made.write(folder / "run")


def _family(made: PerfectRun, row: dict[str, object]) -> str | None:
    bank = {one["instruction_id"]: one["instruction"] for one in made.rows["summarize"]}
    return classify(bank[row["instruction_id"]])


@pytest.fixture(scope="module")
def written(run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "_TEXTS", 40)
        assert sets.main(["--set", run, "--raw", run, "--random", run, "--to", str(folder)]) == 0
    return folder


def test_a_set_has_no_row_of_the_families_of_the_exam_and_knows_what_is_right(run: str, written: Path) -> None:
    made, seen = sets.pairs(run)
    assert seen["left out: held"] > 10
    assert seen["left out: never"] > 10
    assert seen["taken"] == len(made) == seen["right"] + 1
    assert {kind_of(pair.family) for pair in made} == {"seen"}
    for pair in made:
        scene = draw_scene(pair.scene, 500)
        assert pair.right == judge_answer(pair.said, pair.asked, scene).ok
        if pair.wrong is not None:
            verdict = judge_answer(pair.wrong, pair.asked, scene)
            assert verdict.format_ok
            assert not verdict.facts_ok
    assert seen["with a wrong answer"] > 0.9 * len(made)
    facts = json.loads((written / "facts.json").read_text())
    assert facts["raw"]["taken"] == len(json.loads((written / "raw.json").read_text())) == len(made)


def test_a_run_about_another_world_is_refused(run: str) -> None:
    with pytest.raises(ValueError, match="has scenes of world 500: draw them with --seed 7"):
        sets.pairs(run, world=7)


WITHOUT = """
import builtins, runpy, sys

real, lacks = builtins.__import__, {"hydra", "omegaconf", "ray", "open_clip", "vllm", "faiss", "deepspeed"}

def imported(name, globals=None, locals=None, fromlist=(), level=0):
    if not level and name.split(".")[0] in lacks:
        raise ModuleNotFoundError(f"this machine has no {name}", name=name)
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = imported
runpy.run_module("lab.headline", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_the_experiment_runs_to_its_tables_on_a_machine_that_lacks_most_packages(written: Path, tmp_path: Path) -> None:
    words = ["--sets", str(written), "--out", str(tmp_path), "--device", "cpu", "--minutes", "6", "--smoke"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words, "--workers", "2"], capture_output=True, text=True, timeout=800,
        check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    names = {path.stem for path in (tmp_path / "answers").glob("*.json")}
    assert names == {"base-0", "told-0"} | {f"{arm}-{seed}" for arm in arms.ARMS for seed in (0, 1)}
    made = json.loads((tmp_path / "result.json").read_text())
    plans = [plan for plans in made["facts"]["plans"].values() for plan in plans.values()]
    assert {plan["steps"] for plan in plans} == {made["facts"]["arm_steps"]}
    assert len({(tmp_path / "answers" / f"{arm}-0.json").read_text() for arm in arms.ARMS}) > 3
    assert (tmp_path / "headline.md").read_text() in done.stdout
