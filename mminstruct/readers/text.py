r"""Text from outside: bytes to characters and lines; each error names its file and line.

Encodings are tried in this order: a byte order mark (UTF-8, UTF-16, UTF-32) or the zero bytes by which UTF-16 and
UTF-32 differ from UTF-8; UTF-8; UTF-8 with surrogates, which are paired again; Windows' cp1252, which Western software
wrote before UTF-8. Other text is refused: no character is ever guessed. All that is not plain UTF-8 is counted.

A line of JSON lines ends at ``\n`` or ``\r\n`` and nowhere else (jsonlines.org): U+2028, U+0085, ``\x0b`` and
``\x0c`` are text, but ``str.splitlines`` splits there.
"""

from __future__ import annotations

import codecs
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from mminstruct.text.characters import paired
from mminstruct.unit import note

LINE_BYTES = 64 << 20
"""The longest line that is read: a longer one is a file without line ends."""
BLANK = " \t\r\n\ufeff"
_REAL = re.compile("[\x80-\ud7ff\ue000-\U0010ffff]")
_LONE = re.compile("[\ud800-\udfff]")


class Unreadable(ValueError):
    """A file from outside that cannot be read to its end: the message says where, and how to fix it."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, in a file whose other rows can."""

    line: int
    """Line in its file, from 1; in a table without lines, the number of the row."""
    said: str
    """The reason."""


def count(seen: Counter[str] | None, name: str, times: int = 1) -> None:
    """Add *times* to *seen*, by default to the notes of the current unit."""
    if seen is None:
        note(name, times)
    else:
        seen[name] += times


_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
"""UTF-32 first: its little-endian mark begins with that of UTF-16."""
_ZEROS = {
    "utf-32-be": rb"\0\0\0[^\0]", "utf-32-le": rb"[^\0]\0\0\0", "utf-16-be": rb"\0[^\0]", "utf-16-le": rb"[^\0]\0",
}  # fmt: skip
"""The first bytes of a text without a mark whose first character is below U+0100 (RFC 4627, section 3)."""


def wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by the first four bytes; None if neither."""
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    return marked or next((name for name, zeros in _ZEROS.items() if re.match(zeros, head, re.DOTALL)), None)


def decode(data: bytes, what: str, seen: Counter[str] | None = None) -> str:
    """The text of *data*, without its byte order mark.

    Args:
        what: name of what is read, for the message.
        seen: counts ``text_cp1252``, ``text_utf16``, ``text_utf32``, ``text_surrogates`` and ``text_cut``; by default
            they are notes of the current unit.

    Raises:
        Unreadable: no encoding fits.
    """
    if encoding := wide(data[:4]):
        try:
            text = data.decode(encoding, "surrogatepass")
        except UnicodeDecodeError as error:
            raise Unreadable(f"{what} begins as {encoding} and is none: {error}; save it as UTF-8") from None
        count(seen, f"text_{encoding[:6].replace('-', '')}")
        return repaired(text.removeprefix("\ufeff"), seen)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _other(data, error, what, seen)


def _other(data: bytes, error: UnicodeDecodeError, what: str, seen: Counter[str] | None) -> str:
    """Decode *data*, which is not UTF-8."""
    try:
        return repaired(data.decode("utf-8-sig", "surrogatepass"), seen)
    except UnicodeDecodeError:
        pass
    line = data.count(b"\n", 0, error.start) + 1
    where = f"{what}: byte {data[error.start]:#04x} at {error.start} (line {line})"
    if _REAL.search(data.decode("utf-8", "surrogateescape")):
        if error.end == len(data) and error.reason == "unexpected end of data":  # cut by a limit on bytes
            count(seen, "text_cut")
            return data[: error.start].decode("utf-8-sig")
        raise Unreadable(f"{where} is not UTF-8, and characters elsewhere are: save it in one encoding, UTF-8")
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise Unreadable(f"{where} is neither UTF-8 nor cp1252: save it as UTF-8") from None
    count(seen, "text_cp1252")
    return text


def repaired(text: str, seen: Counter[str] | None = None) -> str:
    """``paired``, counted where it changes *text*."""
    if not _LONE.search(text):
        return text
    count(seen, "text_surrogates")
    return paired(text)


def lines(
    file: Any, what: str, seen: Counter[str] | None = None, *, returns: bool = False
) -> Iterator[tuple[int, str] | BadRow]:
    r"""Lines with their number, from 1, and their end; each is decoded alone, so that a bad line affects no other.

    Args:
        file: binary; read from its present position.
        what: as for ``decode``.
        seen: as for ``decode``.
        returns: whether a lone ``\r`` ends a line, too, as it does in CSV.

    Raises:
        Unreadable: UTF-16 or UTF-32 that is cut.
    """
    buffer = io.BufferedReader(Raw(file))
    if encoding := wide(buffer.peek(4)[:4]):
        yield from _wide_lines(buffer, encoding, what, seen, returns)
        return
    number = 0
    while data := buffer.readline(LINE_BYTES):
        if len(data) == LINE_BYTES and not data.endswith(b"\n"):
            number += 1
            while (rest := buffer.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield BadRow(number, f"longer than {LINE_BYTES} bytes")
            continue
        for piece in data.splitlines(keepends=True) if returns else (data,):  # of bytes: ends at \n, \r and \r\n alone
            number += 1
            try:
                yield number, decode(piece, what, seen) if number == 1 else _decoded(piece, what, seen)
            except Unreadable as error:
                yield BadRow(number, str(error).removeprefix(f"{what}: "))


def _decoded(data: bytes, what: str, seen: Counter[str] | None) -> str:
    """Decode a line after the first, whose zero bytes say nothing about the encoding."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return _other(data, error, what, seen)


def _wide_lines(
    buffer: Any, encoding: str, what: str, seen: Counter[str] | None, returns: bool
) -> Iterator[tuple[int, str] | BadRow]:
    count(seen, f"text_{encoding[:6].replace('-', '')}")
    text = io.TextIOWrapper(buffer, encoding, errors="surrogatepass", newline="" if returns else "\n")
    number = 0
    try:
        while line := text.readline(LINE_BYTES):
            number += 1
            line = repaired(line.removeprefix("\ufeff") if number == 1 else line, seen)
            if len(line) == LINE_BYTES and not line.endswith(("\n", "\r")):
                raise Unreadable(f"{what} line {number} is longer than {LINE_BYTES} characters")
            yield number, line
    except UnicodeDecodeError as error:
        said = f"{what} is no whole {encoding} past line {number}: {error}; save it as UTF-8"
        raise Unreadable(said) from None


class Raw(io.RawIOBase):
    """Adapter of an fsspec file for ``io``'s buffers; closing it leaves the file open."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


_Row = TypeVar("_Row")


def good(found: Iterable[_Row | BadRow], what: str) -> Iterator[_Row]:
    """The rows of a file that may have no bad row.

    Raises:
        Unreadable: it has one; the message names its line.
    """
    for row in found:
        if isinstance(row, BadRow):
            raise Unreadable(f"{what} line {row.line}: {row.said}")
        yield row


def read(path: Any, seen: Counter[str] | None = None) -> str:
    r"""The text of the local file at *path*, with ``\n`` as its only line end.

    Raises:
        Unreadable: no encoding fits.
    """
    with open(path, "rb") as file:
        return decode(file.read(), str(path), seen).replace("\r\n", "\n").replace("\r", "\n")
