"""The files of a run, on a local disk or any fsspec URL: read, listed, written whole, created exclusively.

Only "not found" means that a file is absent. After any other error of a remote store the operation is retried, and
finally fails. Readers never remove or rename anything.
"""

from __future__ import annotations

import errno
import inspect
import io
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO, TypeVar

import fsspec
import pyarrow.fs as pafs
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem

from mminstruct.checksum import Damaged
from mminstruct.errors import StorageError

T = TypeVar("T")

PAUSES = (0.2, 0.8, 3.2)
"""Seconds before each retry of a remote store: 4 attempts in all."""


class Unreachable(StorageError):
    """A file could not be read, found or written; the message names it and says what to do."""


def ask(fs: Any, what: str, path: str, do: Callable[[], T]) -> T:
    """Call *do*, which uses a file system; on a remote one retry any error but "not found" and "exists already".

    Raises:
        Unreachable: with the name of the file; on a remote store after 4 attempts.
    """
    local = isinstance(fs, LocalFileSystem)
    for pause in (*(() if local else PAUSES), None):
        try:
            return do()
        except (FileNotFoundError, FileExistsError, MemoryError):
            raise
        except Exception as error:  # libraries of stores raise their own: OSError, botocore's, aiohttp's
            if local and not isinstance(error, OSError):
                raise
            if pause is None:
                said = f"cannot {what} {path if local else fs.unstrip_protocol(path)}: {_first_line(error)}"
                tried = "" if local else f" ({len(PAUSES) + 1} attempts)"
                raise Unreachable(f"{said}{tried}; {_advice(error)}") from error
            time.sleep(pause)
    raise AssertionError("unreachable")


def info(fs: Any, path: str) -> dict[str, Any] | None:
    """Facts of a file or folder, as fsspec gives them; None if it does not exist.

    ``fs.exists``, ``isfile`` and ``isdir`` are not used: for what cannot be reached they answer "absent".
    """
    try:
        return dict(ask(fs, "look at", path, lambda: fs.info(path)))
    except FileNotFoundError:
        return None


def below(fs: Any, path: str) -> dict[str, dict[str, Any]]:
    """All files below a folder by their paths, sorted; empty if it does not exist.

    ``fs.find`` and ``fs.walk`` skip folders that cannot be listed, unless the file system has its own method (S3 has,
    and it raises).
    """
    own = type(fs)._find if isinstance(fs, AsyncFileSystem) else type(fs).find
    generic = own in (AsyncFileSystem._find, AbstractFileSystem.find)
    found: dict[str, dict[str, Any]] = {}
    folders = [path]
    while folders:
        folder = folders.pop()
        try:
            if not generic:
                return dict(ask(fs, "list", folder, partial(fs.find, folder, detail=True)))
            entries = ask(fs, "list", folder, partial(fs.ls, folder, detail=True))
        except FileNotFoundError:
            continue
        for entry in entries:
            name = entry["name"].rstrip("/")
            if entry["type"] != "directory":
                found[name] = entry
            elif name != folder.rstrip("/"):
                folders.append(name)
    return dict(sorted(found.items()))


