"""Coefficients of agreement and of association, in the forms that ``intervals.bootstrap`` takes.

Suffixes of array names are axes: C categories, K sums, G items (clusters). Agreement is a function of sums over items.
Rank statistics are none, so they take the weight of each item: ``bootstrap(spearman(x, y), np.eye(len(x)))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from mminstruct.bench.intervals import Array

NOMINAL, ORDINAL, INTERVAL = "nominal", "ordinal", "interval"
"""How far two categories of ``alpha`` are apart: they differ; by ranks; by places."""


def kappa(sums_K: Array, *, quadratic: bool = False) -> Array:
    """Cohen's kappa of two raters: 1 is full agreement, 0 agreement by chance.

    Args:
        sums_K: ``(..., C * C)`` counts of (first rater's category, second rater's category).
        quadratic: Whether a disagreement weighs the square of its distance.

    Returns:
        ``(..., 1)``; NaN without counts, or if both raters always give the same category.
    """
    size = math.isqrt(sums_K.shape[-1])
    place_C = np.arange(size)
    apart_CC = (place_C[:, None] - place_C) ** 2.0 if quadratic else 1 - np.eye(size)
    with np.errstate(invalid="ignore", divide="ignore"):
        table = sums_K.reshape(*sums_K.shape[:-1], size, size) / sums_K.sum(-1)[..., None, None]
        seen = (table * apart_CC).sum((-2, -1))
        chance = (table.sum(-1)[..., :, None] * table.sum(-2)[..., None, :] * apart_CC).sum((-2, -1))
        return np.asarray(np.where(chance > 1e-12, 1 - seen / chance, np.nan))[..., None]


def coincidences(places: Sequence[int], size: int) -> Array:
    """One item's sums for ``alpha``: pairs of its ratings, so that each rating counts once; zeros for fewer than two.

    Args:
        places: The category of each rating, from 0 to *size* - 1; missing ratings are left out.
    """
    count_C = np.bincount(np.asarray(places, int), minlength=size).astype(float)
    pairs_CC = np.outer(count_C, count_C) - np.diag(count_C)
    return np.asarray(pairs_CC / max(1, len(places) - 1)).reshape(-1)


def alpha(sums_K: Array, metric: str = NOMINAL) -> Array:
    """Krippendorff's alpha (Hayes and Krippendorff 2007) of any number of raters, with missing ratings.

    Args:
        sums_K: ``(..., C * C)`` sums of ``coincidences``.
        metric: NOMINAL, ORDINAL or INTERVAL; for INTERVAL, neighbouring categories are equally far apart.

    Returns:
        ``(..., 1)``; NaN if all ratings are of one category.
    """
    size = math.isqrt(sums_K.shape[-1])
    table = sums_K.reshape(*sums_K.shape[:-1], size, size)
    count_C = table.sum(-1)
    if metric == NOMINAL:
        apart_CC = 1 - np.eye(size)
    else:
        place_C = np.cumsum(count_C, -1) - count_C / 2 if metric == ORDINAL else np.arange(float(size))
        apart_CC = (place_C[..., :, None] - place_C[..., None, :]) ** 2
    seen = (table * apart_CC).sum((-2, -1)) * (count_C.sum(-1) - 1)
    chance = (count_C[..., :, None] * count_C[..., None, :] * apart_CC).sum((-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(chance > 1e-12, 1 - seen / chance, np.nan))[..., None]


def spearman(x_G: Array, y_G: Array) -> Callable[[Array], Array]:
    """Spearman's rank correlation of weighted items: ``(..., G)`` weights to ``(..., 1)``; NaN if one is constant."""
    x_GG, y_GG = _before(x_G), _before(y_G)

    def statistic(weight_G: Array) -> Array:
        ranks = [weight_G @ before.T for before in (x_GG, y_GG)]
        total = weight_G.sum(-1, keepdims=True)
        x, y = (rank - (weight_G * rank).sum(-1, keepdims=True) / np.maximum(total, 1) for rank in ranks)
        both, one, other = ((weight_G * product).sum(-1) for product in (x * y, x * x, y * y))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(one * other > 1e-9, both / np.sqrt(one * other), np.nan))[..., None]

    return statistic


def auc(score_G: Array, positive_G: Array) -> Callable[[Array], Array]:
    """Probability that a positive item has a higher score than another, ties count half: as ``spearman``.

    NaN if there are only positive items, or none.
    """
    before_GG = _before(score_G)

    def statistic(weight_G: Array) -> Array:
        positive, negative = weight_G * positive_G, weight_G * (1 - positive_G)
        pairs = positive.sum(-1) * negative.sum(-1)
        won = (positive * (negative @ before_GG.T)).sum(-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(pairs > 0, won / pairs, np.nan))[..., None]

    return statistic


def _before(value_G: Array) -> Array:
    """Whether the second item is below the first: 1, 0, and 0.5 for a tie; G x G."""
    return np.asarray((value_G[:, None] > value_G) + 0.5 * (value_G[:, None] == value_G), float)
