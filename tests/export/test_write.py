from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import export, schemas
from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.run import FailedUnits, Run, claim, execute
from mminstruct.stage import Drop, Made, Rows, Stage, Transform
from mminstruct.stages.export import SCHEMA
from tests.export.conftest import row


@dataclass(kw_only=True)
class Drawn(Stage):
    """Stands for all that comes before: shards of ready rows, of which one in five is dropped."""

    broken: bool = False

    reads = {}
    writes = schemas.EXPORT
    takes = "id"

    def shards(self) -> dict[str, dict[str, Any]]:
        return {"a": {}, "b": {}} if not self.broken else {"a": {}, "b": {}, "c": {}}

    def load(self) -> Transform:
        def draw(key: str) -> Iterator[Rows]:
            if key == "c":
                raise ValueError("the shard ends early")
            made = [row(n) for n in (range(12) if key == "a" else range(12, 20))]
            drops = [Drop(f"{key}{n}", "cut") for n in range(5)]
            yield Rows(len(made) + 5, Made(pa.Table.from_pylist(made, schema=SCHEMA), drops))

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
    said = export.write(make(tmp_path / "run"), format, tmp_path / "out")
    assert said.startswith("18 rows of train and 2 rows of test")
    assert "not finished" not in said
    assert (tmp_path / "out").is_dir()


def test_the_funnel_of_the_card_is_that_of_the_receipts(tmp_path: Path) -> None:
    export.write(make(tmp_path / "run"), "hf", tmp_path / "out")
    assert "| export | 30 | 20 | 10 cut |" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_run_with_failed_units_is_said_to_be_unfinished(tmp_path: Path) -> None:
    with pytest.raises(FailedUnits):
        make(tmp_path / "run", broken=True)
    assert "not finished: export (0 units left, 1 failed)" in export.write(
        str(tmp_path / "run"), "llava", tmp_path / "out"
    )


def test_an_unknown_format_and_a_folder_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match="there is hf, llava"):
        export.write(str(tmp_path), "coco", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no run"):
        export.write(str(tmp_path / "nothing"), "hf", tmp_path / "out")
