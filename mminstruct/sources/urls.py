"""Shards that are stretches of a list of addresses: CSV, TSV, JSON lines, Parquet, or one address a line."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from mminstruct.readers.container import BadImage
from mminstruct.sources import table
from mminstruct.sources.fetch import Reach, fetch
from mminstruct.sources.place import TABLES, Place, Shard
from mminstruct.sources.sample import Names, Sample, ShardError
from mminstruct.stage import Drop, content_id


def shards(place: Place, size: int) -> list[Shard]:
    """Stretches of *size* rows."""
    found = []
    for name in place.named(*TABLES):
        file = place.files[name]
        count = table.count(place.fs, file.path)
        for start in range(0, count, size):
            stop = min(start + size, count)
            shard = f"{name}:{start:08d}"
            facts = {"shard": shard, "rows": stop - start, "size": file.size, "stamp": file.stamp}
            found.append(Shard(shard, (name,), facts, (start, stop)))
    return found


def read(
    place: Place, shard: Shard, columns: tuple[str, ...], reach: Reach, concurrency: int
) -> Iterator[Sample | Drop]:
    """Samples and drops of one stretch in the order of its rows, *concurrency* fetches at a time.

    Args:
        columns: names that the column of addresses may have; the first that is there counts.

    Raises:
        ShardError: the list cannot be read, is shorter than it was, or has no column of addresses.
    """
    trust = ssl.create_default_context()
    start, stop = shard.rows
    rows = enumerate(table.rows(place.fs, place.files[shard.files[0]].path, start, stop), start)
    names = Names()
    waiting: deque[tuple[str, int, dict[str, Any], Future[bytes]]] = deque()
    seen = 0
    with ThreadPoolExecutor(concurrency, thread_name_prefix="fetch") as threads:
        try:
            for number, row in rows:
                seen += 1
                column = next((name for name in columns if name in row), None)
                if column is None:
                    there = ", ".join(map(str, row))
                    raise ShardError(
                        f"{shard.name} has no column of addresses in row {number}: name it, columns.url=NAME; there are"
                        f" {there}"
                    )
                url = row[column].strip() if isinstance(row[column], str) else ""
                waiting.append((url, number, row, threads.submit(fetch, url, reach, trust)))
                while len(waiting) >= 2 * concurrency:
                    yield _result(names, *waiting.popleft())
            while waiting:
                yield _result(names, *waiting.popleft())
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    if seen != stop - start:
        raise ShardError(f"{shard.name} has {seen} rows, {stop - start} when it was listed: it changed meanwhile")


def _result(names: Names, url: str, number: int, row: dict[str, Any], data: Future[bytes]) -> Sample | Drop:
    member = names(url or f"row {number}", number)
    try:
        return Sample(member=member, name=member, key=content_id(url), data=data.result(), row=row)
    except BadImage as error:
        return Drop(member, error.reason, error.detail)
