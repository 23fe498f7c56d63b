"""Shards that are groups of image files in folders, with sidecars beside them or one metadata table for all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from mminstruct.sources import table
from mminstruct.sources.facts import facts
from mminstruct.sources.place import Place, Shard
from mminstruct.sources.sample import IMAGES, SIDECARS, Gather, Rule, Sample, ShardError, split
from mminstruct.stage import Drop, note

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Of Hugging Face's ImageFolder: a table with a column ``file_name``."""


def shards(place: Place, rule: Rule, size: int, root: str) -> list[Shard]:
    """Groups of about *size* files of one folder by sorted key; an image and its sidecars are never parted.

    Args:
        root: What shards of the topmost folder are called.
    """
    folders: dict[str, list[str]] = {}
    for name in place.files:
        if split(name, rule)[1] in IMAGES | SIDECARS or "." not in name.rsplit("/", 1)[-1]:
            folders.setdefault(name.rpartition("/")[0], []).append(name)
    found = []
    for folder, names in sorted(folders.items()):
        groups: list[list[str]] = [[]]
        ordered = sorted(names, key=lambda name: (split(name, rule)[0], name))
        for _, same in itertools.groupby(ordered, lambda name: split(name, rule)[0]):
            if len(groups[-1]) >= size:
                groups.append([])
            groups[-1] += same
        tables = _tables(place, folder)
        for index, group in enumerate(groups):
            shard = f"{folder or root}:{index:04d}"
            read_from = (*group, *tables)
            found.append(Shard(shard, tuple(group), facts(place, shard, read_from), read_from=read_from))
    return found


def read(place: Place, shard: Shard, rule: Rule, member_bytes: int, links: bool) -> Iterator[Sample | Drop]:
    """Samples and drops of one group; files that vanished since it was listed make it fail.

    Raises:
        ShardError: a metadata table that cannot be read.
    """
    gather = Gather(rule, member_bytes)
    known = _metadata(place, shard.files[0].rpartition("/")[0])
    for name in shard.files:
        file = place.files[name]
        if file.link and not links:
            if split(name, rule)[1] not in SIDECARS:
                yield gather.refuse(name, "link", "member_type", "symbolic link or no regular file; links=true follows")
            continue
        data = None
        if gather.wanted(name, file.size):
            with place.fs.open(file.path, "rb") as opened:
                data = opened.read(member_bytes + 1)
        for one in gather.add(name, "file", file.size, data):
            yield _described(one, known)
    for one in gather.finish():
        yield _described(one, known)


def _described(one: Sample | Drop, known: dict[str, dict[str, Any]]) -> Sample | Drop:
    if isinstance(one, Sample):
        one.row = known.get(one.name, {})
    return one


def _tables(place: Place, folder: str) -> list[str]:
    """Metadata tables that speak for *folder*: its own, then its parents'."""
    names = []
    while True:
        names += [name for table in _METADATA if (name := f"{folder}/{table}".lstrip("/")) in place.files]
        if not folder:
            return names
        folder = folder.rpartition("/")[0]


def _metadata(place: Place, folder: str) -> dict[str, dict[str, Any]]:
    """Rows by name in the place."""
    known: dict[str, dict[str, Any]] = {}
    for name in reversed(_tables(place, folder)):
        home = name.rpartition("/")[0]
        for row in table.rows(place.fs, place.files[name].path):
            file = row.pop("file_name", None)
            if not isinstance(file, str):
                raise ShardError(f"{name} has a row without file_name: name the image of each row, relative to {name}")
            full = f"{home}/{file}".lstrip("/")
            if full.rpartition("/")[0] == folder:
                known[full] = row
    if known:
        note("metadata_rows", len(known))
    return known
