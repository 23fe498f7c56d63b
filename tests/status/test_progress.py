"""Progress of a run, on a terminal and without one."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import struct
import sys
import termios
import time
import tty
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.run import Event, FailedUnits, Run, claim, execute
from mminstruct.schemas import column
from mminstruct.stage import Stage, StageOutput, Transform, output, part
from mminstruct.stages.ingest import Ingest
from mminstruct.status.progress import FirstRows, Progress
from mminstruct.store.receipt import Receipt
from mminstruct.unit import Counters
from tests.doing_nothing import Count, Small, small


def event(key: str, fresh: bool = True, **facts: object) -> Event:
    receipt = Receipt(**{"key": key, "parts": [], "rows_in": 10, "kept": 7, "dropped": {"dull": 3}, **facts})  # type: ignore[arg-type]
    return Event("answer", key, receipt, fresh=fresh)


def build(folder: Path, recipe: Small, progress: Progress) -> None:
    run = Run(url=str(folder), recipe=recipe)
    claim(run)
    with progress:
        execute(run, Local(), watch=progress.watch, begin=progress.begin)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())


@pytest.mark.usefixtures("no_terminal")
def test_without_a_terminal_each_table_ends_with_a_plain_line(tmp_path: Path) -> None:
    lines: list[str] = []
    build(tmp_path, small(drop=3), Progress(lines.append))
    assert any(line.startswith("count: 2/2 units, 32 kept, 0 dropped, ") for line in lines)
    assert any(line.startswith("sum: 1/1 units, 20 kept") for line in lines)
    assert not any("\x1b" in line for line in lines)


@pytest.mark.usefixtures("no_terminal")
def test_without_a_terminal_lines_are_few_however_many_units(tmp_path: Path) -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    progress.begin(["answer"], [str(i) for i in range(1000)])
    for i in range(1000):
        progress.watch(event(str(i)))
    assert len(lines) == 2
    assert lines[-1].startswith("answer: 1000/1000 units, 7000 kept, 3000 dropped")


@pytest.mark.usefixtures("no_terminal")
def test_a_failed_unit_is_told_at_once_with_its_error(tmp_path: Path) -> None:
    recipe = small()
    poison = next(iter(recipe.count.load()("shard-00001"))).output.table["id"][0].as_py()
    lines: list[str] = []
    with pytest.raises(FailedUnits):
        build(tmp_path, small(poison=poison), Progress(lines.append))
    assert any(", 1 failed" in line and "| shard-00001-0000 FAILED: ValueError: poison" in line for line in lines)


@pytest.mark.usefixtures("no_terminal")
def test_units_done_before_count_as_done_but_not_in_the_rate() -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    progress.begin(["answer"], ["a", "b"])
    progress.watch(event("a", fresh=False))
    assert lines == []
    assert progress.lines["answer"].rate() == 0
    progress.watch(event("b", cost=0.25))
    assert lines[0].startswith("answer: 2/2 units, 14 kept, 6 dropped, ")
    assert lines[0].endswith("rows/s, $0.25")


@pytest.mark.usefixtures("no_terminal")
def test_time_left_goes_by_the_fresh_units_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines: list[str] = []
    progress = Progress(lines.append)
    progress.begin(["answer"], [str(i) for i in range(10)])
    for i in range(5):
        progress.watch(event(str(i), fresh=False))
    now = 120.0
    progress.watch(event("5"))
    assert lines == ["answer: 6/10 units, 42 kept, 18 dropped, 0.5 rows/s, 80 s left"]


def test_on_a_terminal_a_table_stays_when_the_run_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    lines: list[str] = []
    build(tmp_path, small(drop=3), Progress(lines.append))
    assert lines == []
    end = terminal.getvalue()[-1500:]
    for name in ("count", "first", "second", "sum", "last"):
        assert name in end
    assert "2/2" in end


def test_the_table_has_a_row_for_each_table_of_the_run() -> None:
    progress = Progress()
    progress.begin(["answer", "filter"], ["a"])
    progress.watch(event("a", parts=["a"]))
    shown = Console(file=io.StringIO(), width=100)
    shown.print(progress.table())
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert [line.split()[:5] for line in text.splitlines()[1:]] == [
        ["answer", "1/1", "7", "3", "0"],
        ["filter", "0/1", "0", "0", "0"],
    ]


@pytest.mark.usefixtures("no_terminal")
def test_a_warning_is_said_once_in_a_run_as_soon_as_it_holds_for_more_than_a_fifth_of_the_inputs() -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    progress.watch(event("a", warnings={"pictures are odd": [2, 10]}))
    assert not any("WARNING" in line for line in lines)
    progress.watch(event("b", warnings={"pictures are odd": [9, 10]}))
    progress.watch(event("c", warnings={"pictures are odd": [10, 10], "pictures are dark": [0, 10]}))
    assert [line for line in lines if "WARNING" in line] == ["WARNING: answer: 11 of 20 pictures are odd"]


def test_a_terminal_shows_a_warning_above_the_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    progress = Progress()
    progress.console = progress.live.console = Console(file=screen, force_terminal=True, width=200)  # type: ignore[union-attr]
    with progress:
        progress.watch(event("a", warnings={"pictures are [odd]": [1_000, 1_500]}))
    assert "WARNING: answer: 1,000 of 1,500 pictures are [odd]" in screen.getvalue()


@dataclass(kw_only=True)
class Written(Stage):
    """Writes a sentence about each number."""

    reads = {"count": part("id", "value")}
    writes = pa.schema([pa.field("id", pa.string()), column("caption", pa.string(), "a sentence", tag="text")])
    row_key = "id"

    def load(self) -> Transform:
        def write(count: pa.Table) -> StageOutput:
            rows = [{"id": row["id"], "caption": f"number\x1b {row['value']}"} for row in count.to_pylist()]
            return output(self.writes, rows)

        return write


@dataclass(kw_only=True)
class Writing(Recipe):
    count: Count
    written: Written


@dataclass(kw_only=True)
class Reading(Recipe):
    ingest: Ingest


def photo_folder(folder: Path, alt: str | None) -> Path:
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "one.png")
    if alt is not None:
        (folder / "one.txt").write_text(alt)
    return folder


def test_the_first_row_of_a_table_with_texts_is_shown_once_and_only_when_it_is_new(tmp_path: Path) -> None:
    def lines() -> list[str]:
        run, said = Run(url=str(tmp_path), recipe=Writing(count=Count(), written=Written())), list[str]()
        claim(run)
        execute(run, Local(), watch=FirstRows(run, said.append).watch)
        return said

    (line,) = lines()
    first = Count().load()("shard-00000")
    one = next(iter(first)).output.table["id"][0].as_py()
    assert line == f'written {one}: "number\\u001b 0" (mminstruct trace {tmp_path} ID follows an id)'
    assert lines() == [], "all of it was made by the first build"


def test_the_first_image_is_shown_by_its_text_or_else_by_the_name_of_its_file(tmp_path: Path) -> None:
    for name, alt in (("bare", None), ("told", "two red apples")):
        source = photo_folder(tmp_path / name, alt)
        said: list[str] = []
        run = Run(url=str(tmp_path / f"run-{name}"), recipe=Reading(ingest=Ingest(path=str(source))))
        claim(run)
        execute(run, Local(), watch=FirstRows(run, said.append).watch)
        (line,) = said
        assert f': "{alt or "one.png"}" (mminstruct trace' in line


def test_a_table_in_which_nothing_is_left_counts_what_its_units_count_one_by_one(tmp_path: Path) -> None:
    build(tmp_path, small(), Progress(say=lambda line: None))
    at_once, one_by_one = Progress(say=lambda line: None), Progress(say=lambda line: None)
    for progress, how in ((at_once, {"finished": at_once.finished}), (one_by_one, {})):
        run = Run(url=str(tmp_path), recipe=small())
        claim(run)
        execute(run, Local(), watch=progress.watch, begin=progress.begin, **how)
    names = ("done", "left", "kept", "dropped", "parts", "calls", "tokens_in", "tokens_out", "cost", "warnings")

    def counts(progress: Progress) -> dict[str, list[object]]:
        return {table: [getattr(line, name) for name in names] for table, line in progress.lines.items()}

    assert counts(at_once) == counts(one_by_one)
    assert all(line.done and line.parts for line in at_once.lines.values())


def within(key: str, done: int, rows: int = 10, seconds: float = 1.0, cost: float = 0.0) -> Counters:
    return Counters("answer", key, seconds, rows, done, done, 100 * done, 7 * done, cost)


@pytest.mark.usefixtures("no_terminal")
def test_without_a_terminal_a_long_unit_gets_a_line_every_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines: list[str] = []
    progress = Progress(lines.append)
    progress.begin(["answer"], ["a", "b", "c", "d"])

    def after(seconds: float, *units: Counters) -> list[str]:
        nonlocal now
        now = seconds
        before = len(lines)
        progress.look(list(units))
        return lines[before:]

    assert after(1000, within("a", 0, 512)) == [], "it has only begun"
    assert after(1020, within("a", 100, 512)) == []
    assert after(1040, within("a", 128, 512, cost=0.001), within("b", 128, 512, cost=0.002)) == [
        "answer: 0/4 units, 2 in progress (256/1024 rows), 0 kept, 0 dropped, 6.2 rows/s, 256 calls, 26k tokens in,"
        " 1792 out, $0.0030, 287 s left"
    ], "by the half unit that took 41 s: loading a model, until 999, does not count"
    assert after(1060, within("a", 200, 512)) == [], "half a minute has not passed"
    now = 1065
    progress.watch(event("a", calls=512, tokens_in=51_200, tokens_out=3_584))
    assert len(lines) == 2
    assert after(1094, within("b", 500, 512)) == [], "a unit's line was written 29 seconds ago"
    (line,) = after(1096, within("b", 500, 512))
    assert line.startswith(
        "answer: 1/4 units, 1 in progress (500/512 rows), 7 kept, 3 dropped, 5.3 rows/s, 1012 calls,"
    )
    assert after(1200, within("b", 500, 512)) == [], "nothing has changed"
    assert len(after(1400, within("b", 500, 512))) == 1, "it lives, however"


@pytest.mark.usefixtures("no_terminal")
@given(st.data())
def test_a_unit_counts_once_however_late_its_reports_are(data: st.DataObject) -> None:
    """What is shown is always the receipts, and the latest reports of units that have not ended."""
    progress = Progress(lambda line: None)
    progress.begin(["answer"], list("abcd"))
    ended, reports = dict[str, int](), dict[str, int]()
    for _ in range(data.draw(st.integers(1, 12))):
        key = data.draw(st.sampled_from("abcd"))
        if data.draw(st.booleans()) and key not in ended:
            ended[key] = data.draw(st.integers(1, 50))
            calls = ended[key]
            fresh = data.draw(st.booleans()) or key not in reports
            progress.watch(event(key, fresh, calls=calls, tokens_in=100 * calls, tokens_out=7 * calls))
        else:  # reports come late: also those of units that have ended, or have been begun again
            reports[key] = data.draw(st.integers(0, 50))
            progress.look([within(key, done) for key, done in reports.items()])
        calls = sum(ended.values()) + sum(done for key, done in reports.items() if key not in ended)
        assert progress.lines["answer"].usage()[:3] == (calls, 100 * calls, 7 * calls)


def test_a_terminal_shows_a_long_unit_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real pseudoterminal of 80 columns, by the thread that looks."""
    main, other = pty.openpty()
    tty.setraw(other)
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    monkeypatch.setattr("mminstruct.status.progress._LOOK", 0.02)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    state, seen = [0], b""
    with os.fdopen(other, "w") as screen:
        monkeypatch.setattr(sys, "stderr", screen)
        progress = Progress(in_hand=lambda: [within("a", state[0], 512, 30.0, 0.5)])
        with progress:
            progress.begin(["answer", "transcribe"], ["a", "b"])
            for done in (100, 312):
                state[0], end = done, time.monotonic() + 10
                while f"{done}/512".encode() not in seen:
                    assert time.monotonic() < end, seen
                    if select.select([main], [], [], 0.1)[0]:
                        seen += os.read(main, 65536)
            progress.watch(event("a", calls=512))
    os.close(main)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    lines = [line.split() for line in text.splitlines()]
    at = next(place for place, line in enumerate(lines) if "312/512" in line)
    assert lines[at - 2] == ["rows", "in", "tokens"]
    assert lines[at - 1] == [
        "table",
        "units",
        "kept",
        "dropped",
        "failed",
        "progress",
        "calls",
        "in/out",
        "US$",
        "rows/s",
        "left",
    ]
    assert lines[at][:9] == ["answer", "0/2", "0", "0", "0", "312/512", "312", "31k/2184", "0.50"]
    assert lines[at][-1] == "s", "time left"
    assert "…" not in text, "it fits 80 columns"


@pytest.mark.usefixtures("no_terminal")
def test_the_number_of_a_later_tables_units_is_known_when_the_table_that_makes_them_is_complete(tmp_path: Path) -> None:
    lines: list[str] = []
    build(tmp_path, small(), Progress(lines.append))
    assert any(line.startswith("first: 4/4 units, 32 kept") for line in lines)
