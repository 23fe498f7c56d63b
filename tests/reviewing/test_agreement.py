from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mminstruct.bench.coefficients import alpha
from mminstruct.cli import main
from mminstruct.reviewing import sheet
from mminstruct.reviewing.agreement import agree
from mminstruct.reviewing.ratings import GOOD
from mminstruct.reviewing.sheet import Sheets
from mminstruct.reviewing.told import as_text
from mminstruct.reviewing.words import AXES
from mminstruct.reviewing.write import write
from tests.report import runs
from tests.reviewing import made
from tests.reviewing.people import Line, lay, line, text

WRONG = {"ana": 0.1, "bo": 0.2}
RIGHT = 0.7


def planted() -> float:
    """Alpha of two people of whom each errs independently, over infinitely many rows."""
    table = np.zeros((2, 2))
    for truth, share in ((0, RIGHT), (1, 1 - RIGHT)):
        ana, bo = (np.roll([1 - wrong, wrong], truth) for wrong in WRONG.values())
        table += share * (np.outer(ana, bo) + np.outer(bo, ana)) / 2
    return float(alpha(table.reshape(-1) * 1e9)[0])


def judged(of: Sheets, person: str, seed: int = 3) -> list[Line]:
    """Decisions of a planted person about every place: accept what is right, reject what is wrong, but for errors."""
    dice = random.Random(f"{seed} {person}")
    lines = []
    for place, one in enumerate(of.sheets[person].rows):
        right = random.Random(f"truth {one.id}").random() < RIGHT
        word = "accept" if right != (dice.random() < WRONG[person]) else "reject"
        lines.append(line(of, person, place, word, reason="wrong_answer" if word == "reject" else None, seconds=3))
    return lines


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("agreement") / "run")
    made.run(url, turns=240)
    return url


@pytest.fixture(scope="module")
def turns(run: str) -> Path:
    """Two people's decisions about 200 rows, which both saw."""
    folder = Path(run).parent / "turns"
    write(run, str(folder), ["ana", "bo"], rows=200, overlap=1.0)
    of = sheet.read(str(folder))
    return lay(folder, of, {person: judged(of, person) for person in WRONG})


def test_the_interval_of_alpha_covers_what_was_planted(run: str, turns: Path) -> None:
    (found,) = agree(run, [str(turns)], resamples=500).results
    (one,) = found.agreement
    assert one.shared == one.rows == 190
    assert one.alpha.low < planted() < one.alpha.high
    assert 0.3 < planted() < 0.7
    assert one.raw.low < 0.9 * 0.8 + 0.1 * 0.2 < one.raw.high
    assert one.kappa.keys() == {"ana, bo"}
    assert one.kappa["ana, bo"].value == pytest.approx(one.alpha.value, abs=0.02)
    assert one.again.n == 20
    assert one.again.low < (0.9**2 + 0.1**2 + 0.8**2 + 0.2**2) / 2 < one.again.high
    assert {person.name: person.decisions for person in one.people} == {"ana": 200, "bo": 200}
    assert found.speed.seconds == 3
    assert found.speed.rows_a_minute == pytest.approx(20)
    assert found.speed.minutes_a_kept_row == pytest.approx(400 * 3 / 60 / found.came_to["accepted"])
    assert sum(found.came_to.values()) == 190
    assert found.came_to["disputed"] == pytest.approx((1 - one.raw.value) * 190)
    assert (found.changed_since, found.other_run, found.not_votes) == (0, 0, {"repeated": 20})


def test_a_person_who_saves_twice_and_a_changed_run_count_nothing_twice(run: str, turns: Path, tmp_path: Path) -> None:
    of = sheet.read(str(turns.parent))
    ana = judged(of, "ana")
    here = lay(tmp_path, of, {"ana": ana, "ana (1)": ana[:50], "bo": judged(of, "bo")})
    (twice,), (once,) = (agree(run, [str(place)], resamples=20).results for place in (here, turns))
    assert twice.not_votes == {"superseded": 50, "repeated": 20}
    assert (twice.agreement, twice.speed, twice.came_to) == (once.agreement, once.speed, once.came_to)
    other = str(tmp_path / "other")
    made.run(other, turns=100, special=[{"answer": "Another."}] * 10)
    (found,) = agree(other, [str(turns)], resamples=20).results
    rows = {one.id: n for n, one in enumerate(made_rows(other))}
    lines = [one for person in WRONG for one in of.sheets[person].rows]
    assert found.other_run == sum(one.id not in rows for one in lines)
    assert found.changed_since == sum(rows.get(one.id, 99) < 10 for one in lines) > 0
    assert found.agreement == agree(run, [str(turns)], resamples=20).results[0].agreement


