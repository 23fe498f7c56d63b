from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct import schemas
from mminstruct.stages.merge import Merge
from tests.stages.doubles import turn

Row = dict[str, Any]


def merged(stage: Merge, turns: list[Row], splits: dict[str, str] | None = None) -> list[Row]:
    """Rows of the table for selected turns; their split is train unless given."""
    stage.check()
    select = [
        {name: row[name] for name in ("pair_id", "image_id", "instruction_id", "kind", "domain")}
        | {"split": (splits or {}).get(row["image_id"], "train")}
        for row in turns
    ]
    more = turn("i9+left", "Dropped by select?", "Yes")
    made = stage.load()(
        select=pa.Table.from_pylist(select, schema=schemas.SELECT),
        review=pa.Table.from_pylist([*turns, more], schema=schemas.REVIEW),
    )
    assert made.table.schema == schemas.MERGE
    assert made.drops == []
    return list(made.table.to_pylist())


def talks(rows: list[Row]) -> dict[str, list[str]]:
    """Pairs of each conversation in their order."""
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row["place"]):
        found.setdefault(row["talk_id"], []).append(row["pair_id"])
    return found


def test_by_default_every_pair_is_a_conversation_of_its_own_in_the_order_of_select() -> None:
    turns = [turn("i2+t1", "How many are there?", "Two."), turn("i1+t1"), turn("i2+t2")]
    rows = merged(Merge(), turns)
    assert [row["pair_id"] for row in rows] == [row["talk_id"] for row in rows] == ["i2+t1", "i1+t1", "i2+t2"]
    assert {row["place"] for row in rows} == {0}
    assert rows[0]["words"] == 5


def test_pairs_of_one_image_become_one_conversation_up_to_the_limit() -> None:
    turns = [turn(f"i{n % 2}+t{n}") for n in range(14)]
    found = talks(merged(Merge(turns=5), turns))
    assert sorted(len(pairs) for pairs in found.values()) == [2, 2, 5, 5]
    assert all(len({pair.split("+")[0] for pair in pairs}) == 1 for pairs in found.values())


def test_a_dialogue_written_as_one_stays_whole_and_in_its_order() -> None:
    turns = [turn(f"i1+d{n}", talk="d", turn=n) for n in range(4)] + [turn(f"i1+t{n}") for n in range(5)]
    for seed in range(5):
        found = talks(merged(Merge(turns=3, seed=seed), turns[::-1]))
        (talk,) = [pairs for pairs in found.values() if "i1+d0" in pairs]
        assert talk == [f"i1+d{n}" for n in range(4)]


def test_the_seed_decides_the_order_and_an_image_of_one_pair_keeps_its_id() -> None:
    turns = [turn(f"i1+t{n}") for n in range(8)] + [turn("i2+t0")]
    orders = {tuple(next(iter(talks(merged(Merge(turns=9, seed=seed), turns)).values()))) for seed in range(4)}
    assert len(orders) == 4
    assert "i2+t0" in talks(merged(Merge(turns=9), turns))


TURNS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 30), st.none() | st.integers(0, 2)), max_size=30,
    unique_by=lambda one: one[:2],
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(TURNS, st.integers(1, 7), st.integers(0, 1000))
def test_every_pair_lands_exactly_once_and_the_order_of_rows_changes_no_conversation(
    given: list[tuple[int, int, int | None]], most: int, seed: int
) -> None:
    turns = [
        turn(f"i{image}+t{n}", talk=None if talk is None else f"{image}.{talk}", turn=None if talk is None else n)
        for image, n, talk in given
    ]
    splits = {f"i{image}": "test" if image == 3 else "train" for image in range(5)}
    rows = merged(Merge(turns=most), turns, splits)
    assert sorted(row["pair_id"] for row in rows) == sorted(row["pair_id"] for row in turns)
    found = talks(rows)
    for talk, pairs in found.items():
        mine = [row for row in rows if row["talk_id"] == talk]
        assert sorted(row["place"] for row in mine) == list(range(len(mine)))
        assert len({(row["image_id"], row["split"]) for row in mine}) == 1
        dialogues = {row["talk"] for row in turns if row["pair_id"] in pairs}
        assert len(pairs) <= most or (len(dialogues) == 1 and dialogues != {None})
    random.Random(seed).shuffle(turns)
    assert talks(merged(Merge(turns=most), turns, splits)) == found


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="turns=0"):
        Merge(turns=0).check()
