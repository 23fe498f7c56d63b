from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from lab import checks
from mminstruct.bench.intervals import Estimate
from mminstruct.cli import main
from mminstruct.microworld.families import FAMILIES
from mminstruct.quality.diversity import compare, measures
from mminstruct.quality.diversity.compare import Comparison
from mminstruct.stage import instruction_id
from tests.quality.perfect import PerfectRun

BANK = sorted(family.general for family in FAMILIES.values())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with a bank and no embedder."""
    folder = tmp_path_factory.mktemp("run")
    made = PerfectRun(folder, {})
    made.rows["summarize"] = [
        {"instruction_id": instruction_id(text), "instruction": text, "cluster": n, "size": 1, "members": [text]}
        for n, text in enumerate(BANK)
    ]
    return made.write(folder / "run")


def lines(path: Path, texts: list[str]) -> str:
    path.write_text("\n".join(texts))
    return str(path)


def command(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["diversity", *words]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def test_a_run_without_an_embedder_is_measured_by_its_texts_alone(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dull = lines(tmp_path / "dull.txt", [f"What colour is thing {n}?" for n in range(60)])
    said = command(capsys, run, "--against", dull, "conf/seeds.yaml", "--n", "20")
    assert "No embedder, so no distances" in said
    assert "Vendi score  " not in said
    found = json.loads(command(capsys, run, "--against", dull, "--n", "20", "--json"))
    ours, theirs = found["sets"]
    assert (found["n"], found["embedder"], theirs["near_run"]) == (20, None, None)
    assert theirs["measures"]["first verbs, bits"]["value"] == 0
    assert theirs["measures"]["kinds, bits"]["value"] < ours["measures"]["kinds, bits"]["low"]
    assert theirs["differences"]["distinct-2"]["high"] < 0
    assert theirs["set"]["texts"] == 60


def test_neither_the_order_of_a_file_nor_that_of_the_files_changes_a_number(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"{verb} thing {n}." for n in range(20) for verb in ("Draw", "Name", "Count")]
    one, other = lines(tmp_path / "a.txt", texts), lines(tmp_path / "b.txt", BANK)
    first = json.loads(command(capsys, run, "--against", one, other, "--json"))
    random.Random(0).shuffle(texts)
    lines(tmp_path / "a.txt", texts)
    second = json.loads(command(capsys, run, "--against", other, one, "--json"))
    assert first["sets"][1:] == second["sets"][:0:-1]
    assert first["sets"][0] == second["sets"][0]
    assert json.loads(command(capsys, run, "--against", one, "--seed", "1", "--json"))["sets"][0] != first["sets"][0]


def test_a_set_beside_its_own_texts_shares_them_all_and_differs_in_nothing(run: str, tmp_path: Path) -> None:
    (_, same) = compare.compare(run, [lines(tmp_path / "same.txt", BANK)]).sets
    assert same.shared == len(BANK)
    assert {one.value for one in same.differences.values()} == {0.0}


def test_the_smallest_set_lowers_the_size_of_the_parts_and_a_tiny_one_is_refused(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = lines(tmp_path / "few.txt", BANK[:9])
    said = command(capsys, run, "--against", few)
    assert "parts of 8 texts (100 were asked for" in said
    tiny = lines(tmp_path / "tiny.txt", BANK[:4])
    assert "has 4 distinct instructions: 5 are needed" in command(capsys, run, "--against", tiny, code=1)
    assert "--n 1: give 2 or more" in command(capsys, run, "--against", few, "--n", "1", code=1)
    assert "no known form" in command(capsys, run, "--against", "README.md", code=1)


def test_of_a_large_set_as_many_texts_are_measured_as_can_be(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "MOST", 50)
    many = lines(tmp_path / "many.txt", [f"Draw thing {n}." for n in range(200)])
    assert "many.txt: 50 of its texts were drawn and measured" in command(capsys, run, "--against", many, "--n", "9")


def test_intervals_hold_the_true_value_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    chance = 1 / np.arange(1, 13)
    chance /= chance.sum()

    def draw(size: int) -> list[str]:
        return [str(kind) for kind in rng.choice(12, size, p=chance)]

    for size, n in ((30, 29), (80, 20)):
        alone = [measures.entropy(draw(n))(np.arange(n)) for _ in range(2000)]
        halves, held = [], 0
        for _ in range(150):
            of = measures.entropy(draw(size))
            found = compare.resampled(np.array([of(rng.permutation(size)[:n]) for _ in range(100)]), n, size)
            assert found.low is not None
            assert found.high is not None
            held += found.low <= np.mean(alone) <= found.high
            halves.append((found.high - found.low) / 2)
        assert held / 150 >= 0.89  # 0.95 less three standard errors
        assert np.mean(halves) < 2.5 * np.std(alone)  # nor is it by being wide


def test_parts_without_a_difference_have_no_interval() -> None:
    assert compare.resampled(np.full(9, 2.5), 5, 8) == Estimate(2.5, None, None, 8)
    assert compare.resampled(np.array([np.nan, np.nan]), 5, 8) == Estimate(None, None, None, 8)


def test_coverage_is_that_of_drawn_parts_and_full_coverage_is_uncertain() -> None:
    rng = np.random.default_rng(0)
    ours = rng.normal(size=(40, 6))
    ours /= np.linalg.norm(ours, axis=1)[:, None]
    parts = [rng.permutation(40)[:20] for _ in range(400)]
    every = compare.covered(ours, ours, [np.arange(39)] * 3)
    assert every.high == 1
    assert every.low is not None
    assert every.low < 0.98
    half = compare.covered(ours, ours, parts)
    near = measures.near_pairs(ours, ours)
    by_hand = np.mean([near[:, part].any(axis=1).mean() for part in parts])
    assert half.value == pytest.approx(by_hand)
    assert half.low is not None
    assert half.high is not None
    assert half.low < by_hand < half.high


@pytest.mark.slow
def test_families_are_ordered_questions_seeds_bank_on_a_demo_run(demo: Path, tmp_path: Path) -> None:
    found = checks.diversity(str(demo), tmp_path)
    assert found.embedder == "micro:embedder"
    bank, questions, seeds = found.sets
    few, some, most = (one.measures[checks.FAMILIES] for one in (questions, seeds, bank))
    assert few.high < some.low  # type: ignore[operator]
    assert some.value < most.value  # type: ignore[operator]  # 12 instructions are too few for more
    for name in (checks.FAMILIES, "Vendi score", "cosine distance", "kinds, bits"):
        high = questions.differences[name].high
        assert high is not None
        assert high < 0, name
    assert questions.near_run is not None
    assert seeds.near_run is not None
    assert questions.near_run.high < seeds.near_run.low  # type: ignore[operator]
    assert ("families came out." in checks.diverse(str(demo), tmp_path)["verdict"]) == checks.ordered(found)


def test_an_order_counts_only_outside_the_intervals() -> None:
    def of(bank: Estimate, questions: Estimate, seeds: Estimate) -> Comparison:
        sets = [
            compare.Measured(compare.TextSet("x", "x", (), 0, 0), 9, 0, {checks.FAMILIES: one}, {})
            for one in (bank, questions, seeds)
        ]
        return Comparison(9, 9, None, 0, sets)

    low, middle, high = (Estimate(value, value - 0.3, value + 0.3, 9) for value in (1.0, 2.0, 3.0))
    assert checks.ordered(of(Estimate(3.0, None, None, 9), low, middle))
    assert not checks.ordered(of(low, middle, high))
    assert not checks.ordered(of(Estimate(2.2, None, None, 9), low, middle))
    assert not checks.ordered(of(high, Estimate(1.0, 0.0, 1.9, 9), middle))
