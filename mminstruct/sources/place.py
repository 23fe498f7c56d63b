"""What lies at a path: files by their names relative to it, on a disk or at any fsspec URL."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass, field
from typing import Any

import fsspec

from mminstruct.content import ETAGS, LITTER
from mminstruct.files import below
from mminstruct.files import info as look_at

TARS = (".tar", ".tar.gz", ".tgz")
TABLES = (".csv", ".tsv", ".jsonl", ".txt", ".parquet")
HIDDEN = "hidden: a name that begins with ."
SYSTEM = "written by an operating system or a program (__MACOSX, Thumbs.db, _SUCCESS)"
TRUTH = "ground truth of a drawn world"
UNFINISHED = "archive or table under a name that begins with _, as unfinished and internal files have"
NO_FILE = "no regular file: a pipe, a device, a link to a folder"

_SYSTEM = re.compile(rf"(?:^|/)(?:{LITTER}|__MACOSX/.*|_(?:SUCCESS|committed_\d+|started_\d+))$", re.I)
_SCENE = re.compile(rb'\{"image_id": "[0-9a-f]{16}", "file": ')
"""How each line of a drawn world's truth begins (``microworld/shards.py``)."""


@dataclass(frozen=True, slots=True)
class File:
    """One file."""

    path: str
    size: int
    """Bytes."""
    stamp: str
    """ETag where the store has one, else when it was last changed."""
    link: bool
    """Whether it is a symbolic link, or no regular file."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of reading."""

    name: str
    """Relative to the place; different for each shard."""
    files: tuple[str, ...]
    """Names in the place that it is read from."""
    facts: dict[str, Any]
    """By which a change under its name is seen."""
    rows: tuple[int, int] = (0, -1)
    """Range of rows, for tables."""
    tables: tuple[str, ...] = ()
    """Metadata tables of which this shard, and no other, reports the rows that name no image."""
    read_from: tuple[str, ...] = ()
    """Names of all files whose content decides its rows: ``files``, and tables and sidecars beside them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A listed path. Every file that was listed is in ``files`` or in ``passed``."""

    fs: Any
    url: str
    files: dict[str, File] = field(repr=False)
    """By name relative to the path, sorted."""
    passed: dict[str, str] = field(default_factory=dict, repr=False)
    """Files that no layout reads, by name: why."""
    single: bool = False
    """Whether the path is one file."""

    def named(self, *endings: str) -> list[str]:
        """Files that end so."""
        return [name for name in self.files if name.lower().endswith(endings)]

    def finished(self, *endings: str) -> list[str]:
        """Archives and tables that end so, without those under a name that begins with ``_``, unless it was given."""
        return [name for name in self.named(*endings) if self.single or not unfinished(name)]


def unfinished(name: str) -> bool:
    """Whether a piece of the path begins with ``_``: Hadoop's and Spark's mark of what is not to be read as a table."""
    return any(piece.startswith("_") for piece in name.split("/"))


def look(url: str) -> Place:
    """List *url*: a folder with all below it, one file, or a pattern.

    Passed by are hidden files, what operating systems and programs leave behind, and the truth of a drawn world. One
    file that is given by its name is never passed by.

    Raises:
        ValueError: there is nothing.
    """
    fs, path = fsspec.core.url_to_fs(url)
    path = path.rstrip("/") or "/"
    fs.invalidate_cache()
    single = False
    if glob.has_magic(path) and look_at(fs, path) is None:
        pieces = path.split("/")
        fixed = next(index for index, piece in enumerate(pieces) if glob.has_magic(piece))
        root, found = "/".join(pieces[:fixed]), fs.glob(path, detail=True)
        found = {name: info for name, info in found.items() if info["type"] != "directory"}
    elif (look_at(fs, path) or {}).get("type") == "file":
        root, found, single = path.rpartition("/")[0], {path: fs.info(path)}, True
    else:
        root, found = path, below(fs, path)
    if not found:
        state = "is empty" if look_at(fs, path) else "does not exist"
        raise ValueError(f"path={url} {state}: give a folder, a file or a pattern such as data/*.tar")
    files, passed = {}, {}
    for name, info in sorted(found.items()):
        relative = name[len(root) :].lstrip("/")
        reason = None if single else _never(fs, relative, name, info)
        if reason is None:
            files[relative] = File(name, int(info.get("size") or 0), _stamp(info), _odd(info))
        else:
            passed[relative] = reason
    if len(files) + len(passed) != len(found):
        raise ValueError(
            f"path={url} lists {len(found)} files, of which {len(files) + len(passed)} have different names"
        )
    return Place(fs, url, files, passed, single)


def _never(fs: Any, relative: str, name: str, info: dict[str, Any]) -> str | None:
    """Why a listed file is never data; None where it may be."""
    if _SYSTEM.search(relative):
        return SYSTEM
    if any(piece.startswith(".") for piece in relative.split("/")):
        return HIDDEN
    if _odd(info) and not (info.get("islink") and (look_at(fs, name) or {}).get("type") != "directory"):
        return NO_FILE
    return TRUTH if relative.endswith("/scenes.jsonl") and _is_truth(fs, name) else None


def _is_truth(fs: Any, path: str) -> bool:
    """Whether ``mminstruct microworld`` wrote the file: known by its first line, not by its folder's name."""
    with fs.open(path, "rb") as opened:
        return _SCENE.match(opened.read(64)) is not None


def collection(url: str) -> str:
    """What a collection at *url* is called: the last piece of its path that is no pattern, however it is spelt."""
    protocol, path = fsspec.core.split_protocol(url)
    if protocol in (None, "file", "local"):
        path = os.path.abspath(os.path.expanduser(path))
    pieces = [piece for piece in path.split("/") if piece]
    magic = (index for index, piece in enumerate(pieces) if glob.has_magic(piece) and not os.path.exists(path))
    fixed = next(magic, len(pieces))
    return pieces[fixed - 1] if fixed else str(path)


def _stamp(info: dict[str, Any]) -> str:
    for name in (*ETAGS, "mtime", "LastModified", "last_modified", "updated"):
        if info.get(name):
            return str(info[name]).strip('"')
    return ""


def _odd(info: dict[str, Any]) -> bool:
    return bool(info.get("islink")) or info.get("type") not in ("file", None)
