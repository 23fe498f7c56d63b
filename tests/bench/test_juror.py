"""What a judge's reply says: tolerant of how it is said, strict about what."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.bench.juror import read_grade, read_verdict

READ = [
    ('{"reason": "Better.", "verdict": "A"}', "A"),
    ('```json\n{"verdict": "B", "reason": "x"}\n```', "B"),
    ('Let me see.\n{"reason": "same", "verdict": "neither"} That is all.', "neither"),
    ('<think>{"verdict": "A"}</think>{"verdict": "B"}', "B"),
    ('{"Verdict": "Answer A"}', "A"),
    ('{"verdict": "tie"}', "neither"),
    ('{"verdict": "c"}', "neither"),
    ("A", "A"),
    (" (B). ", "B"),
    ("[[C]]", "neither"),
    ("Answer B is significantly better.", "B"),
    ("A shows more, B less.\n\n**Verdict:** B", "B"),
    ("Final verdict: neither", "neither"),
    ('{"reason": "A {brace} in it", "verdict": "A"}', "A"),
]
UNREAD = [
    "",
    "A or B",
    "I would say A, but B is longer.",
    '{"verdict": "A"} no, wait: {"verdict": "B"}',
    "Verdict: A\nVerdict: B",
    '{"verdict": "A and B"}',
    '{"verdict": null}',
    '{"verdict": ["A"]}',
    '{"reason": "A"}',
    "D",
    "Apples are better.",
    '{"verdict": "A", "reason": "cut o',
    '{"reason": "x", "verdict": "A"}{"reason": "wait", "verdict": "B"}',
    '{"verdict": "A", "verdict": "B"}',
    '{"verdict": "A", "Verdict": "B"}',
    '{"verdict": "A"}\nFinal verdict: B',
    '{"verdict": "A"} no: {"verdict": "B"',
    '[{"verdict": "A"}, {"verdict": "B"}]',
    '{"verdict": "A"}' + "{" * 2000,
]


@pytest.mark.parametrize(("reply", "said"), READ)
def test_a_verdict_is_read_however_it_is_dressed(reply: str, said: str) -> None:
    assert read_verdict(reply)[0] == said


@pytest.mark.parametrize("reply", UNREAD)
def test_what_is_no_verdict_or_two_is_unparsed_and_never_a_tie(reply: str) -> None:
    assert read_verdict(reply) == ("unparsed", None)


def test_a_reply_that_was_cut_counts_only_if_its_json_is_whole() -> None:
    assert read_verdict("Verdict: A", "length")[0] == "unparsed"
    assert read_verdict('{"reason": "x", "verdict": "A"}\nAnd also', "length")[0] == "A"
    assert read_verdict('{"reason": "x", "verdict": "A"}{"verdict": "B', "length")[0] == "unparsed"


@pytest.mark.parametrize("finish", ["error", "filtered", "abort", ""])
def test_a_failed_reply_says_nothing_whatever_its_text(finish: str) -> None:
    assert read_verdict('{"reason": "x", "verdict": "A"}', finish) == ("unparsed", None)
    assert read_verdict("A", finish) == ("unparsed", None)
    assert read_grade('{"reason": "x", "grade": 7}', finish) == (None, None)


@given(st.text())
def test_no_reply_breaks_the_readers(reply: str) -> None:
    assert read_verdict(reply)[0] in ("A", "B", "neither", "unparsed")
    grade = read_grade(reply)[0]
    assert grade is None or 1 <= grade <= 10


@given(st.sampled_from(["A", "B", "neither"]), st.text(), st.integers(1, 10))
def test_what_was_written_as_asked_is_read_as_it_was_meant(verdict: str, reason: str, grade: int) -> None:
    assert read_verdict(json.dumps({"verdict": verdict}))[0] == verdict
    plain = reason.encode("utf-8", "ignore").decode().replace("{", "").replace("<", "")
    said = read_verdict(json.dumps({"reason": plain, "verdict": verdict}))
    assert said[0] == verdict
    assert read_grade(json.dumps({"reason": plain, "grade": grade}))[0] == grade


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ('{"reason": "ok", "grade": 7}', 7), ('{"grade": "7"}', 7), ("8", 8), ("9/10", 9), ("Fine.\nScore: 10", 10),
        ("Rating: **[4]**", 4), ('{"grade": 0}', None), ('{"grade": 11}', None), ('{"grade": 7.5}', None), ('{"grade": true}', None),
        ("7 or 8", None), ('{"grade": 7} {"grade": 8}', None), ("Score: 3\nScore: 4", None), ("Grade: 100", None), ("", None),
        ("Grade: 99999999999999999999", None),
    ],
)  # fmt: skip
def test_a_grade_is_a_whole_number_from_1_to_10_or_none(reply: str, grade: int | None) -> None:
    assert read_grade(reply)[0] == grade
