"""A user's workflow, with the real microworld models on a real Ray."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mminstruct import schemas
from mminstruct.microworld import families, reading
from mminstruct.recipes import MMInstruct
from mminstruct.store.tables import Store
from tests.conftest import SMALL, mminstruct

pytestmark = pytest.mark.slow


def interruptible() -> None:
    """Restore SIGINT: background jobs of a shell and their children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def test_the_demo_leaves_every_table_and_its_sums_close(demo: Path) -> None:
    sums = json.loads(mminstruct("status", demo, "--json"))
    tables = [field.name for field in dataclasses.fields(MMInstruct) if field.name != "rate"]  # off by default
    assert [status["table"] for status in sums] == tables
    assert all(status["rows_in"] == status["kept"] + sum(status["dropped"].values()) for status in sums)
    assert [status["table"] for status in sums if not status["rows_in"]] == ["decide"]  # nobody decided anything
    assert all(not status["faults"] and not status["failed"] and not status["left"] for status in sums)
    assert sums[-1]["rows"] >= 24


def test_most_answers_have_the_asked_form_and_say_what_the_description_says(demo: Path) -> None:
    store = Store(str(demo))
    rows = store.table("export").dataset(schemas.EXPORT).to_table().to_pylist()
    described = store.table("fuse").dataset(schemas.FUSE).to_table().to_pylist()
    description = {row["image_id"]: row["description"] for row in described}
    right = 0
    for row in rows:
        question, answer = (turn["value"] for turn in row["conversations"])
        family = families.classify(question.removeprefix("<image>\n"))
        if family is not None:
            verdict = families.FAMILIES[family].verify(answer, reading.read_facts(description[row["image_id"]]))
            right += verdict.format_ok and verdict.facts_ok
    # this only detects a broken pipeline; the quality report measures quality
    assert right / len(rows) >= 0.4


def test_both_engines_make_the_same_bytes_with_real_models(demo: Path, world: Path, tmp_path: Path) -> None:
    mminstruct("build", *SMALL, f"out={tmp_path / 'local'}", f"source={world}", "engine=local")
    assert contents(tmp_path / "local") == contents(demo)


def test_a_second_build_changes_nothing(demo: Path, world: Path) -> None:
    before = times(demo)
    mminstruct("build", *SMALL, f"out={demo}", f"source={world}")
    assert times(demo) == before


def times(run: Path) -> dict[Path, int]:
    """Modification time of each file, except config.yaml and the lease, which every command writes."""
    files = [path for path in run.rglob("*.*") if path.is_file()]
    own = [path for path in files if path.name != "config.yaml" and path.parent.name != "_lease"]
    return {path: path.stat().st_mtime_ns for path in own}


def test_a_changed_prompt_is_refused_by_name_and_told_what_to_do(demo: Path, world: Path) -> None:
    words = (*SMALL, f"out={demo}", f"source={world}", "recipe.answer.shots=1")
    said = mminstruct("build", *words, code=2)
    assert "answer.shots: 3 -> 1" in said
    assert f"out=NEW base={demo}" in said
    assert "refused" in mminstruct("plan", *words)


def test_a_killed_build_goes_on_to_the_same_bytes(demo: Path, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    words = [sys.executable, "-m", "mminstruct.cli", "build", *SMALL, f"out={out}", f"source={world}"]
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while run.poll() is None and not list(out.glob("caption/_receipts/*.json")):
        time.sleep(0.2)
    assert run.poll() is None, "it ended before it could be killed"
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    before = {p: p.read_bytes() for p in out.glob("*/_receipts/*.json")}
    mminstruct(*words[3:])
    assert contents(out) == contents(demo)
    assert {p: p.read_bytes() for p in before} == before


def stopped(words: list[str], by: signal.Signals, begun: Callable[[], bool]) -> str:
    """Send the signal *by* to the command *words* when *begun* is true; returns stderr. Its children must end too."""
    run = subprocess.Popen(
        [sys.executable, "-m", "mminstruct.cli", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible,
    )  # fmt: skip
    while run.poll() is None and not begun():
        time.sleep(0.2)
    helpers = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(by)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 128 + by
    assert not psutil.wait_procs(helpers, timeout=20)[1]
    assert "Traceback" not in said
    return said


def test_ctrl_c_ends_cleanly_and_the_same_command_goes_on(demo: Path, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    words = ["build", *SMALL, f"out={out}", f"source={world}", "engine=local"]
    said = stopped(words, signal.SIGINT, lambda: bool(list(out.glob("caption/_receipts/*.json"))))
    assert "the same command continues" in said
    mminstruct(*words)
    assert contents(out) == contents(demo)


def test_sigterm_under_ray_is_a_stop_that_leaves_no_process_behind(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    words = ["build", *SMALL, f"out={out}", f"source={world}", "engine=ray"]
    said = stopped(words, signal.SIGTERM, lambda: bool(list(out.glob("ingest/_receipts/*.json"))))
    assert "the same command continues" in said


def test_a_pair_is_traced_from_its_shard_to_the_dataset(demo: Path) -> None:
    rows = Store(str(demo)).table("export").dataset(schemas.EXPORT).to_table().to_pylist()
    found = json.loads(mminstruct("trace", demo, rows[0]["pair_id"], "--json"))
    assert {
        "ingest",
        "caption",
        "fuse",
        "summarize",
        "match",
        "answer",
        "filter",
        "review",
        "select",
        "merge",
        "export",
    } <= set(found["rows"])
    assert found["rows"]["ingest"][0]["shard"].endswith(".tar")
    assert found["rows"]["ingest"][0]["image_id"] == rows[0]["image_id"]
    assert "{{ description }}" in found["prompts"]["answer"]


@pytest.mark.parametrize("layout", ["hf", "llava"])
def test_the_dataset_is_exported_and_proves_itself(demo: Path, tmp_path: Path, layout: str) -> None:
    said = mminstruct("export", demo, "--format", layout, "--to", tmp_path / layout)
    assert "rows of train" in said
    if layout == "hf":
        import datasets

        loaded = datasets.load_dataset(str(tmp_path / layout), cache_dir=str(tmp_path / "cache"))
        assert loaded["train"][0]["image"].size == (256, 256)
    else:
        records = json.loads((tmp_path / layout / "train.json").read_text())
        assert all((tmp_path / layout / "images" / record["image"]).is_file() or (tmp_path / layout / record["image"]).is_file()
                   for record in records)  # fmt: skip
