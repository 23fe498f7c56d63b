from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.reviewing.votes import verdict, votes

Row = dict[str, Any]
EMPTY = dict.fromkeys(("rating", "reason", "question", "answer", "choices", "right"))


def said(person: str, decision: str, place: int = 0, at: str | None = "10:00", **change: Any) -> Row:
    edit = {"question": "Q", "answer": "A"} if decision == "edit" else {}
    row = {"person": person, "decision": decision, "place": place, "at": at, "rank": 0, "shown": "s", "sheet": "r1"}
    row = EMPTY | row | edit | change
    return row | {"decision_id": "-".join(str(row[name]) for name in sorted(row))}


@pytest.mark.parametrize(("told", "decision", "detail"), [
    ([], "unseen", ""),
    ([("ana", "skip"), ("bo", "skip")], "unseen", ""),
    ([("ana", "accept"), ("bo", "skip")], "accepted", ""),
    ([("ana", "accept"), ("bo", "edit")], "edited", ""),
    ([("ana", "edit"), ("bo", "edit")], "edited", ""),
    ([("ana", "reject"), ("bo", "reject")], "rejected", "2 x no reason"),
    ([("ana", "accept"), ("bo", "reject")], "disputed", "accept, reject"),
    ([("ana", "edit"), ("bo", "reject"), ("cy", "reject")], "disputed", "edit, 2 x reject"),
])  # fmt: skip
def test_people_must_agree_and_skips_do_not_count(told: list[tuple[str, str]], decision: str, detail: str) -> None:
    found = verdict([said(person, word) for person, word in told])
    assert (found.decision, found.detail) == (decision, detail)
    assert found.people == sum(word != "skip" for _, word in told)


def test_different_edits_are_disputed_and_an_adjudicator_settles_everything() -> None:
    one, other = said("ana", "edit"), said("bo", "edit", answer="B")
    assert verdict([one, other]).detail == "2 x edit in different words"
    assert verdict([one, other, said("cy", "accept", rank=1)]).decision == "accepted"
    settled = verdict([said("ana", "reject"), said("bo", "edit", answer="B", rank=1)])
    assert (settled.decision, settled.people, settled.edit["answer"]) == ("edited", 2, "B")


def test_the_first_decision_counts_where_that_is_the_rule() -> None:
    early, late = said("bo", "reject", at="09:00", reason="ambiguous"), said("ana", "edit", at="10:00")
    assert verdict([late, early], "first").decision == "rejected"
    assert verdict([late, early], "first").detail == "ambiguous"
    assert verdict([late, {**early, "at": "11:00"}], "first").edit == late
    assert verdict([late, {**early, "at": "11:00"}], "keep").decision == "disputed"


def test_a_decision_counts_only_while_the_text_is_the_same() -> None:
    rows = [said("ana", "accept"), said("bo", "reject", shown="old")]
    assert votes(rows, "s") == ([rows[0]], {"changed_since": 1})
    assert len(votes(rows)[0]) == 2


def test_of_two_saves_of_a_sheet_the_later_decision_counts() -> None:
    early, late = said("ana", "accept"), said("ana", "reject", at="11:00")
    assert votes([late, early, early]) == ([late], {"superseded": 2})


def test_two_ways_at_one_time_or_on_two_sheets_count_neither() -> None:
    for other in (said("ana", "reject"), said("ana", "reject", at="11:00", sheet="r2")):
        assert votes([said("ana", "accept"), other]) == ([], {"twice_signed": 2})
    late = said("ana", "accept", at="11:00", sheet="r2")
    assert votes([said("ana", "accept"), late]) == ([late], {"superseded": 1})
    assert votes([said("ana", "skip", sheet="r2"), late]) == ([late], {"superseded": 1})
    adjudicates = [said("ana", "accept"), said("ana", "reject", sheet="r2", rank=1)]
    assert votes(adjudicates) == (adjudicates, {})


def test_the_first_answer_to_a_hidden_repeat_counts() -> None:
    rows = [said("ana", "skip", 1), said("ana", "reject", 7), said("ana", "accept", 9, "08:00")]
    assert votes(rows) == ([rows[1]], {"repeated": 2})


ROWS = st.builds(
    said, st.sampled_from(["ana", "bo"]), st.sampled_from(["accept", "edit", "reject", "skip"]), st.integers(0, 2),
    st.sampled_from([None, "09:00", "10:00"]), rank=st.integers(0, 1), sheet=st.sampled_from(["r1", "r2"]),
    shown=st.sampled_from(["s", "old"]), answer=st.sampled_from(["A", "B"]),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(ROWS, max_size=8), st.integers())
def test_every_decision_is_a_vote_or_counted_once_and_their_order_is_nothing(rows: list[Row], seed: int) -> None:
    found, notes = votes(rows, "s")
    assert len(rows) == len(found) + sum(notes.values())
    assert len({(row["person"], row["rank"]) for row in found}) == len(found)
    mixed = random.Random(seed).sample(rows, len(rows))
    assert votes(mixed, "s") == (found, notes)
    for rule in ("drop", "keep", "first"):
        assert verdict(found, rule) == verdict(found[::-1], rule)
        assert rule != "first" or verdict(found, rule).decision != "disputed"
