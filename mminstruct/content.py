"""What lies at a path, as a count and one digest: identity is the content of files, not their place.

Names relative to the path and the SHA-256 of each file go into the digest; on a store that gives ETags, name, size and
ETag. So a folder that was moved, copied or touched is the same, and one with a new file is not.

A file is read once, to be hashed; what was found of 8 MiB and more is kept in ``$XDG_CACHE_HOME/mminstruct/digests``
(``~/.cache`` by default) and holds as long as size, inode, and times of change in nanoseconds are the same. Later looks
cost one ``stat`` a file.
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
"""Keys of ``fsspec``'s ``info`` under which stores give a digest of a file's content."""
LITTER = r"\._[^/]*|\.DS_Store|Thumbs\.db|desktop\.ini"
"""Names of files that file browsers leave behind: a regular expression, in any case of letters."""
_LITTER = re.compile(rf"(?:^|/)(?:{LITTER})$", re.I)
_KEPT = 8 << 20
"""Bytes from which digests are kept: hashing less again takes some 10 ms."""
_SETTLED = 2.0
"""Seconds after a file's last change from which a later change shows in its times: some file systems count seconds."""


@dataclass(frozen=True, slots=True)
class Content:
    """Files as they are: how many, and the digest of their names and bytes."""

    files: int
    digest: str
    """16 hex digits."""

    def __str__(self) -> str:
        return f"{self.files} file{'s' * (self.files != 1)}, digest {self.digest}"


def look(path: str, *, hidden: bool = True) -> Content:
    """What lies at *path*, a file or a folder with all below it, on a disk or at any fsspec URL.

    Args:
        hidden: Whether names that begin with a dot count. What file browsers leave behind never does.

    Raises:
        FileNotFoundError: there is nothing.
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
    """Size and ETag of a file on a store, or the SHA-256 of its bytes where the store gives no ETag."""
    tag = next((str(facts[name]).strip('"') for name in ETAGS if facts.get(name)), None)
    if tag is not None:
        return f"{facts.get('size')} {tag}"
    digest = hashlib.sha256()
    with fs.open(facts["name"], "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _together(digests: dict[str, str]) -> Content:
    """One digest of all; a single file's name does not count, as it was asked for by name."""
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
    """A local folder and each below it, with the names of what is no folder; links are followed, each folder once.

    Args:
        unlisted: called with the error of a folder that cannot be listed.
    """
    known: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=unlisted):
        here = os.stat(folder)
        if (here.st_dev, here.st_ino) in known:  # by a link, perhaps one of a circle
            folders.clear()
            continue
        known.add((here.st_dev, here.st_ino))
        folders.sort()  # or chance decides under which name a folder that has two is known
        yield folder, names


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _notes(paths: Iterable[str]) -> Path:
    """The file in which the digests of these very files are kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256("\n".join(map(os.path.abspath, paths)).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return home / "mminstruct" / "digests" / f"{name}.json"


def _load(where: Path) -> dict[str, list[Any]]:
    try:
        return dict(json.loads(where.read_bytes()))
    except (OSError, ValueError):  # none yet, or unreadable: then the files are hashed
        return {}


def _save(where: Path, found: dict[str, list[Any]]) -> None:
    with contextlib.suppress(
        OSError
    ):  # no home folder, or it is full or read-only: the files are hashed again next time
        where.parent.mkdir(parents=True, exist_ok=True)
        temporary = where.with_name(f".{where.name}.{uuid.uuid4().hex[:8]}")
        temporary.write_text(json.dumps(found))
        os.replace(temporary, where)
