"""Image files in folders, with sidecars beside them or a metadata table for many. A shard is a group of files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from mminstruct.readers import table
from mminstruct.readers.container import sniff
from mminstruct.readers.text import BadRow
from mminstruct.sources.sample import (
    IMAGES,
    SIDECARS,
    Names,
    Rule,
    Sample,
    SampleAssembler,
    ShardError,
    ignored,
    normal,
    split,
    stem,
)
from mminstruct.sources.source import ImageSource, Shard
from mminstruct.stage import Drop
from mminstruct.unit import note

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables of Hugging Face's ImageFolder, with a column ``file_name``."""


class FolderSource(ImageSource):
    """Groups of about ``group`` files of one folder, by sorted key; an image and its sidecars stay together."""

    endings = tuple(f".{extension}" for extension in sorted(IMAGES))
    what = "image"

    def recognises(self) -> bool:
        return bool(self.listing.named(*self.endings))

    def shards(self) -> list[Shard]:
        rule = self.options.rule
        folders: dict[str, list[str]] = {}
        for name in self.listing.files:
            if _candidate(name, rule):
                folders.setdefault(name.rpartition("/")[0], []).append(name)
        # text and JSON in a folder without images belong to no image: annotations of a whole collection, for example
        folders = {folder: names for folder, names in folders.items() if self._has_images(names)}
        found = []
        reporters = self._reporters(sorted(folders))
        for folder, names in sorted(folders.items()):
            groups: list[list[str]] = [[]]
            ordered = sorted(names, key=lambda name: (stem(name, rule), name))
            for _, same in itertools.groupby(ordered, lambda name: stem(name, rule)):
                if len(groups[-1]) >= self.options.group:
                    groups.append([])
                groups[-1] += same
            tables = self._tables(folder)
            for index, group in enumerate(groups):
                reports = tuple(reporters.get(folder, ())) if index == 0 else ()
                name = f"{folder or self.options.name}:{index:04d}"
                found.append(Shard(name, tuple(group), beside=(*tables, *reports), reports=reports))
        return found

    def read(self, shard: Shard) -> Iterator[Sample | Drop]:
        """Samples and drops of one group; it fails if one of its files has vanished since it was listed.

        Rows of metadata tables join their image by its name. A row that cannot be read or names no image is a drop of
        one shard, the first one in the table's folder or below.

        Raises:
            Unreadable, ShardError: a metadata table cannot be read, or names no files at all.
        """
        assembler = SampleAssembler(self.options.rule, self.options.member_bytes)
        known = self._metadata(shard)
        for name in shard.files:
            file = self.listing.files[name]
            if file.link and not self.options.links:
                yield assembler.refuse(name, "link", "member_type", "a symbolic link; links=true follows it")
                continue
            data = None
            if assembler.wanted(name, file.size):
                with self.listing.fs.open(file.path, "rb") as opened:
                    data = opened.read(self.options.member_bytes + 1)
            for one in assembler.add(name, "file", file.size, data):
                yield _described(one, known)
        for one in assembler.finish():
            yield _described(one, known)
        if shard.reports:
            images = {normal(name) for name in self.listing.files if _candidate(name, self.options.rule)}
            for name in shard.reports:
                yield from self._lost(name, images, assembler.names)

    def _has_images(self, names: list[str]) -> bool:
        """Whether one has the extension of an image, or has none and begins as an image does (a LICENSE does not)."""
        return any(split(name, "last")[1] in IMAGES for name in names) or any(map(self._begins_as_image, names))

    def _begins_as_image(self, name: str) -> bool:
        file = self.listing.files[name]
        if "." in name.rpartition("/")[2] or (file.link and not self.options.links):
            return False
        try:
            with self.listing.fs.open(file.path, "rb") as opened:
                return sniff(opened.read(2048)) is not None
        except OSError:
            return True  # the shard then fails, and names the file

    def _tables(self, folder: str) -> list[str]:
        """Metadata tables that apply to *folder*: its own, then its parents'."""
        names = []
        while True:
            names += [name for table in _METADATA if (name := f"{folder}/{table}".lstrip("/")) in self.listing.files]
            if not folder:
                return names
            folder = folder.rpartition("/")[0]

    def _reporters(self, folders: list[str]) -> dict[str, list[str]]:
        """Folder with images -> metadata tables whose unmatched rows its first shard reports."""
        found: dict[str, list[str]] = {}
        for name in self.listing.files:
            home, _, last = name.rpartition("/")
            if last in _METADATA and folders:
                under = (folder for folder in folders if folder == home or folder.startswith(f"{home}/") or not home)
                found.setdefault(next(under, folders[0]), []).append(name)
        return found

    def _metadata(self, shard: Shard) -> dict[str, dict[str, Any]]:
        """Rows by the name of their file, in NFC. For one file the nearest table counts, then the first row."""
        mine = {normal(name) for name in shard.files}
        known: dict[str, dict[str, Any]] = {}
        for name in self._tables(shard.files[0].rpartition("/")[0]):
            for full, row in self._named(name):
                if full in mine and isinstance(row, dict):
                    note("metadata_row_repeated" if full in known else "metadata_rows")
                    known.setdefault(full, row)
        return known

    def _named(self, name: str) -> Iterator[tuple[str | None, dict[str, Any] | BadRow]]:
        """Rows of a metadata table, each with the full name of its file; None where the row names none."""
        home = name.rpartition("/")[0]
        anything = False
        for row in table.rows(self.listing.fs, self.listing.files[name].path):
            file = None if isinstance(row, BadRow) else row.pop("file_name", None)
            anything = anything or isinstance(file, str)
            yield (normal(f"{home}/{file}".lstrip("/")) if isinstance(file, str) and file else None), row
        if not anything:
            raise ShardError(
                f"{name} names no files: give it a column file_name with names relative to it, or move it away"
            )

    def _lost(self, name: str, images: set[str], names: Names) -> Iterator[Drop]:
        """Drops for the rows of a metadata table that name no image, or have no name."""
        for number, (full, row) in enumerate(self._named(name)):
            member = f"{name} row {number}"
            if isinstance(row, BadRow):
                yield Drop(names(member, "table"), "row_bad", f"line {row.line}: {row.said}")
            elif full is None:
                yield Drop(names(member, "table"), "row_bad", "it has no file_name")
            elif full not in images:
                why = self.listing.passed.get(full, "no such image")
                yield Drop(names(member, "table"), "no_image", f"{full[:500]}: {why}")


def _candidate(name: str, rule: Rule) -> bool:
    """Whether to open a file: its name promises an image or a sidecar, or has no extension."""
    last = name.rpartition("/")[2]
    extensions = {split(name, rule)[1], split(name, "last")[1]}
    return not ignored(name) and bool("." not in last or extensions & (IMAGES | SIDECARS))


def _described(one: Sample | Drop, known: dict[str, dict[str, Any]]) -> Sample | Drop:
    if isinstance(one, Sample):
        one.row = known.get(normal(one.name), {})
    return one
