"""JSON from outside as lines, records and members, a few at a time in memory; each error names its place."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from mminstruct.readers.text import BLANK, LINE_BYTES, BadRow, Raw, Unreadable, decode, lines, wide
from mminstruct.readers.values import DEPTH, Ambiguous, JsonReader, parse

_GAP = re.compile(r"[\s,]*")
_OPENED = re.compile(r'\{\s*(?:\Z|"(?:[^"\\]|\\.)*"\s*:\s*\{)')


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
    file: Any,
    what: str,
    seen: Counter[str] | None = None,
    chunk: int = 1 << 20,
    *,
    missing: Any = None,
    key: str | None = None,
) -> Iterator[dict[str, Any] | BadRow]:
    """The objects of a JSON list or of JSON lines, a few at a time in memory; a file that begins with ``[`` is a list.

    Args:
        file: binary and seekable; read from its beginning.
        chunk: characters of a list that are read at a time.
        missing: what NaN and infinities become.
        key: Name of the field for an object's key in a file that is one object of objects, as MM-Vet's is. None: the
            file has no such form.

    Raises:
        Unreadable: a list is broken or cut, in no known encoding, or followed by more text; the message has the number
            of the record, from 0, and the line.
    """
    file.seek(0)
    listed = _listed(file)
    file.seek(0)
    if key and not listed and _keyed(file, what):
        yield from _named(members(file, what, seen, chunk, missing=missing), key)
        return
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


def _keyed(file: Any, what: str) -> bool:
    """Whether the first line that is not blank begins one object of objects, not a record of JSON lines.

    Most values of such an object are objects; those of a record are not. An object that goes on in the next line is no
    record: its first line is a brace, or goes on with a key and a second brace.
    """
    for line in lines(file, what, Counter()):
        text = "" if isinstance(line, BadRow) else line[1].strip(BLANK)
        if text:
            try:
                value = parse(text, what, Counter())
            except Unreadable:
                return _OPENED.match(text) is not None
            held = list(value.values()) if isinstance(value, dict) else []
            return 2 * sum(isinstance(one, dict) for one in held) > len(held)
    return False


def _named(found: Iterator[tuple[str, int, Any]], key: str) -> Iterator[dict[str, Any] | BadRow]:
    """The values of an object as records; *key* is the field with their names."""
    number = 0
    for name, item, one in found:
        if item:  # of a list, which is no record
            continue
        number += 1
        if isinstance(one, dict):
            yield {key: name, **one}
        elif isinstance(one, BadRow):
            yield one
        else:
            yield BadRow(number, f"its value at {name[:80]!r} is a JSON {type(one).__name__}, should be an object")


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
        called = " ".join(name.split())[:80]
        cursor.skip()
        if cursor.peek() != "[":
            yield name, 0, cursor.value(called)
            continue
        cursor.skip()
        yield name, 0, []
        number = 0
        while cursor.peek() != "]":
            number += 1
            yield name, number, cursor.value(f"{called} {number}")
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
        self._decoder, self._pieces = JsonReader(seen, missing), _pieces(file, what, seen)
        self._text, self._place, self._line = "", 0, 1

    def _more(self) -> bool:
        """Read as much again as there is, so that the time for a long record stays linear."""
        if new := self._pieces.read(max(self._chunk, len(self._text) - self._place)):
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
                said = error.msg.removesuffix(" starting at")
                raise Unreadable(f"{self.at(where)}: broken or cut short: {said}; copy or download it again") from None
            if len(self._text) - end <= 2 and self._more():  # a number, which may go on: digits, `.`, `e` or `e+`
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
