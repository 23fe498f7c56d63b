"""Files of annotation sets: decompressed, read as a stream, and refused if they hold something else."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fsspec.compression import compr

from mminstruct.files import ask
from mminstruct.readers.records import members, records
from mminstruct.readers.text import BadRow, Unreadable, lines

_COMPRESSED = {
    b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar", b"PK\x05\x06": "zip",
}  # fmt: skip
"""First bytes of a compressed file, and fsspec's name of the compression."""
_TORN = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)

Numbered = tuple[int, dict[str, Any] | BadRow]
"""A record with its number in the file, from 1."""


@dataclass
class SetFile:
    """One file of an annotation set.

    Args:
        fs: The fsspec file system that has it.
        path: Its path there.
        what: Its name in messages.
    """

    fs: Any
    path: str
    what: str
    others: dict[str, Any] = field(default_factory=dict, repr=False)
    """After ``listed``: the members of the object that are no lists."""

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The file as binary, decompressed and seekable.

        Raises:
            Unreadable: a compression that is not installed, a damaged archive, or a ZIP archive of several files.
        """
        with ask(self.fs, "read", self.path, lambda: self.fs.open(self.path, "rb")) as raw:
            head = raw.read(6)
            raw.seek(0)
            name = next((name for mark, name in _COMPRESSED.items() if head.startswith(mark)), None)
            if name is None:
                yield raw
                return
            if name not in compr:
                raise Unreadable(f"{self.what} is compressed as {name}, which cannot be read here: unpack it")
            try:
                if name == "zip" and len(inside := zipfile.ZipFile(raw).namelist()) != 1:
                    some = ", ".join(inside[:3])
                    raise Unreadable(f"{self.what} is a ZIP archive of {len(inside)} files ({some}): unpack it")
                raw.seek(0)
                with compr[name](raw, mode="rb") as file:
                    yield file
            except (*_TORN, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise Unreadable(f"{self.what} is a damaged or cut {name} file: {error}; download it again") from error

    def records(self, fields: tuple[str, ...]) -> Iterator[Numbered]:
        """The records of a JSON list or of JSON lines.

        Args:
            fields: Fields that the format's records have.

        Raises:
            Unreadable: the file is broken, cut or empty, or no record has one of *fields*.
        """
        with self.open() as file:
            yield from self._checked(enumerate(self._whole(file), 1), fields, "")

    def _whole(self, file: Any) -> Iterator[dict[str, Any] | BadRow]:
        """The records; JSON lines whose last line is broken and has no end are cut short."""
        last = None
        for last in records(file, self.what, missing=math.nan):
            yield last
        if last is None and not _listed(file):
            raise Unreadable(f"{self.what} is empty: download it again")
        if isinstance(last, BadRow) and not _finished(file):
            raise Unreadable(f"{self.what} line {last.line}: broken or cut short: {last.said}; download it again")

    def listed(self, name: str, fields: tuple[str, ...]) -> Iterator[Numbered]:
        """The records of the list *name* in the object that the file is; fills ``others``.

        Raises:
            Unreadable: the file is broken or cut, has no such list, or no record of it has one of *fields*.
        """
        with self.open() as file:
            yield from self._checked(self._named(file, name), fields, f"`{name}`")

    def members(self) -> Iterator[tuple[str, int, Any]]:
        """The members of the object that the file is, as ``readers.records.members`` gives them."""
        with self.open() as file:
            yield from members(file, self.what, missing=math.nan)

    def _named(self, file: Any, name: str) -> Iterator[Numbered]:
        found, names = False, []
        for member, number, value in members(file, self.what, missing=math.nan):
            if number:
                if member == name:
                    said = f"it is a JSON {type(value).__name__}, should be an object"
                    yield number, value if isinstance(value, dict | BadRow) else BadRow(number, said)
                continue
            names.append(member[:40])
            if isinstance(value, list):
                found = found or member == name
            else:
                self.others[member] = value
        if not found:
            there = ", ".join(names[:9]) or "nothing"
            raise Unreadable(f"{self.what} has no list `{name}`, only {there}: give the file that has it")

    def _checked(self, found: Iterator[Numbered], fields: tuple[str, ...], of: str) -> Iterator[Numbered]:
        absent, count, sample = set(fields), 0, dict[str, Any]()
        for number, record in found:
            count += 1
            if absent and isinstance(record, dict):
                absent -= record.keys()
                sample = sample or record
            yield number, record
        if absent and count:
            there = ", ".join(name[:40] for name in list(sample)[:9]) or "no fields"
            raise Unreadable(
                f"{self.what} is no file of this format: none of its {count} records {f'in {of} ' if of else ''}has"
                f" `{min(absent)}`; the first has {there}; give the set's own file, or the file's own `format`"
            )

    def lines(self) -> Iterator[str]:
        """The lines of a text file, without their ends.

        Raises:
            Unreadable: a line is in no known encoding, or too long.
        """
        with self.open() as file:
            for line in lines(file, self.what):
                if isinstance(line, BadRow):
                    raise Unreadable(f"{self.what} line {line.line}: {line.said}")
                yield line[1].rstrip("\r\n")


def _listed(file: Any) -> bool:
    """Whether a file without records is an empty list, and not blank."""
    file.seek(0)
    return any(b"[" in piece for piece in iter(lambda: file.read(1 << 20), b""))


def _finished(file: Any) -> bool:
    """Whether the last line has an end."""
    file.seek(0)
    last = b""
    while piece := file.read(1 << 20):
        last = piece
    return last.rstrip(b"\0").endswith(b"\n")
