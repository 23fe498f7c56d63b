"""The effect of earlier turns: planted contestants through the stage and the tables, and small cases by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct import schemas
from mminstruct.bench.contestant import Contestant
from mminstruct.bench.intervals import difference
from mminstruct.bench.result import as_text, result
from mminstruct.bench.rounds import Rounds, rounds
from mminstruct.prompts import Message
from mminstruct.stage import StageOutput
from mminstruct.stages.respond import Respond
from mminstruct.store.reader import RunReader
from tests.bench.pictures import lines
from tests.report import runs
from tests.stages.doubles import Player, prompt_text, said

QUESTIONS = 240
LONG = "There is a quiet street with two parked cars and a tree."


def collapses(messages: list[Message], seed: int) -> str:
    """One word with chance .6 after a turn that asked for a short answer."""
    return "Calm." if "single word or phrase" in said(messages[:-1]) and seed % 1000 < 600 else LONG


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of a benchmark: two models and a third contestant's given answers, three questions an image."""
    folder = tmp_path_factory.mktemp("planted")
    questions = [
        {
            "question_id": f"q{n}", "image_id": f"i{n // 3}", "instruction_id": f"t{n}", "question": f"What happens in part {n}?",
            "kind": "", "image": b"an image", "caption": None, "reference": "two parked cars" if n % 2 else None,
        }
        for n in range(QUESTIONS)
    ]  # fmt: skip
    given = {
        name: lines(folder / f"{name}.json", [{"question_id": f"q{n}", "text": text} for n in range(QUESTIONS)])
        for name, text in (("fresh", LONG), ("phrase", "Nothing."))
    }
    stage = Respond(
        contestants={
            "falls": Player(script=collapses),
            "stays": Player(script=lambda messages, seed: LONG),
            "given": Contestant(answers=given["fresh"], after={"phrase": given["phrase"]}),
        },
        prompt=prompt_text("respond"),
        histories={"phrase": [], "yesno": []},
        seed=1,
    )
    stage.check()
    pick = pa.Table.from_pylist(questions, schema=schemas.PICK)
    made = stage.load()(pick=pick.select(list(stage.reads["pick"].columns)))
    assert isinstance(made, StageOutput)
    runs.put(str(folder / "run"), "pick", questions, order=0)
    runs.put(str(folder / "run"), "respond", made.table.to_pylist(), order=1)
    return folder / "run"


def test_planted_collapses_are_found_and_their_difference_is_significant(planted: Path) -> None:
    found = json.loads(json.dumps(result(str(planted))["rounds"], allow_nan=False))
    changes = {(one["contestant"], one["history"]): one for one in found["changes"]}
    assert sorted(changes) == [
        ("falls", "phrase"), ("falls", "yesno"), ("given", "phrase"), ("stays", "phrase"), ("stays", "yesno"),
    ]  # fmt: skip
    for who, history, truth in [
        ("falls", "phrase", 0.6), ("falls", "yesno", 0.0), ("stays", "phrase", 0.0), ("given", "phrase", 1.0),
    ]:  # fmt: skip
        one = changes[who, history]
        assert one["questions"] == QUESTIONS
        collapse, form = one["measures"]["collapse"], one["measures"]["form"]
        assert collapse["fresh"]["value"] == 0
        for what in ("after", "change"):
            assert collapse[what]["n"] == QUESTIONS
            assert collapse[what]["low"] <= truth <= collapse[what]["high"] <= truth + 0.12
        assert form["change"]["value"] == -collapse["change"]["value"]
        accuracy = one["measures"]["accuracy"]
        assert (accuracy["change"]["n"], accuracy["fresh"]["value"]) == (QUESTIONS / 2, 1)
        assert accuracy["change"]["low"] <= -truth <= accuracy["change"]["high"]
    differences = {(one["a"], one["b"], one["history"]): one["measures"] for one in found["differences"]}
    assert sorted(differences) == [
        ("falls", "given", "phrase"), ("falls", "stays", "phrase"), ("falls", "stays", "yesno"), ("given", "stays", "phrase"),
    ]  # fmt: skip
    claim = differences["falls", "stays", "phrase"]["collapse"]
    assert claim["value"] == pytest.approx(changes["falls", "phrase"]["measures"]["collapse"]["change"]["value"])
    assert 0.4 < claim["low"] <= 0.6 <= claim["high"]
    same = differences["falls", "stays", "yesno"]["collapse"]
    assert same["low"] <= 0 <= same["high"]


