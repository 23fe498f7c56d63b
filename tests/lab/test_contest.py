"""A drawn benchmark: what its files say, and that what is planted in them is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab import contest
from mminstruct.bench.sets import answers
from mminstruct.microworld import families
from mminstruct.microworld.oracle import judge_answer
from mminstruct.quality.truth import read_truth
from mminstruct.stage import content_id

SHARES = {"all": 1.0, "half": 0.5, "none": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return contest.write(tmp_path_factory.mktemp("contest"), 60, SHARES)


def asked(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "questions.json").read_text().splitlines()]


def test_every_question_is_about_an_image_whose_truth_is_known_and_can_be_asked_of_it(folder: Path) -> None:
    known, rows = read_truth([folder]), asked(folder)
    assert len(rows) == len(known) == 60
    for row in rows:
        scene = known[content_id((folder / "images" / row["image"]).read_bytes())].scene
        assert families.classify(row["text"]) is not None
        assert judge_answer(row["caption"], row["text"], scene).facts_ok


def test_answers_are_true_of_the_scene_as_often_as_is_planted(folder: Path) -> None:
    known, rows = read_truth([folder]), asked(folder)
    scenes = [known[content_id((folder / "images" / row["image"]).read_bytes())].scene for row in rows]
    for name, share in SHARES.items():
        given = answers(str(folder / "answers" / f"{name}.json"), None)
        true = [
            judge_answer(given[str(row["question_id"])].text, row["text"], scene).facts_ok
            for row, scene in zip(rows, scenes, strict=True)
        ]
        assert abs(sum(true) / 60 - share) < 0.2, name  # one in ten has no false variant that is still of the form
    assert sum(true) / 60 < 0.15


def test_the_same_numbers_draw_the_same_contest_and_another_seed_another(folder: Path, tmp_path: Path) -> None:
    again = contest.write(tmp_path / "again", 4, SHARES)
    other = contest.write(tmp_path / "other", 4, {}, seed=1)
    first = (folder / "questions.json").read_text().splitlines()[:4]
    assert (again / "questions.json").read_text().splitlines() == first
    assert (other / "questions.json").read_text().splitlines() != first
    assert not list((other / "answers").iterdir())


def test_the_command_draws_questions_for_models_to_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contest.main(["--questions", "3", "--seed", "7", "--to", str(tmp_path / "world")])
    assert "3 questions in" in capsys.readouterr().out
    assert len(asked(tmp_path / "world")) == len(read_truth([tmp_path / "world"])) == 3
