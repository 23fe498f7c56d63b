"""Members of a tar archive as a stream; an archive that ends early is always an error.

``tarfile`` stops without an error at a broken or missing header, at a hole of zeros, and at an archive without its end,
so readers based on it take a part of a shard for the whole. Here ``tarfile`` still parses the headers (ustar, GNU and
pax), but each of its errors is raised, the two zero blocks that end an archive are required, and no data may follow
them. One fault is not found: zeros in place of the last members, if the archive then still ends within a record: of
10 KiB, or of 64 KiB to 1 MiB if its size is a multiple of that, as it is by chance for one in 32 archives with records
of 10 KiB. Nothing is ever extracted.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from mminstruct.sources.sample import ShardError

_BLOCK = 512
_HEADER_BYTES = 1 << 20
"""Largest long name or pax header."""
_RECORD = 10_240
"""Bytes of a record, which zeros at the end fill up: 20 blocks, the default of all common writers."""
_RECORDS = tuple(1 << power for power in range(16, 21))
"""Larger records, 64 KiB to 1 MiB: tar -b 128 to -b 2048. Assumed only if the archive's size is a multiple of one."""
_CHUNK = 1 << 20
_AGAIN = "fetch or write this shard again"
_COMPRESSED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\3\4": "zip"}


@dataclass(frozen=True, slots=True)
class Member:
    """One member; ``data`` is None if it is no regular file, or not wanted."""

    name: str
    """As found; bytes that cannot be decoded are lone surrogates."""
    offset: int
    """Offset of its header in the archive, bytes."""
    size: int
    kind: str
    """``file``, ``directory``, or a description of another type."""
    data: bytes | None


def members(file: IO[bytes], shard: str, wanted: Callable[[str, int], bool]) -> Iterator[Member]:
    """Members of the archive in *file*, plain or gzipped, in order, with their bytes if ``wanted(name, size)``.

    Raises:
        ShardError: the archive is cut, has a hole, is corrupt or is no archive; the message names *shard* and the byte
            (of its content, if it is gzipped). The members before the error are then only a part of the shard.
    """
    stream = _Stream(file, shard)
    head = stream.peek()
    if head.startswith(b"\x1f\x8b"):
        stream = _Stream(cast(IO[bytes], gzip.GzipFile(fileobj=cast(IO[bytes], stream), mode="rb")), shard)
        head = stream.peek()
    name = next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)
    if name:
        raise ShardError(f"{shard} is compressed with {name}, which is not read here: write it as .tar or .tar.gz")
    if not head:
        raise ShardError(f"{shard} is empty, 0 bytes: {_AGAIN}")
    archive: _Headers | None = None
    while True:
        start, block = stream.at, stream.peek()
        if not block:
            raise ShardError(
                f"{shard} ends at byte {start} without the two zero blocks that end an archive: it was cut between"
                f" members; {_AGAIN}"
            )
        if block == bytes(_BLOCK):
            _check_end(stream)
            return
        try:
            archive = archive or _Headers(fileobj=cast(IO[bytes], stream), encoding="utf-8", errors="surrogateescape")
            info = archive.next()
        except (ShardError, OSError, MemoryError):
            raise
        except Exception as error:  # tarfile raises IndexError, TypeError ... over some broken headers
            if stream.ended:
                raise ShardError(f"{shard} is cut at byte {stream.at}, inside a header: {_AGAIN}") from None
            if start == 0 and stream.at <= _BLOCK:
                raise ShardError(f"{shard} is not a tar archive, it begins with {head[:24]!r}: {_AGAIN}") from None
            raise ShardError(f"{shard} has a broken header at byte {start} ({error}): {_AGAIN}") from None
        stored = archive.offset - stream.at
        if info.size < 0 or stored < 0:
            raise ShardError(f"{shard} has a member of impossible size at byte {start}: {_AGAIN}")
        kind = _kind(info)
        if kind == "file" and wanted(info.name, info.size):
            data = stream.exact(info.size, info.name)
            stream.skip(stored - info.size, info.name)
            yield Member(info.name, start, info.size, kind, data)
        else:
            stream.skip(stored, info.name)
            yield Member(info.name, start, info.size, kind, None)


