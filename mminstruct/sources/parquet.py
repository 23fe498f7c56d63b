"""Parquet files with the images inside: Hugging Face's Image, bytes, base64 text, or lists of them; a shard is a file.

Each image of a list is a sample of its own, ``row 7[0]``, ``row 7[1]``. Where a list has several, the other columns
describe all of them: they stay in ``sidecar`` and give no image an alt-text.

A kilobyte of Parquet can unpack to gigabytes: one long value in a dictionary, and thousands of rows that refer to it.
So values stay in their dictionary until they are read one by one, their size is checked before they are copied, and a
file fails if its footer states that a column unpacks to more than 128 MiB and 16 times its packed size.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Collection, Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.readers.table import batch_rows, open_parquet
from mminstruct.readers.text import BadRow, Unreadable
from mminstruct.sources.listing import Listing
from mminstruct.sources.sample import Names, Sample, ShardError
from mminstruct.sources.sidecar import GUESSES
from mminstruct.sources.source import ImageSource, Options, Shard
from mminstruct.stage import Drop
from mminstruct.unit import note

IMAGE_COLUMNS = ("image", "images", "img", "jpg", "jpeg", "png", "picture", "bytes")
_ROWS, _BATCH_BYTES = 256, 64 << 20
"""Most rows in memory at once, and about how many bytes of them."""
_BUFFER = 4 << 20
"""Bytes of a column read ahead."""
_PLENTY, _RATIO = 128 << 20, 16
"""A column of a row group may unpack to this many bytes, or to this many times its packed size if that is more. JPEG,
PNG and WebP cannot be packed further."""
_VALUES = 1 << 24
"""Most values of one column in one row group."""
_LIST = 1000
"""Most images of one row: a file of 400 bytes can hold a list of a million references to one value."""
_INLINE = re.compile(rb"\s*data:image/[\w.+-]+;base64,", re.I)


class ParquetSource(ImageSource):
    """Parquet files with a column of images."""

    endings = (".parquet",)
    what = "Parquet file"

    def recognises(self) -> bool:
        return contents(self.listing, self.options) in ("images", "unreadable")

    def shards(self) -> list[Shard]:
        return [Shard(name, (name,)) for name in self.listing.finished(*self.endings)]

    def read(self, shard: Shard) -> Iterator[Sample | Drop]:
        """Samples and drops of one file, row by row.

        Raises:
            Unreadable, ShardError: the file is cut or corrupt, unpacks to too much, or has no column of images.
        """
        with self.listing.fs.open(self.listing.files[shard.name].path, "rb") as file:
            table = open_parquet(file, shard.name)
            found = table.schema_arrow
            column = image_column(found, self.options.named("image"))
            if column is None:
                there = ", ".join(found.names)
                raise ShardError(
                    f"{shard.name} has no column of images: name it, columns.image=NAME; its columns: {there}"
                )
            plain = [field.name for field in found if field.name != column and not _holds(field.type, _is_bytes)]
            text = _holds(found.field(column).type, _is_text)
            give = Names()
            for number, (images, at, row) in enumerate(_rows(file, shard.name, [column, *plain])):
                if isinstance(row, BadRow):
                    note("sidecar_too_big")
                    row = {}
                yield from _samples(give, images, at, row, number, self.options.member_bytes, text)


def contents(listing: Listing, options: Options) -> Literal["images", "addresses", "unreadable"] | None:
    """What the first Parquet file holds that has a column of images or addresses; None without Parquet files.

    Files that cannot be read are skipped here and fail when they are read; ``unreadable`` if that is all of them.

    Raises:
        ValueError: no file that can be read has a known column of images or addresses.
    """
    names, columns = listing.finished(*ParquetSource.endings), None
    for name in names:
        try:
            found = _schema(listing, name)
        except (Unreadable, OSError):
            continue
        if column := image_column(found, options.named("image")):
            return "addresses" if _has_addresses(listing, name, column) else "images"
        if set(found.names) & set(options.named("url") or GUESSES["url"]):
            return "addresses"
        columns = found.names
    if columns is not None:
        raise ValueError(
            f"path={listing.url}: its Parquet files have no known column of images or addresses; name one,"
            f" columns.image=NAME or columns.url=NAME; their columns: {', '.join(columns)}"
        )
    return "unreadable" if names else None


def _schema(listing: Listing, name: str) -> pa.Schema:
    with listing.fs.open(listing.files[name].path, "rb") as file:
        return open_parquet(file, name).schema_arrow


def image_column(schema: pa.Schema, names: Collection[str] = ()) -> str | None:
    """The column of images: the first of *names* and ``IMAGE_COLUMNS`` that holds bytes, else any struct of bytes.

    A column of text comes last, and only if it is one of these names: it may hold base64, or addresses.
    """
    known = [name for name in (*names, *IMAGE_COLUMNS) if name in schema.names]
    inside = (name for name in known if _holds(schema.field(name).type, _is_bytes))
    structs = (field.name for field in schema if _holds(field.type, _is_bytes) and "struct" in str(field.type))
    texts = (name for name in known if _holds(schema.field(name).type, _is_text))
    return next((name for kind in (inside, structs, texts) for name in kind), None)


def _has_addresses(listing: Listing, name: str, column: str) -> bool:
    """Whether *column* is text whose first value that is not null begins like a web address."""
    with listing.fs.open(listing.files[name].path, "rb") as file:
        table = open_parquet(file, name)
        if not _holds(table.schema_arrow.field(column).type, _is_text):
            return False
        found = itertools.islice(_rows(file, name, [column]), _ROWS)
        values = (value for batch, at, _ in found for value, _ in _values(batch, at, 1 << 20))
        first = next((value for value in values if value is not None), b"")
        return isinstance(first, bytes) and first[:8].lower().startswith((b"http://", b"https://"))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _holds(kind: pa.DataType, what: Any) -> bool:
    """Whether *kind* is *what*, or a dictionary or list of it, or a struct with it as ``bytes``."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds(kind.value_type, what)
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds(kind.field(index).type, what)
    return bool(what(kind))


