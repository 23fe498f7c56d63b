"""Columns and tables: names, types, meanings and tags."""

from __future__ import annotations

import pyarrow as pa

TAGS = {
    "id": "names the row",
    "parent": "names a row of an earlier table that this row was made from or belongs to",
    "member": "names the row, which readers reach through its group",
    "group": "number that connects members with the row that stands for them",
    "name": "what the outside data calls the row",
    "text": "prose, written by a person or a model",
    "heavy": "too large to print",
}
"""Purpose of a column. Trace, deletion, report and notebooks use tags, never table names."""


def column(name: str, type_: pa.DataType, meaning: str, *, null: bool = False, tag: str = "") -> pa.Field:
    """One column.

    Args:
        meaning: Unit and meaning, for ``docs/tables.md`` and the file's metadata.
        null: Whether values may be null.
        tag: One of ``TAGS``, or nothing.

    Raises:
        ValueError: there is no such tag.
    """
    if tag and tag not in TAGS:
        raise ValueError(f"column {name}: tag {tag!r} is none of {', '.join(TAGS)}")
    return pa.field(name, type_, nullable=null, metadata={"meaning": meaning} | ({"tag": tag} if tag else {}))


def table(meaning: str, *columns: pa.Field) -> pa.Schema:
    """A table of *columns*."""
    return pa.schema(columns, metadata={"meaning": meaning})


def tag(field: pa.Field) -> str:
    """The tag of a column, or an empty string."""
    return str((field.metadata or {}).get(b"tag", b""), "utf-8")


def tagged(schema: pa.Schema, *tags: str) -> list[str]:
    """Names of the columns that have one of *tags*, in order."""
    return [field.name for field in schema if tag(field) in tags]


def stored(schema: pa.Schema) -> pa.Schema:
    """*schema* as stored in Parquet files: without tags, so that a new tag changes no file."""
    fields = [field.with_metadata({k: v for k, v in (field.metadata or {}).items() if k != b"tag"}) for field in schema]
    return pa.schema(fields, schema.metadata)
