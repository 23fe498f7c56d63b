from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mminstruct import cli, report
from mminstruct.checksum import seal, unseal
from mminstruct.report import build
from mminstruct.stage import Drop
from mminstruct.status.tables import as_text, table_statuses
from mminstruct.store.tables import Store
from tests.report import runs
from tests.report.reading import read


@pytest.fixture
def run(tmp_path: Path) -> str:
    runs.build(str(tmp_path / "run"), ["A red square.", "A blue one."])
    return str(tmp_path / "run")


def test_every_row_that_left_is_on_the_page_with_its_reason_and_what_it_cost(run: str) -> None:
    found = build.facts(run)
    assert [stage["table"] for stage in found["stages"]][:2] == ["ingest", "caption"]
    assert (found["stages"][0]["rows_in"], found["stages"][0]["kept"]) == (3, 2)
    (reason,) = found["reasons"]
    assert (reason["table"], reason["reason"], reason["count"]) == ("ingest", "truncated", 1)
    assert reason["examples"] == [{"id": "broken.jpg", "detail": "image file is truncated"}]
    assert found["total"] == {"seconds": 92.0, "calls": 2, "tokens": 1200, "cost": 0.25}
    assert (found["pairs"], found["kinds"]) == (2, {"poetry": 2})
    said = read(build.page(run))
    for text in (
        "ingest: 1 × truncated",
        "image file is truncated",
        "$0.25",
        "1,200",
        "66.7% of 3",
        "All row counts add up.",
    ):
        assert text in said.text, text
    assert said.tags["img"] == 2
    assert "A blue one." in said.text
    assert "1 × truncated" in said.titles


def test_what_failed_and_what_does_not_close_is_said_first(run: str) -> None:
    Store(run).table("filter").fail("c-0000", "ValueError: no such model", "Traceback ...")
    said = read(build.page(run)).text
    assert "filter/c-0000 failed: ValueError: no such model" in said
    assert "All row counts add up." in said
    file = Path(run, "ingest", "_receipts", "a-0000.json")
    file.write_bytes(seal(unseal(file.read_bytes(), "", "") | {"rows_in": 9}))
    said = read(build.page(run)).text
    assert "ingest/a-0000: 9 in, but 6 neither kept nor dropped" in said[: said.index("Rows by stage")]
    assert "All row counts add up." not in said


def test_the_command_writes_the_page_and_tells_the_tables(
    run: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["report", run]) == 0
    said = capsys.readouterr().out
    assert "truncated" in said
    assert "poetry: 2 pairs" in said
    assert said.strip().endswith(f"{run}/report.html")
    first = Path(run, "report.html").read_bytes()
    assert cli.main(["report", run, "--json", "--to", str(tmp_path / "page.html")]) == 0
    assert json.loads(capsys.readouterr().out) == report.facts(run)
    assert (
        tmp_path / "page.html"
    ).read_bytes() == first  # the page itself is no part of the run, and nothing is by chance
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "no run here" in capsys.readouterr().err


def test_a_run_that_has_only_begun_has_a_page(run: str) -> None:
    for name in ("match", "answer", "filter", "summarize"):
        shutil.rmtree(Path(run, name))
    said = read(build.page(run))
    assert "Write a poem." not in said.text
    assert said.tags["img"] == 2
    shutil.rmtree(Path(run, "caption"))
    assert "There is no text for this image." in read(build.page(run)).text


def test_a_sample_shows_every_text_of_its_image_and_of_its_pairs(run: str) -> None:
    said = read(build.page(run)).text
    for text in ("alt_text (came with the image): alt", "caption: A blue one.", "Write a poem."):
        assert text in said, text
    assert said.count("A blue one.") == 2  # the caption, and the answer of the pair


def test_a_conversation_is_shown_turn_by_turn_and_a_row_that_left_with_its_reason(tmp_path: Path) -> None:
    url = str(tmp_path)
    images = runs.build(url, ["A red square.", "A blue one."])
    turns = [{"from": "human", "value": "<image>\nWrite a poem."}, {"from": "gpt", "value": "Roses."}] * 2
    row = {
        "pair_id": runs.digest("p0"),
        "image": {"bytes": runs.jpeg(), "path": "x.jpg"},
        "conversations": turns,
        "split": "test",
    }
    row |= {"image_id": images[0], "instruction_id": runs.digest("i"), "source": "s"}
    runs.put(url, "export", [row], order=6, drops=[Drop(runs.digest("p1"), "held_out")])
    said = read(build.page(url))
    assert (said.text.count("Roses."), said.text.count("Write a poem. (test)")) == (2, 1)
    assert (said.tags["dt"], said.tags["dd"]) == (2 + 1, 2 + 2)  # two turns; a pair's answer and why it left
    assert "Dropped at export: held_out" in said.text


def test_a_difference_between_two_tables_is_explained_on_the_page(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "embed: 2 in, of 3 rows of instruct: rows with the same instruction_id in each part count once"
    statuses = build.table_statuses(run)
    statuses[1].remarks.append(told)
    monkeypatch.setattr(build, "table_statuses", lambda url: statuses)
    assert told in read(build.page(run)).text


def test_a_warning_of_several_tables_is_on_the_page_once_with_the_counts_of_the_first(run: str) -> None:
    def warned(table: str, *counts: int) -> None:
        for file in sorted(Path(run, table, "_receipts").glob("*.json")):
            found = unseal(file.read_bytes(), "", "")
            file.write_bytes(seal(found | {"warnings": {"pictures are <odd>": list(counts)}}))

    warned("ingest", 1, 5)
    assert build.facts(run)["warnings"] == []  # a fifth, and no more
    warned("caption", 2, 5)
    warned("match", 5, 5)
    (line,) = build.facts(run)["warnings"]
    assert line == "caption: 2 of 5 pictures are <odd>"
    assert read(build.page(run)).text.count(line) == 1
    assert f"WARNING: {line}" in as_text(table_statuses(run))
