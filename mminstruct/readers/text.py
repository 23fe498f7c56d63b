r"""Text from outside: bytes to characters, lines, and JSON, each fault with its file and line.

Encodings, in this order: a byte order mark (UTF-8, UTF-16, UTF-32) or the zero bytes that tell UTF-16 and UTF-32 apart
from UTF-8; UTF-8; UTF-8 with surrogates, which are paired again; Windows' cp1252, which Western software wrote before
UTF-8. What is none of these is refused: no character is ever guessed. Whatever is not plain UTF-8 is counted.

A line of JSON lines ends at ``\n`` or ``\r\n`` and nowhere else (jsonlines.org): U+2028, U+0085, ``\x0b`` and
``\x0c`` are text, which ``str.splitlines`` would break.
"""

from __future__ import annotations

import codecs
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from mminstruct.stage import note

LINE_BYTES = 64 << 20
"""The longest line that is read: more is no record, but a file without line ends."""
DEPTH = 100
"""How deep JSON may be nested; json and pyarrow would fail on it when it is written again."""
_DIGITS = 4000
"""An integer of more digits stays text: Python refuses to convert more than 4300 (PEP, CVE-2020-10735)."""
_BLANK = " \t\r\n\ufeff"
_REAL = re.compile("[\x80-\ud7ff\ue000-\U0010ffff]")
_LONE = re.compile("[\ud800-\udfff]")
_GAP = re.compile(r"[\s,]*")


class Unreadable(ValueError):
    """A file from outside that cannot be read to its end: the message says where, and how to mend it."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, where the rows around it can."""

    line: int
    """Of its file, from 1; of a table without lines, the row."""
    said: str
    """Why."""


def _count(seen: Counter[str] | None, name: str, count: int = 1) -> None:
    """Into *seen*, or into the notes of the unit under way."""
    if seen is None:
        note(name, count)
    else:
        seen[name] += count


_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
"""UTF-32 first: its little-endian mark begins with that of UTF-16."""
_ZEROS = {
    "utf-32-be": rb"\0\0\0[^\0]", "utf-32-le": rb"[^\0]\0\0\0", "utf-16-be": rb"\0[^\0]", "utf-16-le": rb"[^\0]\0",
}  # fmt: skip
"""How a first character below U+0100 looks where no mark tells (RFC 4627, section 3)."""


def _wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by the first four bytes; None: neither."""
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    return marked or next((name for name, zeros in _ZEROS.items() if re.match(zeros, head, re.DOTALL)), None)


def decode(data: bytes, what: str, seen: Counter[str] | None = None) -> str:
    """The text of *data*, without its byte order mark.

    Args:
        what: what is read, for the message.
        seen: counts ``text_cp1252``, ``text_utf16``, ``text_utf32``, ``text_surrogates`` and ``text_cut``; by default
            they are notes of the unit under way.

    Raises:
        Unreadable: no encoding fits.
    """
    if encoding := _wide(data[:4]):
        try:
            text = data.decode(encoding, "surrogatepass")
        except UnicodeDecodeError as error:
            raise Unreadable(f"{what} begins as {encoding} and is none: {error}; save it as UTF-8") from None
        _count(seen, f"text_{encoding[:6].replace('-', '')}")
        return mended(text.removeprefix("\ufeff"), seen)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _other(data, error, what, seen)


def _other(data: bytes, error: UnicodeDecodeError, what: str, seen: Counter[str] | None) -> str:
    """*data*, which is not UTF-8, in what else it may be."""
    try:
        return mended(data.decode("utf-8-sig", "surrogatepass"), seen)
    except UnicodeDecodeError:
        pass
    line = data.count(b"\n", 0, error.start) + 1
    where = f"{what}: byte {data[error.start]:#04x} at {error.start} (line {line})"
    if _REAL.search(data.decode("utf-8", "surrogateescape")):
        if error.end == len(data) and error.reason == "unexpected end of data":  # cut by a limit on bytes
            _count(seen, "text_cut")
            return data[: error.start].decode("utf-8-sig")
        raise Unreadable(f"{where} is not UTF-8, and characters elsewhere are: save it in one encoding, UTF-8")
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise Unreadable(f"{where} is neither UTF-8 nor cp1252: save it as UTF-8") from None
    _count(seen, "text_cp1252")
    return text


def mended(text: str, seen: Counter[str] | None = None) -> str:
    """*text* with surrogates paired to the character that they mean; lone ones, which mean none, are left out."""
    if not _LONE.search(text):
        return text
    _count(seen, "text_surrogates")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")


def lines(
    file: Any, what: str, seen: Counter[str] | None = None, *, returns: bool = False
) -> Iterator[tuple[int, str] | BadRow]:
    r"""Lines by number, from 1, with their ends; each is decoded by itself, so that one bad line spoils no other.

    Args:
        file: open for bytes; read from where it stands.
        returns: whether a lone ``\r`` ends a line, too, as it does in CSV.

    Raises:
        Unreadable: UTF-16 or UTF-32 that breaks off.
    """
    buffer = io.BufferedReader(_Raw(file))
    if encoding := _wide(buffer.peek(4)[:4]):
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
    """A later line, in which zero bytes tell nothing."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return _other(data, error, what, seen)


