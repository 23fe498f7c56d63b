"""Shards that are Parquet files with the images inside: Hugging Face's Image feature, or a column of bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mminstruct.sources.facts import facts
from mminstruct.sources.place import Place, Shard
from mminstruct.sources.sample import Names, Sample, ShardError
from mminstruct.sources.table import open_parquet
from mminstruct.stage import Drop

IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "picture", "bytes")
_BATCH = 16
"""Rows in memory at once."""


def shards(place: Place) -> list[Shard]:
    """One for each file."""
    return [Shard(name, (name,), facts(place, name, [name]), read_from=(name,)) for name in place.named(".parquet")]


def schema(place: Place, name: str) -> pa.Schema:
    """Columns of the file *name*.

    Raises:
        ShardError: no whole Parquet file.
    """
    with place.fs.open(place.files[name].path, "rb") as file:
        return open_parquet(file, name).schema_arrow


def image_column(schema: pa.Schema, names: Collection[str] = ()) -> str | None:
    """The column that holds images: of *names* and the usual ones the first that is a struct with bytes, or binary."""
    for name in (*names, *IMAGE_COLUMNS):
        if name in schema.names and _holds_bytes(schema.field(name).type):
            return name
    return next((field.name for field in schema if pa.types.is_struct(field.type) and _holds_bytes(field.type)), None)


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def read(place: Place, shard: Shard, names: Collection[str], member_bytes: int) -> Iterator[Sample | Drop]:
    """Samples and drops of one file, row by row.

    Raises:
        ShardError: the file is cut or corrupt, or has no column of images.
    """
    with place.fs.open(place.files[shard.name].path, "rb") as file:
        table = open_parquet(file, shard.name)
        column = image_column(table.schema_arrow, names)
        if column is None:
            there = ", ".join(table.schema_arrow.names)
            raise ShardError(f"{shard.name} has no column of images: name it, columns.image=NAME; its columns: {there}")
        row = 0
        give = Names()
        try:
            for batch in _batches(table, column):
                for image, rest in batch:
                    yield _sample(give, image, rest, row, member_bytes)
                    row += 1
        except (pa.ArrowInvalid, OSError) as error:
            raise ShardError(f"{shard.name} is corrupt past row {row}: {error}; write this shard again") from None


def _batches(table: pq.ParquetFile, column: str) -> Iterator[list[tuple[Any, dict[str, Any]]]]:
    schema = table.schema_arrow
    plain = [field.name for field in schema if field.name != column and not _holds_bytes(field.type)]
    for batch in table.iter_batches(_BATCH, columns=[column, *plain]):
        yield list(zip(batch[column].to_pylist(), batch.select(plain).to_pylist(), strict=True))


def _sample(give: Names, image: Any, rest: dict[str, Any], row: int, member_bytes: int) -> Sample | Drop:
    data, path = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, None)
    member = give(path or f"row {row}", row)
    if data is None:
        return Drop(member, "no_image", "no bytes in its row, a path alone" if path else "null")
    if len(data) > member_bytes:
        return Drop(member, "member_too_big", f"{len(data)} bytes; at most {member_bytes}")
    return Sample(member=member, name=member, key=member, data=data, row=rest)