class Files:
    """A folder of files.

    Args:
        url: a local path, or any fsspec URL (``s3://bucket/run``); options such as an endpoint come from fsspec's
            own configuration and environment, never from here.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.fs, self.root = fsspec.core.url_to_fs(url)
        self.root = self.root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)
        known = inspect.signature(type(self.fs)._cat_file).parameters if isinstance(self.fs, AsyncFileSystem) else ()
        self._whole = {"max_concurrency": 1} if "max_concurrency" in known else {}
        """How to read a file with one request; s3fs would ask for its size first, and list a folder if it is absent."""

    def path(self, *pieces: str) -> str:
        return "/".join((self.root, *pieces))

    def show(self, *pieces: str) -> str:
        """The path of a file for messages, as the user gave it."""
        return "/".join((self.url.rstrip("/"), *pieces))

    def names(self, *pieces: str) -> list[str]:
        """Sorted names in a folder; empty if it does not exist. Never cached: other processes write here too."""
        return sorted(name for name, _ in self.scan(*pieces, stamped=False))

    def sizes(self, *pieces: str) -> dict[str, int]:
        """Bytes of each file in a folder by name, sorted; 0 for a folder in it; empty if it does not exist."""
        return {name: int(stamp.split(" ", 1)[0]) for name, stamp in sorted(self.scan(*pieces))}

    def scan(self, *pieces: str, stamped: bool = True) -> Iterator[tuple[str, str]]:
        """Names in a folder with their ``stamp``, in any order, from one pass; nothing if it does not exist.

        Args:
            stamped: Whether stamps are needed: on a local disk they cost a call each. Without, they may be empty.
        """
        if not self.local:
            yield from ((name, _stamp(facts)) for name, facts in self._list(*pieces).items())
            return
        path = self.path(*pieces)
        with suppress(FileNotFoundError), self.ask("list", path, lambda: os.scandir(path)) as entries:
            for entry in entries:
                try:
                    stamp = _local_stamp(entry.stat()) if stamped else ""
                except FileNotFoundError:  # gone since it was listed
                    continue
                if entry.name[0] != ".":
                    yield entry.name, stamp

    def _list(self, *pieces: str) -> dict[str, dict[str, Any]]:
        """What a remote store says of each file in a folder, by name, sorted; empty if it does not exist."""
        path = self.path(*pieces)
        self.fs.invalidate_cache()
        try:
            found = self.ask("list", path, lambda: self.fs.ls(path, detail=True))
        except FileNotFoundError:
            return {}
        facts = {str(one["name"]).rstrip("/"): one for one in found}
        return {name.rsplit("/", 1)[-1]: one for name, one in sorted(facts.items()) if name != path}

    def stamp(self, *pieces: str) -> str:
        """Size and time (on a local disk), or size and ETag, of a file: it is another one if they differ."""
        path = self.path(*pieces)
        if not self.local:
            return _stamp(info(self.fs, path) or {})
        try:
            return _local_stamp(os.stat(path))
        except FileNotFoundError:
            return ""

    def exists(self, *pieces: str) -> bool:
        """Whether a file or folder exists; if that cannot be found out, it is an error (see ``info``)."""
        if not self.local:
            self.fs.invalidate_cache()
        return info(self.fs, self.path(*pieces)) is not None

    def read(self, *pieces: str, start: int | None = None, end: int | None = None) -> bytes | None:
        """A file's bytes, or those from *start* to *end*; None if it does not exist."""
        path = self.path(*pieces)
        try:
            return bytes(self.ask("read", path, lambda: self.fs.cat_file(path, start=start, end=end, **self._whole)))
        except FileNotFoundError:
            return None

    def stream(self, *pieces: str) -> BinaryIO | None:
        """A file to read from its start, which on a local disk is not read as a whole; None if it does not exist."""
        path = self.path(*pieces)
        if not self.local:
            data = self.read(*pieces)
            return None if data is None else io.BytesIO(data)
        try:
            return self.ask("read", path, lambda: open(path, "rb"))
        except FileNotFoundError:
            return None

    def read_many(self, folder: str, names: Iterable[str]) -> dict[str, bytes]:
        """Small files of one folder by name, without those that are gone; in parallel if the store is remote."""
        names = list(names)
        if self.local or len(names) < 2:
            found = [self.read(folder, name) for name in names]
        else:
            with ThreadPoolExecutor(min(32, len(names))) as pool:
                found = list(pool.map(lambda name: self.read(folder, name), names))
        return {name: data for name, data in zip(names, found, strict=True) if data is not None}

    def write(self, data: bytes, *pieces: str, sync: bool = True) -> None:
        """Write or replace a file; on a local disk it is atomic, with *sync* also after a power cut."""
        path = self.path(*pieces)

        def put() -> None:
            if not self.local:
                self.fs.pipe_file(path, data)
                return
            os.replace(self._temporary(path, data, sync), path)
            if sync:
                sync_folder(os.path.dirname(path))

        self.ask("write", path, put)

    def create(self, data: bytes, *pieces: str) -> bool:
        """Create a file atomically; False, and no change, if it exists. This put-if-absent is the commit."""
        path = self.path(*pieces)

        def put() -> None:
            if not self.local:
                self.fs.pipe_file(path, data, mode="create")
                return
            temporary = self._temporary(path, data)
            try:
                os.link(temporary, path)  # atomic, and fails where the name is taken; open("x") could be left torn
            finally:
                os.unlink(temporary)
            sync_folder(os.path.dirname(path))

        try:
            self.ask("create", path, put)
        except FileExistsError:  # perhaps our own: an earlier attempt succeeded, and its answer was lost
            return not self.local and self.read(*pieces) == data
        return True

    def copy_from(self, other: Files, *pieces: str) -> None:
        """Copy a file of another store, by a hard link if both are on one local disk."""
        path, theirs = self.path(*pieces), other.path(*pieces)
        if self.local and other.local:
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.link(theirs, path)
                return
            except FileExistsError:
                return
            except OSError:  # another disk, or one without links; other errors occur in the copy below, too
                pass
        data = other.read(*pieces)
        if data is None:
            raise Damaged(f"{other.show(*pieces)} is gone; `mminstruct status {other.url}` says what else is")
        self.write(data, *pieces)

    def set_aside(self, *pieces: str, instead: bytes | None = None) -> str:
        """Move a file to the folder ``_aside``, which no command reads or clears, and return its new name.

        For builds only: readers never change a run.

        Args:
            pieces: the path of the file.
            instead: content of a new file in its place; None for no file.
        """
        name = f"{'.'.join(pieces)}.{uuid.uuid4().hex[:8]}"
        self.write(self.read(*pieces) or b"", "_aside", name)
        if instead is None:
            self.remove(*pieces)
        else:
            self.write(instead, *pieces)
        return f"_aside/{name}"

    def remove(self, *pieces: str) -> None:
        """Remove a file, if it exists."""
        path = self.path(*pieces)
        try:
            self.ask("remove", path, lambda: self.fs.rm_file(path))
        except FileNotFoundError:
            return

    def ask(self, what: str, path: str, do: Callable[[], T]) -> T:
        """``ask`` of this module, on this store."""
        return ask(self.fs, what, path, do)

    def _temporary(self, path: str, data: bytes, sync: bool = True) -> str:
        folder, name = path.rsplit("/", 1)
        os.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
        except OSError:  # such as a full disk: a partial file would only take space
            if os.path.lexists(temporary):
                os.unlink(temporary)
            raise
        return temporary

    @property
    def arrow(self) -> pafs.FileSystem:
        """The same file system for pyarrow."""
        return pafs.LocalFileSystem() if self.local else pafs.PyFileSystem(pafs.FSSpecHandler(self.fs))


def sync_folder(folder: str) -> None:
    """Make new names in a local folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _stamp(facts: dict[str, Any]) -> str:
    """Size and ETag of an object, or else the time of its last change, as stores of fsspec name them."""
    names = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "modificationTime",
             "created")  # fmt: skip
    named = (facts.get(name) for name in names)
    return f"{facts.get('size') or 0} {next((str(one) for one in named if one), '')}"


def _local_stamp(found: os.stat_result) -> str:
    return f"{found.st_size if stat.S_ISREG(found.st_mode) else 0} {found.st_mtime_ns}"


def _first_line(error: Exception) -> str:
    said = next((line.strip() for line in str(error).split("\n") if line.strip()), "")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _advice(error: Exception) -> str:
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "free some space there and run the same command again"
    if isinstance(error, PermissionError):
        return "let this account read, write and list there (without the right to list, absent files look forbidden)"
    return "check that the store can be reached and run the same command again"
