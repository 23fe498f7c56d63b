"""Shards that are groups of image files in folders, with sidecars beside them or one metadata table for all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from mminstruct.readers import table
from mminstruct.readers.text import BadRow
from mminstruct.sources.facts import facts
from mminstruct.sources.place import Place, Shard
from mminstruct.sources.sample import (
    IMAGES,
    SIDECARS,
    Gather,
    Names,
    Rule,
    Sample,
    ShardError,
    ignored,
    normal,
    split,
    stem,
)
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
        if _candidate(name, rule):
            folders.setdefault(name.rpartition("/")[0], []).append(name)
    found = []
    reporters = _reporters(place, sorted(folders))
    for folder, names in sorted(folders.items()):
        groups: list[list[str]] = [[]]
        ordered = sorted(names, key=lambda name: (stem(name, rule), name))
        for _, same in itertools.groupby(ordered, lambda name: stem(name, rule)):
            if len(groups[-1]) >= size:
                groups.append([])
            groups[-1] += same
        tables = _tables(place, folder)
        for index, group in enumerate(groups):
            shard = f"{folder or root}:{index:04d}"
            mine = tuple(reporters.get(folder, ())) if index == 0 else ()
            read_from = tuple(dict.fromkeys((*group, *tables, *mine)))
            found.append(Shard(shard, tuple(group), facts(place, shard, read_from), tables=mine, read_from=read_from))
    return found


def read(place: Place, shard: Shard, rule: Rule, member_bytes: int, links: bool) -> Iterator[Sample | Drop]:
    """Samples and drops of one group; files that vanished since it was listed make it fail.

    Rows of metadata tables join their image by its name. Rows that cannot be read or name no image are drops of one
    shard, the first one under the table's folder.

    Raises:
        Unreadable, ShardError: a metadata table that cannot be read, or names no files at all.
    """
    gather = Gather(rule, member_bytes)
    known = _metadata(place, shard)
    for name in shard.files:
        file = place.files[name]
        if file.link and not links:
            yield gather.refuse(name, "link", "member_type", "a symbolic link; links=true follows it")
            continue
        data = None
        if gather.wanted(name, file.size):
            with place.fs.open(file.path, "rb") as opened:
                data = opened.read(member_bytes + 1)
        for one in gather.add(name, "file", file.size, data):
            yield _described(one, known)
    for one in gather.finish():
        yield _described(one, known)
    images = {normal(name) for name in place.files if _candidate(name, rule)} if shard.tables else set()
    for name in shard.tables:
        yield from _lost(place, name, images, gather.names)


def _candidate(name: str, rule: Rule) -> bool:
    """Whether a file is looked into: it promises an image or a sidecar, or has no extension."""
    last = name.rpartition("/")[2]
    extensions = {split(name, rule)[1], split(name, "last")[1]}
    return not ignored(name) and bool("." not in last or extensions & (IMAGES | SIDECARS))


def _described(one: Sample | Drop, known: dict[str, dict[str, Any]]) -> Sample | Drop:
    if isinstance(one, Sample):
        one.row = known.get(normal(one.name), {})
    return one


def _tables(place: Place, folder: str) -> list[str]:
    """Metadata tables that speak for *folder*: its own, then its parents'."""
    names = []
    while True:
        names += [name for table in _METADATA if (name := f"{folder}/{table}".lstrip("/")) in place.files]
        if not folder:
            return names
        folder = folder.rpartition("/")[0]


def _reporters(place: Place, folders: list[str]) -> dict[str, list[str]]:
    """Folder with images -> metadata tables of which its first shard reports the rows that join nothing."""
    found: dict[str, list[str]] = {}
    for name in place.files:
        home, _, last = name.rpartition("/")
        if last in _METADATA and folders:
            under = (folder for folder in folders if folder == home or folder.startswith(f"{home}/") or not home)
            found.setdefault(next(under, folders[0]), []).append(name)
    return found


def _metadata(place: Place, shard: Shard) -> dict[str, dict[str, Any]]:
    """Rows by name of the shard's files, in NFC; of two for one file the nearest table's counts, then the first."""
    mine = {normal(name) for name in shard.files}
    known: dict[str, dict[str, Any]] = {}
    for name in _tables(place, shard.files[0].rpartition("/")[0]):
        for full, row in _named(place, name):
            if full in mine and isinstance(row, dict):
                note("metadata_row_repeated" if full in known else "metadata_rows")
                known.setdefault(full, row)
    return known


def _named(place: Place, name: str) -> Iterator[tuple[str | None, dict[str, Any] | BadRow]]:
    """Rows of a metadata table, each with the full name of the file it speaks of; None where it names none."""
    home = name.rpartition("/")[0]
    anything = False
    for row in table.rows(place.fs, place.files[name].path):
        file = None if isinstance(row, BadRow) else row.pop("file_name", None)
        anything = anything or isinstance(file, str)
        yield (normal(f"{home}/{file}".lstrip("/")) if isinstance(file, str) and file else None), row
    if not anything:
        raise ShardError(
            f"{name} names no files: give it a column file_name with names relative to it, or move it away"
        )


def _lost(place: Place, name: str, images: set[str], names: Names) -> Iterator[Drop]:
    """Drops for the rows of a metadata table that name no image, or nothing."""
    for number, (full, row) in enumerate(_named(place, name)):
        member = f"{name} row {number}"
        if isinstance(row, BadRow):
            yield Drop(names(member, "table"), "row_bad", f"line {row.line}: {row.said}")
        elif full is None:
            yield Drop(names(member, "table"), "row_bad", "it has no file_name")
        elif full not in images:
            yield Drop(names(member, "table"), "no_image", f"{full[:500]}: {place.passed.get(full, 'no such image')}")
