from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe, RecipeError, check
from mminstruct.run import DriftError, Run, claim, execute
from mminstruct.stages.decide import Decide
from mminstruct.status.tables import table_statuses
from mminstruct.store.reader import RunReader
from tests.reviewing.people import lay, line, row, sheets, text


def alone(**fields: object) -> Recipe:
    from dataclasses import dataclass

    @dataclass(kw_only=True)
    class Alone(Recipe):
        decide: Decide

    return Alone(decide=Decide(**fields))  # type: ignore[arg-type]


def test_without_files_the_table_is_there_and_its_sums_close(tmp_path: Path) -> None:
    run = Run(url=str(tmp_path), recipe=alone())
    claim(run)
    execute(run, Local())
    (stands,) = table_statuses(str(tmp_path), verify=True)
    assert (stands.units, stands.rows_in, stands.kept, stands.rows, stands.state) == (0, 0, 0, 0, "complete")
    assert stands.faults == []


SHEETS = sheets({"ana": [row("i1+t1"), row("i1+t2")], "bo": [row("i1+t1")]})
FILES = {"ana": [line(SHEETS, "ana", 0), line(SHEETS, "ana", 1, "reject")], "bo": [line(SHEETS, "bo", 0, "skip")]}


def built(url: Path, path: object) -> Run:
    run = Run(url=str(url), recipe=alone(path=path))
    check(run.recipe)
    claim(run)
    execute(run, Local())
    return run


def test_a_file_is_a_unit_each_line_a_row_or_a_drop_and_nothing_is_done_twice(tmp_path: Path) -> None:
    here = lay(tmp_path / "r", SHEETS, {**FILES, "cut": text(FILES["bo"])[:-9]})
    run = built(tmp_path / "run", str(here))
    before = {path: path.stat().st_mtime_ns for path in Path(run.url).rglob("*.parquet")}
    (stands,) = table_statuses(run.url, verify=True)
    assert (stands.units, stands.rows_in, stands.kept, stands.dropped, stands.faults) == (3, 4, 3, {"cut_line": 1}, [])
    assert stands.listing == {"files": 3, "read": 3, "shards": 3, "passed": {}}
    (drop,) = RunReader(run.url)["decide"].dropped()
    assert drop["id"] == "decisions/cut.jsonl:1"
    built(tmp_path / "run", [str(tmp_path / "r")])
    assert {path: path.stat().st_mtime_ns for path in Path(run.url).rglob("*.parquet")} == before


def test_the_order_of_files_changes_no_byte(tmp_path: Path) -> None:
    here = lay(tmp_path / "r", SHEETS, FILES)
    names = [str(here / f"{person}.jsonl") for person in ("ana", "bo")]
    tables = [
        {part.name: part.read_bytes() for part in Path(built(tmp_path / name, paths).url).rglob("*.parquet")}
        for name, paths in (("a", names), ("b", names[::-1]), ("c", str(tmp_path / "r")))
    ]
    assert len(tables[0]) == 2
    assert tables[0] == tables[1] == tables[2]


def test_a_file_that_changed_is_refused_and_a_touched_one_is_not(tmp_path: Path) -> None:
    here = lay(tmp_path / "r", SHEETS, FILES)
    built(tmp_path / "run", str(here))
    os.utime(here / "ana.jsonl", (1, 1))
    built(tmp_path / "run", str(here))
    (here / "ana.jsonl").write_bytes(text(FILES["ana"][:1]))
    with pytest.raises(DriftError, match="decide/ana"):
        built(tmp_path / "run", str(here))


@pytest.mark.parametrize("path", [3, [None]])
def test_a_path_that_is_none_is_refused_by_its_key(path: object) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.decide\.path=.*: take a folder, a file, or a list"):
        check(alone(path=path))


@pytest.mark.parametrize(("path", "said"), [("none", "no such file or folder"), (["."], "no sheet.json is beside it")])
def test_a_path_without_decisions_stops_a_build_before_it_begins(
    path: object, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b" / "c")
    with pytest.raises(ValueError, match=rf"^recipe\.decide\.path=.*: {re.escape(said)}"):
        claim(Run(url=str(tmp_path / "run"), recipe=alone(path=path)))
    assert not (tmp_path / "run" / "decide").exists()
