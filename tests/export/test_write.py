from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import export, schemas
from mminstruct.engine.local import Local
from mminstruct.export.table import Exported
from mminstruct.recipe import Recipe
from mminstruct.run import FailedUnits, Run, claim, execute
from mminstruct.stage import Drop, Rows, Stage, StageOutput, Transform
from mminstruct.stages.export import SCHEMA
from mminstruct.store.deletion import delete
from mminstruct.store.tables import Store
from tests.export.conftest import row


@dataclass(kw_only=True)
class Drawn(Stage):
    """Stands for all that comes before: shards of ready rows, of which one in five is dropped."""

    broken: bool = False

    reads = {}
    writes = schemas.EXPORT
    row_key = "id"

    def shards(self) -> dict[str, dict[str, Any]]:
        return {key: {"bytes": 1} for key in ("abc" if self.broken else "ab")}

    def load(self) -> Transform:
        def draw(key: str) -> Iterator[Rows]:
            if key == "c":
                raise ValueError("the shard ends early")
            made = [row(n) for n in (range(12) if key == "a" else range(12, 20))]
            drops = [Drop(f"{key}{n}", "cut") for n in range(5)]
            yield Rows(len(made) + 5, StageOutput(pa.Table.from_pylist(made, schema=SCHEMA), drops))

        return draw


@dataclass(kw_only=True)
class Ready(Recipe):
    export: Drawn


def make(folder: Path, **fields: Any) -> str:
    run = Run(url=str(folder), recipe=Ready(export=Drawn(**fields)))
    claim(run)
    execute(run, Local())
    return str(folder)


@pytest.mark.parametrize("format", export.FORMATS)
def test_every_format_is_written_from_a_run_s_folder(tmp_path: Path, format: str) -> None:
    said = export.write(
        make(tmp_path / "run"), format, tmp_path / "out", model="somebody" if format == "openai-batch" else None
    )
    assert said.startswith("18 rows of train and 2 rows of test")
    assert "not finished" not in said
    assert (tmp_path / "out" / "README.md").is_file()


def test_the_card_and_the_facts_have_the_funnel_of_the_receipts(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    export.write(run, "hf", tmp_path / "out")
    assert "| export | 30 | 20 | 10 cut |" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["funnel"] == [{"table": "export", "in": 30, "kept": 20, "dropped": {"cut": 10}}]
    assert facts["made_from"]["parts"] == Store(run).table("export").digest()


def test_a_run_with_failed_units_is_said_to_be_unfinished(tmp_path: Path) -> None:
    with pytest.raises(FailedUnits):
        make(tmp_path / "run", broken=True)
    assert "not finished: export (0 units left, 1 failed)" in export.write(
        str(tmp_path / "run"), "llava", tmp_path / "out"
    )


def test_an_unknown_format_and_a_folder_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match="there is hf, llava"):
        export.write(make(tmp_path / "run"), "coco", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no run"):
        export.write(str(tmp_path / "nothing"), "hf", tmp_path / "out")


def test_the_same_run_makes_the_same_bytes(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    for name in ("a/x", "b/x"):
        export.write(run, "hf", tmp_path / name)
    one, other = (
        {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("a", "b")
    )
    assert one == other


def test_deleted_rows_are_left_out_and_counted_and_no_other_row_goes(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    before = ids(tmp_path, run, "before")
    delete(run, ["01ab"], "asked by the photographer")
    delete(run, ["p010", "t4"], "wrong")
    said = export.write(run, "llava", tmp_path / "after")
    gone = {"p002", "p003", "p010", *(f"p{n:03d}" for n in range(4, 20, 5))}
    assert f"{len(gone)} rows left out as deleted" in said
    assert ids(tmp_path, run, "again") == before - gone
    facts = json.loads((tmp_path / "after" / "export.json").read_text())
    wrong = len(gone) - 2
    assert facts["funnel"][-1] == {
        "table": "delete", "in": 20, "kept": 20 - len(gone), "dropped": {"asked by the photographer": 2, "wrong": wrong},
    }  # fmt: skip
    assert not (tmp_path / "after" / "images" / "01").exists()


def test_when_all_is_deleted_there_is_nothing_to_write(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    delete(run, [f"t{n}" for n in range(5)], "withdrawn")
    with pytest.raises(export.ExportError, match="no rows"):
        export.write(run, "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sums_that_do_not_close_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Exported.kept
    monkeypatch.setattr(Exported, "kept", lambda self, *args: islice(kept(self, *args), 1))
    with pytest.raises(export.ExportError, match="20 rows: 2 were written and 0 left out"):
        export.write(make(tmp_path / "run"), "hf", tmp_path / "out")


def test_the_command_offers_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    from mminstruct.cli import main

    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert ", ".join(export.FORMATS) in " ".join(capsys.readouterr().out.split())


def ids(tmp_path: Path, run: str, name: str) -> set[str]:
    export.write(run, "llava", tmp_path / name)
    files = [tmp_path / name / "train.json", tmp_path / name / "test.json"]
    return {one["id"] for file in files if file.is_file() for one in json.loads(file.read_text(encoding="utf-8"))}