def _samples(
    give: Names, images: pa.Array, place: int, row: dict[str, Any], number: int, member_bytes: int, text: bool
) -> Iterator[Sample | Drop]:
    listed = pa.types.is_list(images.type) or pa.types.is_large_list(images.type)
    length = images.value_lengths()[place].as_py() if listed else 1
    count = 1 if length is None else length
    if not count:
        yield Drop(give(f"row {number}", number), "no_image", "an empty list")
    if count > _LIST:
        yield Drop(give(f"row {number}", number), "row_bad", f"a list of {count} images; at most {_LIST}")
        return
    most = member_bytes * 4 // 3 + 64 if text else member_bytes
    for inner, (data, path) in enumerate(_values(images, place, most)):
        member = give(path or (f"row {number}[{inner}]" if count > 1 else f"row {number}"), number)
        if data is None:
            yield Drop(member, "no_image", "no bytes in its row, a path alone" if path else "null")
        elif isinstance(data, int):
            yield Drop(member, "member_too_big", f"{data} bytes; at most {most}")
        elif (content := decoded(data) if text else data) is None:
            yield Drop(member, "row_bad", f"text that is no base64, {data[:40]!r}; addresses: layout=urls")
        else:
            yield Sample(member=member, name=member, key=member, data=content, row=row, shared=count > 1)


def decoded(text: bytes) -> bytes | None:
    """The bytes in base64 *text*, which may have white space and the prefix ``data:image/...;base64,``."""
    try:
        return base64.b64decode(b"".join(_INLINE.sub(b"", text, count=1).split()), validate=True)
    except binascii.Error:
        return None


def _rows(file: Any, name: str, columns: list[str]) -> Iterator[tuple[pa.Array, int, dict[str, Any] | BadRow]]:
    """For each row: the first of *columns* as an array, the row's index in it, the other columns as a dictionary."""
    facts = open_parquet(file, name).metadata
    leaves = [facts.schema.column(place) for place in range(facts.num_columns)]
    places = [place for place, leaf in enumerate(leaves) if leaf.path.split(".")[0] in columns]
    texts = [leaves[place].path for place in places if leaves[place].physical_type == "BYTE_ARRAY"]
    table = open_parquet(file, name, read_dictionary=texts, buffer_size=_BUFFER)
    number = 0
    for group in range(facts.num_row_groups):
        rows, size = facts.row_group(group).num_rows, 0
        for part in (facts.row_group(group).column(place) for place in places):
            _check_size(name, group, part)
            size += part.total_uncompressed_size
        most = max(1, min(_ROWS, _BATCH_BYTES * rows // max(1, size)))
        try:
            for batch in table.iter_batches(most, row_groups=[group], columns=columns):
                others = batch.select([column for column in columns[1:] if column in batch.schema.names])
                rest = (
                    batch_rows(others, number, 0, batch.num_rows)
                    if others.num_columns
                    else itertools.repeat({}, batch.num_rows)
                )
                for place, row in zip(range(batch.num_rows), rest, strict=True):
                    yield batch[columns[0]], place, row
                    number += 1
        except (pa.ArrowInvalid, OSError) as error:
            raise ShardError(f"{name} is corrupt past row {number}: {error}; write this shard again") from None


def _values(array: pa.Array, place: int, most: int) -> Iterator[tuple[bytes | int | None, str | None]]:
    """Bytes and path of each image at *place* of *array*; the size instead of the bytes if it exceeds *most*."""
    kind = array.type
    if array.slice(place, 1).null_count:
        yield None, None
    elif pa.types.is_dictionary(kind):
        yield from _values(array.dictionary, array.indices[place].as_py(), most)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        for inner in range(array.offsets[place].as_py(), array.offsets[place + 1].as_py()):
            yield from _values(array.values, inner, most)
    elif pa.types.is_struct(kind):
        has_path = kind.get_field_index("path") >= 0
        path = array.field("path").slice(place, 1).to_pylist()[0] if has_path else None
        yield from ((data, path) for data, _ in _values(array.field("bytes"), place, most))
    else:
        size = pc.binary_length(array.slice(place, 1))[0].as_py()
        value = size if size > most else array[place].as_py()
        yield (value.encode() if isinstance(value, str) else value), None


def _check_size(name: str, group: int, part: Any) -> None:
    most = max(_PLENTY, _RATIO * part.total_compressed_size)
    if part.total_uncompressed_size > most or part.num_values > _VALUES:
        raise ShardError(
            f"{name}: column {part.path_in_schema} of row group {group} unpacks from {part.total_compressed_size} to"
            f" {part.total_uncompressed_size} bytes and {part.num_values} values; at most {most} and {_VALUES}: write"
            " the file in smaller row groups"
        )