def test_intervals_cover_planted_changes_and_their_differences_as_often_as_they_claim() -> None:
    """Two contestants collapse with chance .6 and .3, four questions an image, half of the chance shared by an image."""
    names, draws, count = ("a", "a@x", "b", "b@x"), 60, 80
    questions = {
        str(n): {"question": "Why?", "kind": "", "reference": None, "image_id": str(n // 4)} for n in range(count)
    }
    covered = [0, 0, 0]
    for draw in range(draws):
        chance = np.random.default_rng(draw)
        image_I, alone_NQ = chance.random(count // 4), chance.random((2, count))
        shared_Q = chance.random(count) < 0.5
        of_Q = np.where(shared_Q, np.repeat(image_I, 4), alone_NQ)
        answers = [
            {
                "question_id": str(n),
                "contestant": who,
                "answer": "Calm." if "@" in who and of_Q[row, n] < fall else LONG,
            }
            for who, row, fall in zip(names, (0, 0, 1, 1), (0, 0.6, 0, 0.3), strict=True)
            for n in range(count)
        ]
        found = rounds(answers, questions, {})
        changes = [one.measures["collapse"].change for one in found.changes]
        for place, (one, truth) in enumerate(
            zip([*changes, found.differences[0].measures["collapse"]], (0.6, 0.3, 0.3), strict=True)
        ):
            assert one.low is not None
            assert one.high is not None
            covered[place] += one.low <= truth <= one.high
    assert all(0.9 * draws <= hits < draws for hits in covered), covered


def test_the_terminal_shows_every_change_and_difference(planted: Path) -> None:
    text = as_text(result(str(planted)))
    assert "\ncontestant  history  measure" in text
    assert [line.split()[:4] for line in text.splitlines() if line.startswith("falls - stays  phrase ")] == [
        ["falls", "-", "stays", "phrase"]
    ] * 4
    assert "given       phrase   collapsed" in text


def image_rounds(scores: dict[str, list[float | None]], images: list[str]) -> Rounds:
    """Rounds of contestants whose grades by one judge are *scores*, a question each."""
    answers, graded = [], []
    for who, values in scores.items():
        for n, value in enumerate(values):
            answers.append(
                {"question_id": str(n), "contestant": who, "answer": None if value is None else "It is red."}
            )
            graded.append({"question_id": str(n), "contestant": who, "score": value})
    questions = {
        str(n): {"question": "Why?", "kind": "", "reference": None, "image_id": image} for n, image in enumerate(images)
    }
    return rounds(answers, questions, {"j": [row for row in graded if row["score"] is not None]})


def test_grades_are_paired_by_question_and_what_one_side_lacks_counts_for_neither() -> None:
    scores: dict[str, list[float | None]] = {
        "a": [5, 6, 7, 8, None], "a@x": [4, 4, None, 8, 1], "b": [5, 5, 5, 5, 5], "b@x": [5, 7, 5, 5, 5], "c@x": [1] * 5,
    }  # fmt: skip
    found = image_rounds(scores, ["", "", "", "", ""])
    assert [(one.contestant, one.history, one.questions) for one in found.changes] == [("a", "x", 3), ("b", "x", 5)]
    grade = found.changes[0].measures["grade:j"]
    assert (grade.fresh.value, grade.after.value, grade.change.value) == pytest.approx((19 / 3, 16 / 3, -1))
    (difference,) = found.differences
    assert (difference.a, difference.b, difference.questions) == ("a", "b", 3)
    assert difference.measures["grade:j"].value == pytest.approx((-1 - 4 + 0) / 3)
    assert image_rounds({"a": [1], "b": [2]}, [""]) == Rounds([], [])


def test_the_image_is_the_cluster() -> None:
    scores: dict[str, list[float | None]] = {"a": [5] * 30, "a@x": [5 - n // 3 % 2 for n in range(30)]}
    apart = image_rounds(scores, [f"i{n}" for n in range(30)]).changes[0].measures["grade:j"].change
    together = image_rounds(scores, [f"i{n // 3}" for n in range(30)]).changes[0].measures["grade:j"].change
    assert apart.value == together.value == -0.5
    assert apart.high is not None
    assert together.high is not None
    assert together.high + 0.5 > 1.5 * (apart.high + 0.5)


def test_the_result_does_not_depend_on_the_order_of_rows(planted: Path) -> None:
    run = RunReader(str(planted))
    tables: dict[str, list[dict[str, Any]]] = {name: run[name].to_arrow().to_pylist() for name in ("pick", "respond")}
    questions = {row["question_id"]: row for row in tables["pick"]}
    back = {name: questions[name] for name in reversed(questions)}
    assert rounds(tables["respond"], questions, {}) == rounds(tables["respond"][::-1], back, {})


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=12))
def test_a_difference_lies_in_its_interval_and_turns_its_sign_with_its_sides(
    counts: list[tuple[int, int, int]],
) -> None:
    up_G, down_G, same_G = np.array(counts, float).T
    one = difference(up_G, down_G, up_G + down_G + same_G)
    two = difference(down_G, up_G, up_G + down_G + same_G)
    if one.value is None or one.low is None or one.high is None or two.low is None:
        assert (up_G + down_G + same_G > 0).sum() < 2
        return
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert one.high - one.low > 0.01
    assert two.low == pytest.approx(-one.high)
