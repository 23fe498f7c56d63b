"""Shards that are tar archives: SA-1B's, img2dataset's and DataComp's, any WebDataset's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mminstruct.readers import table
from mminstruct.readers.text import BadRow
from mminstruct.sources import tar
from mminstruct.sources.facts import facts
from mminstruct.sources.place import TARS, Place, Shard
from mminstruct.sources.sample import Gather, Rule, Sample, ShardError, normal
from mminstruct.stage import Drop, note


def shards(place: Place) -> list[Shard]:
    """One for each archive; a Parquet file of the same name belongs to it."""
    found = []
    for name in place.finished(*TARS):
        files = tuple(one for one in (name, _beside(name)) if one in place.files)
        found.append(Shard(name, files, facts(place, name, files), read_from=files))
    return found


def read(place: Place, shard: Shard, rule: Rule, member_bytes: int) -> Iterator[Sample | Drop]:
    """Samples and drops of one archive, in the order of their images.

    Rows of img2dataset's Parquet file join their image by ``key``; those that it could not download are drops.

    Raises:
        ShardError, Unreadable: the archive or its table is not whole, or it holds nothing at all.
    """
    known, bad = _rows(place, _beside(shard.name))
    gather = Gather(rule, member_bytes, one_image=True)
    count = 0
    with place.fs.open(place.files[shard.name].path, "rb") as file:
        for member in tar.members(file, shard.name, gather.wanted):
            count += 1
            if member.kind == "file":
                yield from _joined(gather.add(member.name, member.offset, member.size, member.data), known)
            elif member.kind == "directory":
                note("directory")
            else:
                yield gather.refuse(member.name, member.offset, "member_type", member.kind)
    if not count and not known and not bad:
        raise ShardError(f"{shard.name} is an archive without members: write this shard again, or take it out")
    yield from _joined(gather.finish(), known)
    there = {key.rpartition("/")[2] for key in gather.keys}
    for key, row in known.items():
        if key in there:
            continue
        said = f"{row.get('status') or 'listed'}: {row.get('error_message') or 'not in the archive'}"
        yield gather.refuse(f"{key} (listed)", "table", "no_image", said)
    for one in bad:
        yield gather.refuse(f"{_beside(shard.name)} row {one.line}", "table", "row_bad", one.said)


def _joined(found: Iterator[Sample | Drop], known: dict[str, dict[str, Any]]) -> Iterator[Sample | Drop]:
    for one in found:
        if isinstance(one, Sample) and known:
            one.row = known.get(one.key.rpartition("/")[2], {})
        yield one


def _beside(name: str) -> str:
    ending = next(ending for ending in TARS if name.lower().endswith(ending))
    return f"{name[: -len(ending)]}.parquet"


def _rows(place: Place, name: str) -> tuple[dict[str, dict[str, Any]], list[BadRow]]:
    """Rows by key in NFC, as members' keys are; of two rows with one key the first counts, the others are noted.

    Raises:
        Unreadable: a table that cannot be read.
    """
    known: dict[str, dict[str, Any]] = {}
    bad: list[BadRow] = []
    for row in table.rows(place.fs, place.files[name].path) if name in place.files else ():
        if isinstance(row, BadRow):
            bad.append(row)
        elif row.get("key") is None:
            note("table_row_without_key")
        else:
            key = normal(str(row["key"]))
            note("table_row_repeated" if key in known else "table_rows")
            known.setdefault(key, row)
    return known, bad
