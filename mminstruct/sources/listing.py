"""A listing of a path: its files by their names relative to it, on a local disk or at any fsspec URL."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass, field
from typing import Any

import fsspec

from mminstruct.content import ETAGS, LITTER
from mminstruct.files import below
from mminstruct.files import info as info_of

TARS = (".tar", ".tar.gz", ".tgz")
TABLES = (".csv", ".tsv", ".jsonl", ".txt", ".parquet")
HIDDEN = "hidden: a name that begins with ."
SYSTEM = "written by an operating system or a program (__MACOSX, Thumbs.db, _SUCCESS)"
TRUTH = "ground truth of a drawn world"
UNFINISHED = "archive or table under a name that begins with _, as unfinished and internal files have"
NO_FILE = "no regular file: a pipe, a device, a link to a folder"

_SYSTEM = re.compile(rf"(?:^|/)(?:{LITTER}|__MACOSX/.*|_(?:SUCCESS|committed_\d+|started_\d+))$", re.I)
_SCENE = re.compile(rb'\{"image_id": "[0-9a-f]{16}", "file": ')
"""The beginning of each line of a drawn world's ground truth (``microworld/shards.py``)."""


@dataclass(frozen=True, slots=True)
class File:
    """One file."""

    path: str
    size: int
    """Bytes."""
    stamp: str
    """Its ETag if the store has one, else its modification time."""
    link: bool
    """Whether it is a symbolic link or no regular file."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All files at a path. Each is either in ``files`` or in ``passed``."""

    fs: Any
    url: str
    files: dict[str, File] = field(repr=False)
    """By name relative to the path, in the order of the names."""
    passed: dict[str, str] = field(default_factory=dict, repr=False)
    """Files that no source reads: name to reason."""
    single: bool = False
    """Whether the path is that of one file."""

    def named(self, *endings: str) -> list[str]:
        """Names that end in one of *endings*, which are in lower case."""
        return [name for name in self.files if name.lower().endswith(endings)]

    def finished(self, *endings: str) -> list[str]:
        """``named`` without names that begin with ``_``; the path of a single file may begin so."""
        return [name for name in self.named(*endings) if self.single or not unfinished(name)]


def unfinished(name: str) -> bool:
    """Whether a part of the path begins with ``_``, as Hadoop and Spark name what is not to be read as a table."""
    return any(piece.startswith("_") for piece in name.split("/"))


def list_path(url: str) -> Listing:
    """List *url*: a folder with all folders below it, one file, or a pattern.

    Not data are hidden files, files that operating systems and programs write, and the ground truth of a drawn world;
    they go to ``passed``. One file that is given by its name is always data.

    Raises:
        ValueError: nothing is there.
        Unreachable: the store does not answer.
    """
    fs, path = fsspec.core.url_to_fs(url)
    path = path.rstrip("/") or "/"
    fs.invalidate_cache()
    single = False
    if glob.has_magic(path) and info_of(fs, path) is None:
        pieces = path.split("/")
        fixed = next(index for index, piece in enumerate(pieces) if glob.has_magic(piece))
        root, found = "/".join(pieces[:fixed]), fs.glob(path, detail=True)
        found = {name: info for name, info in found.items() if info["type"] != "directory"}
    elif (info_of(fs, path) or {}).get("type") == "file":
        root, found, single = path.rpartition("/")[0], {path: fs.info(path)}, True
    else:
        root, found = path, below(fs, path)
    if not found:
        state = "is empty" if info_of(fs, path) else "does not exist"
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
    return Listing(fs, url, files, passed, single)


def _never(fs: Any, relative: str, name: str, info: dict[str, Any]) -> str | None:
    """Why a listed file is never data; None if it may be."""
    if _SYSTEM.search(relative):
        return SYSTEM
    if any(piece.startswith(".") for piece in relative.split("/")):
        return HIDDEN
    if _odd(info) and not (info.get("islink") and (info_of(fs, name) or {}).get("type") != "directory"):
        return NO_FILE
    return TRUTH if relative.endswith("/scenes.jsonl") and _is_truth(fs, name) else None


def _is_truth(fs: Any, path: str) -> bool:
    """Whether ``mminstruct microworld`` wrote the file: its first line decides, not the name of its folder."""
    with fs.open(path, "rb") as opened:
        return _SCENE.match(opened.read(64)) is not None


def collection(url: str) -> str:
    """Name of a collection at *url*: the last part of its absolute path that is no pattern."""
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