def _wide_lines(
    buffer: Any, encoding: str, what: str, seen: Counter[str] | None, returns: bool
) -> Iterator[tuple[int, str] | BadRow]:
    _count(seen, f"text_{encoding[:6].replace('-', '')}")
    text = io.TextIOWrapper(buffer, encoding, errors="surrogatepass", newline="" if returns else "\n")
    number = 0
    try:
        while line := text.readline(LINE_BYTES):
            number += 1
            line = mended(line.removeprefix("\ufeff") if number == 1 else line, seen)
            if len(line) == LINE_BYTES and not line.endswith(("\n", "\r")):
                raise Unreadable(f"{what} line {number} is longer than {LINE_BYTES} characters")
            yield number, line
    except UnicodeDecodeError as error:
        said = f"{what} is no whole {encoding} past line {number}: {error}; save it as UTF-8"
        raise Unreadable(said) from None


class _Raw(io.RawIOBase):
    """Any fsspec file as one that ``io`` can buffer; closing it leaves the file open."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Json:
    """A decoder of JSON that keeps to what can be written again: no NaN, no key twice, no lone surrogate, no abyss."""

    def __init__(self, seen: Counter[str] | None) -> None:
        self._seen = seen
        self._found: Counter[str] = Counter()  # of the value under way: one that is cut is begun again
        self._twice: str | None = None
        self._scan = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_float=self._float,
            parse_int=lambda digits: int(digits) if len(digits) <= _DIGITS else digits,
            parse_constant=self._none,
        ).raw_decode

    def value(self, text: str, place: int = 0) -> tuple[Any, int]:
        """The value that begins at *place* and where it ends.

        Raises:
            json.JSONDecodeError: it is none, or goes on beyond *text*.
            Ambiguous: it is one that means nothing certain, ending at ``end``.
            RecursionError: it is nested too deep even to be looked at.
        """
        self._twice = None
        self._found.clear()
        value, end = self._scan(text, place)
        if self._twice is not None:
            raise Ambiguous(f"the field {self._twice[:80]!r} is there twice", end)
        if text.count("[", place, end) + text.count("{", place, end) > DEPTH and _depth(value) > DEPTH:
            raise Ambiguous(f"it is nested deeper than {DEPTH}", end)
        if text.find("\\ud", place, end) >= 0 or text.find("\\uD", place, end) >= 0:
            value = self._paired(value)
        for name, count in self._found.items():
            _count(self._seen, name, count)
        return value, end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs) and self._twice is None:
            self._twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        return found

    def _float(self, digits: str) -> float | None:
        value = float(digits)
        return value if math.isfinite(value) else self._none(digits)

    def _none(self, _: str) -> float | None:
        """NaN and infinities, which JSON does not have: Python and pandas write them for what is missing."""
        self._found["json_not_finite"] += 1
        return None

    def _paired(self, value: Any) -> Any:
        if isinstance(value, str):
            return mended(value, self._found)
        if isinstance(value, list):
            return [self._paired(item) for item in value]
        if isinstance(value, dict):
            return {mended(key, self._found): self._paired(item) for key, item in value.items()}
        return value


class Ambiguous(ValueError):
    """JSON that parses and means nothing certain."""

    def __init__(self, said: str, end: int) -> None:
        super().__init__(said)
        self.end = end


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        level = [
            item
            for one in level
            for item in (one if isinstance(one, list) else one.values() if isinstance(one, dict) else ())
        ]
        depth += 1
    return depth


def parse(text: str, what: str, seen: Counter[str] | None = None) -> Any:
    """The JSON value that *text* is.

    NaN and infinities become null and are counted (``json_not_finite``), lone surrogates are left out and counted
    (``text_surrogates``), integers of more than 4000 digits stay text.

    Raises:
        Unreadable: it is none, has a field twice, or is nested deeper than ``DEPTH``.
    """
    text = text.strip(_BLANK)
    try:
        value, end = _Json(seen).value(text)
        if end < len(text):
            raise Unreadable(f"{what} is no JSON: something follows it, {text[end : end + 40]!r}")
    except RecursionError:
        raise Unreadable(f"{what} is no JSON: it is nested deeper than {DEPTH}") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"{what} is no JSON: {error}") from None
    except Ambiguous as error:
        raise Unreadable(f"{what} is no JSON to rely on: {error}") from None
    return value


def json_lines(file: Any, what: str, seen: Counter[str] | None = None) -> Iterator[Any]:
    """The values of JSON lines, a ``BadRow`` for a line that is none; empty lines are passed over."""
    for line in lines(file, what, seen):
        if isinstance(line, BadRow):
            yield line
        elif line[1].strip(_BLANK):
            try:
                yield parse(line[1], "it", seen)
            except Unreadable as error:
                yield BadRow(line[0], str(error))


def records(
    file: Any, what: str, seen: Counter[str] | None = None, chunk: int = 1 << 20
) -> Iterator[dict[str, Any] | BadRow]:
    """The objects of one JSON list, or of JSON lines, a few at a time in memory; what begins with ``[`` is a list.

    Args:
        file: open for bytes and seekable; read from its beginning.
        chunk: characters of a list that are read at a time.

    Raises:
        Unreadable: a list that is broken or cut short, in no encoding, or followed by something; with the number of
            the record, from 0, and the line.
    """
    file.seek(0)
    listed = _listed(file)
    file.seek(0)
    for number, one in enumerate(_items(file, what, seen, chunk) if listed else json_lines(file, what, seen)):
        if isinstance(one, dict | BadRow):
            yield one
        else:
            yield BadRow(number + 1, f"it is a JSON {type(one).__name__}, should be an object")


_Row = TypeVar("_Row")


def good(found: Iterable[_Row | BadRow], what: str) -> Iterator[_Row]:
    """The rows of a file none of which may be bad.

    Raises:
        Unreadable: one is, by its line.
    """
    for row in found:
        if isinstance(row, BadRow):
            raise Unreadable(f"{what} line {row.line}: {row.said}")
        yield row


def _listed(file: Any) -> bool:
    """Whether the first character that is not blank opens a list."""
    data = b""
    while more := file.read(4096):
        data = (data + more).lstrip(_BLANK.encode() + b"\xff\xfe\0")
        if data:
            return bool(data[:1] == b"[")
    return False


def _items(file: Any, what: str, seen: Counter[str] | None, chunk: int) -> Iterator[Any]:
    """The items of one list, a ``BadRow`` for one that means nothing certain."""
    decoder, pieces = _Json(seen), _pieces(file, what, seen)
    text, place, line, number, opened = "", 0, 1, 0, False

    def more() -> bool:
        """Read as much again, so that a long record costs no square of its length."""
        nonlocal text, place, line
        new = pieces.read(max(chunk, len(text) - place))
        line += text.count("\n", 0, place)
        text, place = text[place:] + new, 0
        return bool(new)

    while True:
        place = cast(re.Match[str], _GAP.match(text, place)).end()
        if place == len(text) and more():
            continue
        if not opened:
            place, opened = place + 1, True
            continue
        at = line + text.count("\n", 0, place)
        where = f"{what}: record {number} (line {at})"
        if text.startswith("]", place):
            if (text[place + 1 :] + pieces.read()).strip(_BLANK):
                raise Unreadable(f"{where}: something follows the list")
            return
        try:
            one, end = decoder.value(text, place)
        except Ambiguous as error:
            one, end = BadRow(at, str(error)), error.end
        except RecursionError:
            raise Unreadable(f"{where}: it is nested deeper than {DEPTH}") from None
        except json.JSONDecodeError as error:
            if more():
                continue
            raise Unreadable(f"{where}: broken or cut short: {error.msg}") from None
        if end == len(text) and more():  # a number, of which more digits may follow
            continue
        yield one
        place, number = end, number + 1


def _pieces(file: Any, what: str, seen: Counter[str] | None) -> Any:
    """*file* as text to be read piece by piece; whole in memory where it is not UTF-8.

    Raises:
        Unreadable: no encoding fits.
    """
    file.seek(0)
    if _wide(file.read(4)) is None:
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while data := file.read(1 << 20):
                decoder.decode(data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            pass
        else:
            file.seek(0)
            return io.TextIOWrapper(io.BufferedReader(_Raw(file)), "utf-8-sig", newline="")
    file.seek(0)
    return io.StringIO(decode(file.read(), what, seen), newline="")


def read(path: Any, seen: Counter[str] | None = None) -> str:
    r"""The text of the local file at *path*, with ``\n`` as its only line end.

    Raises:
        Unreadable: no encoding fits.
    """
    with open(path, "rb") as file:
        return decode(file.read(), str(path), seen).replace("\r\n", "\n").replace("\r", "\n")
