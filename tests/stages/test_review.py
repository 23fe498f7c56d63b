from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from mminstruct import schemas
from mminstruct.reviewing.shown import shown
from mminstruct.stage import Drop, Read, StageOutput, part
from mminstruct.stages.review import Review, _Decisions
from mminstruct.unit import UNIT, Unit
from tests.stages.doubles import turn

NOBODY = ds.dataset(schemas.DECIDE.empty_table())
BANK = ds.dataset(
    pa.table({name: pa.array(values) for name, values in (
        ("instruction_id", ["t1", "t2"]), ("instruction", ["Write a poem.", "Tell a story."]))})
)  # fmt: skip
PASSED = pa.table({"pair_id": ["i2+t1", "i1+t2"]})


def answers(*rows: dict[str, Any]) -> pa.Table:
    columns = ("pair_id", "image_id", "instruction_id", "answer")
    return pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns})


def test_a_pair_of_a_bank_has_the_instruction_as_its_question() -> None:
    texts = answers(
        turn("i1+t1", answer="Dropped."), turn("i1+t2", answer=" A tale.\n"), turn("i2+t1", answer="A verse.")
    )
    made = Review().load(decide=NOBODY, summarize=BANK)(filter=PASSED, answer=texts)
    assert made.table.schema == schemas.REVIEW
    assert [(row["pair_id"], row["question"], row["answer"]) for row in made.table.to_pylist()] == [
        ("i2+t1", "Write a poem.", "A verse."), ("i1+t2", "Tell a story.", "A tale."),
    ]  # fmt: skip
    first = made.table.to_pylist()[0]
    assert (first["kind"], first["domain"], first["origin"], first["decision"]) == (
        "instruction",
        "",
        "answer",
        "unseen",
    )
    assert made.drops == []


def wired(*columns: str, **names: str) -> Review:
    """The stage in a recipe that has questions and answers in one table."""
    wires: dict[str, Read | None] = {"filter": part("pair_id"), "answer": part(*columns, of="verify", names=names)}
    return Review().wired({**wires, "summarize": None})


def test_a_table_with_all_columns_of_the_turn_is_taken_as_it_is() -> None:
    names = [field.name for field in schemas.TURN]
    rows = [
        turn("i1+t2", "Which?", "B", choices=["a", "b"], right=1, kind="choice", domain="ponds", talk="d", turn=2),
        turn("i2+t1", "How many?", "Two", kind="number", domain="lakes", phrase="Answer with a number."),
    ]
    stage = wired(*names)
    stage.check()
    text = pa.Table.from_pylist(rows, schema=schemas.REVIEW).select(names)
    made = stage.load(decide=NOBODY)(filter=PASSED, answer=text)
    assert made.table.select(names).to_pylist() == text.to_pylist()[::-1]


def test_texts_without_a_question_are_refused_where_there_is_no_bank() -> None:
    with pytest.raises(ValueError, match="verify has no column `question`"):
        wired("pair_id", "answer").check()
    wired("pair_id", "answer", "asked", asked="question").check()


PAIR, OTHER = (
    turn("i1+t1", "Who?", "A cat."),
    turn("i2+t2", "Where?", "B", choices=["here", "there"], right=1, kind="choice"),
)


def vote(of: dict[str, Any], person: str, decision: str, **change: Any) -> dict[str, Any]:
    """A row of decide about the text of a turn."""
    edit = {name: of.get(name) for name in ("question", "answer", "choices", "right")} if decision == "edit" else {}
    row = {
        "decision_id": f"{person}{decision}{of['pair_id']}", "pair_id": of["pair_id"], "what": "turns", "sheet": person,
        "place": 0, "person": person, "rank": 0, "decision": decision, "at": "2026-11-26T14:00:00.000Z",
        "shown": shown(of["question"], of.get("choices"), of["answer"]),
    }  # fmt: skip
    return row | edit | change


def decided(
    *rows: dict[str, Any], stage: Review | None = None, turns: tuple[dict[str, Any], ...] = (PAIR, OTHER)
) -> tuple[dict[str, Any], dict[str, Drop], dict[str, int]]:
    """Rows and drops by pair, and notes, of turns that all passed the filter."""
    names = [field.name for field in schemas.TURN]
    made = (stage or Review()).wired({
        "filter": part("pair_id"), "answer": part(*names, of="verify"), "summarize": None,
    })  # fmt: skip
    made.check()
    passed = pa.table({"pair_id": [one["pair_id"] for one in turns]})
    decide = ds.dataset(pa.Table.from_pylist(list(rows), schema=schemas.DECIDE))
    texts = pa.Table.from_pylist(list(turns), schema=schemas.REVIEW).select(names)
    review, notes = made.load(decide=decide, passed=ds.dataset(passed)), dict[str, int]()
    rows_of, drops = {}, {}
    for one in turns:  # each pair is a unit
        unit = Unit(table="review", key="k", notes=notes)
        token = UNIT.set(unit)
        try:
            out = review(filter=pa.table({"pair_id": [one["pair_id"]]}), answer=texts)
        finally:
            UNIT.reset(token)
        assert isinstance(out, StageOutput)
        rows_of |= {row["pair_id"]: row for row in out.table.to_pylist()}
        drops |= {drop.id: drop for drop in out.drops}
    return rows_of, drops, notes


