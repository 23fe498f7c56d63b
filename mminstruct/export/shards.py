"""Splits a stream into files of limited size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import TypeVar

Item = TypeVar("Item")


def shards(weighed: Iterable[tuple[int, Item]], most: int, items: int) -> Iterator[tuple[int, Iterator[Item]]]:
    """Number and items of each shard, in order; *weighed* holds each item with its size in bytes.

    A shard has at most *most* bytes and *items* items; a larger item gets its own shard. Nothing is buffered: consume
    a shard before the next one.
    """

    def numbered() -> Iterator[tuple[int, Item]]:
        shard = inside = size = 0
        for weight, item in weighed:
            if inside and (inside == items or size + weight > most):
                shard, inside, size = shard + 1, 0, 0
            inside, size = inside + 1, size + weight
            yield shard, item

    for shard, group in groupby(numbered(), key=itemgetter(0)):
        yield shard, (item for _, item in group)