def made_rows(url: str) -> list[Any]:
    from types import SimpleNamespace

    from mminstruct.store.reader import RunReader

    return [
        SimpleNamespace(**row)
        for row in RunReader(url)["review"].to_arrow(["pair_id"]).rename_columns(["id"]).to_pylist()
    ]


def test_an_adjudicator_settles_disputes_and_is_not_compared_with_annotators(
    run: str, turns: Path, tmp_path: Path
) -> None:
    files = [str(turns / f"{person}.jsonl") for person in WRONG]
    write(run, str(tmp_path), ["cy"], disputed=files, rows=200)
    of = sheet.read(str(tmp_path))
    here = lay(tmp_path, of, {"cy": [line(of, "cy", n) for n in range(len(of.sheets["cy"].rows))]})
    (before,), (after,) = (agree(run, paths, resamples=20).results for paths in ([str(turns)], [str(turns), str(here)]))
    assert before.came_to["disputed"] == len({one.id for one in of.sheets["cy"].rows}) > 20
    assert "disputed" not in after.came_to
    assert after.came_to["accepted"] == before.came_to["accepted"] + before.came_to["disputed"]
    assert (after.agreement[0].alpha, after.agreement[0].kappa) == (
        before.agreement[0].alpha,
        before.agreement[0].kappa,
    )
    assert [person.name for person in after.agreement[0].people] == ["ana", "bo", "cy"]


