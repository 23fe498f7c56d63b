from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct import schemas
from mminstruct.readers.text import BLANK, wide
from mminstruct.reviewing.lines import read, unsound
from mminstruct.reviewing.words import AXES, REASONS
from mminstruct.stage import Drop
from tests.readers.hostile import torn, values, written
from tests.reviewing.people import line, row, sheets, text

SHEETS = sheets({"ana": [row("p1"), row("p2"), row("p1")], "bo": [row("p1")]})
RATED = sheets({"ana": [row("t1", answer=""), row("t2", answer="")]}, what="instructions")
GOOD = line(SHEETS, "ana", 0)
EDIT = {"question": "What is it?", "answer": "A dog.", "choices": None, "right": None}
CHOICES = EDIT | {"answer": "B", "choices": ["cat", "dog"], "right": 1}


def found(data: bytes, of: Any = SHEETS) -> list[Any]:
    return read(io.BytesIO(data), "ana.jsonl", of)


FAULTS: list[tuple[str, bytes, str]] = [
    ("not_json", b"{nonsense}\n", "no JSON"),
    ("not_json", b"[1]\n", "a JSON list"),
    ("not_json", b'{"id": "p1", "id": "p2"}\n', "there twice"),
    ("not_utf8", b'{"id": "\x81\x8d"}\n', "neither UTF-8 nor cp1252"),
    ("cut_line", text([GOOD])[:-30], "no JSON"),
    ("no_id", text([{**GOOD, "id": None}]), "no id"),
    ("no_id", text([{**GOOD, "person": " "}]), "no person"),
    ("unknown_sheet", text([{**GOOD, "sheet": "f" * 16}]), "'ffffffffffffffff' is not in the sheet.json"),
    ("unknown_sheet", text([{**GOOD, "person": "bo"}]), "is for ana, not for bo"),
    ("not_on_sheet", text([{**GOOD, "id": "p9"}]), "p9 is not at place 0"),
    ("not_on_sheet", text([{**GOOD, "place": 3}]), "place 3"),
    ("not_on_sheet", text([{**GOOD, "shown": "f" * 16}]), "another text was shown"),
    ("bad_decision", text([{**GOOD, "decision": "yes"}]), "none of accept, edit, reject, skip"),
    ("bad_decision", text([{**GOOD, "decision": "rate", "rating": 3}]), "rat"),
    ("bad_decision", text([{**GOOD, "decision": "reject", "reason": "dull"}]), "none of wrong_answer"),
    ("bad_rating", text([{**GOOD, "rating": 3}]), "with decision 'accept'"),
    ("bad_rating", text([{**GOOD, "axis": "fits"}]), "sheets of turns"),
    ("edit_unsound", text([{**GOOD, "decision": "edit"}]), "must be texts"),
    ("edit_unsound", text([{**GOOD, "decision": "edit", **EDIT, "answer": " \u200b"}]), "empty"),
    ("edit_unsound", text([{**GOOD, "decision": "edit", **EDIT, "question": "<image> What?"}]), "token '<image>'"),
    ("edit_unsound", text([{**GOOD, "decision": "edit", **CHOICES, "choices": ["cat", "Cat"]}]), "there twice"),
    ("edit_unsound", text([{**GOOD, "decision": "edit", **CHOICES, "right": 2}]), "right 2"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "data", "detail"), FAULTS)
def test_a_bad_line_is_dropped_by_its_name_and_the_lines_around_it_are_read(
    reason: str, data: bytes, detail: str
) -> None:
    before = text([line(SHEETS, "ana", 1)])
    made = found(before + data)
    assert [isinstance(one, Drop) for one in made] == [False, True]
    drop = made[1]
    assert (drop.id, drop.reason) == ("ana.jsonl:2", reason)
    assert detail in drop.detail


@pytest.mark.parametrize("change", [
    {"rating": 6}, {"rating": True}, {"rating": None}, {"rating": 2.5}, {"rating": 3, "axis": "fits"},
    {"rating": 3, "axis": None},
])  # fmt: skip
def test_a_rating_is_a_whole_number_from_1_to_5_on_an_axis_of_its_sheet(change: dict[str, Any]) -> None:
    good = line(RATED, "ana", 0, "rate", rating=5, axis="new")
    assert found(text([good]), RATED)[0]["rating"] == 5
    assert found(text([{**good, **change}]), RATED)[0].reason == "bad_rating"
    assert found(text([{**good, "decision": "accept", "rating": None}]), RATED)[0].reason == "bad_decision"


