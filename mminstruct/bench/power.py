"""Power analysis: how many questions a benchmark needs, and which differences it can detect.

Everything follows from the standard deviation of one question's score (1 won, 1/2 tied, 0 lost): at a win rate of 1/2
and a share ``ties`` of tied questions it is ``sqrt(1 - ties) / 2``. If ``size`` questions share an instruction, with
intra-cluster correlation ``icc``, n questions are worth n / (1 + (size - 1) icc) independent ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import special

from mminstruct.bench.intervals import LEVEL, t_quantile

POWER = 0.8


def design_effect(size: float, icc: float) -> float:
    """Factor by which clusters of *size* questions with correlation *icc* increase the variance (Kish)."""
    return 1 + (size - 1) * icc


def half_width(questions: int, *, ties: float = 0.0, effect: float = 1.0, level: float = LEVEL) -> float:
    """Half the width of the confidence interval at a win rate of 1/2 (0.1 is ten points).

    Args:
        questions: At least 2.
        ties: Share of questions tied, 0 to 1.
        effect: The design effect.
        level: Confidence level.

    Raises:
        ValueError: an argument is outside its range.
    """
    _check(questions, ties, effect, level)
    return t_quantile(max(2, round(questions / effect)), level) * _error(questions, ties, effect)


def detectable(error: float, clusters: int, *, power: float = POWER, level: float = LEVEL) -> float:
    """The smallest distance of a win rate from 1/2 that is detected with probability *power*.

    Args:
        error: Standard error of the win rate.
        clusters: Number of independent clusters of questions, at least 2.
        power: Probability of detection.
        level: Confidence level of the interval that must exclude 1/2.
    """
    return (t_quantile(clusters, level) + float(special.stdtrit(clusters - 1, power))) * error


def smallest_difference(
    questions: int, *, ties: float = 0.0, effect: float = 1.0, power: float = POWER, level: float = LEVEL
) -> float:
    """`detectable` for a planned benchmark."""
    _check(questions, ties, effect, level)
    clusters = max(2, round(questions / effect))
    return detectable(_error(questions, ties, effect), clusters, power=power, level=level)


def questions_for_width(half: float, *, ties: float = 0.0, effect: float = 1.0, level: float = LEVEL) -> int:
    """Number of questions for a win-rate interval of ``+- half``.

    Raises:
        ValueError: *half* is not between 0 and 1/2, or as for `half_width`.
    """
    if not 0 < half < 0.5:
        raise ValueError(f"half width {half}: give one between 0 and 0.5 (0.05 is five points)")
    return _search(lambda n: half_width(n, ties=ties, effect=effect, level=level), half)


def questions_for_difference(
    difference: float, *, ties: float = 0.0, effect: float = 1.0, power: float = POWER, level: float = LEVEL
) -> int:
    """Number of questions that detect a win rate *difference* away from 1/2 with probability *power*.

    Raises:
        ValueError: *difference* is not between 0 and 1/2, or as for `half_width`.
    """
    if not 0 < difference < 0.5:
        raise ValueError(f"difference {difference}: give one between 0 and 0.5 (0.05 is five points)")
    return _search(lambda n: smallest_difference(n, ties=ties, effect=effect, power=power, level=level), difference)


def as_text(
    questions: int | None, half: float | None, difference: float | None, ties: float, effect: float, power: float
) -> str:
    """The answer to one of the three questions, for a terminal."""
    if half is not None:
        need = questions_for_width(half, ties=ties, effect=effect)
        first = f"{need} questions for an interval of +- {100 * half:g} points"
    elif difference is not None:
        need = questions_for_difference(difference, ties=ties, effect=effect, power=power)
        first = f"{need} questions to detect a win rate {100 * difference:g} points from 50 % with {power:.0%} power"
    else:
        assert questions is not None
        need = questions
        first = f"{need} questions"
    wide = half_width(need, ties=ties, effect=effect)
    least = smallest_difference(need, ties=ties, effect=effect, power=power)
    return (
        f"{first} ({ties:.0%} ties, design effect {effect:g})\n"
        f"95 % interval of the win rate: +- {100 * wide:.1f} points;"
        f" detectable with {power:.0%} power: {100 * least:.1f} points"
    )


def _search(value: Callable[[int], float], wanted: float) -> int:
    """The smallest n >= 2 with ``value(n) <= wanted``, for a decreasing function."""
    high = 2
    while value(high) > wanted:
        high *= 2
    low = max(2, high // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if value(middle) <= wanted else (middle + 1, high)
    return low


def _error(questions: int, ties: float, effect: float) -> float:
    return math.sqrt((1 - ties) * effect / questions) / 2


def _check(questions: int, ties: float, effect: float, level: float) -> None:
    for what, value, low, high in (
        ("questions", questions, 2, math.inf),
        ("ties", ties, 0, 1 - 1e-9),
        ("design effect", effect, 1 / questions if questions > 0 else 0, math.inf),
        ("level", level, 1e-9, 1 - 1e-9),
    ):
        if not low <= value <= high:
            raise ValueError(f"{what} {value}: give one from {low:g} to {high:g}")
