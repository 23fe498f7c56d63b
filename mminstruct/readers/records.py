"""JSON from outside, as values, lines and records: all values can be written again, each error names its place."""

from __future__ import annotations

import codecs
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from mminstruct.errors import InputError
from mminstruct.readers.text import BLANK, LINE_BYTES, BadRow, Raw, Unreadable, count, decode, lines, repaired, wide

DEPTH = 100
"""How deep JSON may be nested; json and pyarrow fail to write deeper values."""
_DIGITS = 4300
"""An integer with more digits stays text: Python refuses to convert it (CVE-2020-10735)."""
_GAP = re.compile(r"[\s,]*")
_OPEN = re.compile(r"[0-9.eE+-]*\Z")
"""What follows a number that goes on in the next piece: of ``1.5``, cut after the point, only ``1`` is a number."""


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS else digits


class _Json:
    """A decoder whose values can be written again: no NaN, duplicate keys, lone surrogates or deep nesting."""

    def __init__(self, seen: Counter[str] | None, missing: Any = None) -> None:
        self._seen, self._missing = seen, missing
        self._found: Counter[str] = Counter()  # of the current value
        self._twice: str | None = None
        hooks: dict[str, Any] = {
            "object_pairs_hook": self._object,
            "parse_float": self._float,
            "parse_constant": self._none,
        }
        self._scan = json.JSONDecoder(**hooks).raw_decode
        self._scan_any = json.JSONDecoder(**hooks, parse_int=_integer).raw_decode

    def value(self, text: str, place: int = 0) -> tuple[Any, int]:
        """The value that begins at *place*, and the offset of its end.

        Raises:
            json.JSONDecodeError: there is no value, or *text* ends before it does.
            Ambiguous: a key is there twice, or the nesting is too deep; it ends at ``end``.
            RecursionError: the nesting is too deep to be parsed.
        """
        self._twice = None
        self._found.clear()
        try:
            value, end = self._scan(text, place)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer that Python refuses; a function for every integer takes a fifth longer
            self._twice = None
            self._found.clear()
            value, end = self._scan_any(text, place)
        if self._twice is not None:
            raise Ambiguous(f"the field {self._twice[:80]!r} is there twice", end)
        if text.count("[", place, end) + text.count("{", place, end) > DEPTH and _depth(value) > DEPTH:
            raise Ambiguous(f"it is nested deeper than {DEPTH}", end)
        if text.find("\\ud", place, end) >= 0 or text.find("\\uD", place, end) >= 0:
            value = self._paired(value)
        for name, times in self._found.items():
            count(self._seen, name, times)
        return value, end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs) and self._twice is None:
            self._twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        return found

    def _float(self, digits: str) -> Any:
        value = float(digits)
        return value if math.isfinite(value) else self._none(digits)

    def _none(self, _: str) -> Any:
        """NaN and infinities, which JSON lacks; Python and pandas write them for missing values."""
        self._found["json_not_finite"] += 1
        return self._missing

    def _paired(self, value: Any) -> Any:
        if isinstance(value, str):
            return repaired(value, self._found)
        if isinstance(value, list):
            return [self._paired(item) for item in value]
        if isinstance(value, dict):
            return {repaired(key, self._found): self._paired(item) for key, item in value.items()}
        return value


class Ambiguous(InputError):
    """JSON that parses, but has a key twice or is nested too deep."""

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


def parse(text: str, what: str, seen: Counter[str] | None = None, missing: Any = None) -> Any:
    """The JSON value in *text*.

    NaN and infinities become *missing* and are counted (``json_not_finite``), lone surrogates are removed and counted
    (``text_surrogates``), integers of more than 4300 digits stay text.

    Raises:
        Unreadable: it is no JSON, has a key twice, or is nested deeper than ``DEPTH``.
    """
    text = text.strip(BLANK)
    try:
        value, end = _Json(seen, missing).value(text)
        if end < len(text):
            raise Unreadable(f"{what} is no JSON: something follows it, {text[end : end + 40]!r}")
    except RecursionError:
        raise Unreadable(f"{what} is no JSON: it is nested deeper than {DEPTH}") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"{what} is no JSON: {error}") from None
    except Ambiguous as error:
        raise Unreadable(f"{what} is no JSON to rely on: {error}") from None
    return value


def json_lines(file: Any, what: str, seen: Counter[str] | None = None, missing: Any = None) -> Iterator[Any]:
    """The values of JSON lines, a ``BadRow`` for a line that is no JSON; empty lines are skipped."""
    for line in lines(file, what, seen):
        if isinstance(line, BadRow):
            yield line
        elif line[1].strip(BLANK):
            try:
                yield parse(line[1], "it", seen, missing)
            except Unreadable as error:
                yield BadRow(line[0], str(error))


def records(
    file: Any, what: str, seen: Counter[str] | None = None, chunk: int = 1 << 20, *, missing: Any = None
) -> Iterator[dict[str, Any] | BadRow]:
    """The objects of a JSON list or of JSON lines, a few at a time in memory; a file that begins with ``[`` is a list.

    Args:
        file: binary and seekable; read from its beginning.
        chunk: characters of a list that are read at a time.
        missing: what NaN and infinities become.

    Raises:
        Unreadable: a list is broken or cut, in no known encoding, or followed by more text; the message has the number
            of the record, from 0, and the line.
    """
    file.seek(0)
    listed = _listed(file)
    file.seek(0)
    found = _items(_Cursor(file, what, seen, chunk, missing)) if listed else json_lines(file, what, seen, missing)
    for number, one in enumerate(found):
        if isinstance(one, dict | BadRow):
            yield one
        else:
            yield BadRow(number + 1, f"it is a JSON {type(one).__name__}, should be an object")


