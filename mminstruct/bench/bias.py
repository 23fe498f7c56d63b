"""Biases of a judge: position bias and length bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mminstruct.bench.intervals import Array, Estimate, estimate, rate, t_quantile
from mminstruct.bench.verdicts import Row, grouped, sums

_STEPS = 100


@dataclass(frozen=True, slots=True)
class Position:
    """Effect of the order on a judge, over questions with a parsed verdict in both orders."""

    questions: int
    """Pairs of answers that were shown in both orders, with both verdicts parsed."""
    consistent: Estimate
    """Share with the same verdict in both orders."""
    reversed: Estimate
    """Share whose winner changed with the order."""
    first: Estimate
    """Share of verdicts for the answer shown first."""
    second: Estimate
    """Share of verdicts for the answer shown second."""
    bias: Estimate
    """``first - second``, from -1 (always the second) to 1 (always the first). Quality cancels out, because each answer
    is shown first once. A judge that says "the first" with probability q and otherwise ignores order has bias q."""


@dataclass(frozen=True, slots=True)
class Length:
    """Effect of length on a judge, over decisive verdicts on answers of unequal length."""

    verdicts: int
    longer: Estimate
    """Share won by the longer answer; 1/2 if length has no effect."""
    slope: Estimate
    """Log-odds of winning per doubling of length, from a logistic regression with an intercept for each pair of
    contestants: a contestant that is both better and longer overall does not count as length bias."""
    slope_given_truth: Estimate | None
    """``slope`` with the oracle's verdict as a covariate; None without an oracle."""


def position(rows: Sequence[Row], cluster: str, level: float) -> Position:
    """Position statistics of checked verdicts; without a second order they are empty."""
    parsed = [row for row in rows if row["verdict"] != "unparsed"]
    groups = grouped(parsed, lambda row: (row["question_id"], row["a"], row["b"]))
    both = [pair for pair in groups.values() if len(pair) == 2]

    def counts(pair: list[Row]) -> tuple[float, ...]:
        said = [row["verdict"] for row in pair]
        first = sum(row["verdict"] == "ab"[row["order"]] for row in pair)
        second = sum(row["verdict"] == "ba"[row["order"]] for row in pair)
        return float(said[0] == said[1]), float(set(said) == {"a", "b"}), first, second, 1.0

    same_G, reversed_G, first_G, second_G, n_G = sums(both, lambda pair: str(pair[0][cluster]), counts).reshape(-1, 5).T
    return Position(
        questions=len(both),
        consistent=rate(same_G, n_G, level),
        reversed=rate(reversed_G, n_G, level),
        first=rate(first_G, 2 * n_G, level),
        second=rate(second_G, 2 * n_G, level),
        bias=rate(n_G + (first_G - second_G) / 2, 2 * n_G, level).scaled(2, -1),
    )


def length(rows: Sequence[Row], cluster: str, level: float, truth: Sequence[Row] | None) -> Length:
    """Length statistics of checked verdicts that have ``length_a`` and ``length_b``, both above 0.

    Args:
        rows: Verdicts.
        cluster: The column that identifies clusters.
        level: Confidence level of the intervals.
        truth: The oracle's verdicts.
    """
    decisive = [
        row for row in rows
        if row["verdict"] in ("a", "b") and row["length_a"] and row["length_b"] and row["length_a"] != row["length_b"]
    ]  # fmt: skip

    def longer(row: Row) -> tuple[float, float]:
        return float((row["verdict"] == "a") == (row["length_a"] > row["length_b"])), 1.0

    longer_G, n_G = sums(decisive, lambda row: str(row[cluster]), longer).reshape(-1, 2).T
    right: Mapping[tuple[str, str, str], float] = {}
    if truth is not None:
        sign = {"a": 1.0, "b": -1.0, "neither": 0.0}
        right = {_about(row): sign[row["verdict"]] for row in truth if row["verdict"] in sign}
    known = [row for row in decisive if _about(row) in right]
    return Length(
        verdicts=len(decisive),
        longer=rate(longer_G, n_G, level),
        slope=_slope(decisive, cluster, level, None),
        slope_given_truth=None if truth is None else _slope(known, cluster, level, right),
    )


def _about(row: Row) -> tuple[str, str, str]:
    return row["question_id"], row["a"], row["b"]


def _slope(
    rows: Sequence[Row], cluster: str, level: float, truth: Mapping[tuple[str, str, str], float] | None
) -> Estimate:
    """Coefficient of log2(length_a / length_b) for "a wins": Firth's logistic regression, cluster-robust interval."""
    clusters = sorted({str(row[cluster]) for row in rows})
    if len(clusters) < 2:
        return estimate(np.nan, np.nan, np.nan, len(rows))
    pairs = sorted({(row["a"], row["b"]) for row in rows})
    ratio_N = np.log2([row["length_a"] / row["length_b"] for row in rows])
    columns = [ratio_N] if truth is None else [ratio_N, np.array([truth[_about(row)] for row in rows])]
    columns += [np.array([float((row["a"], row["b"]) == pair) for row in rows]) for pair in pairs]
    x_NP = np.stack([column for column in columns if np.ptp(column) > 0 or column[0] != 0], axis=1)
    y_N = np.array([float(row["verdict"] == "a") for row in rows])
    if np.linalg.matrix_rank(x_NP) < x_NP.shape[1]:
        return estimate(np.nan, np.nan, np.nan, len(rows))
    theta_P, inverse_PP = _firth(x_NP, y_N)
    chance_N = 1 / (1 + np.exp(-x_NP @ theta_P))
    score_NP = (y_N - chance_N)[:, None] * x_NP
    place = {name: g for g, name in enumerate(clusters)}
    score_GP = np.zeros((len(clusters), x_NP.shape[1]))
    np.add.at(score_GP, [place[str(row[cluster])] for row in rows], score_NP)
    robust_PP = inverse_PP @ (score_GP.T @ score_GP) @ inverse_PP * len(clusters) / (len(clusters) - 1)
    # if a judge always prefers the longer answer, the residuals and the robust error vanish: use the larger error
    error = float(np.sqrt(max(robust_PP[0, 0], inverse_PP[0, 0])))
    half = t_quantile(len(clusters), level) * error
    return estimate(theta_P[0], theta_P[0] - half, theta_P[0] + half, len(rows))


def _firth(x_NP: Array, y_N: Array) -> tuple[Array, Array]:
    """Logistic regression with Jeffreys' prior (Firth 1993), finite for separable classes.

    Returns coefficients and the inverse of the Fisher information.
    """
    theta_P: Array = np.zeros(x_NP.shape[1])
    inverse_PP: Array = np.zeros((x_NP.shape[1], x_NP.shape[1]))
    for _ in range(_STEPS):
        chance_N = 1 / (1 + np.exp(-x_NP @ theta_P))
        weight_N = chance_N * (1 - chance_N)
        curve_PP = x_NP.T @ (weight_N[:, None] * x_NP) + 1e-9 * np.eye(x_NP.shape[1])
        inverse_PP = np.asarray(np.linalg.inv(curve_PP), dtype=np.float64)
        hat_N = weight_N * np.einsum("np,pq,nq->n", x_NP, inverse_PP, x_NP)
        step_P = inverse_PP @ (x_NP.T @ (y_N - chance_N + hat_N * (0.5 - chance_N)))
        theta_P = np.asarray(theta_P + np.clip(step_P, -5, 5), dtype=np.float64)
        if np.abs(step_P).max() < 1e-8:
            break
    return theta_P, inverse_PP