def _kind(info: tarfile.TarInfo) -> str:
    if info.issparse():
        return "sparse file"
    if info.isdir():
        return "directory"
    if info.isreg():
        return "file"
    if info.issym() or info.islnk():
        return f"{'symbolic' if info.issym() else 'hard'} link to {info.linkname[:200]!r}"
    names = {tarfile.CHRTYPE: "character device", tarfile.BLKTYPE: "block device", tarfile.FIFOTYPE: "pipe"}
    return names.get(info.type, f"type {info.type!r}")


def _check_end(stream: _Stream) -> None:
    """Check the end, from the first zero block on: a second one, and then only zeros up to the end of a record."""
    start, zeros = stream.at, 0
    while chunk := stream.read(_CHUNK):
        if chunk.count(0) < len(chunk):
            found = stream.at - len(chunk.lstrip(b"\0"))
            raise ShardError(
                f"{stream.shard} has a hole: zeros from byte {start}, where an archive would end, but data again at"
                f" byte {found}; {_AGAIN} (archives joined by cat must be joined by tar --concatenate)"
            )
        zeros += len(chunk)
        if zeros > _RECORDS[-1] + _BLOCK:
            break
    fits = any(stream.at % record == 0 and zeros <= record + _BLOCK for record in _RECORDS)
    if zeros > _RECORD + _BLOCK and not fits:
        raise ShardError(
            f"{stream.shard} holds nothing but zeros from byte {start}, more than the end of an archive: only a part of"
            f" it was written; {_AGAIN} (records of a whole archive have 10 KiB, tar's default, or 64 KiB to 1 MiB)"
        )
    if zeros < 2 * _BLOCK:
        raise ShardError(f"{stream.shard} is cut at byte {stream.at}, in the zero blocks that end an archive: {_AGAIN}")


class _Headers(tarfile.TarFile):
    """Raises the errors that ``TarFile.next`` suppresses."""

    def next(self) -> tarfile.TarInfo:
        held, self.firstmember = self.firstmember, None  # type: ignore[has-type]
        return held or self.tarinfo.fromtarfile(self)


class _Stream:
    """Reads forwards only and knows its position."""

    def __init__(self, file: IO[bytes], shard: str) -> None:
        self.shard = shard
        self.at = 0
        self.ended = False
        self._file = file
        self._ahead = b""

    def peek(self) -> bytes:
        """The next block, without moving on; shorter only at the end."""
        self._ahead += self._fill(_BLOCK - len(self._ahead))
        return self._ahead

    def tell(self) -> int:
        return self.at

    def read(self, size: int = -1) -> bytes:
        """Up to *size* bytes, fewer only at the end.

        Raises:
            ShardError: *size* is larger than any valid header, so the header is broken or hostile.
        """
        if not 0 <= size <= _HEADER_BYTES:
            raise ShardError(f"{self.shard} has a header that claims {size} bytes at byte {self.at}: {_AGAIN}")
        data = self._ahead[:size]
        self._ahead = self._ahead[size:]
        if len(data) < size:
            data += self._fill(size - len(data))
        self.at += len(data)
        self.ended |= len(data) < size
        return data

    def exact(self, size: int, name: str) -> bytes:
        """*size* bytes of member *name*."""
        pieces, missing = [], size
        while missing:
            piece = self.read(min(missing, _CHUNK))
            if not piece:
                raise ShardError(
                    f"{self.shard} ends at byte {self.at}, {missing} bytes before the end of member {name[:200]!r}:"
                    f" {_AGAIN}"
                )
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, size: int, name: str) -> None:
        while size:
            step = min(size, _CHUNK)
            self.exact(step, name)
            size -= step

    def _fill(self, size: int) -> bytes:
        pieces, missing = [], size
        try:
            while missing and (piece := self._file.read(missing)):
                pieces.append(piece)
                missing -= len(piece)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            got = self.at + size - missing
            said = f"{self.shard} has a broken gzip stream after {got} bytes of content ({error})"
            raise ShardError(f"{said}: {_AGAIN}") from None
        return b"".join(pieces)