def _listed(file: Any) -> bool:
    """Whether the first character that is not blank is ``[``."""
    data = b""
    while more := file.read(4096):
        data = (data + more).lstrip(BLANK.encode() + b"\xff\xfe\0")
        if data:
            return bool(data[:1] == b"[")
    return False


def members(
    file: Any, what: str, seen: Counter[str] | None = None, chunk: int = 1 << 20, *, missing: Any = None
) -> Iterator[tuple[str, int, Any]]:
    """The members of one JSON object, as name, number and value, a few at a time in memory.

    A list comes as ``(name, 0, [])``, followed by ``(name, number, item)`` for each of its items, numbered from 1; any
    other value is ``(name, 0, value)``. A value that has a key twice or is nested too deep is a ``BadRow``.

    Args:
        file: binary and seekable; read from its beginning.
        chunk: characters that are read at a time.
        missing: as for ``records``.

    Raises:
        Unreadable: as ``records`` does, or it is no object, or has a member twice.
    """
    cursor = _Cursor(file, what, seen, chunk, missing)
    if (first := cursor.peek()) != "{":
        raise Unreadable(f"{what} " + (f"begins with {first!r}, should be a JSON object" if first else "is empty"))
    cursor.skip()
    names = set[str]()
    while cursor.peek() != "}":
        name = cursor.value("member")
        if not isinstance(name, str) or cursor.peek() != ":":
            raise Unreadable(f"{cursor.at('member')}: broken or cut short: no name and colon")
        if name in names:
            raise Unreadable(f"{cursor.at('member')}: {name[:80]!r} is there twice")
        names.add(name)
        said = " ".join(name[:80].split())
        cursor.skip()
        if cursor.peek() != "[":
            yield name, 0, cursor.value(said)
            continue
        cursor.skip()
        yield name, 0, []
        number = 0
        while cursor.peek() != "]":
            number += 1
            yield name, number, cursor.value(f"{said} {number}")
        cursor.skip()
    cursor.close("member", "object")


def _items(cursor: _Cursor) -> Iterator[Any]:
    """The items of one list, a ``BadRow`` for one that is ``Ambiguous``."""
    cursor.peek()
    cursor.skip()
    number = 0
    while cursor.peek() != "]":
        yield cursor.value(f"record {number}")
        number += 1
    cursor.close(f"record {number}", "list")


class _Cursor:
    """A place in a JSON text, of which a piece is in memory."""

    def __init__(self, file: Any, what: str, seen: Counter[str] | None, chunk: int, missing: Any) -> None:
        self._what, self._chunk = what, chunk
        self._decoder, self._pieces = _Json(seen, missing), _pieces(file, what, seen)
        self._text, self._place, self._line = "", 0, 1

    def _more(self) -> bool:
        """Read as much again as there is, so that the time for a long record stays linear."""
        new = self._pieces.read(max(self._chunk, len(self._text) - self._place))
        self._line += self._text.count("\n", 0, self._place)
        self._text, self._place = self._text[self._place :] + new, 0
        return bool(new)

    @property
    def line(self) -> int:
        return self._line + self._text.count("\n", 0, self._place)

    def at(self, where: str) -> str:
        return f"{self._what}: {where} (line {self.line})"

    def peek(self) -> str:
        """The next character that is neither blank nor a comma; empty at the end of the text."""
        while True:
            self._place = cast(re.Match[str], _GAP.match(self._text, self._place)).end()
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Go past the character that ``peek`` returned."""
        self._place += 1

    def value(self, where: str) -> Any:
        """The value that begins here, a ``BadRow`` if it is ``Ambiguous``.

        Args:
            where: which value it is, for the message.
        """
        while True:
            try:
                one, end = self._decoder.value(self._text, self._place)
            except Ambiguous as error:
                one, end = BadRow(self.line, str(error)), error.end
            except RecursionError:
                raise Unreadable(f"{self.at(where)}: it is nested deeper than {DEPTH}") from None
            except json.JSONDecodeError as error:
                if len(self._text) - self._place > LINE_BYTES:
                    raise Unreadable(f"{self.at(where)}: broken, or longer than {LINE_BYTES} characters") from None
                if self._more():
                    continue
                raise Unreadable(f"{self.at(where)}: broken or cut short: {error.msg}") from None
            if _OPEN.match(self._text, end) and self._more():  # a number, of which a part may be missing
                continue
            self._place = end
            return one

    def close(self, where: str, what: str) -> None:
        """Go past the bracket that ends the list or object *what*, after which nothing may follow."""
        if (self._text[self._place + 1 :] + self._pieces.read()).strip(BLANK):
            raise Unreadable(f"{self.at(where)}: something follows the {what}")


def _pieces(file: Any, what: str, seen: Counter[str] | None) -> Any:
    """*file* as text to be read in pieces; in memory as a whole if it is not UTF-8.

    Raises:
        Unreadable: no encoding fits.
    """
    file.seek(0)
    if wide(file.read(4)) is None:
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
            return io.TextIOWrapper(io.BufferedReader(Raw(file)), "utf-8-sig", newline="")
    file.seek(0)
    return io.StringIO(decode(file.read(), what, seen), newline="")
