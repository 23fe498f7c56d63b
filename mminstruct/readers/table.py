"""Rows of a table of any common kind, as dictionaries: Parquet, CSV, TSV, JSON lines, or one address a line.

A row that cannot be read is a ``BadRow`` in its place, so that all other rows are read and every row is counted.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mminstruct.readers.records import json_lines
from mminstruct.readers.text import BadRow, Unreadable, lines

CELL_BYTES = 1 << 20
"""The largest cell: a longer one is neither an address nor a caption, but a quote that was never closed."""
_ROW_LINES = 1000
"""Lines that one row of CSV may span."""
_BATCH = 256
_SMALL_BYTES = 64 << 10
"""Rows up to this size are converted a batch at a time."""
_COLUMN_BYTES, _COLUMN_VALUES = 1 << 30, 1 << 27
"""Limits of a column in one row group, unpacked."""


def count(fs: Any, path: str) -> int:
    """Number of rows in the table at *path*, bad rows included."""
    if path.lower().endswith(".parquet"):
        with fs.open(path, "rb") as file:
            return int(open_parquet(file, path).metadata.num_rows)
    return sum(1 for _ in rows(fs, path, seen=Counter()))


def rows(
    fs: Any, path: str, start: int = 0, stop: int | None = None, seen: Counter[str] | None = None
) -> Iterator[dict[str, Any] | BadRow]:
    """Rows from *start* up to, not including, *stop*, bad rows counted too; never the whole table in memory.

    Args:
        seen: counts repairs, as in ``readers.text``; by default they are notes of the current unit.

    Raises:
        Unreadable: the content is no table of the kind that the file's extension names.
    """
    with fs.open(path, "rb") as file:
        if path.lower().endswith(".parquet"):
            yield from _parquet_rows(file, path, start, stop)
        else:
            yield from itertools.islice(_text_rows(file, path, seen), start, stop)


def _text_rows(file: Any, path: str, seen: Counter[str] | None) -> Iterator[dict[str, Any] | BadRow]:
    lower = path.lower()
    if lower.endswith(".jsonl"):
        for row in json_lines(file, path, seen):
            yield row if isinstance(row, dict | BadRow) else {"value": row}
    elif lower.endswith(".txt"):
        for line in lines(file, path, seen, returns=True):
            if isinstance(line, BadRow):
                yield line
            elif address := line[1].strip():
                yield {"url": address}
    else:
        yield from _csv_rows(lines(file, path, seen, returns=True), path, "\t" if lower.endswith(".tsv") else ",")


def _csv_rows(found: Iterator[tuple[int, str] | BadRow], path: str, comma: str) -> Iterator[dict[str, Any] | BadRow]:
    """Rows as dictionaries, with the names of the first row; blank lines are skipped."""
    names: list[str] | None = None
    for row in _cells(found, comma):
        if names is None:
            if isinstance(row, BadRow):
                raise Unreadable(f"{path} line {row.line}: {row.said}; its first row names the columns")
            names = row[1]
            if twice := [name for name, times in Counter(filter(None, names)).items() if times > 1]:
                raise Unreadable(f"{path} has two columns {twice[0]!r}: rename one")
        elif isinstance(row, BadRow):
            yield row
        elif any(row[1][len(names) :]):
            said = f"it has {len(row[1])} cells, and there are {len(names)} columns: quote a cell that holds a comma"
            yield BadRow(row[0], said)
        else:
            yield {name: cell for name, cell in itertools.zip_longest(names, row[1][: len(names)]) if name}


def _cells(found: Iterator[tuple[int, str] | BadRow], comma: str) -> Iterator[tuple[int, list[str]] | BadRow]:
    """The number of the first line of each row, and its cells.

    A quote that is never closed makes only the line bad in which it was opened: reading continues with the next line.
    """
    csv.field_size_limit(CELL_BYTES)
    waiting: deque[tuple[int, str] | BadRow] = deque()
    used: list[tuple[int, str]] = []

    def feed() -> Iterator[str]:
        while True:
            one = waiting.popleft() if waiting else next(found, None)
            if one is None:
                return
            if isinstance(one, BadRow) or len(used) == _ROW_LINES:
                waiting.appendleft(one)
                if not used:
                    return
                raise csv.Error
            used.append(one)
            yield one[1]

    while True:
        used.clear()
        try:
            cells = next(csv.reader(feed(), delimiter=comma, strict=True))
        except StopIteration:
            if waiting and isinstance(bad := waiting.popleft(), BadRow):
                yield bad
                continue
            return
        except csv.Error as error:
            large = "field limit" in str(error)
            yield BadRow(used[0][0], f"a cell is over {CELL_BYTES}" if large else "a quote does not close its cell")
            waiting.extendleft(reversed(used[1:]))
        else:
            if cells:
                yield used[0][0], cells


def open_parquet(file: Any, path: str, **options: Any) -> pq.ParquetFile:
    """The Parquet file in *file*, its page checksums verified.

    Raises:
        Unreadable: it is cut, or no Parquet file.
    """
    try:
        return pq.ParquetFile(file, page_checksum_verification=True, **options)
    except (pa.ArrowInvalid, OSError) as error:
        size = file.seek(0, io.SEEK_END)
        raise Unreadable(f"{path} is no whole Parquet file, it ends at byte {size} ({error}): write it again") from None


def _parquet_rows(file: Any, path: str, start: int, stop: int | None) -> Iterator[dict[str, Any] | BadRow]:
    """Rows one by one: texts stay in their dictionary until their row is read.

    A file of some kilobytes can have a dictionary with one text of a gigabyte, so a batch of rows could have any size.
    """
    table = open_parquet(file, path)
    leaves = [table.metadata.schema.column(place) for place in range(table.metadata.num_columns)]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    table = open_parquet(file, path, read_dictionary=texts)
    first = 0
    stop = table.metadata.num_rows if stop is None else stop
    for group in range(table.num_row_groups):
        facts = table.metadata.row_group(group)
        last = first + facts.num_rows
        if first < stop and start < last:
            for column in (facts.column(place) for place in range(facts.num_columns)):
                if column.total_uncompressed_size > _COLUMN_BYTES or column.num_values > _COLUMN_VALUES:
                    said = f"{column.total_uncompressed_size} bytes unpacked and {column.num_values} values"
                    most = f"at most {_COLUMN_BYTES} and {_COLUMN_VALUES}: write it in smaller row groups"
                    raise Unreadable(f"{path}: column {column.path_in_schema} of row group {group} has {said}; {most}")
            place = first
            try:
                for batch in table.iter_batches(_BATCH, row_groups=[group]):
                    yield from batch_rows(batch, place, max(0, start - place), max(0, stop - place))
                    place += batch.num_rows
            except (pa.ArrowInvalid, OSError) as error:
                raise Unreadable(f"{path} is corrupt past row {place}, in row group {group}: {error}") from None
        first = last


def batch_rows(batch: pa.RecordBatch, place: int, start: int, stop: int) -> Iterator[dict[str, Any] | BadRow]:
    sizes = {name: _most(batch[name]) for name in batch.schema.names}
    if sum(sizes.values()) <= _SMALL_BYTES:
        yield from itertools.islice(batch.to_pylist(), start, stop)
        return
    large = [name for name, size in sizes.items() if size > CELL_BYTES]
    for number in range(start, min(stop, batch.num_rows)):
        row = batch.slice(number, 1)
        big = next((name for name in large if _most(row[name]) > CELL_BYTES), None)
        if big is not None:
            yield BadRow(place + number + 1, f"its {big} is over {CELL_BYTES} bytes")
        else:
            yield from row.to_pylist()


def _most(array: pa.Array) -> int:
    """Upper bound for the bytes of the texts in one row of *array*, nested ones included."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        used = pc.unique(array.indices).drop_null()
        return _most(array.dictionary.take(used))
    if pa.types.is_struct(kind):
        return sum(map(_most, array.flatten()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        lengths = pc.subtract(array.offsets.slice(1), array.offsets.slice(0, len(array)))
        return _most(array.flatten()) * (pc.max(lengths).as_py() or 0)
    try:
        return pc.max(pc.binary_length(array)).as_py() or 0
    except pa.ArrowNotImplementedError:  # neither text nor bytes
        return 0
