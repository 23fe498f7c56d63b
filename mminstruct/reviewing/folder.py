"""Files of decisions, each beside the ``sheet.json`` of its sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fsspec

from mminstruct import files
from mminstruct.reviewing import sheet
from mminstruct.reviewing.lines import Row, read
from mminstruct.reviewing.sheet import Sheets
from mminstruct.sources.facts import digest, facts
from mminstruct.sources.listing import Listing, list_path
from mminstruct.sources.sample import slugs
from mminstruct.sources.source import Shard
from mminstruct.stage import Drop, content_id

ENDING = ".jsonl"
_ABOVE = 2
"""How many folders above a given path may have the ``sheet.json``."""


@dataclass(frozen=True, slots=True)
class DecisionFile:
    """One file of decisions."""

    listing: Listing
    """Of the folder with ``sheet.json``."""
    shard: Shard
    sheets: Sheets

    @property
    def facts(self) -> dict[str, Any]:
        """As for the shards of ``ingest``; they cover ``sheet.json``."""
        return facts(self.listing, self.shard)

    @property
    def digest(self) -> str | None:
        """Of the bytes of both files; None on a store with ETags."""
        return digest(self.listing, self.shard.read_from)

    def read(self) -> list[Row | Drop]:
        """See ``lines.read``."""
        path = self.listing.files[self.shard.name].path
        with files.ask(self.listing.fs, "read", path, lambda: self.listing.fs.open(path, "rb")) as file:
            return read(file, self.shard.name, self.sheets)


@dataclass(frozen=True, slots=True)
class Found:
    """Files of decisions by unit key, and why other files at the paths are not read."""

    decisions: dict[str, DecisionFile]
    passed: dict[str, str]


def find(paths: Sequence[str]) -> Found:
    """All files of decisions at *paths*: files, or folders of them with all folders below.

    A key depends on the name of the file within the folder of ``sheet.json`` and on the sheets, not on where that
    folder is or which of *paths* leads to it.

    Raises:
        ValueError: nothing is there, no ``sheet.json`` is beside or above it, or one file is there twice.
        Damaged: a ``sheet.json`` is not what was written.
    """
    found: dict[str, DecisionFile] = {}
    passed: dict[str, str] = {}
    for path in paths:
        fs, place = fsspec.core.url_to_fs(path)
        place = place.rstrip("/")
        root = _root(fs, path, place)
        listing, sheets = list_path(root), sheet.read(root)
        within = {name: one for name, one in listing.files.items() if _below(one.path, place)}
        base = listing.files[sheet.FILE].path.rpartition("/")[0]
        passed |= {name: why for name, why in listing.passed.items() if _below(f"{base}/{name}", place)}
        passed |= {name: f"its name does not end in {ENDING}" for name in within if not name.endswith(ENDING)}
        mine = [name for name in within if name.endswith(ENDING)]
        if not mine:
            raise ValueError(f"{path} has no file {ENDING}: lay the files that people saved into it")
        those = content_id(*sorted(one.sheet for one in sheets.sheets.values()))
        for name in mine:
            slug = next(iter(slugs([name])))
            key = f"{slug}-{content_id(those, name)[:8]}"
            one = DecisionFile(listing, Shard(name, (name,), beside=(sheet.FILE,)), sheets)
            if key in found and found[key].listing.files[name].path != listing.files[name].path:
                both = f"{found[key].listing.files[name].path} and {listing.files[name].path}"
                raise ValueError(f"{both} are one file of the same sheets in two copies of a folder: give one of them")
            found[key] = one
    return Found(dict(sorted(found.items())), passed)


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _root(fs: Any, path: str, place: str) -> str:
    """URL of the folder with the ``sheet.json`` that is nearest above *path*."""
    there = files.info(fs, place)
    if there is None:
        raise ValueError(f"{path}: no such file or folder")
    here = place if there["type"] == "directory" else place.rpartition("/")[0]
    for _ in range(1 + _ABOVE):
        if files.info(fs, f"{here}/{sheet.FILE}") is not None:
            return str(fs.unstrip_protocol(here))
        here = here.rpartition("/")[0]
    raise ValueError(
        f"{path}: no {sheet.FILE} is beside it; lay decisions into the folder {sheet.DECISIONS}/ of the folder that"
        " `mminstruct review` wrote"
    )
