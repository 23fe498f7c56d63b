"""Receipts or parts, compact in memory: sorted by key, in compressed blocks that are parsed when they are needed.

Keys that are looked up in their order parse each block once.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Generic, TypeVar

import pyarrow as pa

from mminstruct.checksum import Damaged, seal, unseal

T = TypeVar("T")
COUNT = 256
"""Entries in a block."""
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Block:
    """Up to ``COUNT`` entries with increasing keys."""

    first: str
    count: int
    sizes: tuple[int, int]
    """Bytes of the index and the facts before compression."""
    index: bytes
    """JSON list of the keys and of their tags."""
    facts: bytes
    """JSON of the columns of a value for each key (see ``_columns``)."""

    def tags(self) -> dict[str, str]:
        return dict(zip(*json.loads(_unpack(self.index, self.sizes[0])), strict=True))

    def values(self) -> list[dict[str, Any]]:
        return _rows(json.loads(_unpack(self.facts, self.sizes[1])), self.count)


def _columns(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """*values* as columns, since names and values that repeat take most of the time to parse.

    ``same`` has the fields with one value, ``each`` a list of all values, and ``lists`` the fields that are lists of
    objects: the lengths, and their columns. If the names of the fields differ, ``rows`` has *values* as they are.
    """
    names = values[0].keys() if values else ()
    if any(value.keys() != names for value in values):
        return {"rows": values}
    same: dict[str, Any] = {}
    each: dict[str, list[Any]] = {}
    lists: dict[str, Any] = {}
    for name in names:
        column = [value[name] for value in values]
        first = column[0]
        if isinstance(first, list) and all(isinstance(item, Mapping) for some in column for item in some):
            lists[name] = [[len(some) for some in column], _columns([item for some in column for item in some])]
        elif all(type(one) is type(first) and one == first for one in column):
            same[name] = first
        else:
            each[name] = column
    return {"same": same, "each": each, "lists": lists}


def _rows(columns: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The *count* values of ``_columns``. Those of ``same`` are shared: receipts never change."""
    if "rows" in columns:
        return list(columns["rows"])
    same, each = columns["same"], dict(columns["each"])
    for name, (lengths, inner) in columns["lists"].items():
        items = iter(_rows(inner, sum(lengths)))
        each[name] = [list(islice(items, length)) for length in lengths]
    if not each:
        return [dict(same) for _ in range(count)]
    return [{**same, **dict(zip(each, row, strict=True))} for row in zip(*each.values(), strict=True)]


