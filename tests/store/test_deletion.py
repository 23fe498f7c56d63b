from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.cli import main
from mminstruct.engine.local import Local
from mminstruct.run import Run, claim, execute
from mminstruct.status.trace import as_text as traced
from mminstruct.status.trace import trace
from mminstruct.store.deletion import as_text, delete, deleted
from mminstruct.store.receipts import PACKED
from mminstruct.store.tables import Store
from tests.export.test_write import Drawn, Ready, make
from tests.store.test_reader import NOTES, begin, put


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_pairs_and_instructions_are_known_by_their_kind(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    new = delete(run, ["01ab", "p010", "t4", "01ab"], "asked for")
    assert {id_: one.kind for id_, one in new.items()} == {
        "01ab": "image_id",
        "p010": "pair_id",
        "t4": "instruction_id",
    }
    assert deleted(Store(run)) == new
    assert as_text(Store(run)).startswith(
        "deleted: 1 image, 1 instruction, 1 pair; later exports leave out 7 of 20 rows"
    )


def test_the_tables_are_not_touched(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    before = files(tmp_path / "run")
    delete(run, ["01ab"], "asked for")
    after = files(tmp_path / "run")
    assert {name: data for name, data in after.items() if not name.startswith("_deleted/")} == before


def test_a_run_whose_receipts_are_packed_is_deleted_from_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make(tmp_path / name) for name in ("plain", "packed")]
    for name in Store(runs[1]).names():
        Store(runs[1]).table(name).kept.consolidate()
    before = {name: data for name, data in files(tmp_path / "packed").items() if name.endswith(PACKED)}
    assert before
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 1, 2, 3, 4, 5, 4, 2, 0)))
    assert delete(runs[0], ["01ab", "p010", "t4"], "asked for") == delete(runs[1], ["01ab", "p010", "t4"], "asked for")
    assert as_text(Store(runs[0])) == as_text(Store(runs[1]))
    after = files(tmp_path / "packed")
    assert before.items() <= after.items()
    assert deleted(Store(runs[0])) == deleted(Store(runs[1]))


def test_one_unknown_id_and_nothing_is_deleted(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    with pytest.raises(LookupError, match=r"1 of 2 ids .* nothing was deleted: 01a;"):
        delete(run, ["01ab", "01a"], "asked for")
    assert deleted(Store(run)) == {}


def test_the_first_deletion_of_an_id_counts(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    delete(run, ["01ab"], "first")
    assert list(delete(run, ["01ab", "02ab"], "second")) == ["02ab"]
    assert {id_: one.reason for id_, one in deleted(Store(run)).items()} == {"01ab": "first", "02ab": "second"}


def test_a_reason_and_a_run_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        delete(make(tmp_path / "run"), ["01ab"], " ")
    with pytest.raises(FileNotFoundError, match="no run here"):
        delete(str(tmp_path), ["01ab"], "asked for")


def test_a_run_that_takes_tables_over_takes_the_deletions_too(tmp_path: Path) -> None:
    base = make(tmp_path / "base")
    delete(base, ["01ab"], "asked for")
    run = Run(url=str(tmp_path / "new"), recipe=Ready(export=Drawn()))
    claim(run, base)
    execute(run, Local())
    assert deleted(Store(run.url)) == deleted(Store(base))


def test_the_trace_tells_of_it(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    delete(run, ["01ab"], "asked for")
    found = trace(run, "01ab")
    assert [(row["table"], row["reason"]) for row in found.left] == [("delete", "asked for")]
    assert "LEFT at delete, unit 01ab: asked for" in traced(found)
    assert trace(run, "03ab").left == []


def test_the_command_takes_ids_from_a_file_and_status_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make(tmp_path / "run")
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbf01ab\r\n\r\n 02ab\n\n")
    assert main(["delete", run, f"@{tmp_path / 'ids.txt'}", "p010", "--reason", "asked for"]) == 0
    assert "3 ids deleted now" in capsys.readouterr().out
    assert main(["status", run]) == 0
    assert "deleted: 2 images, 1 pair; later exports leave out 5 of 20 rows" in capsys.readouterr().out
    assert main(["delete", run, "nobody", "--reason", "asked for"]) == 1
    assert "1 of 1 ids are in no table" in capsys.readouterr().err


def test_the_kinds_of_ids_are_those_that_the_runs_tables_tag(tmp_path: Path) -> None:
    store = begin(tmp_path, "note", NOTES, order=0)
    put(store, "note", NOTES, [{"note_id": "n1", "note": "First."}])
    begin(tmp_path, "exemplify", schemas.EXEMPLIFY, order=1)
    ids = {"pair_id": "p1", "image_id": "i1", "instruction_id": "t1"}
    put(store, "exemplify", schemas.EXEMPLIFY, [{**ids, "description": "A cat.", "answer": "Meow."}])
    assert delete(str(tmp_path), ["n1", "i1"], "asked for")["n1"].kind == "note_id"
    assert as_text(store).startswith("deleted: 1 image, 1 note; later exports leave out 0 of 0 rows")
    with pytest.raises(LookupError, match="1 of 1 ids are in no table"):
        delete(str(tmp_path), ["p1"], "the pair of an exemplar is in no export")


def test_a_pair_in_a_dialogue_is_cut_out_and_the_last_one_takes_the_row_with_it(tmp_path: Path) -> None:
    talk = schemas.table(
        "Dialogues.",
        schemas.column("talk_id", pa.string(), "", tag="id"),
        schemas.column("turns", pa.list_(pa.struct([pa.field("pair_id", pa.string())])), ""),
    )
    pairs = schemas.table("Pairs.", schemas.column("pair_id", pa.string(), "", tag="id"))
    store = begin(tmp_path, "pair", pairs, order=0)
    put(store, "pair", pairs, [{"pair_id": name} for name in "abcd"])
    begin(tmp_path, "export", talk, order=1)
    turns = {"one": "abc", "two": "d", "three": ""}
    put(store, "export", talk, [
        {"talk_id": name, "turns": [{"pair_id": pair} for pair in held]} for name, held in turns.items()
    ])  # fmt: skip
    delete(str(tmp_path), ["b", "d"], "asked for")
    assert as_text(store).startswith("deleted: 2 pairs; later exports leave out 1 and cut turns from 1 of 3 rows")
