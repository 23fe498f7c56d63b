"""Files of a limited size out of a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import TypeVar

Item = TypeVar("Item")


def shards(weighed: Iterable[tuple[int, Item]], most: int, items: int) -> Iterator[tuple[int, Iterator[Item]]]:
    """Number of each shard and what goes into it, in order, for items that come with their bytes.

    A shard has at most *most* bytes and *items* items; one that is heavier by itself has a shard of its own. Use up a
    shard before the next one: nothing is held.
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
