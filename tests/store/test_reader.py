"""Reading the tables of a run of any recipe."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mminstruct import schemas
from mminstruct.store.reader import MissingTable, RunReader
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store
from tests.export.test_write import make
from tests.report import runs

NOTES = schemas.table("Notes of a recipe that is not ours.", schemas.column("note_id", pa.string(), "", tag="id"),
                      schemas.column("note", pa.string(), "", tag="text"))  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunReader:
    runs.build(str(tmp_path), ["A red square.", "A blue one."])
    return RunReader(str(tmp_path))


def begin(folder: Path, name: str, schema: pa.Schema, *, order: int, arrow: bool = True) -> Store:
    facts = {"config": {}, "inputs": {}, "primary": None, "order": order}
    kept = {"arrow": base64.b64encode(schema.serialize()).decode()} if arrow else {}
    store = Store(str(folder))
    store.table(name).begin(facts | kept)
    return store


def put(store: Store, name: str, schema: pa.Schema, rows: list[dict[str, object]]) -> None:
    part = store.table(name).put("a-0000", pa.Table.from_pylist(rows, schema=schemas.stored(schema)))
    store.table(name).commit(Receipt(key="a-0000", parts=[part], rows_in=len(rows), kept=len(rows), dropped={}))


def test_tables_come_by_name_in_the_order_of_the_recipe(run: RunReader) -> None:
    assert list(run) == ["ingest", "caption", "summarize", "match", "answer", "filter"]
    assert len(run) == 6
    assert run["caption"].num_rows == 2
    assert [row["reason"] for row in run["ingest"].dropped()] == ["truncated"]
    assert run["ingest"].receipts()["a-0000"].rows_in == 3
    assert "caption: 2 rows of image_id, caption, tokens" in repr(run)


def test_a_table_in_memory_has_the_columns_and_rows_that_were_asked_for(run: RunReader) -> None:
    found = run["caption"].to_arrow(["caption"], pc.field("caption") == "A blue one.")
    assert found.to_pylist() == [{"caption": "A blue one."}]
    assert list(run["caption"].to_pandas(["image_id"]).columns) == ["image_id"]
    with pytest.raises(KeyError, match="caption has no column 'captoin', only image_id, caption, tokens"):
        run["caption"].to_arrow(["captoin"])


def test_a_table_that_is_not_there_and_a_run_that_is_not_there_are_named(run: RunReader, tmp_path: Path) -> None:
    with pytest.raises(MissingTable) as error:
        run["captions"]
    assert str(error.value).startswith(
        f"{tmp_path} has no table 'captions'; did you mean 'caption'? (its tables: ingest,"
    )
    assert run.get("captions") is None
    with pytest.raises(FileNotFoundError, match="no run here"):
        RunReader(str(tmp_path / "nothing"))


def test_columns_and_tags_of_any_recipe_come_from_its_run(tmp_path: Path) -> None:
    store = begin(tmp_path, "note", NOTES, order=0)
    table = RunReader(store)["note"]
    assert table.schema.equals(NOTES, check_metadata=True)
    assert table.to_arrow().num_rows == 0
    put(store, "note", NOTES, [{"note_id": "1", "note": "First."}])
    assert table.tagged("text", "id") == ["note_id", "note"]
    assert table.to_arrow(["note"]).to_pylist() == [{"note": "First."}]


def test_a_run_of_an_earlier_version_has_the_columns_of_its_files_and_our_tags(tmp_path: Path) -> None:
    old = pa.schema([field for field in schemas.CAPTION if field.name != "tokens"])
    store = begin(tmp_path, "caption", old, order=0, arrow=False)
    assert RunReader(store)["caption"].schema == schemas.CAPTION
    put(store, "caption", old, [{"image_id": "1", "caption": "One."}])
    table = RunReader(store)["caption"]
    assert table.schema.names == ["image_id", "caption"]
    assert (table.tagged("id"), table.tagged("text")) == (["image_id"], ["caption"])


def test_an_old_table_that_nobody_knows_has_columns_once_it_has_a_part(tmp_path: Path) -> None:
    store = begin(tmp_path, "note", NOTES, order=0, arrow=False)
    with pytest.raises(ValueError, match="the columns of note are unknown before its first part"):
        RunReader(store)["note"].schema  # noqa: B018
    put(store, "note", NOTES, [{"note_id": "1", "note": "First."}])
    assert RunReader(store)["note"].to_arrow().to_pylist() == [{"note_id": "1", "note": "First."}]


@pytest.mark.slow
def test_hugging_face_knows_the_images_of_an_export(tmp_path: Path) -> None:
    found = RunReader(make(tmp_path / "run"))["export"].to_datasets(["image", "split"])
    assert type(found.features["image"]).__name__ == "Image"
    assert found[0]["image"].size[0] > 0
    assert found.num_rows == 20


def test_without_hugging_face_the_package_is_named(run: RunReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match="pip install datasets"):
        run["caption"].to_datasets()
