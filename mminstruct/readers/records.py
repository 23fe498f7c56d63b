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
from mminstruct.readers.text import BLANK, BadRow, Raw, Unreadable, count, decode, lines, repaired, wide

DEPTH = 100
"""How deep JSON may be nested; json and pyarrow fail to write deeper values."""
_DIGITS = 4000
"""An integer with more digits stays text: Python refuses to convert more than 4300 (CVE-2020-10735)."""
_GAP = re.compile(r"[\s,]*")
_OPENED = re.compile(r'\{\s*(?:\Z|"(?:[^"\\]|\\.)*"\s*:\s*\{)')


class _Json:
    """A decoder whose values can be written again: no NaN, duplicate keys, lone surrogates or deep nesting."""

    def __init__(self, seen: Counter[str] | None) -> None:
        self._seen = seen
        self._found: Counter[str] = Counter()  # of the current value
        self._twice: str | None = None
        self._scan = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_float=self._float,
            parse_int=lambda digits: int(digits) if len(digits) <= _DIGITS else digits,
            parse_constant=self._none,
        ).raw_decode

    def value(self, text: str, place: int = 0) -> tuple[Any, int]:
        """The value that begins at *place*, and the offset of its end.

        Raises:
            json.JSONDecodeError: there is no value, or *text* ends before it does.
            Ambiguous: a key is there twice, or the nesting is too deep; it ends at ``end``.
            RecursionError: the nesting is too deep to be parsed.
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
        for name, times in self._found.items():
            count(self._seen, name, times)
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
        """NaN and infinities, which JSON lacks; Python and pandas write them for missing values."""
        self._found["json_not_finite"] += 1
        return None

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


def parse(text: str, what: str, seen: Counter[str] | None = None) -> Any:
    """The JSON value in *text*.

    NaN and infinities become null and are counted (``json_not_finite``), lone surrogates are removed and counted
    (``text_surrogates``), integers of more than 4000 digits stay text.

    Raises:
        Unreadable: it is no JSON, has a key twice, or is nested deeper than ``DEPTH``.
    """
    text = text.strip(BLANK)
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
    """The values of JSON lines, a ``BadRow`` for a line that is no JSON; empty lines are skipped."""
    for line in lines(file, what, seen):
        if isinstance(line, BadRow):
            yield line
        elif line[1].strip(BLANK):
            try:
                yield parse(line[1], "it", seen)
            except Unreadable as error:
                yield BadRow(line[0], str(error))


def records(
    file: Any, what: str, seen: Counter[str] | None = None, chunk: int = 1 << 20, key: str | None = None
) -> Iterator[dict[str, Any] | BadRow]:
    """The objects of a JSON list or of JSON lines, a few at a time in memory; a file that begins with ``[`` is a list.

    Args:
        file: binary and seekable; read from its beginning.
        chunk: characters of a list that are read at a time.
        key: Name of the field for an object's key in a file that is one object of objects, as MM-Vet's is. Such a file
            is held in memory. None: the file has no such form.

    Raises:
        Unreadable: a list is broken or cut, in no known encoding, or followed by more text; the message has the number
            of the record, from 0, and the line.
    """
    file.seek(0)
    listed = _listed(file)
    file.seek(0)
    if key and not listed and _keyed(file, what):
        file.seek(0)
        yield from _named(parse(decode(file.read(), what, seen), what, seen), key)
        return
    file.seek(0)
    for number, one in enumerate(_items(file, what, seen, chunk) if listed else json_lines(file, what, seen)):
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


def _named(found: dict[str, Any], key: str) -> Iterator[dict[str, Any] | BadRow]:
    for number, (name, one) in enumerate(found.items(), 1):
        if isinstance(one, dict):
            yield {key: name, **one}
        else:
            yield BadRow(number, f"its value at {name[:80]!r} is a JSON {type(one).__name__}, should be an object")


def _items(file: Any, what: str, seen: Counter[str] | None, chunk: int) -> Iterator[Any]:
    """The items of one list, a ``BadRow`` for one that is ``Ambiguous``."""
    decoder, pieces = _Json(seen), _pieces(file, what, seen)
    text, place, line, number, opened = "", 0, 1, 0, False

    def more() -> bool:
        """Read as much again as there is, so that the time for a long record stays linear."""
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
            if (text[place + 1 :] + pieces.read()).strip(BLANK):
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
        if end == len(text) and more():  # a number, which may have more digits
            continue
        yield one
        place, number = end, number + 1


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
