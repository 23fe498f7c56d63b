"""Digests of files and folders: identity is their content, not their path.

The digest covers each file's relative name and SHA-256, or, on an object store with ETags, its name, size and ETag. So
a folder that was moved, copied or touched has the same digest, and one with a new file has another.

Digests of 8 MiB or more are cached in ``$XDG_CACHE_HOME/mminstruct/digests`` (default ``~/.cache``). A cached digest is
valid while the file's size, inode and times of change, in nanoseconds, are the same, so later calls cost one ``stat``
per file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from mminstruct.files import below, info

ETAGS = ("ETag", "etag", "md5Hash", "content_md5", "crc32c")
"""Keys of ``fsspec``'s ``info`` under which stores give a digest of a file."""
LITTER = r"\._[^/]*|\.DS_Store|Thumbs\.db|desktop\.ini"
"""Regular expression, ignoring case, for files that file browsers create."""
_LITTER = re.compile(rf"(?:^|/)(?:{LITTER})$", re.I)
_KEPT = 8 << 20
"""Smallest total size in bytes whose digests are cached: hashing less takes about 10 ms."""
_SETTLED = 2.0
"""Seconds after which a further change gets another timestamp: some file systems store whole seconds."""


@dataclass(frozen=True, slots=True)
class Content:
    """Number of files, and the digest of their names and bytes."""

    files: int
    digest: str
    """16 hex digits."""

    def __str__(self) -> str:
        return f"{self.files} file{'s' * (self.files != 1)}, digest {self.digest}"


def look(path: str, *, hidden: bool = True) -> Content:
    """The content of *path*, a file or a folder with all below it, on a disk or at any fsspec URL.

    Args:
        path: Local path or URL.
        hidden: Whether to include names that begin with a dot. Files of file browsers are never included.

    Raises:
        FileNotFoundError: nothing is at *path*.
        OSError: a file or folder cannot be read or listed; the message names it.
    """
    fs, root = fsspec.core.url_to_fs(path)
    fs.invalidate_cache()
    there = info(fs, root)
    if there is None:
        raise FileNotFoundError(f"{path}: no such file or folder")
    single = there["type"] != "directory"
    if isinstance(fs, LocalFileSystem):
        found = {"": root} if single else {name: os.path.join(root, name) for name in _below(root)}
        kept = {name: place for name, place in found.items() if _counts(name, hidden)}
        digests = hashes(kept.values())
        return _together({name: digests[place] for name, place in kept.items()})
    infos = {root: there} if single else below(fs, root)
    names = {place[len(root.rstrip("/")) :].lstrip("/"): facts for place, facts in infos.items()}
    return _together({name: _remote(fs, facts) for name, facts in names.items() if _counts(name, hidden)})


def hashes(paths: Iterable[str]) -> dict[str, str]:
    """SHA-256 of local files by path, 64 hex digits each."""
    stats = {path: os.stat(path) for path in sorted(paths)}
    where = _notes(stats) if sum(stat.st_size for stat in stats.values()) >= _KEPT else None
    known: dict[str, list[Any]] = _load(where) if where else {}
    found, settled = {}, {}
    for path, stat in stats.items():
        mark = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        before = known.get(path)
        now = time.time()
        found[path] = before[-1] if before and before[:-1] == mark else _sha256(path)
        if max(stat.st_mtime, stat.st_ctime) < now - _SETTLED:
            settled[path] = [*mark, found[path]]
    if where and settled != known:
        _save(where, settled)
    return found


def _remote(fs: Any, facts: dict[str, Any]) -> str:
    """Size and ETag of a file on a store, or its SHA-256 if the store has no ETag."""
    tag = next((str(facts[name]).strip('"') for name in ETAGS if facts.get(name)), None)
    if tag is not None:
        return f"{facts.get('size')} {tag}"
    digest = hashlib.sha256()
    with fs.open(facts["name"], "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _together(digests: dict[str, str]) -> Content:
    """One digest of all files; for a single file, *digests* has an empty name."""
    text = "\n".join(f"{name}\0{digest}" for name, digest in sorted(digests.items()))
    return Content(len(digests), hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16])


def _counts(name: str, hidden: bool) -> bool:
    if _LITTER.search(name):
        return False
    return hidden or not any(piece.startswith(".") for piece in name.split("/"))


def _below(root: str) -> Iterator[str]:
    """Names of all files below a folder, relative to it."""

    def unlisted(error: OSError) -> None:
        raise error

    for folder, names in walk(root, unlisted):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, root)


def walk(root: str, unlisted: Callable[[OSError], None]) -> Iterator[tuple[str, list[str]]]:
    """A local folder and all below it, each with the names of its files; links are followed, each folder comes once.

    Args:
        root: The folder.
        unlisted: Called with the error for a folder that cannot be listed.
    """
    known: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=unlisted):
        here = os.stat(folder)
        if (here.st_dev, here.st_ino) in known:  # reached by a link, possibly in a cycle
            folders.clear()
            continue
        known.add((here.st_dev, here.st_ino))
        folders.sort()  # or the name of a folder with two paths would be random
        yield folder, names


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _notes(paths: Iterable[str]) -> Path:
    """The cache file for exactly these paths."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256("\n".join(map(os.path.abspath, paths)).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return home / "mminstruct" / "digests" / f"{name}.json"


def _load(where: Path) -> dict[str, list[Any]]:
    try:
        return dict(json.loads(where.read_bytes()))
    except (OSError, ValueError):  # no cache, or unreadable: the files are hashed
        return {}


def _save(where: Path, found: dict[str, list[Any]]) -> None:
    with contextlib.suppress(OSError):  # no home folder, or full, or read-only: the files are hashed again next time
        where.parent.mkdir(parents=True, exist_ok=True)
        temporary = where.with_name(f".{where.name}.{uuid.uuid4().hex[:8]}")
        temporary.write_text(json.dumps(found))
        os.replace(temporary, where)
