from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mminstruct.checksum import Damaged
from mminstruct.reviewing.folder import find
from mminstruct.reviewing.sheet import FILE, dump
from tests.reviewing.people import lay, line, row, sheets

SHEETS = sheets({"ana": [row("p1")], "bo": [row("p1")]})
FILES = {person: [line(SHEETS, person, 0)] for person in ("ana", "bo")}


def test_a_file_is_the_same_however_it_is_named_and_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = lay(tmp_path / "one", SHEETS, FILES)
    keys = list(find([str(here)]).decisions)
    assert [key.partition("-")[0] for key in keys] == ["ana", "bo"]
    for paths in ([str(tmp_path / "one")], [f"{here}/"], [str(here / "bo.jsonl"), str(here / "ana.jsonl")],
                  [str(here), str(here / "ana.jsonl")]):  # fmt: skip
        assert list(find(paths).decisions) == keys
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    monkeypatch.chdir(tmp_path / "two" / "decisions")
    there = find(["."]).decisions
    assert list(there) == keys
    assert [one.digest for one in there.values()] == [one.digest for one in find([str(here)]).decisions.values()]
    with pytest.raises(ValueError, match=r"ana\.jsonl are one file of the same sheets in two copies"):
        find([str(here), str(tmp_path / "two")])


def test_files_of_one_name_from_two_sheets_are_two_units(tmp_path: Path) -> None:
    other = sheets({"ana": [row("p2")]})
    paths = [lay(tmp_path / "one", SHEETS, FILES), lay(tmp_path / "two", other, {"ana": [line(other, "ana", 0)]})]
    found = find([str(path) for path in paths]).decisions
    assert [key.partition("-")[0] for key in found] == ["ana", "ana", "bo"]
    assert [[one["pair_id"] for one in each.read()] for each in found.values()].count(["p2"]) == 1


def test_another_sheet_beside_it_is_another_unit_and_other_bytes_are_noticed(tmp_path: Path) -> None:
    here = lay(tmp_path, SHEETS, FILES)
    before = find([str(here)]).decisions
    stat = (here / "ana.jsonl").stat()
    (here / "ana.jsonl").write_bytes((here / "ana.jsonl").read_bytes().replace(b"accept", b"reject"))
    os.utime(here / "ana.jsonl", ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    after = find([str(here)]).decisions
    digests = {one.digest for one in after.values()}
    assert [before[key].facts == after[key].facts for key in after] == [False, True]
    assert next(iter(before.values())).digest is None  # it is unknown which bytes were read
    (tmp_path / FILE).write_bytes(dump(sheets({"ana": [row("p1")], "bo": [row("p1")]}, rank=1)))
    adjudicated = find([str(here)]).decisions
    assert adjudicated.keys() == after.keys()
    assert {one.digest for one in adjudicated.values()}.isdisjoint(digests)
    assert [one.read()[0]["rank"] for one in adjudicated.values()] == [1, 1]
    (tmp_path / FILE).write_bytes(dump(sheets({"ana": [row("p1", "Who?")], "bo": [row("p1", "Who?")]})))
    assert not find([str(here)]).decisions.keys() & before.keys()


def test_what_is_no_file_of_decisions_is_named(tmp_path: Path) -> None:
    here = lay(tmp_path / "one", SHEETS, FILES)
    (here / "notes.txt").write_text("call bo")
    (here / ".hidden.jsonl").write_text("")
    found = find([str(here)])
    assert len(found.decisions) == 2
    assert found.passed["decisions/notes.txt"] == "its name does not end in .jsonl"
    assert found.passed["decisions/.hidden.jsonl"].startswith("hidden")
    (tmp_path / "empty").mkdir()
    (tmp_path / "x" / "y" / "z").mkdir(parents=True)
    (tmp_path / "x" / "y" / "z" / "ana.jsonl").write_text("")
    for place, message in (("none", "no such file or folder"), ("x/y/z/ana.jsonl", "no sheet.json is beside it")):
        with pytest.raises(ValueError, match=message):
            find([str(tmp_path / place)])
    (tmp_path / "one" / "decisions" / "late").mkdir()
    with pytest.raises(ValueError, match=r"has no file \.jsonl: lay the files"):
        find([str(here / "late")])
    (tmp_path / "one" / FILE).write_bytes((tmp_path / "one" / FILE).read_bytes().replace(b'"ana"', b'"eve"'))
    with pytest.raises(Damaged, match="checksum"):
        find([str(here)])
