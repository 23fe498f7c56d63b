"""Shards that are stretches of a list of addresses: CSV, TSV, JSON lines, Parquet, or one address a line."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from mminstruct.readers import table
from mminstruct.readers.container import BadImage
from mminstruct.readers.text import BadRow, Unreadable
from mminstruct.sources.fetch import Reach, fetch
from mminstruct.sources.parquet import decoded
from mminstruct.sources.place import TABLES, Place, Shard
from mminstruct.sources.sample import Names, Sample, ShardError, ignored
from mminstruct.stage import Drop, content_id

_WEB = ("http://", "https://")


def shards(place: Place, size: int) -> list[Shard]:
    """Stretches of *size* rows; one for a list that cannot be read, which then fails by its name."""
    found = []
    for name in place.finished(*TABLES):
        if ignored(name):
            continue
        file = place.files[name]
        try:
            count = table.count(place.fs, file.path)
        except (Unreadable, OSError):
            count = -1
        for start in range(0, abs(count), size):
            stop = min(start + size, count) if count >= 0 else -1
            shard = f"{name}:{start:08d}"
            facts = {"shard": shard, "rows": max(0, stop - start), "size": file.size, "stamp": file.stamp}
            found.append(Shard(shard, (name,), facts, (start, stop)))
    return found


def read(
    place: Place, shard: Shard, columns: tuple[str, ...], images: tuple[str, ...], reach: Reach, concurrency: int
) -> Iterator[Sample | Drop]:
    """Samples and drops of one stretch in the order of its rows, *concurrency* fetches at a time.

    Args:
        columns: names that the column of addresses may have; in each row the first that is there counts.
        images: names that a column may have which holds addresses, or the images themselves as base64.

    Raises:
        Unreadable, ShardError: the list cannot be read, is not as long as it was, or no row of it has an address.
    """
    trust = ssl.create_default_context()
    start, stop = shard.rows
    rows = table.rows(place.fs, place.files[shard.files[0]].path, start, None if stop < 0 else stop)
    names = Names()
    waiting: deque[tuple[str, int, dict[str, Any], Future[bytes] | Drop]] = deque()
    seen, known, there = 0, 0, ""
    with ThreadPoolExecutor(concurrency, thread_name_prefix="fetch") as threads:
        try:
            for number, row in enumerate(rows, start):
                seen += 1
                column = None if isinstance(row, BadRow) else next((c for c in (*columns, *images) if c in row), None)
                if isinstance(row, BadRow):
                    waiting.append(("", number, {}, Drop("", "row_bad", f"line {row.line}: {row.said}")))
                elif column is None:
                    there = there or ", ".join(map(str, row))
                    waiting.append(("", number, {}, Drop("", "row_bad", f"no address; it has {', '.join(row)[:200]}")))
                else:
                    known += 1
                    text = row[column].strip() if isinstance(row[column], str) else ""
                    inline = column in images and not text.lower().startswith(_WEB)
                    work = (
                        threads.submit(_inline, row.pop(column))
                        if inline
                        else threads.submit(fetch, text, reach, trust)
                    )
                    waiting.append(("" if inline else text, number, row, work))
                while len(waiting) >= 2 * concurrency:
                    yield _result(names, *waiting.popleft())
            while waiting:
                yield _result(names, *waiting.popleft())
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    if there and not known and not _addressed(place, shard, (*columns, *images)):
        raise ShardError(f"{shard.name} has no column of addresses: name it, columns.url=NAME; there are {there}")
    if stop >= 0 and seen != stop - start:
        raise ShardError(f"{shard.name} has {seen} rows, {stop - start} when it was listed: it changed meanwhile")


def _addressed(place: Place, shard: Shard, columns: tuple[str, ...]) -> bool:
    """Whether the list has addresses elsewhere than in this stretch, near its beginning."""
    rows = table.rows(place.fs, place.files[shard.files[0]].path, 0, 1000)
    return any(column in row for row in rows if not isinstance(row, BadRow) for column in columns)


def _inline(text: Any) -> bytes:
    """The image that *text* is in base64.

    Raises:
        BadImage: ``row_bad`` where it is none.
    """
    data = decoded(text.encode()) if isinstance(text, str) and text else None
    if data is None:
        raise BadImage("row_bad", f"neither a web address nor an image in base64: {str(text)[:40]!r}")
    return data


def _result(names: Names, url: str, number: int, row: dict[str, Any], data: Future[bytes] | Drop) -> Sample | Drop:
    member = names(url or f"row {number}", number)
    if isinstance(data, Drop):
        return replace(data, id=member)
    try:
        return Sample(member=member, name=member, key=content_id(url), data=data.result(), row=row)
    except BadImage as error:
        return Drop(member, error.reason, error.detail)
