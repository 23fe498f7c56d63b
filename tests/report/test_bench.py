from __future__ import annotations

import json
from pathlib import Path

import pytest

from mminstruct import report, schemas
from mminstruct.report import bench
from tests.report import runs
from tests.report.reading import read

EVERY = {
    "q1": ("a", "a"), "q2": ("b", "b"), "q3": ("neither", "neither"), "q4": ("a", "b"), "q5": ("a", "unparsed"),
}  # fmt: skip
STANDARD = {
    "task": "pope", "version": None, "metric": "pope_accuracy", "score": 0.875, "error": None, "samples": 40, "limit": 40,
    "model": "mine", "lmms_eval": "0.7.3",
}  # fmt: skip


def test_the_page_tells_the_result_with_its_intervals_and_the_judges_faults(tmp_path: Path) -> None:
    many = {f"q{n}": ("a", "a") for n in range(20)} | {f"r{n}": ("a", "b") for n in range(10)}
    runs.bench(str(tmp_path), many)
    (pair,) = report.facts(str(tmp_path))["judges"]["j"]["pairs"]["pairs"]
    said = read(bench.page(str(tmp_path), [STANDARD]))
    rate = pair["all"]["win_rate"]
    assert f"{rate['value']:.0%} [{rate['low']:.0%}, {rate['high']:.0%}]" in said.text
    assert rate["value"] == 25 / 30
    assert "20 / 10 / 0 of 30" in said.text
    assert "same verdict in both orders67%" in said.text.replace("\n", "")
    assert any(title.startswith("poetry, new : old:") for title in said.titles)  # the heat map's cells
    assert "first shown over second: +33% [" in "".join(said.titles)
    assert "j favours the answer shown first: first over second +33% [" in said.text
    assert "the-judge, revision r1; saw image (60)." in said.text
    assert "0.875" in said.text
    assert "40; first ones only" in said.text


def test_samples_are_of_every_outcome(tmp_path: Path) -> None:
    runs.bench(str(tmp_path), EVERY | {f"s{n}": ("a", "a") for n in range(40)})
    said = read(bench.page(str(tmp_path), []))
    assert said.tags["section"] == bench.SAMPLES
    for outcome in (
        "new is better", "old is better", "neither is better", "the winner changed with the order, so a tie",
        "undecided: a verdict is missing or could not be parsed",
    ):  # fmt: skip
        assert f"Judge j: {outcome}" in said.text, outcome
    assert "old shown first: could not be parsed" in said.text
    assert "new: an answer" in said.text
    assert "old: an answer" in said.text


def test_questions_without_images_and_benchmarks_without_verdicts_have_pages(tmp_path: Path) -> None:
    runs.bench(str(tmp_path / "blind"), EVERY, image=False)
    said = read(bench.page(str(tmp_path / "blind"), []))
    assert "no image" in said.text
    assert said.tags["img"] == 0
    runs.bench(str(tmp_path / "empty"), {})
    assert "No verdicts on pairs yet." in read(bench.page(str(tmp_path / "empty"), [])).text


@pytest.mark.parametrize("old", [False, True])
def test_changes_after_earlier_turns_are_on_the_page_in_the_json_and_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    """Also of a run of an earlier version, whose questions had no earlier turns of their own."""
    long = "There is a quiet street with two parked cars."
    said = {"new": [long] * 20, "new@3": [long] * 20, "old": [long] * 20, "old@3": ["Calm."] * 10 + [long] * 10}
    questions = [
        {"question_id": f"q{n}", "image_id": f"i{n}", "instruction_id": f"t{n}", "question": "Why?", "kind": "advice"}
        for n in range(20)
    ]
    answers = [
        {"question_id": f"q{n}", "contestant": who, "answer": text, "finish": "stop", "words": len(text.split()), "ends": True}
        for who, texts in said.items() for n, text in enumerate(texts)
    ]  # fmt: skip
    if old:
        schema = schemas.PICK.remove(schemas.PICK.get_field_index("earlier"))
        monkeypatch.setitem(schemas.TABLES, "pick", schema)
    runs.put(str(tmp_path), "pick", questions, order=0)
    monkeypatch.undo()
    runs.put(
        str(tmp_path),
        "respond",
        answers,
        order=1,
        config={"contestants": {"old": {"answers": "f", "after": {"3": "g"}}}},
    )
    found = json.loads(report.as_json(str(tmp_path)))
    assert {name: one["given"] for name, one in found["contestants"].items() if one["given"]} == {
        "old": "f",
        "old@3": "g",
    }
    assert not any("length limit" in line for line in found["warnings"])
    fall = found["rounds"]["changes"][1]
    assert (fall["contestant"], fall["history"], fall["questions"]) == ("old", "3", 20)
    assert fall["measures"]["collapse"]["change"]["value"] == 0.5
    (difference,) = found["rounds"]["differences"]
    claim = difference["measures"]["collapse"]
    assert (difference["a"], difference["b"], claim["value"]) == ("new", "old", -0.5)
    assert claim["high"] < 0
    page = read(bench.page(str(tmp_path), []))
    shown = f"-50% [{claim['low']:+.0%}, {claim['high']:+.0%}]"
    assert page.text.count(shown) == 2  # in the chart and in the table
    assert f"new - old, 3: {shown}, n = 20" in page.titles
    assert shown in report.as_text(str(tmp_path))
    runs.bench(str(tmp_path / "fresh"), EVERY)
    assert json.loads(report.as_json(str(tmp_path / "fresh")))["rounds"] == {"changes": [], "differences": []}
    assert "After earlier turns" not in read(bench.page(str(tmp_path / "fresh"), [])).text


def test_the_terminal_tells_the_same_numbers(tmp_path: Path) -> None:
    runs.bench(str(tmp_path), EVERY)
    text = report.as_text(str(tmp_path))
    assert "1/2/1" in text
    assert "50% [" in text
    assert "1 of 10 verdicts could not be parsed" in text


def test_a_page_of_many_contestants_begins_with_their_ranking_and_the_win_rates_of_all_pairs(tmp_path: Path) -> None:
    runs.contest(str(tmp_path), ["base", "tuned", "tuned with instructions, seed 1", "tuned with instructions, seed 2"])
    said = read(bench.page(str(tmp_path), []))
    places = [said.text.index(part) for part in ("Ranking", "Win rate of each row", "6 pairs one by one"[2:], "median words")
              if part in said.text]  # fmt: skip
    assert places == sorted(places)
    assert "3 tuned with instructions, seed 1; 4" in said.text or "tuned with instructions, seed 1" in said.text
    rates = {
        title.split(":")[0]: title.split(":")[1].split("[")[0].strip() for title in said.titles if ", n = " in title
    }
    assert rates["tuned, base"] == "75%"
    assert rates["base, tuned"] == "25%"
    text = report.as_text(str(tmp_path))
    assert text.index("Bradley-Terry") < text.index("win/tie/lose")
    assert len(text.split("\n")) <= 40
