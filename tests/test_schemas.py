"""Every column of every table is documented, and the documentation is current."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct import schemas
from mminstruct.schemas.__main__ import document
from mminstruct.schemas.ids import joined, numbers, places, texts

ALL = [*schemas.TABLES.items(), ("_dropped", schemas.DROPPED)]


def test_the_document_of_tables_is_the_one_that_the_schemas_make() -> None:
    file = Path(__file__).parents[1] / "docs" / "tables.md"
    assert file.read_text(encoding="utf-8").rstrip("\n") == document().rstrip("\n"), (
        "run: python -m mminstruct.schemas > docs/tables.md"
    )


@pytest.mark.parametrize(("name", "schema"), ALL, ids=[name for name, _ in ALL])
def test_every_table_and_column_says_what_it_means(name: str, schema: pa.Schema) -> None:
    assert schema.metadata[b"meaning"]
    for field in schema:
        assert field.metadata[b"meaning"], field.name


@pytest.mark.parametrize(("name", "schema"), ALL, ids=[name for name, _ in ALL])
def test_meanings_travel_in_the_parquet_file(name: str, schema: pa.Schema, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(schema.empty_table(), tmp_path / "t.parquet")
    found = pq.read_schema(tmp_path / "t.parquet")
    assert found.metadata == schema.metadata
    assert [(f.name, f.nullable, f.metadata) for f in found] == [(f.name, f.nullable, f.metadata) for f in schema]


@pytest.mark.parametrize("column", ["image_id", "instruction_id", "pair_id"])
def test_an_id_has_one_type_and_one_meaning_in_all_tables(column: str) -> None:
    fields = [
        schema.field(column).with_nullable(schema.field(column).nullable and name != "decide")  # about any row of a run
        for name, schema in schemas.TABLES.items()
        if column in schema.names and name != "export"
    ]
    assert len(fields) > 2
    assert schemas.EXPORT.field(column).type == fields[0].type  # a row of export may be a dialogue
    assert {(field.type, field.nullable, field.metadata[b"meaning"]) for field in fields} == {
        (fields[0].type, False, fields[0].metadata[b"meaning"])
    }


def test_the_document_has_no_cell_that_breaks_its_tables() -> None:
    for line in document().splitlines():
        if line.startswith("|"):
            assert line.count("|") == 5, line


def test_a_tag_changes_no_file() -> None:
    plain = schemas.table("t", schemas.column("id", pa.string(), "m"))
    tagged = schemas.table("t", schemas.column("id", pa.string(), "m", tag="id"))
    assert not plain.equals(tagged, check_metadata=True)
    assert schemas.stored(tagged).equals(plain, check_metadata=True)


def test_a_tag_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="column id: tag 'key' is none of id, parent"):
        schemas.column("id", pa.string(), "m", tag="key")


@pytest.mark.parametrize("name", schemas.TABLES)
def test_every_table_says_which_column_is_an_id_and_no_id_goes_without_a_tag(name: str) -> None:
    schema = schemas.TABLES[name]
    assert schemas.tagged(schema, "id", "member", "parent")
    untagged = {field.name for field in schema if field.name.endswith("_id") and not schemas.tag(field)}
    assert untagged == ({"pair_id"} if name == "exemplify" else set())


IDS = st.lists(st.text("0123456789abcdef", min_size=16, max_size=16) | st.text().filter(lambda id_: id_[-1:] != "\0"))
DIGESTS = st.lists(st.text("0123456789abcdef", min_size=16, max_size=16))


@given(DIGESTS | IDS, st.integers(0, 5))
def test_ids_as_numbers_sort_like_the_ids_and_come_back(ids: list[str], cut: int) -> None:
    found = numbers(pa.array(ids, pa.string()).slice(cut))
    assert texts(found).to_pylist() == ids[cut:]
    assert texts(np.sort(found)).to_pylist() == sorted(ids[cut:])


@given(DIGESTS, DIGESTS | IDS)
def test_ids_of_both_forms_are_joined_and_found(some: list[str], others: list[str]) -> None:
    one, other = (numbers(pa.array(ids, pa.string())) for ids in (some, others))
    assert texts(joined([one, other])).to_pylist() == some + others
    place, there = places(np.sort(one), other)
    assert there.tolist() == [id_ in some for id_ in others]
    assert [sorted(some)[n] for n in place[there].tolist()] == [id_ for id_ in others if id_ in some]


def test_sixteen_digits_take_eight_bytes() -> None:
    assert numbers(pa.array(["00000000000000ff", "8000000000000000"])).tolist() == [255, 1 << 63]


def test_an_id_that_is_null_or_would_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 ids are null"):
        numbers(pa.array(["a", None]))
    with pytest.raises(ValueError, match="ends with a zero byte"):
        numbers(pa.array(["a\0"]))
