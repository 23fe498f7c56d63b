"""Runs of earlier versions: their tables are reused, and commands that cannot read them say which command can."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from mminstruct import export
from mminstruct.cli import main
from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.recipes import MMInstruct
from mminstruct.run import Run, claim, execute
from mminstruct.stage import Stage, StageOutput, Transform, output, part, whole
from mminstruct.state import states
from mminstruct.status.tables import table_statuses
from mminstruct.store.deletion import delete
from mminstruct.store.tables import Store
from tests.world import draw, recipe

KEPT = [field.name for field in dataclasses.fields(MMInstruct)][:11]
"""The tables that did not change: ingest to filter."""


def text(*names: str) -> pa.Schema:
    return pa.schema([pa.field(name, pa.string(), nullable=False, metadata={"meaning": name}) for name in names])


@dataclass(kw_only=True)
class Select(Stage):
    """``Select`` with its inputs before the table ``review`` existed."""

    near: int | None = 4
    reads = {"filter": whole("pair_id", "image_id", "instruction_id")}
    writes: ClassVar[pa.Schema] = text("pair_id", "image_id", "instruction_id", "split")
    row_key = "pair_id"

    def load(self, *, filter: ds.Dataset) -> Transform:
        def select() -> Iterator[tuple[str, StageOutput]]:
            for fragment in filter.get_fragments():
                rows = fragment.to_table(columns=["pair_id", "image_id", "instruction_id"]).to_pylist()
                yield (
                    Path(fragment.path).name.split(".")[0],
                    output(self.writes, [{**r, "split": "train"} for r in rows]),
                )

        return select


@dataclass(kw_only=True)
class Export(Stage):
    """``Export`` before it had the column ``turns``."""

    reads = {"select": part("pair_id", "split")}
    writes: ClassVar[pa.Schema] = text("pair_id", "split")
    row_key = "pair_id"

    def load(self) -> Transform:
        return lambda select: StageOutput(select, [])


Earlier = dataclasses.make_dataclass(
    "Earlier",
    [(field.name, field.type) for field in dataclasses.fields(MMInstruct)[:11]] + [("select", Select), ("export", Export)],
    bases=(Recipe,), kw_only=True,
)  # fmt: skip
"""MM-Instruct's thirteen tables in earlier versions."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of such a run and of its source."""
    folder = tmp_path_factory.mktemp("earlier")
    now = recipe(draw(folder / "world", 16))
    stages = {name: getattr(now, name) for name in KEPT}
    run = Run(url=str(folder / "run"), recipe=Earlier(**stages, select=Select(), export=Export()))
    claim(run)
    execute(run, Local())
    assert len(table_statuses(run.url)) == 13
    return folder / "run", folder / "world"


def test_its_eleven_unchanged_tables_are_taken_over_and_the_rest_is_made(
    earlier: tuple[Path, Path], tmp_path: Path
) -> None:
    old, world = earlier
    run = Run(url=str(tmp_path / "new"), recipe=recipe(world))
    assert [name for name, state in states(run, base=str(old)).items() if state.not_brought] == ["select", "export"]
    taken = claim(run, base=str(old))
    assert [name for name, keys in taken.items() if keys] == KEPT
    done: list[str] = []
    execute(run, Local(), watch=lambda event: done.append(event.table) if event.fresh else None)
    assert set(done) == {"review", "rate", "select", "merge", "export"}
    for name in KEPT:
        assert Store(run.url).table(name).digest() == Store(str(old)).table(name).digest()
    assert all(stands.state == "complete" for stands in table_statuses(run.url, verify=True))


def test_an_export_of_it_names_the_command_that_builds_it_again(
    earlier: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, _ = earlier
    assert main(["export", str(old), "--format", "hf", "--to", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "was made by an earlier version" in said
    assert f"mminstruct build out={old}-2 base={old} source=SOURCE" in said
    assert not (tmp_path / "out").exists()


def test_what_was_deleted_in_it_stays_deleted(earlier: tuple[Path, Path], tmp_path: Path) -> None:
    old, world = earlier
    pair = (
        Store(str(old)).table("filter").dataset(pa.schema([("pair_id", pa.string())])).to_table()["pair_id"][0].as_py()
    )
    delete(str(old), [pair], "asked for")
    run = Run(url=str(tmp_path / "new"), recipe=recipe(world))
    claim(run, base=str(old))
    execute(run, Local())
    assert "rows left out as deleted" in export.write(run.url, "llava", tmp_path / "out")
