from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.coverage import drawn, wilson
from mminstruct import cli
from mminstruct.bench import power

TIES, EFFECT = st.floats(0, 0.9), st.floats(1, 5)


def test_the_papers_99_questions_tell_ten_points_and_12_where_an_instructions_three_go_together() -> None:
    assert power.half_width(99) == pytest.approx(1.984 * 0.5 / math.sqrt(99), abs=1e-4)
    assert power.half_width(99, effect=power.design_effect(3, 0.25)) == pytest.approx(0.123, abs=0.001)


@given(st.floats(0.005, 0.45), TIES, EFFECT)
def test_the_questions_told_are_enough_and_one_less_is_not(wanted: float, ties: float, effect: float) -> None:
    for many, reached in (
        (power.questions_for_width, power.half_width), (power.questions_for_difference, power.smallest_difference),
    ):  # fmt: skip
        need = many(wanted, ties=ties, effect=effect)
        assert reached(need, ties=ties, effect=effect) <= wanted
        if need > 20 * effect:  # below, the degrees of freedom step by more than one question
            assert reached(math.floor(need - 1 - effect), ties=ties, effect=effect) > wanted


@pytest.mark.parametrize("n", [99, 300])
def test_what_is_called_detectable_is_found_four_times_out_of_five(n: int) -> None:
    win = 0.35 + power.smallest_difference(n, ties=0.3)
    score = drawn((win, 0.3, 0.7 - win), 1000, n, np.random.default_rng(n))
    low, high = wilson(score, np.ones_like(score))
    assert 0.75 < ((low > 0.5) | (high < 0.5)).mean() < 0.85


@pytest.mark.parametrize("wrong", [{"ties": 1.0}, {"ties": -0.1}, {"effect": 0.0}])
def test_numbers_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="give one from"):
        power.half_width(99, **wrong)
    with pytest.raises(ValueError, match=r"between 0 and 0\.5"):
        power.questions_for_width(0.5)


def test_the_command_says_how_many_questions_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench-power", "--half-width", "0.05", "--ties", "0"]) == 0
    said = capsys.readouterr().out
    need = int(said.split()[0])
    assert abs(need - 386) <= 2  # (1.966 * 0.5 / 0.05) ** 2, t for some 385
    assert "interval of +- 5 points" in said
    assert cli.main(["bench-power", "--questions", "99", "--ties", "0"]) == 0
    assert "+- 10.0 points; detectable with 80% power: 14.2 points" in capsys.readouterr().out
    assert cli.main(["bench-power", "--difference", "0.7"]) == 1
    assert "between 0 and 0.5" in capsys.readouterr().err