def _pack(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def _unpack(data: bytes, size: int) -> bytes:
    return bytes(pa.decompress(data, decompressed_size=size, codec="zstd", asbytes=True))


Entry = tuple[str, str, Mapping[str, Any]]
"""Key, tag, facts."""


def blocks(entries: Iterable[Entry]) -> Iterator[Block]:
    """Pack *entries*, which are sorted by key."""
    some: list[Entry] = []
    for entry in entries:
        some.append(entry)
        if len(some) == COUNT:
            yield _block(some)
            some = []
    if some:
        yield _block(some)


def _block(some: list[Entry]) -> Block:
    keys, tags, values = zip(*some, strict=True)
    index, facts = (json.dumps(one, separators=(",", ":")).encode() for one in ((keys, tags), _columns(values)))
    return Block(some[0][0], len(some), (len(index), len(facts)), _pack(index), _pack(facts))


class Packed(Mapping[str, T], Generic[T]):
    """Values by key, in order of keys.

    Args:
        blocks: In order of their first keys.
        read: Makes a value of its key, tag and facts.
    """

    def __init__(self, blocks: Iterable[Block], read: Callable[[str, str, dict[str, Any]], T]) -> None:
        self.blocks = list(blocks)
        self._read = read
        self._firsts = [block.first for block in self.blocks]
        self._count = sum(block.count for block in self.blocks)
        self._tags: tuple[int, dict[str, str]] = (-1, {})  # one assignment each, so threads may share this object
        self._values: tuple[int, dict[str, T]] = (-1, {})

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks:
            yield from block.tags()

    def items(self) -> ItemsView[str, T]:
        return _Items(self)

    def values(self) -> ValuesView[T]:
        return _Values(self)

    def parsed(self) -> Iterator[dict[str, T]]:
        """The values of each block by key."""
        for number in range(len(self.blocks)):
            yield self._parsed(number)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.tag(key) is not None

    def __getitem__(self, key: str) -> T:
        return self._parsed(self._place(key))[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(dict(self.items()))

    def tag(self, key: str) -> str | None:
        """The tag of *key*, without its value being parsed; None if there is no such key."""
        number = self._place(key)
        if number < 0:
            return None
        there, tags = self._tags
        if there != number:
            tags = self.blocks[number].tags()
            self._tags = number, tags
        return tags.get(key)

    def tags(self) -> Iterator[tuple[str, str]]:
        """Keys with their tags."""
        for block in self.blocks:
            yield from block.tags().items()

    def entries(self) -> Iterator[Entry]:
        """Keys, tags and facts."""
        for block in self.blocks:
            for (key, tag), facts in zip(block.tags().items(), block.values(), strict=True):
                yield key, tag, facts

    def only(self, keys: Container[str]) -> Packed[T]:
        """The entries with these *keys*."""
        return Packed(blocks(entry for entry in self.entries() if entry[0] in keys), self._read)

    def _place(self, key: str) -> int:
        return bisect_right(self._firsts, key) - 1

    def _parsed(self, number: int) -> dict[str, T]:
        if number < 0:
            return {}
        there, values = self._values
        if there != number:
            block = self.blocks[number]
            tags = block.tags()
            values = dict(zip(tags, map(self._read, tags, tags.values(), block.values()), strict=True))
            self._values = number, values
        return values

    def matching(self, tags: Mapping[str, str]) -> Iterator[Block | Entry | str]:
        """*tags* as blocks of this object with exactly these keys and tags, as single entries of it, and as new keys.

        Args:
            tags: Keys, sorted, with their tags.
        """
        keys = list(tags)
        ends = [*(bisect_left(keys, first) for first in self._firsts), len(keys)]
        yield from keys[: ends[0]]
        for block, (start, end) in zip(self.blocks, pairwise(ends), strict=True):
            here, known = keys[start:end], block.tags()
            if len(here) == block.count and all(known.get(key) == tags[key] for key in here):
                yield block
                continue
            facts = dict(zip(known, block.values(), strict=True))
            for key in here:
                yield (key, tags[key], facts[key]) if known.get(key) == tags[key] else key


class _Items(ItemsView[str, T]):
    """Parses each block once; a plain view would look up each key."""

    def __init__(self, of: Packed[T]) -> None:
        super().__init__(of)
        self._of = of

    def __iter__(self) -> Iterator[tuple[str, T]]:
        for some in self._of.parsed():
            yield from some.items()


class _Values(ValuesView[T]):
    def __init__(self, of: Packed[T]) -> None:
        super().__init__(of)
        self._of = of

    def __iter__(self) -> Iterator[T]:
        for some in self._of.parsed():
            yield from some.values()


def dump(*several: Sequence[Block]) -> bytes:
    """*several* lists of blocks as one file: a line with their places and a digest, then the blocks."""
    body = b"".join(block.index + block.facts for some in several for block in some)
    places = [
        [[block.first, block.count, *block.sizes, len(block.index), len(block.facts)] for block in some]
        for some in several
    ]
    head = {"format": _FORMAT, "blocks": places, "digest": hashlib.sha256(body).hexdigest()}
    return seal(head) + b"\n" + body


def load(data: bytes, where: str, fix: str) -> list[list[Block]]:
    """The lists of blocks of a file; none if another version wrote it.

    Raises:
        Damaged: it is not what was written.
    """
    head, _, body = data.partition(b"\n")
    facts = unseal(head, where, fix)
    if facts.get("format") != _FORMAT:
        return []
    if hashlib.sha256(body).hexdigest() != facts["digest"]:
        raise Damaged(f"{where} is not what was written (its digest differs): {fix}")
    several: list[list[Block]] = []
    at = 0
    for places in facts["blocks"]:
        several.append([])
        for first, count, index_size, facts_size, index, values in places:
            middle, end = at + index, at + index + values
            several[-1].append(Block(first, count, (index_size, facts_size), body[at:middle], body[middle:end]))
            at = end
    return several
