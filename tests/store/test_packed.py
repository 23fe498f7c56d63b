"""Receipts outside memory: columns give back what was packed, look-ups agree with a mapping, listings with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.drift import digest
from mminstruct.engine.local import Local
from mminstruct.run import Event, Run, claim, execute
from mminstruct.stage import content_id
from mminstruct.status.progress import Progress
from mminstruct.status.tables import table_statuses
from mminstruct.store import packed
from mminstruct.store.columns import Columns, columns
from mminstruct.store.listing import Listing
from mminstruct.store.packed import Packed, Spool, blocks
from mminstruct.store.receipt import Receipt
from mminstruct.store.totals import Totals, totals
from tests.doing_nothing import Count, small

PLAIN = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "a", "é", "\ud800"]) | st.just(0.5)
FEW = st.sampled_from(["a", "b", "rows", "same"])
FACTS = st.dictionaries(FEW, st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FEW, inner, max_size=2), max_leaves=6), max_size=3)  # fmt: skip


@given(st.lists(FACTS, max_size=5))
def test_columns_give_back_the_values_their_types_and_the_order_of_their_fields(values: list[dict[str, Any]]) -> None:
    values += values[:1]  # some are equal
    found = Columns(columns(values), len(values))
    assert repr(found.rows()) == repr(values)
    for name in set.intersection(*map(set, values)) if values else ():
        assert repr(found[name]) == repr([value[name] for value in values])
        if all(isinstance(value[name], dict) for value in values):
            assert repr(found.maps(name).rows()) == repr([value[name] for value in values])


@settings(max_examples=60)
@given(
    st.dictionaries(st.text("abc", max_size=3), st.integers(0, 3), max_size=30), st.sets(st.text("abcd", max_size=3))
)
def test_look_ups_in_order_agree_with_a_mapping(monkeypatch_block: None, made: dict[str, int], asked: set[str]) -> None:
    entries = ((key, f"tag {key}", {"n": made[key]}) for key in sorted(made))
    found: Packed[int] = Packed(blocks(entries, Spool()), lambda key, tag, facts: facts["n"])
    for keys in (sorted(asked), sorted(made), sorted(asked | made.keys())):
        assert found.along(keys) == [f"tag {key}" if key in made else None for key in keys]
        assert found.along(keys, "n") == [made.get(key) for key in keys]
        assert list(found.missing(keys)) == [key for key in keys if key not in made]
    assert digest(found) == f"{len(made)} part{'s' * (len(made) != 1)}, digest " + content_id(
        *(f"{key} tag {key}" for key in sorted(made))
    )


@pytest.fixture(scope="module")
def monkeypatch_block() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "COUNT", 4)
        yield


NAMES = st.dictionaries(
    st.sampled_from(["a", "b", "a.json", "\udce9", "c" * 99]), st.sampled_from(["", "1 2", "1 3", "2 2"])
)


@given(NAMES, NAMES)
def test_listings_are_equal_exactly_if_names_and_texts_are(one: dict[str, str], other: dict[str, str]) -> None:
    here, there = Listing(one.items()), Listing(reversed(other.items()))
    assert (here.digest == there.digest) == (one == other)
    assert (here.names == there.names) == (one.keys() == other.keys())
    assert here.holds(other.items()).tolist() == [one.get(name) == text for name, text in other.items()]


def test_status_and_a_build_with_nothing_to_do_make_no_receipt_of_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> dict[str, tuple[int, int]]:
        run = Run(url=str(tmp_path), recipe=small(Count()))
        claim(run)
        with Progress(say=lambda line: None) as progress:
            execute(run, Local(), watch=progress.watch, begin=progress.begin, finished=progress.finished)
        return {name: (line.done, line.kept) for name, line in progress.lines.items()}

    first, statuses = build(), table_statuses(str(tmp_path), recount=False)
    made: list[str] = []
    real = Receipt.from_facts.__func__  # type: ignore[attr-defined]

    def from_facts(cls: type[Receipt], facts: dict[str, Any]) -> Receipt:
        made.append(facts["key"])
        return real(cls, facts)  # type: ignore[no-any-return]

    monkeypatch.setattr(Receipt, "from_facts", classmethod(from_facts))
    assert build() == first
    assert table_statuses(str(tmp_path), recount=False) == statuses
    assert {key for key in made if "-" in key.removeprefix("shard-")} == set()


def test_sums_of_columns_are_those_of_the_receipts_one_by_one(tmp_path: Path) -> None:
    events: list[Event] = []
    run = Run(url=str(tmp_path), recipe=small(Count(shard_count=3, parts=3), drop=3))
    claim(run)
    execute(run, Local(), watch=events.append)
    for name in run.stages:
        receipts = run.table(name).receipts()
        found, one_by_one = totals(receipts), Totals()
        for receipt in receipts.values():
            one_by_one.add(Columns(columns([receipt.facts()]), 1))
        assert found == one_by_one
        assert found.units == sum(event.table == name for event in events)
        assert found.seconds == sum(receipt.seconds for receipt in receipts.values())
        assert found.rows_in == found.kept + sum(found.dropped.values())