def test_ratings_of_matches_tell_matched_from_random_and_follow_similarity(run: str, tmp_path: Path) -> None:
    write(run, str(tmp_path), ["ana", "bo"], what="match", rows=120, overlap=1.0)
    of = sheet.read(str(tmp_path))
    number = {row.id: n for n, row in enumerate(made_rows(run))}  # similarity is n / 240

    def rating(person: str, one: sheet.Row) -> int:
        noise = random.Random(f"{person} {one.id}").choice((-1, 0, 0, 1))
        return min(5, max(1, (1 if one.origin == "random" else 2 + number[one.id] // 60) + noise))

    files = {
        person: [
            line(of, person, n, "rate", axis="fits", rating=rating(person, one)) for n, one in enumerate(mine.rows)
        ]
        for person, mine in of.sheets.items()
    }
    here = lay(tmp_path, of, files)
    (found,) = agree(run, [str(here)], resamples=300).results
    assert found.came_to == {}
    assert found.speed.minutes_a_kept_row is None
    (axis,) = found.ratings.axes
    assert axis.means["run"].low < 3.5 < axis.means["run"].high
    assert axis.means["random"].value == pytest.approx(1.25, abs=0.15)
    assert axis.differences["random"].low > 1.5
    assert found.agreement[0].alpha.value > 0.6
    assert 0.8 < found.ratings.rho.low < found.ratings.rho.high < 1
    assert found.ratings.auc.low > 0.85
    assert len(found.ratings.worst) == 10
    assert all(one.rating < GOOD and one.similarity < 0.6 and one.text for one in found.ratings.worst)
    page = as_text(agree(run, [str(here)], resamples=20))
    assert "similarity and rating: rho 0." in page
    assert "run minus random" in page


def test_ratings_of_instructions_are_set_against_what_was_mixed_in(run: str, tmp_path: Path) -> None:
    write(run, str(tmp_path), ["ana"], what="instructions", rows=40, overlap=1.0)
    of = sheet.read(str(tmp_path))
    levels = {"run": 4, "seed": 5, "vqa": 1}
    lines = [
        line(of, "ana", n, "rate", axis=axis, rating=levels[one.origin] if axis == "new" else 3)
        for n, one in enumerate(of.sheets["ana"].rows) for axis in AXES["instructions"]
    ]  # fmt: skip
    (found,) = agree(run, [str(lay(tmp_path, of, {"ana": lines}))], resamples=100).results
    axes = {one.axis: one for one in found.ratings.axes}
    assert {name: one.value for name, one in axes["new"].means.items()} == {"run": 4, "seed": 5, "vqa": 1}
    assert {name: one.value for name, one in axes["new"].differences.items()} == {"seed": -1, "vqa": 3}
    assert {one.value for one in axes["useful"].differences.values()} == {0}
    assert [one.axis for one in found.agreement] == list(AXES["instructions"])
    assert found.agreement[0].alpha.value is None  # one person
    assert found.speed.rows_a_minute == pytest.approx(60 / (3 * 2.5))
    assert found.other_run == 0


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with planted ratings: one axis follows the truth with noise, one is constant, one is by chance."""
    url = str(tmp_path_factory.mktemp("rated") / "run")
    rows = made.run(url, turns=240)
    given = []
    for row in rows:
        dice = random.Random(f"rating {row['pair_id']}")
        right = random.Random(f"truth {row['pair_id']}").random() < RIGHT
        follows = dice.choice((4, 5) if right != (dice.random() < 0.1) else (1, 2))
        ids = {"pair_id": row["pair_id"], "image_id": row["image_id"], "replies": []}
        given.append(ids | {"relevance": follows, "formatting": 3, "visual_dependency": dice.randint(1, 5)})
    given[0]["relevance"] = None
    runs.put(url, "rate", given, order=8)
    return url


def test_ratings_by_models_are_set_against_what_people_kept(
    rated: str, turns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = agree(rated, [str(turns)], resamples=300).results
    settled = found.came_to["accepted"] + found.came_to["rejected"]
    assert found.models.keys() == {"relevance", "formatting", "visual_dependency", "mean"}
    assert found.models["formatting"].value == 0.5
    assert found.models["visual_dependency"].low < 0.5 < found.models["visual_dependency"].high
    relevance = found.models["relevance"]
    # People who agree err in 0.1 x 0.2 / (0.1 x 0.2 + 0.9 x 0.8) = 3 % of rows, and the rating in 10 %.
    assert relevance.low < 0.87 < relevance.high
    assert relevance.low > 0.75
    first = next(iter(made_rows(rated))).id
    assert relevance.n == found.models["mean"].n == settled - (first in settled_ids(turns))
    assert found.models["formatting"].n == settled
    assert 0.5 < found.models["mean"].value < relevance.value
    assert main(["agree", rated, str(turns)]) == 0
    assert "ratings by models, AUC of rows accepted or edited against rejected" in capsys.readouterr().out


def settled_ids(turns: Path) -> set[str]:
    """Rows on which both planted people say the same; a later repeat of a row does not count."""
    of = sheet.read(str(turns.parent))
    words: dict[str, list[str]] = {}
    for person in WRONG:
        seen: dict[str, str] = {}
        for one in judged(of, person):
            seen.setdefault(one["id"], one["decision"])
        for id_, word in seen.items():
            words.setdefault(id_, []).append(word)
    return {id_ for id_, said in words.items() if len(set(said)) == 1}


def test_ratings_of_texts_that_people_did_not_see_do_not_count(
    rated: str, run: str, turns: Path, tmp_path: Path
) -> None:
    assert agree(run, [str(turns)], resamples=20).results[0].models == {}
    other = str(tmp_path / "other")
    rows = made.run(other, turns=240, special=[{"answer": "Another."}] * 240)
    given = [{"pair_id": row["pair_id"], "image_id": row["image_id"], "relevance": 5, "replies": []} for row in rows]
    runs.put(other, "rate", given, order=8)
    (found,) = agree(other, [str(turns)], resamples=20).results
    assert found.changed_since == 400
    assert found.models == {}


def test_the_command_names_bad_lines_and_writes_nothing(
    run: str, turns: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = sheet.read(str(turns.parent))
    good = judged(of, "bo")
    bad = (
        b"\xef\xbb\xbf" + text(good[:5]).replace(b"\n", b"\r\n") + text([{**good[5], "sheet": "f" * 16}, good[6]])[:-20]
    )
    here = lay(tmp_path, of, {"ana": judged(of, "ana"), "bo": bad})
    before = sorted(Path(run).rglob("*"))
    assert main(["agree", run, str(here / "ana.jsonl"), str(here / "bo.jsonl")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("207 lines: 205 decisions, 2 dropped: 1 cut_line, 1 unknown_sheet")
    assert "decisions/bo.jsonl:6: unknown_sheet: sheet 'ffffffffffffffff' is not in" in said
    assert "decisions/bo.jsonl:7: cut_line: it is no JSON" in said
    assert "alpha (nominal)" in said
    assert main(["agree", run, str(here), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["results"][0]["agreement"][0]["alpha"]["n"] == 5
    assert sorted(Path(run).rglob("*")) == before
    assert main(["agree", run, str(tmp_path / "none")]) == 1
    assert "no such file or folder" in capsys.readouterr().err
