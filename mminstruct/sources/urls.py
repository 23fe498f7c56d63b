"""Lists of web addresses: CSV, TSV, JSON lines, Parquet, or one address a line. A shard is a range of a list's rows."""

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
from mminstruct.sources.fetch import fetch
from mminstruct.sources.listing import TABLES
from mminstruct.sources.parquet import IMAGE_COLUMNS, contents, decoded
from mminstruct.sources.sample import Names, Sample, ShardError, ignored
from mminstruct.sources.sidecar import GUESSES
from mminstruct.sources.source import ImageSource, Shard
from mminstruct.stage import Drop, content_id
from mminstruct.unit import BEYOND, enough

_WEB = ("http://", "https://")


class UrlSource(ImageSource):
    """Lists with a column of addresses, whose images are fetched; such a column may also hold images in base64."""

    endings = TABLES
    what = "list"

    def recognises(self) -> bool:
        found = contents(self.listing, self.options)
        return found == "addresses" or (found is None and bool(self._lists()))

    def shards(self) -> list[Shard]:
        """Ranges of ``group`` rows; one shard for a list that cannot be read, which fails when it is read."""
        found = []
        size = self.options.group
        for name in self._lists():
            try:
                count = table.count(self.listing.fs, self.listing.files[name].path)
            except (Unreadable, OSError):
                count = -1
            for start in range(0, abs(count), size):
                stop = min(start + size, count) if count >= 0 else -1
                found.append(Shard(f"{name}:{start:08d}", (name,), rows=(start, stop)))
        return found

    def read(self, shard: Shard) -> Iterator[Sample | Drop]:
        """Samples and drops of one range in the order of its rows, ``concurrency`` fetches at a time.

        Raises:
            Unreadable, ShardError: the list cannot be read, its length has changed, or no row of it has an address.
        """
        trust, reach, concurrency = ssl.create_default_context(), self.options.reach, self.options.concurrency
        columns, images = self._columns()
        start, stop = shard.rows or (0, -1)
        path = self.listing.files[shard.files[0]].path
        names = Names()
        waiting: deque[tuple[str, int, dict[str, Any], Future[bytes] | Drop]] = deque()
        seen, known, there = 0, 0, ""
        with ThreadPoolExecutor(concurrency, thread_name_prefix="fetch") as threads:
            try:
                rows = table.rows(self.listing.fs, path, start, None if stop < 0 else stop)
                for number, row in enumerate(rows, start):
                    seen += 1
                    column = next((one for one in (*columns, *images) if isinstance(row, dict) and one in row), None)
                    if isinstance(row, BadRow):
                        waiting.append(("", number, {}, Drop("", "row_bad", f"line {row.line}: {row.said}")))
                    elif column is None:
                        there = there or ", ".join(map(str, row))
                        said = f"no address; it has {', '.join(row)[:200]}"
                        waiting.append(("", number, {}, Drop("", "row_bad", said)))
                    elif enough():
                        known += 1
                        waiting.append(("", number, {}, Drop("", BEYOND, "not fetched")))
                    else:
                        known += 1
                        text = row[column].strip() if isinstance(row[column], str) else ""
                        if column in images and not text.lower().startswith(_WEB):
                            waiting.append(("", number, row, threads.submit(_inline, row.pop(column))))
                        else:
                            waiting.append((text, number, row, threads.submit(fetch, text, reach, trust)))
                    while len(waiting) >= 2 * concurrency:
                        yield _result(names, *waiting.popleft())
                while waiting:
                    yield _result(names, *waiting.popleft())
            finally:
                threads.shutdown(wait=False, cancel_futures=True)
        if there and not known and not self._addressed(path):
            raise ShardError(f"{shard.name} has no column of addresses: name it, columns.url=NAME; there are {there}")
        if stop >= 0 and seen != stop - start:
            raise ShardError(f"{shard.name} has {seen} rows, {stop - start} when it was listed: the list was changed")

    def _lists(self) -> list[str]:
        return [name for name in self.listing.finished(*TABLES) if not ignored(name)]

    def _columns(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of columns of addresses, and of columns of addresses or base64; in a row the first present counts."""
        return self.options.named("url") or GUESSES["url"], (*self.options.named("image"), *IMAGE_COLUMNS)

    def _addressed(self, path: str) -> bool:
        """Whether one of the list's first 1000 rows has an address, though this range has none."""
        columns = [column for kind in self._columns() for column in kind]
        rows = table.rows(self.listing.fs, path, 0, 1000)
        return any(column in row for row in rows if not isinstance(row, BadRow) for column in columns)


def _inline(text: Any) -> bytes:
    """The image that *text* holds in base64.

    Raises:
        BadImage: ``row_bad``: it holds none.
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
