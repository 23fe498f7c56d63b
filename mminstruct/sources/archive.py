"""Shards that are tar archives: SA-1B's, img2dataset's and DataComp's, any WebDataset's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mminstruct.sources import table, tar
from mminstruct.sources.facts import facts
from mminstruct.sources.place import TARS, Place, Shard
from mminstruct.sources.sample import Gather, Rule, Sample, ShardError
from mminstruct.stage import Drop, note


def shards(place: Place) -> list[Shard]:
    """One for each archive; a Parquet file of the same name belongs to it."""
    found = []
    for name in place.named(*TARS):
        read_from = [one for one in (name, _beside(name)) if one in place.files]
        found.append(Shard(name, (name,), facts(place, name, read_from), read_from=tuple(read_from)))
    return found


def read(place: Place, shard: Shard, rule: Rule, member_bytes: int) -> Iterator[Sample | Drop]:
    """Samples and drops of one archive, in the order of their images.

    Rows of img2dataset's Parquet file join their image by ``key``; those that it could not download are drops.

    Raises:
        ShardError: the archive is not whole, or holds nothing at all.
    """
    known = _rows(place, _beside(shard.name))
    gather = Gather(rule, member_bytes)
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
    if not count and not known:
        raise ShardError(f"{shard.name} is an archive without members: write this shard again, or take it out")
    yield from _joined(gather.finish(), known)
    there = {key.rpartition("/")[2] for key in gather.keys}
    for key, row in known.items():
        if key in there:
            continue
        said = f"{row.get('status') or 'listed'}: {row.get('error_message') or 'not in the archive'}"
        yield gather.refuse(f"{key} (listed)", "table", "no_image", said)


def _joined(found: Iterator[Sample | Drop], known: dict[str, dict[str, Any]]) -> Iterator[Sample | Drop]:
    for one in found:
        if isinstance(one, Sample) and known:
            one.row = known.get(one.key.rpartition("/")[2], {})
        yield one


def _beside(name: str) -> str:
    ending = next(ending for ending in TARS if name.lower().endswith(ending))
    return f"{name[: -len(ending)]}.parquet"


def _rows(place: Place, name: str) -> dict[str, dict[str, Any]]:
    """Rows by key; none where there is no such file, or it is unusable."""
    if name not in place.files:
        return {}
    try:
        rows = list(table.rows(place.fs, place.files[name].path))
    except ShardError:
        note("table_bad")
        return {}
    if rows and "key" not in rows[0]:
        note("table_without_key")
        return {}
    return {str(row["key"]): row for row in rows}
