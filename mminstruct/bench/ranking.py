"""Bradley-Terry strengths of contestants from pairwise verdicts, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mminstruct.bench.intervals import LEVEL, Array, Estimate, bootstrap, estimate

_PRIOR = 0.5
"""Virtual win and loss added to each compared pair, so that a contestant that won everything has a finite strength."""
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Rank:
    """Rank and strength of one contestant."""

    contestant: str
    strength: Estimate
    """Log-odds against an average contestant: the odds of winning are exp(strength). All strengths sum to 0."""
    rank: int
    """From 1, the strongest."""
    best: int
    worst: int
    """Range of ranks by the intervals: from 1 + contestants surely stronger to contestants - those surely weaker."""


def strengths(wins_MM: Array) -> Array:
    """Maximum-likelihood Bradley-Terry strengths: log-odds with mean 0, of one win matrix or a stack of them.

    Args:
        wins_MM: ``wins[..., i, j]`` is the number of questions that i won against j; a tie counts half for each. The
            graph of wins must be strongly connected.

    Returns:
        ``(..., M)``, by Newton's method.
    """
    all_MM = wins_MM + np.swapaxes(wins_MM, -1, -2)
    models = wins_MM.shape[-1]
    theta = np.zeros(wins_MM.shape[:-1])
    for _ in range(_STEPS):
        chance_MM = 1 / (1 + np.exp(theta[..., None, :] - theta[..., :, None]))
        slope_M = (wins_MM - all_MM * chance_MM).sum(-1)
        weight_MM = all_MM * chance_MM * (1 - chance_MM)
        curve_MM = np.eye(models) * weight_MM.sum(-1)[..., None] - weight_MM + 1 / models  # 1/M: fixes the mean at 0
        step = np.clip(np.linalg.solve(curve_MM, slope_M[..., None])[..., 0], -2, 2)
        theta = theta + step
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(theta - theta.mean(-1, keepdims=True))


def connected(wins_MM: Array) -> bool:
    """Whether all contestants are connected by comparisons, directly or through others."""
    met_MM = (wins_MM + wins_MM.T) > 0
    reached_M = np.arange(len(met_MM)) == 0
    for _ in range(len(met_MM)):
        reached_M = reached_M | met_MM[reached_M].any(0)
    return bool(reached_M.all())


def ranking(
    contestants: list[str], wins_GMM: Array, level: float = LEVEL, *, resamples: int = 2000, seed: int = 0
) -> list[Rank]:
    """The contestants, strongest first; empty if they are not connected.

    Args:
        contestants: Names, in the order of the matrices.
        wins_GMM: A win matrix for each cluster of questions; a tie counts half for each.
        level: Confidence level.
        resamples: Bootstrap resamples of clusters.
        seed: Seed of the bootstrap.
    """
    models = len(contestants)
    if models < 2 or not connected(wins_GMM.sum(0)):
        return []
    whole_MM = wins_GMM.sum(0)
    prior_MM = _PRIOR * ((whole_MM + whole_MM.T) > 0)  # from all questions: a resample may miss a pair
    n_M = (wins_GMM + np.swapaxes(wins_GMM, -1, -2)).sum((0, 2)).astype(int)

    def fit(sums: Array) -> Array:
        return strengths(sums.reshape(*sums.shape[:-1], models, models) + prior_MM)

    sums_GK = wins_GMM.reshape(len(wins_GMM), -1)
    value_M, low_M, high_M = bootstrap(fit, sums_GK, level, resamples=resamples, seed=seed)
    order = np.argsort(-value_M, kind="stable")
    return [
        Rank(
            contestants[m],
            estimate(value_M[m], low_M[m], high_M[m], int(n_M[m])),
            place + 1,
            1 + int((low_M > high_M[m]).sum()),
            models - int((high_M < low_M[m]).sum()),
        )
        for place, m in enumerate(order)
    ]
