"""Bradley-Terry strengths of many contestants from pairwise verdicts, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mminstruct.bench.intervals import LEVEL, Array, Estimate, bootstrap, estimate

_PRIOR = 0.5
"""Virtual win and lost question of each pair that met: a contestant that won everything has a finite strength."""
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Rank:
    """One contestant's place."""

    contestant: str
    strength: Estimate
    """Log-odds against the mean contestant: it beats an average one with odds exp(strength). Sums to 0."""
    rank: int
    """From 1, the strongest."""
    best: int
    worst: int
    """Ranks that the intervals leave open: 1 + contestants surely stronger, and contestants - those surely weaker."""


def strengths(wins_MM: Array) -> Array:
    """Maximum-likelihood Bradley-Terry strengths, log-odds with mean 0, of one or a stack of win matrices.

    Args:
        wins_MM: ``wins[..., i, j]``: questions that i won against j, a tie counting half to each; each contestant
            has won and lost against one of those that all are connected by.

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
    """Whether every contestant met every other one, if only by way of others."""
    met_MM = (wins_MM + wins_MM.T) > 0
    reached_M = np.arange(len(met_MM)) == 0
    for _ in range(len(met_MM)):
        reached_M = reached_M | met_MM[reached_M].any(0)
    return bool(reached_M.all())


def ranking(
    contestants: list[str], wins_GMM: Array, level: float = LEVEL, *, resamples: int = 2000, seed: int = 0
) -> list[Rank]:
    """The contestants, strongest first; empty where some never met.

    Args:
        contestants: Names, in the order of the matrices.
        wins_GMM: A win matrix of each cluster of questions; a tie counts half to each.
        level: Of confidence.
        resamples: Of the bootstrap over clusters.
        seed: Of its draws.
    """
    models = len(contestants)
    if models < 2 or not connected(wins_GMM.sum(0)):
        return []
    whole_MM = wins_GMM.sum(0)
    prior_MM = _PRIOR * ((whole_MM + whole_MM.T) > 0)  # of all questions: a resample may miss a pair
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
