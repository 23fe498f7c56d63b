"""A data file of a table: its entry in a receipt, and a reader that verifies every byte before use.

Small files are read as a whole and compared with their SHA-256. Large files, which contain pixels, are read in blocks
on demand, and each block is compared with its own digest: reading ids does not require reading all images.
Parquet's page checksums are not enough: they cover neither the footer nor the page headers.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mminstruct.checksum import Damaged

BLOCK = 2**18
"""Block size, bytes."""
_DIGITS = 8
"""Hex digits kept of a block's SHA-256: the chance to miss a damaged block is 1 in 4 billion."""

Read = Callable[[int | None, int | None], bytes]
"""Reads a file from a start to an end offset, or fewer bytes at its end; the whole file if both are None."""


@dataclass(frozen=True, slots=True)
class Part:
    """One data file that a receipt names."""

    part: str
    file: str
    rows: int
    bytes: int
    sha256: str
    blocks: str = ""
    """First 8 hex digits of the SHA-256 of each block; empty for a file of one block, and in older receipts."""

    def facts(self) -> dict[str, Any]:
        """As JSON, with all fields."""
        return {name: getattr(self, name) for name in self.__slots__}


def describe(part: str, data: bytes, rows: int) -> Part:
    """The receipt entry of a file with the content *data*."""
    digest = hashlib.sha256(data).hexdigest()
    blocks = "".join(_short(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)) if len(data) > BLOCK else ""
    return Part(part, f"{part}.{digest[:8]}.parquet", rows, len(data), digest, blocks)


def opened(part: Part, read: Read, where: str, fix: str) -> pa.NativeFile:
    """Open a part's file for a Parquet reader.

    Args:
        part: its entry in the receipt.
        read: reads a range of it.
        where: the file, for errors.
        fix: what to do about a damaged file, for errors.

    Raises:
        Damaged: the bytes are not those that were written; raised here or on a later read.
    """
    if len(part.blocks) == _DIGITS * -(-part.bytes // BLOCK) and part.blocks:
        return pa.PythonFile(_Blocks(part, read, where, fix), mode="r")
    data = read(None, None)
    if len(data) != part.bytes:
        raise Damaged(f"{where} has {len(data)} bytes, its receipt says {part.bytes}: {fix}")
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise Damaged(f"{where} is not what was written (its SHA-256 is not that of its receipt): {fix}")
    return pa.BufferReader(data)


def opened_by_name(file: str, data: bytes, where: str, fix: str) -> pa.NativeFile:
    """Open a file whose name contains the first digits of its SHA-256.

    Raises:
        Damaged: the digest differs.
    """
    if hashlib.sha256(data).hexdigest()[:8] != file.rsplit(".", 2)[-2]:
        raise Damaged(f"{where} is not what was written (its SHA-256 is not that of its name): {fix}")
    return pa.BufferReader(data)


class _Blocks(io.RawIOBase):
    """A file that is read and verified block by block."""

    def __init__(self, part: Part, read: Read, where: str, fix: str) -> None:
        super().__init__()
        self._part, self._read, self._where, self._fix = part, read, where, fix
        self._at = 0
        self._first, self._data = 0, memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._part.bytes}[whence]
        return self._at

    def read(self, size: int | None = -1) -> memoryview:  # type: ignore[override]  # no copy of what may be megabytes
        left = max(0, self._part.bytes - self._at)
        size = left if size is None or size < 0 else min(size, left)
        first, last = self._at // BLOCK, (self._at + max(size, 1) - 1) // BLOCK
        if size and not (self._first <= first and last * BLOCK < self._first * BLOCK + len(self._data)):
            self._fetch(first, last)
        start = self._at - self._first * BLOCK
        self._at += size
        return self._data[start : start + size] if size else memoryview(b"")

    def _fetch(self, first: int, last: int) -> None:
        data = memoryview(self._read(first * BLOCK, min((last + 1) * BLOCK, self._part.bytes)))
        for number in range(first, last + 1):
            block = data[(number - first) * BLOCK : (number - first + 1) * BLOCK]
            if _short(block) != self._part.blocks[number * _DIGITS : (number + 1) * _DIGITS]:
                place = f"bytes {number * BLOCK} to {min((number + 1) * BLOCK, self._part.bytes)}"
                raise Damaged(f"{self._where} is not what was written ({place} differ from its receipt): {self._fix}")
        self._first, self._data = first, data


def _short(block: bytes | memoryview) -> str:
    return hashlib.sha256(block).hexdigest()[:_DIGITS]
