"""The recipe coco on a drawn world, from published formats to a training set."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import mminstruct
from mminstruct import export, report
from mminstruct.engine.local import Local
from mminstruct.run import Run, claim, execute
from mminstruct.stages.template import PHRASES
from mminstruct.status.tables import table_statuses
from tests.conftest import COCO as WORDS
from tests.export.test_llava import upstream
from tests.world import bench, coco

pytestmark = pytest.mark.slow
KILLED = """
import os, signal, sys
left, sync = int(sys.argv.pop(1)), os.fsync
def fsync(handle):
    global left
    sync(handle)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
from mminstruct.cli import main
sys.exit(main())
"""
"""The command, which kills itself as soon as it has written a given number of files."""


@pytest.fixture
def source(coco_source: Path) -> Path:
    return coco_source


@pytest.fixture
def run(coco_run: Run) -> Run:
    return coco_run


def rows(run: Run, table: str) -> list[dict[str, Any]]:
    return list(run.table(table).dataset(run.stages[table].writes).to_table().to_pylist())


def contents(folder: str | Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*.parquet"))}


def build(out: Path, source: Path, *words: str, start: tuple[str, ...] = ("-m", "mminstruct.cli")) -> int:
    command = [
        sys.executable,
        *start,
        "build",
        "experiment=demo_coco",
        f"out={out}",
        f"source={source}",
        *WORDS,
        *words,
    ]
    return subprocess.run(command, capture_output=True, check=False, timeout=600).returncode


def test_every_table_is_there_and_its_sums_close(run: Run) -> None:
    found = {status.table: status for status in table_statuses(run.url)}
    assert list(found) == list(run.stages)
    assert all(status.rows_in == status.kept + sum(status.dropped.values()) for status in found.values())
    assert found["template"].rows_in == found["annotate"].rows
    assert set(found["template"].dropped) == {"no_image"}  # as planted
    assert found["filter"].dropped == {}
    assert {"contradiction", "dup_question", "quota_origin"} == set(found["merge"].dropped)


def test_conversations_mix_formats_within_their_limits_and_none_is_in_two_splits(run: Run) -> None:
    kinds = {row["pair_id"]: row["kind"] for row in rows(run, "review")}
    talks: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows(run, "merge"), key=lambda row: row["place"]):
        talks.setdefault(row["talk_id"], []).append(row)
    assert max(map(len, talks.values())) == 12
    assert all(sum(row["words"] for row in talk) * 1.4 <= 1400 for talk in talks.values())
    mixed = [[kinds[row["pair_id"]] for row in talk] for talk in talks.values()]
    mixed = [talk for talk in mixed if len(set(talk)) > 1]
    assert len(mixed) > len(talks) / 2
    assert all(one != two for talk in mixed for one, two in itertools.pairwise(talk))
    splits = {(row["image_id"], row["split"]) for row in rows(run, "merge")}
    assert len(splits) == len({image for image, _ in splits})
    assert Counter(split for _, split in splits)["test"] == 3


def test_every_turn_has_the_phrase_of_its_kind(run: Run) -> None:
    shown = Counter()
    for row in rows(run, "export"):
        questions = [turn["value"] for turn in row["conversations"][::2]]
        for turn, question in zip(row["turns"], questions, strict=True):
            assert question.endswith(PHRASES[turn["kind"]])
            shown[turn["kind"]] += 1
    assert shown.keys() == PHRASES.keys()


def test_upstream_s_loader_takes_conversations_of_many_turns(run: Run, tmp_path: Path) -> None:
    export.write(run.url, "llava", tmp_path / "llava")
    found = upstream(tmp_path / "llava", "train") + upstream(tmp_path / "llava", "test")
    assert max(len(row["conversations"]) for row in found) == 24
    assert len(found) == len(rows(run, "export"))
    card = (tmp_path / "llava" / "README.md").read_text(encoding="utf-8")
    assert "[COCO-is-all](https://arxiv.org/abs/2401.08968)" in card
    assert "| annotations of | licence | annotations |" in card
    assert "synthetic" not in card


def test_a_run_without_models_is_opened_traced_and_reported(run: Run, tmp_path: Path) -> None:
    opened = mminstruct.open(run.url)
    talk = next(row for row in rows(run, "export") if len(row["turns"]) > 1)
    assert talk["pair_id"] in str(opened.trace(talk["pair_id"]))
    pair = opened.trace(talk["turns"][1]["pair_id"])
    assert {"ingest", "annotate", "template", "filter", "review", "select", "merge"} <= set(pair.rows)
    assert "data:image" in opened.show(talk["image_id"])._repr_html_()
    page = Path(report.write(run.url, str(tmp_path / "report.html"))).read_text(encoding="utf-8")
    assert PHRASES["caption"] in page


def test_a_benchmark_asks_the_held_out_questions(run: Run, tmp_path: Path) -> None:
    judged = Run(url=str(tmp_path / "bench"), recipe=bench(run.url))
    claim(judged)
    execute(judged, Local())
    asked = rows(judged, "pick")
    held_out = {row["image_id"] for row in rows(run, "merge") if row["split"] == "test"}
    assert {row["image_id"] for row in asked} == held_out
    assert rows(judged, "score")


def test_one_part_of_images_gives_the_turns_that_they_have_in_the_whole_build(
    run: Run, source: Path, tmp_path: Path
) -> None:
    part = Run(url=str(tmp_path / "part"), recipe=coco(source, *WORDS))
    claim(part)
    execute(part, Local(), units=1)
    images = {row["image_id"] for row in rows(part, "template")}
    assert len(images) == 8
    assert rows(part, "template") == [row for row in rows(run, "template") if row["image_id"] in images] != []


def test_a_build_killed_five_times_ends_in_the_same_bytes(run: Run, source: Path, tmp_path: Path) -> None:
    step = sum(path.is_file() for path in Path(run.url).rglob("*.*")) // 6
    for _ in range(5):
        assert build(tmp_path / "killed", source, start=("-c", KILLED, str(step))) == -9
    assert build(tmp_path / "killed", source) == 0
    assert contents(tmp_path / "killed") == contents(run.url)


def test_ray_makes_the_same_bytes_from_files_in_another_place(run: Run, source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "moved")
    assert build(tmp_path / "ray", tmp_path / "moved", "engine=ray") == 0
    assert contents(tmp_path / "ray") == contents(run.url)