def test_marks_of_editors_change_nothing() -> None:
    lines = [line(SHEETS, "ana", place) for place in range(3)]
    plain = found(text(lines))
    data = text(lines)
    for other in (b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r\n"), data[:-1], data + b"\n \n",
                  data.decode().encode("utf-16")):  # fmt: skip
        assert found(other) == plain
    assert len(plain) == 3
    assert found(text(lines).decode().encode("utf-16")[:-1])[-1].reason == "cut_line"


def test_the_last_line_about_a_place_counts_and_a_hidden_repeat_is_another_place() -> None:
    lines = [line(SHEETS, "ana", 0), line(SHEETS, "ana", 2, "reject"), line(SHEETS, "ana", 0, "skip")]
    first, again, last = found(text(lines))
    assert first == Drop("ana.jsonl:1", "superseded", "by line 3")
    assert [(one["pair_id"], one["place"], one["decision"]) for one in (again, last)] == [
        ("p1", 2, "reject"), ("p1", 0, "skip"),
    ]  # fmt: skip
    axes = [line(RATED, "ana", 0, "rate", rating=4, axis=axis) for axis in AXES["instructions"]]
    assert [one["axis"] for one in found(text(axes), RATED)] == list(AXES["instructions"])


def test_the_id_of_a_decision_does_not_depend_on_its_time_and_times_are_in_utc() -> None:
    here, there, later = (
        found(text([{**GOOD, "at": at}]))[0]
        for at in ("2026-11-26T16:00:00.5+02:00", "2026-11-26T14:00:00.500Z", "2026-11-26T14:00:00")
    )
    assert here == there
    assert here["at"] == "2026-11-26T14:00:00.500Z"
    assert (later["decision_id"], later["at"]) == (here["decision_id"], None)
    assert found(text([{**GOOD, "seconds": 3}]))[0]["decision_id"] != here["decision_id"]


def test_edits_are_cleaned_and_short_answers_may_be_words_on_a_sign() -> None:
    (made,) = found(
        text([{**GOOD, "decision": "edit", **CHOICES, "answer": " B.\u202e ", "choices": ["a\ncat", "dog "]}])
    )
    assert (made["answer"], made["choices"], made["right"]) == ("B.", ["a cat", "dog"], 1)
    assert unsound({**EDIT, "answer": "Access denied"}) is None
    assert unsound({**EDIT, "answer": "<|im_end|>"}) is not None
    assert unsound({**EDIT, "question": ""}) is None  # of a caption


NAMES = st.sampled_from([*GOOD, "other"])
CELLS = (
    st.sampled_from([*GOOD.values(), *REASONS, "edit", "reject", "rate", 0, 1, 5, 10**400, 1e300, [], ["a", "b"]])
    | torn | values
)  # fmt: skip
LINES = st.dictionaries(NAMES, CELLS, max_size=6).map(lambda change: written({**GOOD, **change}).encode()) | st.binary(
    max_size=30
).map(lambda data: data.replace(b"\n", b" "))


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, max_size=6), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_whatever_comes_every_line_is_a_row_of_the_schema_or_a_drop_with_a_reason(
    lines: list[bytes], end: bytes, ended: bool
) -> None:
    data = end.join(lines) + (end if ended else b"")
    made = found(data)
    rows = [one for one in made if not isinstance(one, Drop)]
    table = pa.Table.from_pylist(rows, schema=schemas.DECIDE)
    for field in schemas.DECIDE:
        assert field.nullable or table[field.name].null_count == 0
    drops = [one for one in made if isinstance(one, Drop)]
    assert all(one.reason and "\n" not in one.detail and json.dumps(one.detail).isascii() for one in drops)
    assert len({one.id for one in drops}) == len(drops)
    places = [(one["sheet"], one["place"], one["axis"]) for one in rows]
    assert len(set(places)) == len(places)
    if wide(data[:4]) is None:  # else the lines are those of UTF-16 or UTF-32
        assert len(made) == sum(1 for one in lines if one.decode("utf-8", "replace").strip(BLANK))
