from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mminstruct.models.prefetch import Prefetcher
from mminstruct.models.transcript import Unanswerable
from mminstruct.unit import UNIT, Unit, note


def work(item: int) -> int:
    note("seen")
    if item % 5 == 3:
        note("broken")
        raise Unanswerable(f"{item} is broken")
    return item * item


def test_results_are_in_order_and_a_broken_item_fails_in_its_place() -> None:
    batches = [list(range(start, start + 4)) for start in range(0, 40, 4)]
    unit = Unit("caption", "0")
    token = UNIT.set(unit)
    found = list(Prefetcher({"decoders": 8}, "cpu")(work, batches))
    UNIT.reset(token)
    for some, results in zip(batches, found, strict=True):
        for item, result in zip(some, results, strict=True):
            if item % 5 == 3:
                assert isinstance(result, Unanswerable)
                assert str(result) == f"{item} is broken"
            else:
                assert result == item * item
    assert unit.notes == {"seen": 40, "broken": 8}  # of the caller's unit, from all threads


def test_only_a_few_batches_are_ahead_of_the_one_in_use() -> None:
    taken = []

    def batches() -> Iterator[list[int]]:
        for number in range(100):
            taken.append(number)
            yield [5 * number]

    for number, _ in enumerate(Prefetcher({}, "cpu")(work, batches())):
        assert taken[-1] <= number + 3


def test_another_error_reaches_the_caller_and_what_is_ahead_is_given_up() -> None:
    hold, done = threading.Event(), []

    def broken(item: int) -> int:
        if item == 0:
            raise RuntimeError("no decoder")
        hold.wait(60)
        done.append(item)
        return item

    results = Prefetcher({"decoders": 1}, "cpu")(broken, [[number] for number in range(4)])
    with pytest.raises(RuntimeError, match="no decoder"):
        next(results)
    hold.set()
    assert len(done) <= 1  # at most the one in progress
