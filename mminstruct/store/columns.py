"""JSON objects as columns: names and values that repeat take most of the time to parse, and sums need no objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, repeat
from typing import Any


def columns(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """*values* as JSON that ``Columns`` reads.

    ``names`` has the fields in their order, ``same`` those with one value, ``each`` a list of all values, ``lists`` the
    fields that are lists of objects: the lengths, and their columns; ``maps`` the columns of those that are objects. If
    names or their order differ, ``rows`` has *values* as they are.
    """
    names = list(values[0]) if values else []
    if any(list(value) != names for value in values):
        return {"rows": values}
    found: dict[str, Any] = {"names": names, "same": {}, "each": {}, "lists": {}, "maps": {}}
    for name in names:
        column = [value[name] for value in values]
        first = repr(column[0])  # 1, 1.0 and True are equal, also within lists
        if all(isinstance(some, list) and all(isinstance(item, Mapping) for item in some) for some in column):
            found["lists"][name] = [[len(some) for some in column], columns([item for some in column for item in some])]
        elif all(isinstance(one, Mapping) for one in column):
            found["maps"][name] = columns(column)
        elif all(repr(one) == first for one in column):
            found["same"][name] = column[0]
        else:
            found["each"][name] = column
    return found


class Columns:
    """The *count* values that ``columns`` has *found*. Values may be shared: receipts never change."""

    def __init__(self, found: dict[str, Any], count: int) -> None:
        self._found, self.count = found, count

    @property
    def names(self) -> list[str] | None:
        """The fields of every value, in order; None if they differ."""
        names: list[str] | None = self._found.get("names")
        return names

    def __getitem__(self, name: str) -> list[Any]:
        """Each value's field *name*.

        Raises:
            KeyError: a value has no such field.
        """
        return list(self._column(name))

    def rows(self) -> list[dict[str, Any]]:
        names = self.names
        if names is None:
            return list(self._found["rows"])
        if not names:
            return [{} for _ in range(self.count)]
        return [dict(zip(names, row, strict=True)) for row in zip(*map(self._column, names), strict=False)]

    def lists(self, name: str) -> tuple[list[int], Columns]:
        """A field that is a list of objects: the length for each value, and the columns of all objects."""
        if name in self._found.get("lists", ()):
            lengths, inner = self._found["lists"][name]
        else:
            column = self[name]
            lengths, inner = [len(some) for some in column], columns([item for some in column for item in some])
        return lengths, Columns(inner, sum(lengths))

    def maps(self, name: str) -> Columns:
        """A field that is an object, as columns."""
        found = self._found.get("maps", {}).get(name)
        return Columns({"rows": self[name]} if found is None else found, self.count)

    def _column(self, name: str) -> Iterable[Any]:
        found = self._found
        if "rows" in found:
            return [row[name] for row in found["rows"]]
        if name in found["each"]:
            column: list[Any] = found["each"][name]
            return column
        if name in found["lists"]:
            lengths, inner = self.lists(name)
            items = iter(inner.rows())
            return [list(islice(items, length)) for length in lengths]
        if name in found["maps"]:
            return self.maps(name).rows()
        return repeat(found["same"][name], self.count)