def test_what_people_accept_and_edit_is_exported_and_what_they_reject_is_not() -> None:
    edit = vote(PAIR, "ana", "edit", answer="Two cats.", question="Who is it?")
    rows, drops, notes = decided(edit, vote(PAIR, "bo", "accept"), vote(OTHER, "bo", "reject", reason="ambiguous"))
    row = rows["i1+t1"]
    assert {name: row[name] for name in ("question", "answer", "was", "decision", "people", "instruction_id")} == {
        "question": "Who is it?", "answer": "Two cats.", "was": "A cat.", "decision": "edited", "people": 2,
        "instruction_id": "t1",
    }  # fmt: skip
    assert drops == {"i2+t2": Drop("i2+t2", "review_rejected", "ambiguous")}
    assert notes == {"votes": 3}


@pytest.mark.parametrize(("rule", "reason", "decision"), [
    ("drop", "review_disputed", None), ("keep", None, "disputed"), ("first", None, "accepted"),
])  # fmt: skip
def test_a_disputed_pair_is_dropped_kept_or_left_to_the_first(
    rule: str, reason: str | None, decision: str | None
) -> None:
    late = vote(PAIR, "bo", "reject", at="2026-11-26T15:00:00.000Z")
    rows, drops, _ = decided(vote(PAIR, "ana", "accept"), late, stage=Review(disputed=rule))
    assert (drops.get("i1+t1") and drops["i1+t1"].reason) == reason
    assert (rows.get("i1+t1") and rows["i1+t1"]["decision"]) == decision
    with pytest.raises(ValueError, match=r"disputed=ask: take drop, keep, first"):
        Review(disputed="ask").check()


def test_pairs_that_nobody_saw_leave_where_that_is_required() -> None:
    rows, drops, _ = decided(vote(PAIR, "ana", "skip"), stage=Review(require=True))
    assert not rows
    assert {drop.reason for drop in drops.values()} == {"review_unseen"}
    assert [row["decision"] for row in decided(vote(PAIR, "ana", "skip"))[0].values()] == ["unseen", "unseen"]


def test_a_decision_about_another_text_is_counted_and_not_applied() -> None:
    before = {**PAIR, "answer": "A dog."}
    rows, drops, notes = decided(vote(before, "ana", "reject"), vote(before, "bo", "edit"), vote(OTHER, "bo", "accept"))
    assert (rows["i1+t1"]["decision"], rows["i1+t1"]["answer"], rows["i2+t2"]["decision"]) == (
        "unseen",
        "A cat.",
        "accepted",
    )
    assert not drops
    assert notes == {"changed_since": 2, "votes": 1}


def test_decisions_about_pairs_that_the_run_lacks_are_counted_once_and_ratings_decide_nothing() -> None:
    stranger = turn("i9+t9")
    rate = vote(PAIR, "ana", "reject", what="match", axis="fits")
    rows, drops, notes = decided(vote(stranger, "ana", "reject"), vote(stranger, "bo", "accept"), rate)
    assert notes == {"other_run": 2}
    assert [row["decision"] for row in rows.values()] == ["unseen", "unseen"]
    assert not drops


def test_the_pairs_that_passed_are_read_from_any_number_of_parts() -> None:
    parts = [[PAIR["pair_id"], "0"], [], [OTHER["pair_id"]]]
    passed = [ds.dataset(pa.table({"pair_id": pa.array(ids, pa.string())})) for ids in parts]
    rows = [vote(PAIR, "ana", "accept"), vote(turn("i9+t9"), "ana", "reject"), vote(OTHER, "bo", "accept")]
    decide = ds.dataset(pa.Table.from_pylist(rows, schema=schemas.DECIDE))
    about = _Decisions(decide, ds.dataset(passed))
    assert (about.strangers, about.counted_with) == (1, "0")


@pytest.mark.parametrize("change", [
    {"choices": None, "right": None}, {"answer": "A"}, {"question": ""}, {"choices": ["here", "here"]},
])  # fmt: skip
def test_an_edit_that_does_not_fit_the_row_is_counted_and_not_applied(change: dict[str, Any]) -> None:
    rows, _, notes = decided(vote(OTHER, "ana", "edit", **change))
    assert (rows["i2+t2"]["decision"], rows["i2+t2"]["choices"]) == ("unseen", ["here", "there"])
    assert notes == {"edit_unsound": 1}
    moved = vote(OTHER, "ana", "edit", answer="A", choices=["there", "nowhere"], right=0)
    rows, _, _ = decided(moved)
    assert (rows["i2+t2"]["answer"], rows["i2+t2"]["right"], rows["i2+t2"]["was"]) == ("A", 0, "B")
