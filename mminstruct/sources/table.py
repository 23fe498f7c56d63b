"""Rows of a table of any common kind, as dictionaries: Parquet, CSV, TSV, JSON lines, or one address a line."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mminstruct.sources.sample import ShardError

_FIELD_BYTES = 1 << 20
_BATCH = 256


def count(fs: Any, path: str) -> int:
    """Rows in the table at *path*."""
    if path.lower().endswith(".parquet"):
        with fs.open(path, "rb") as file:
            return int(open_parquet(file, path).metadata.num_rows)
    return sum(1 for _ in rows(fs, path))


def rows(fs: Any, path: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
    """Rows from *start* up to, not including, *stop*; never the whole table in memory.

    Raises:
        ShardError: no table of the kind that its name promises, with the line.
    """
    with fs.open(path, "rb") as file:
        if path.lower().endswith(".parquet"):
            yield from _parquet_rows(open_parquet(file, path), path, start, stop)
            return
        text = io.TextIOWrapper(io.BufferedReader(_Raw(file)), "utf-8-sig", errors="replace", newline="")
        yield from itertools.islice(_text_rows(text, path), start, stop)


def _text_rows(text: io.TextIOWrapper, path: str) -> Iterator[dict[str, Any]]:
    lower = path.lower()
    if lower.endswith(".jsonl"):
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ShardError(f"{path} line {number} is no JSON: {error}") from None
            yield row if isinstance(row, dict) else {"value": row}
    elif lower.endswith(".txt"):
        for line in text:
            if line.strip():
                yield {"url": line.strip()}
    else:
        csv.field_size_limit(_FIELD_BYTES)
        reader = csv.DictReader(text, delimiter="\t" if lower.endswith(".tsv") else ",")
        try:
            for row in reader:
                yield {name: value for name, value in row.items() if isinstance(name, str)}
        except csv.Error as error:
            raise ShardError(f"{path} line {reader.line_num} is no CSV: {error}") from None


def open_parquet(file: Any, path: str) -> pq.ParquetFile:
    """The Parquet file in *file*, its page checksums verified.

    Raises:
        ShardError: it is not whole.
    """
    try:
        return pq.ParquetFile(file, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        size = file.seek(0, io.SEEK_END)
        raise ShardError(f"{path} is no whole Parquet file, it ends at byte {size} ({error}): write it again") from None


def _parquet_rows(table: pq.ParquetFile, path: str, start: int, stop: int | None) -> Iterator[dict[str, Any]]:
    first = 0
    stop = table.metadata.num_rows if stop is None else stop
    for group in range(table.num_row_groups):
        last = first + table.metadata.row_group(group).num_rows
        if first < stop and start < last:
            place = first
            try:
                for batch in table.iter_batches(_BATCH, row_groups=[group]):
                    yield from itertools.islice(batch.to_pylist(), max(0, start - place), max(0, stop - place))
                    place += batch.num_rows
            except (pa.ArrowInvalid, OSError) as error:
                raise ShardError(f"{path} is corrupt past row {place}, in row group {group}: {error}") from None
        first = last


class _Raw(io.RawIOBase):
    """Any fsspec file as one that ``io`` can buffer."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
