"""What lies at a path: files by their names relative to it, on a disk or at any fsspec URL."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field
from typing import Any

import fsspec

TARS = (".tar", ".tar.gz", ".tgz")
TABLES = (".csv", ".tsv", ".jsonl", ".txt", ".parquet")
TRUTH = "truth"
"""Folder of ground truth beside a drawn world: never data."""


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
    """Relative to the place; also what tells shards apart."""
    files: tuple[str, ...]
    """Names in the place that it is read from."""
    facts: dict[str, Any]
    """What tells whether it changed under its name."""
    rows: tuple[int, int] = (0, -1)
    """Range of rows, for tables."""
    read_from: tuple[str, ...] = ()
    """Names of all files whose content decides its rows: ``files``, and tables and sidecars beside them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A listed path."""

    fs: Any
    url: str
    files: dict[str, File] = field(repr=False)
    """By name relative to the path, sorted."""

    def named(self, *endings: str) -> list[str]:
        return [name for name in self.files if name.lower().endswith(endings)]


def look(url: str) -> Place:
    """List *url*: a folder with all below it, one file, or a pattern.

    Names that begin with ``_`` or ``.`` are passed by.

    Raises:
        ValueError: there is nothing.
    """
    fs, path = fsspec.core.url_to_fs(url)
    path = path.rstrip("/") or "/"
    fs.invalidate_cache()
    if glob.has_magic(path) and not fs.exists(path):
        pieces = path.split("/")
        fixed = next(index for index, piece in enumerate(pieces) if glob.has_magic(piece))
        root, found = "/".join(pieces[:fixed]), fs.glob(path, detail=True)
        found = {name: info for name, info in found.items() if info["type"] != "directory"}
    elif fs.isfile(path):
        root, found = path.rpartition("/")[0], {path: fs.info(path)}
    else:
        root, found = path, fs.find(path, detail=True)
    if not found:
        state = "is empty" if fs.exists(path) else "does not exist"
        raise ValueError(f"path={url} {state}: give a folder, a file or a pattern such as data/*.tar")
    files = {}
    for name, info in sorted(found.items()):
        relative = name[len(root) :].lstrip("/")
        if not any(piece.startswith(("_", ".")) or piece == TRUTH for piece in relative.split("/")):
            files[relative] = File(name, int(info.get("size") or 0), _stamp(info), _odd(info))
    return Place(fs, url, files)


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
    for name in ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "updated"):
        if info.get(name):
            return str(info[name]).strip('"')
    return ""


def _odd(info: dict[str, Any]) -> bool:
    return bool(info.get("islink")) or info.get("type") not in ("file", None)
