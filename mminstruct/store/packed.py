"""Receipts or parts outside memory: sorted by key, in compressed blocks that are read and parsed when they are needed.

Keys that are looked up in their order parse each block once. Sums and comparisons use the columns of a block
(``Packed.chunks``); an object for an entry is made only where it is asked for.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, BinaryIO, Generic, TypeVar

import pyarrow as pa

from mminstruct.checksum import Damaged, seal, unseal
from mminstruct.store.columns import Columns, columns

T = TypeVar("T")
COUNT = 256
"""Entries in a block."""
_FORMAT = 3
_MEMORY = 2**18
"""Bytes of blocks that are kept in memory; more are in a temporary file, which has no name."""
_COPIED = 2**20
"""Bytes that are copied at a time."""


class Spool:
    """Bytes that are written once; threads may share it."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_MEMORY)  # noqa: SIM115 - open as long as a block is in it
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._end = 0

    def put(self, data: bytes) -> int:
        """Add *data*; returns its place."""
        with self._lock:
            place = self._end
            self._file.seek(place)
            self._file.write(data)
            self._end += len(data)
        return place

    def get(self, place: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(place)
            return self._file.read(size)


@dataclass(frozen=True, slots=True)
class Block:
    """Up to ``COUNT`` entries with increasing keys."""

    first: str
    count: int
    sizes: tuple[int, int]
    """Bytes of the index and the facts before compression."""
    lengths: tuple[int, int]
    """Bytes of both in the spool, one after the other."""
    place: int
    spool: Spool = field(repr=False, compare=False)

    def index(self) -> tuple[list[str], list[str]]:
        """The keys and their tags."""
        keys, tags = json.loads(_unpack(self.spool.get(self.place, self.lengths[0]), self.sizes[0]))
        return keys, tags

    def tags(self) -> dict[str, str]:
        return dict(zip(*self.index(), strict=True))

    def columns(self) -> Columns:
        """The facts."""
        data = self.spool.get(self.place + self.lengths[0], self.lengths[1])
        return Columns(json.loads(_unpack(data, self.sizes[1])), self.count)

    def data(self) -> bytes:
        """Index and facts, compressed."""
        return self.spool.get(self.place, sum(self.lengths))


def _pack(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def _unpack(data: bytes, size: int) -> bytes:
    return bytes(pa.decompress(data, decompressed_size=size, codec="zstd", asbytes=True))


Entry = tuple[str, str, Mapping[str, Any]]
"""Key, tag, facts."""


def blocks(entries: Iterable[Entry], spool: Spool) -> Iterator[Block]:
    """Pack *entries*, which are sorted by key."""
    left = iter(entries)
    while some := list(islice(left, COUNT)):
        keys, tags, values = zip(*some, strict=True)
        plain = [json.dumps(one, separators=(",", ":")).encode() for one in ((keys, tags), columns(values))]
        index, facts = map(_pack, plain)
        place = spool.put(index + facts)
        yield Block(keys[0], len(some), (len(plain[0]), len(plain[1])), (len(index), len(facts)), place, spool)


class Chunk(Generic[T]):
    """The entries of one block: keys, tags, and the facts as columns, in the order of the keys."""

    def __init__(self, of: Packed[T], number: int) -> None:
        self._of, self._number = of, number
        self.keys, self.tags = of.blocks[number].index()

    @property
    def columns(self) -> Columns:
        return self._of.facts(self._number)

    def values(self) -> Mapping[str, T]:
        return self._of.parsed(self._number)


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
        self._index: tuple[int, list[str], dict[str, str]] = (-1, [], {})  # one assignment each: threads may share this
        self._columns: tuple[int, Columns] = (-1, Columns({"rows": []}, 0))
        self._values: tuple[int, dict[str, T]] = (-1, {})

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks:
            yield from block.index()[0]

    def items(self) -> ItemsView[str, T]:
        return _Items(self)

    def values(self) -> ValuesView[T]:
        return _Values(self)

    def chunks(self) -> Iterator[Chunk[T]]:
        """Block by block."""
        return (Chunk(self, number) for number in range(len(self.blocks)))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.tag(key) is not None

    def __getitem__(self, key: str) -> T:
        return self.parsed(self._place(key))[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(dict(self.items()))

    def tag(self, key: str) -> str | None:
        """The tag of *key*, without its value being parsed; None if there is no such key."""
        return self._indexed(self._place(key))[1].get(key)

    def along(self, keys: Sequence[str], name: str | None = None) -> list[Any]:
        """For each of *keys*, which are sorted, its tag, or the fact *name* of its value; None if it is not here."""
        found: list[Any] = []
        at = 0
        while at < len(keys):
            number = self._place(keys[at])
            last = number + 1 == len(self.blocks)
            end = len(keys) if last else bisect_left(keys, self._firsts[number + 1], at)
            known, tags = self._indexed(number)
            here = keys[at:end]
            if name is None or number < 0:
                found += tags.values() if here == known else map(tags.get, here)
            else:
                facts = self.facts(number)[name]
                found += facts if here == known else map(dict(zip(known, facts, strict=True)).get, here)
            at = end
        return found

    def missing(self, keys: Iterable[str]) -> Iterator[str]:
        """Those of *keys*, which are sorted, that are not here."""
        left = iter(keys)
        while some := list(islice(left, COUNT)):
            yield from (key for key, tag in zip(some, self.along(some), strict=True) if tag is None)

    def tags(self) -> Iterator[tuple[str, str]]:
        """Keys with their tags."""
        for block in self.blocks:
            yield from zip(*block.index(), strict=True)

    def entries(self) -> Iterator[Entry]:
        """Keys, tags and facts."""
        for block in self.blocks:
            yield from zip(*block.index(), block.columns().rows(), strict=True)

    def only(self, keys: Container[str]) -> Packed[T]:
        """The entries with these *keys*."""
        return Packed(blocks((entry for entry in self.entries() if entry[0] in keys), Spool()), self._read)

    def _place(self, key: str) -> int:
        return bisect_right(self._firsts, key) - 1

    def _indexed(self, number: int) -> tuple[list[str], dict[str, str]]:
        if number < 0:
            return [], {}
        there, keys, tags = self._index
        if there != number:
            tags = self.blocks[number].tags()
            keys = list(tags)
            self._index = number, keys, tags
        return keys, tags

    def facts(self, number: int) -> Columns:
        """The facts of block *number*."""
        there, found = self._columns
        if there != number:
            found = self.blocks[number].columns()
            self._columns = number, found
        return found

    def parsed(self, number: int) -> dict[str, T]:
        """The values of block *number* by key; none below 0."""
        if number < 0:
            return {}
        there, values = self._values
        if there != number:
            tags = self._indexed(number)[1]
            values = dict(zip(tags, map(self._read, tags, tags.values(), self.facts(number).rows()), strict=True))
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
            facts = dict(zip(known, block.columns().rows(), strict=True))
            for key in here:
                yield (key, tags[key], facts[key]) if known.get(key) == tags[key] else key


class _Items(ItemsView[str, T]):
    """Parses each block once; a plain view would look up each key."""

    def __init__(self, of: Packed[T]) -> None:
        super().__init__(of)
        self._of = of

    def __iter__(self) -> Iterator[tuple[str, T]]:
        for number in range(len(self._of.blocks)):
            yield from self._of.parsed(number).items()


class _Values(ValuesView[T]):
    def __init__(self, of: Packed[T]) -> None:
        super().__init__(of)
        self._of = of

    def __iter__(self) -> Iterator[T]:
        for number in range(len(self._of.blocks)):
            yield from self._of.parsed(number).values()


def dump(listing: str, *several: Sequence[Block]) -> bytes:
    """*several* lists of blocks as one file: a line with their places and a digest, then the blocks.

    Args:
        listing: Digest of the files whose contents these are.
    """
    body = b"".join(block.data() for some in several for block in some)
    places = [[[block.first, block.count, *block.sizes, *block.lengths] for block in some] for some in several]
    head = {"format": _FORMAT, "listing": listing, "blocks": places, "digest": hashlib.sha256(body).hexdigest()}
    return seal(head) + b"\n" + body


def load(file: BinaryIO, where: str, fix: str) -> tuple[str, list[list[Block]]]:
    """The digest *listing* and the lists of blocks of a file; none if another version wrote it.

    Raises:
        Damaged: it is not what was written.
    """
    facts = unseal(file.readline().removesuffix(b"\n"), where, fix)
    if facts.get("format") != _FORMAT:
        return "", []
    spool, digest = Spool(), hashlib.sha256()
    while some := file.read(_COPIED):
        digest.update(some)
        spool.put(some)
    if digest.hexdigest() != facts["digest"]:
        raise Damaged(f"{where} is not what was written (its digest differs): {fix}")
    several: list[list[Block]] = []
    at = 0
    for places in facts["blocks"]:
        several.append([])
        for first, count, index_size, facts_size, index, values in places:
            several[-1].append(Block(first, count, (index_size, facts_size), (index, values), at, spool))
            at += index + values
    return facts["listing"], several
