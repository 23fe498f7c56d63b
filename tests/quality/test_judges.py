"""Judges that know the truth, and judges with injected faults: what they say, and that a benchmark finds the faults."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.judges import CONTESTANTS, bench
from lab import contest
from mminstruct.bench.sets import answers
from mminstruct.microworld.oracle import judge_answer
from mminstruct.microworld.shards import truth
from mminstruct.models.model import Model, Reply
from mminstruct.prompts import Message

QUESTIONS = 120


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return contest.write(tmp_path_factory.mktemp("judged"), QUESTIONS, CONTESTANTS)


def judge(folder: Path, name: str = "oracle", **options: Any) -> Model:
    return Model(name=name, backend="oracle", options={"truth": [str(folder)]} | options)


def question(folder: Path, right: bool) -> tuple[str, str, str]:
    """Image, question, and an answer to it that is right in form and facts, or in form alone."""
    scenes = truth(folder)
    images = {f"{scene.index:012d}.jpg": image for image, scene in scenes.items()}
    given = answers(str(folder / "answers" / "weak.json"), None)
    for line in (folder / "questions.json").read_text().splitlines():
        row = json.loads(line)
        image, said = images[row["image"]], given[str(row["question_id"])].text
        verdict = judge_answer(said, row["text"], scenes[image])
        if verdict.format_ok and verdict.facts_ok is right:
            return image, row["text"], said
    raise AssertionError("there is none")


def ask(model: Model, seeds: range = range(1), **facts: str) -> list[Reply]:
    messages: list[Message] = [{"role": "user", "content": json.dumps(facts)}]
    return list(model.chat().chat([messages] * len(seeds), seeds=list(seeds)))


def verdicts(model: Model, image: str, text: str, first: str, second: str, times: int = 1) -> Counter[str]:
    replies = ask(model, range(times), image_id=image, question=text, first=first, second=second)
    return Counter(json.loads(reply.text)["verdict"] for reply in replies)


def test_the_oracle_goes_by_the_truth_of_the_scene_whatever_the_order(drawn: Path) -> None:
    image, text, right = question(drawn, right=True)
    wrong = "Twelve purple elephants play chess on the moon."
    assert verdicts(judge(drawn), image, text, right, wrong) == {"A": 1}
    assert verdicts(judge(drawn), image, text, wrong, right) == {"B": 1}
    assert verdicts(judge(drawn), image, text, right, right) == {"neither": 1}


def test_the_oracle_prefers_the_form_asked_for_to_an_answer_that_says_nothing_and_so_nothing_false(drawn: Path) -> None:
    image, text, faulty = question(drawn, right=False)
    assert verdicts(judge(drawn), image, text, "Yes.", faulty) == {"B": 1}
    (reply,) = ask(judge(drawn), image_id=image, question=text, answer="Yes.")
    assert json.loads(reply.text)["grade"] == 1


def test_the_oracle_grades_by_form_and_facts_and_says_what_is_wrong(drawn: Path) -> None:
    image, text, right = question(drawn, right=True)
    (reply,) = ask(judge(drawn), image_id=image, question=text, answer=right)
    assert json.loads(reply.text) == {"reason": "nothing is wrong", "grade": 10}
    image, text, wrong = question(drawn, right=False)
    (reply,) = ask(judge(drawn), image_id=image, question=text, answer=wrong)
    assert 4 <= json.loads(reply.text)["grade"] <= 8
    assert json.loads(reply.text)["reason"] != "nothing is wrong"


@pytest.mark.parametrize(
    ("name", "first", "low", "high"),
    [("first=1", "right", 1, 1), ("first=1", "wrong", 1, 1), ("first=0.5", "wrong", 0.4, 0.6), ("first=0", "wrong", 0, 0),
     ("right=1", "right", 1, 1), ("right=0.8", "right", 0.72, 0.88), ("right=0", "right", 0, 0),
     ("longer=9", "long", 1, 1), ("longer=-9", "long", 0, 0)],
)  # fmt: skip
def test_a_planted_fault_shows_in_the_verdicts_as_often_as_is_planted(
    drawn: Path, name: str, first: str, low: float, high: float
) -> None:
    image, text, right = question(drawn, right=True)
    answer = {"right": right, "wrong": "Nine pink whales.", "long": f"{right} {right} {right} {right}"}[first]
    other = right if first in ("wrong", "long") else "Nine pink whales."
    found = verdicts(judge(drawn, f"oracle:{name}"), image, text, answer, other, times=400)
    assert low <= found["A"] / 400 <= high
    assert verdicts(judge(drawn, f"oracle:{name}"), image, text, answer, other, times=400) == found


def test_a_judge_that_is_none_is_refused_and_says_what_there_is(drawn: Path, tmp_path: Path) -> None:
    for name, said in [("oracel", "no model of the backend oracle"), ("oracle:bias=1", "right, first, longer"),
                       ("oracle:right", "give the fault a number"), ("oracle:right=80", "probabilities are 0 to 1"),
                       ("oracle:longer=very", "give the fault a number")]:  # fmt: skip
        with pytest.raises(ValueError, match=said):
            judge(drawn, name).chat()
    with pytest.raises(ValueError, match=r"options\.truth"):
        judge(drawn, truth=[]).chat()
    with pytest.raises(FileNotFoundError, match=r"scenes\.jsonl is missing"):
        judge(tmp_path).chat()


def test_what_the_oracle_was_not_asked_in_its_own_words_is_an_error_and_no_verdict(drawn: Path) -> None:
    for content in (
        "Is A better?",
        '{"image_id": "0123456789abcdef"}',
        '["image_id"]',
        [{"type": "text", "text": "?"}],
    ):
        (reply,) = judge(drawn).chat().chat([[{"role": "user", "content": content}]], seeds=[0])
        assert (reply.text, reply.finish) == ("", "error")
        assert "the oracle cannot judge" in str(reply.error)


@pytest.mark.slow
def test_a_benchmark_finds_what_was_planted_in_its_judges(drawn: Path, tmp_path: Path) -> None:
    found = bench(drawn, tmp_path / "run", ("first=1", "longer=1.5", "right=0.8"))["judges"]
    said = {name: judge["pairs"] for name, judge in found.items()}
    assert said["oracle"]["position"]["bias"]["value"] == 0
    assert said["oracle"]["pairs"][0]["all"]["win_rate"]["low"] > 0.5  # the strong one is found to be stronger
    assert said["first=1"]["position"]["bias"]["value"] == said["first=1"]["position"]["reversed"]["value"] == 1
    assert said["first=1"]["pairs"][0]["all"]["win_rate"]["value"] == 0.5
    slope = said["longer=1.5"]["length"]["slope_given_truth"]
    assert 0 < slope["low"] < 1.5 < slope["high"]
    right = said["right=0.8"]["truth"]["verdicts"]
    assert right["low"] < 0.8 < right["high"]
    assert abs(right["value"] - 0.8) < 0.08


def test_the_oracle_rates_an_answer_with_a_false_statement_below_a_right_one(drawn: Path) -> None:
    def rating(right: bool, model: Model) -> list[int]:
        image, text, said = question(drawn, right)
        replies = ask(model, range(200), image_id=image, question=text, answer=said, axis="image_correspondence")
        return [json.loads(reply.text)["grade"] for reply in replies]

    assert set(rating(True, judge(drawn))) == {5}
    assert max(rating(False, judge(drawn))) < 5
    assert 0.7 < Counter(rating(True, judge(drawn, "oracle:right=0.8")))[5] / 200 < 0.9
