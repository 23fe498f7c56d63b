"""JSON values from outside: what is read can be written again, and each error says what is wrong."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from mminstruct.errors import InputError
from mminstruct.readers.text import BLANK, Unreadable, count, repaired

DEPTH = 100
"""How deep JSON may be nested; json and pyarrow fail to write deeper values."""
_DIGITS = 4300
"""An integer with more digits stays text: Python refuses to convert it (CVE-2020-10735)."""


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS else digits


class JsonReader:
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
        value, end = JsonReader(seen, missing).value(text)
        if end < len(text):
            raise Unreadable(f"{what} is no JSON: something follows it, {text[end : end + 40]!r}")
    except RecursionError:
        raise Unreadable(f"{what} is no JSON: it is nested deeper than {DEPTH}") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"{what} is no JSON: {error}") from None
    except Ambiguous as error:
        raise Unreadable(f"{what} is no JSON to rely on: {error}") from None
    return value
