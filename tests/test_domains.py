"""The recipe domains on drawn scenes with the embedded models, from images to a training set."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import mminstruct
from mminstruct import export, report
from mminstruct.readers.domains import KINDS, NEEDS
from mminstruct.stages.verify import REASONS
from mminstruct.store.reader import RunReader
from mminstruct.text.phrases import PHRASES
from mminstruct.text.turn import FAULTS, LETTERS, REPLIES
from tests.conftest import DOMAINS as WORDS
from tests.export.test_llava import upstream
from tests.test_coco import KILLED, contents

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(domains_run: Path) -> mminstruct.OpenRun:
    return mminstruct.open(str(domains_run))


def rows(run: RunReader, table: str) -> list[dict[str, Any]]:
    return list(run[table].to_arrow().to_pylist())


def dropped(run: RunReader, table: str) -> Counter[str]:
    return Counter(row["reason"] for row in run[table].dropped())


def build(out: Path, source: Path, *words: str, start: tuple[str, ...] = ("-m", "mminstruct.cli")) -> int:
    command = [sys.executable, *start, "build", *WORDS, f"out={out}", f"source={source}", *words]
    return subprocess.run(command, capture_output=True, check=False, timeout=600).returncode


def test_every_table_is_there_its_sums_close_and_every_reason_has_a_name(run: mminstruct.OpenRun) -> None:
    found = {status.table: status for status in run.status(verify=True)}
    assert list(found) == list(run)
    for status in found.values():
        assert status.rows_in == status.kept + sum(status.dropped.values())
        assert (status.state, status.faults) == ("complete", [])
    assert found["ingest"].kept == 8
    assert found["verify"].rows_in == found["converse"].rows > found["ask"].rows
    assert found["verify"].kept > found["verify"].rows_in / 2
    assert set(dropped(run, "verify")) <= {*FAULTS, *REASONS}
    of_reply = {why if why.startswith("model_") else f"ask_{why}" for why in REPLIES}
    assert set(dropped(run, "ask")) <= {*(f"needs_{need}" for need in NEEDS), *of_reply}
    assert set(dropped(run, "retrieve")) <= {"no_domain", "bad_embedding"}


def test_questions_are_of_their_image_s_domain_in_four_kinds_and_have_one_clear_answer(run: mminstruct.OpenRun) -> None:
    domain = {row["image_id"]: row["domain"] for row in rows(run, "retrieve")}
    made = rows(run, "verify")
    assert {row["kind"] for row in made} == set(KINDS)
    for row in made:
        assert row["domain"] == domain[row["image_id"]]
        if row["kind"] == "judgement":
            assert row["answer"] in ("Yes", "No")
        elif row["kind"] == "choice":
            assert len({choice.casefold() for choice in row["choices"]}) == len(LETTERS)
            assert row["answer"] == LETTERS[row["right"]]
        assert "<" not in row["question"]
    shown = [
        text for one in run["ask"].manifest["config"]["domains"] for some in one["templates"].values() for text in some
    ]
    assert {row["template"] for row in made} > {None}
    assert {row["template"] for row in made} <= {None, *shown}


def test_what_was_rejected_is_kept_with_its_text_and_a_conversation_has_no_gap(run: mminstruct.OpenRun) -> None:
    asked = {row["pair_id"]: row for row in rows(run, "converse")}
    left = {row["id"]: row["reason"] for row in run["verify"].dropped()}
    assert {pair for pair, row in asked.items() if row["fault"]} == {
        pair for pair, why in left.items() if why in FAULTS
    }
    assert all(asked[pair]["fault"] == why for pair, why in left.items() if why in FAULTS)
    talks: dict[str, list[int]] = {}
    for row in rows(run, "verify"):
        if row["talk"]:
            talks.setdefault(row["talk"], []).append(row["turn"])
    assert talks
    assert all(sorted(turns) == list(range(len(turns))) for turns in talks.values())


def test_yes_and_no_are_balanced_in_each_domain_and_phrases_fit_their_kind(run: mminstruct.OpenRun) -> None:
    final = {row["pair_id"]: row for row in rows(run, "review")}
    judged = Counter(
        (final[row["pair_id"]]["domain"], final[row["pair_id"]]["answer"])
        for row in rows(run, "select")
        if row["kind"] == "judgement"
    )
    assert judged
    assert all(judged[domain, "Yes"] == judged[domain, "No"] for domain, _ in judged)
    for row in rows(run, "export"):
        questions = [turn["value"] for turn in row["conversations"][::2]]
        for turn, question in zip(row["turns"], questions, strict=True):
            if phrase := final[turn["pair_id"]]["phrase"]:
                assert phrase in PHRASES[turn["kind"]]
                assert question.endswith(phrase)


def test_the_training_set_is_taken_by_upstream_s_loader_and_its_card_names_the_paper(
    run: mminstruct.OpenRun, tmp_path: Path
) -> None:
    export.write(run.url, "llava", tmp_path / "llava")
    found = upstream(tmp_path / "llava", "train") + upstream(tmp_path / "llava", "test")
    assert len(found) == len(rows(run, "export"))
    assert max(len(row["conversations"]) for row in found) > 8
    assert "[MMInstruct](https://arxiv.org/abs/2407.15838)" in (tmp_path / "llava" / "README.md").read_text()


def test_a_question_is_traced_to_its_domain_and_the_report_has_a_map(run: mminstruct.OpenRun, tmp_path: Path) -> None:
    talk = next(row for row in rows(run, "export") if len(row["turns"]) > 1)
    pair = run.trace(talk["turns"][1]["pair_id"])
    assert {"ingest", "retrieve", "transcribe", "caption", "converse", "verify", "review", "select", "merge"} <= set(
        pair.rows
    )
    assert "data:image" in run.show(talk["image_id"])._repr_html_()
    found = report.facts(run.url)["coverage"]
    assert sum(map(sum, found["rows"])) == run["select"].num_rows
    page = Path(run.report(str(tmp_path / "report.html"))).read_text(encoding="utf-8")
    gap = next(gap for some in found["gaps"] for gap in some if gap)
    assert "experiment=demo_domains" in gap["command"]
    assert f"recipe.retrieve.per_domain={gap['images']}" in page


def test_a_build_killed_three_times_ends_in_the_same_bytes(
    run: mminstruct.OpenRun, domains_source: Path, tmp_path: Path
) -> None:
    step = sum(path.is_file() for path in Path(run.url).rglob("*.*")) // 4
    for _ in range(3):
        assert build(tmp_path / "killed", domains_source, start=("-c", KILLED, str(step))) == -9
    assert build(tmp_path / "killed", domains_source) == 0
    assert contents(tmp_path / "killed") == contents(run.url)


def test_ray_makes_the_same_bytes_from_files_in_another_place(
    run: mminstruct.OpenRun, domains_source: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved" / domains_source.name  # rows name their source by the name of its folder
    shutil.copytree(domains_source, moved)
    assert build(tmp_path / "ray", moved, "engine=ray") == 0
    assert contents(tmp_path / "ray") == contents(run.url)
