"""Confidence intervals for clustered observations: Wilson's for rates, Student's for means, bootstrap for the rest.

Suffixes of array names are axes: G clusters, K sums, B resamples. The methods were chosen by the coverage measured
with ``benchmarks/coverage.py``; docs/bench.md has the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]
LEVEL = 0.95
_BLOCK = 4_000_000
"""Bootstrap weights in memory at once: 32 MB."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its confidence interval: all None without observations, no interval with only one cluster."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Number of observations."""

    def scaled(self, factor: float, shift: float) -> Estimate:
        """*factor* (positive) times this estimate, plus *shift*."""
        value, low, high = (None if x is None else factor * x + shift for x in (self.value, self.low, self.high))
        return Estimate(value, low, high, self.n)


def t_quantile(clusters: int, level: float = LEVEL) -> float:
    """Two-sided Student quantile with ``clusters - 1`` degrees of freedom."""
    return float(special.stdtrit(clusters - 1, 0.5 + level / 2))


def spread(top_G: Array, bottom_G: Array) -> float:
    """Linearised (sandwich) standard error of ``sum(top) / sum(bottom)`` over clusters."""
    clusters, whole = len(top_G), bottom_G.sum()
    residual_G = top_G - top_G.sum() / whole * bottom_G
    return float(np.sqrt(clusters / (clusters - 1) * (residual_G**2).sum()) / whole)


def rate(top_G: Array, bottom_G: Array, level: float = LEVEL) -> Estimate:
    """A share between 0 and 1 of observations in clusters: ``sum(top) / sum(bottom)``.

    Wilson's interval with a Student quantile and an effective sample size from the cluster-robust error,
    ``value (1 - value) / error ** 2``. It is larger than the number of observations if many are ties, and smaller if
    those in a cluster are correlated. Thirty wins of thirty, or thirty ties, have an error of 0 although the rate is
    uncertain; the effective size is then computed with one added cluster won and one lost.

    Args:
        top_G: Sum of each cluster's observations, each between 0 and 1.
        bottom_G: Number of observations in each cluster; empty clusters are ignored.
        level: Confidence level.
    """
    there = bottom_G > 0
    top_G, bottom_G = top_G[there], bottom_G[there]
    n, clusters = int(bottom_G.sum()), len(top_G)
    if not n:
        return Estimate(None, None, None, 0)
    value = float(top_G.sum() / n)
    if clusters < 2:
        return Estimate(value, None, None, n)
    error, t = spread(top_G, bottom_G), t_quantile(clusters, level)
    like = value
    if error < 1e-9:
        size = bottom_G.mean()
        more_G, all_G = np.append(top_G, [size, 0.0]), np.append(bottom_G, [size, size])
        like, error = float(more_G.sum() / all_G.sum()), spread(more_G, all_G)
    effective = like * (1 - like) / error**2
    middle = (value + t**2 / (2 * effective)) / (1 + t**2 / effective)
    half = t / (1 + t**2 / effective) * math.sqrt(value * (1 - value) / effective + (t / (2 * effective)) ** 2)
    return Estimate(value, max(0.0, middle - half), min(1.0, middle + half), n)


def difference(up_G: Array, down_G: Array, bottom_G: Array, level: float = LEVEL) -> Estimate:
    """``sum(up) / sum(bottom) - sum(down) / sum(bottom)``: how much more observations went up than down, -1 to 1.

    The two shares' distances from the ends of their ``rate`` intervals are combined like standard errors, with the
    shares' correlation over clusters (Newcombe 1998; Zou and Donner 2008). Student's interval is too narrow if few
    observations changed, and empty if none did.

    Args:
        up_G: Sum of each cluster's observations above 0, each at most 1.
        down_G: Sum of the absolute values of those below 0.
        bottom_G: Number of observations in each cluster, those that are 0 included; empty clusters are ignored.
        level: Confidence level.
    """
    there = bottom_G > 0
    top_2G, bottom_G = np.array([up_G, down_G])[:, there], bottom_G[there]
    up, down = (rate(top_G, bottom_G, level) for top_G in top_2G)
    if up.value is None or down.value is None:
        return up
    value = up.value - down.value
    if up.low is None or up.high is None or down.low is None or down.high is None:
        return Estimate(value, None, None, up.n)
    residual_2G = top_2G - np.outer([up.value, down.value], bottom_G)
    length_2 = np.sqrt((residual_2G**2).sum(1))
    shared, varies_2 = 0.0, length_2 > 1e-9
    if varies_2.all():
        shared = float(residual_2G[0] @ residual_2G[1] / length_2.prod())
    # a share that is 0 in all clusters has no error that could be added to the other's
    one, two = (1.0, 1.0) if varies_2.all() or not varies_2.any() else varies_2.astype(float)

    def half(first: float, second: float) -> float:
        first, second = one * first, two * second
        return math.sqrt(max(0.0, first**2 + second**2 - 2 * shared * first * second))

    low = value - half(up.value - up.low, down.high - down.value)
    high = value + half(up.high - up.value, down.value - down.low)
    return Estimate(value, max(-1.0, low), min(1.0, high), up.n)


def mean(top_G: Array, bottom_G: Array, level: float = LEVEL) -> Estimate:
    """A mean of unbounded observations in clusters, with a cluster-robust Student interval."""
    there = bottom_G > 0
    top_G, bottom_G = top_G[there], bottom_G[there]
    n = int(bottom_G.sum())
    if not n:
        return Estimate(None, None, None, 0)
    value = float(top_G.sum() / n)
    if len(top_G) < 2:
        return Estimate(value, None, None, n)
    half = t_quantile(len(top_G), level) * spread(top_G, bottom_G)
    return Estimate(value, value - half, value + half, n)


def resampled(sums_GK: Array, resamples: int, seed: int) -> Array:
    """Sums over G clusters drawn with replacement, *resamples* times: B x K. Equal seeds give equal sums."""
    generator = np.random.default_rng(seed)
    clusters = len(sums_GK)
    share = np.full(clusters, 1 / clusters)
    return np.concatenate([generator.multinomial(clusters, share, b) @ sums_GK for b in _blocks(resamples, clusters)])


def _blocks(resamples: int, clusters: int) -> Iterator[int]:
    most = max(1, _BLOCK // clusters)
    for first in range(0, resamples, most):
        yield min(most, resamples - first)


def bootstrap(
    statistic: Callable[[Array], Array], sums_GK: Array, level: float = LEVEL, *, resamples: int = 2000, seed: int = 0
) -> tuple[Array, Array, Array]:
    """Value, low and high of a statistic of cluster sums, by the expanded percentile bootstrap.

    The percentile interval is too narrow, by about ``sqrt((G-1)/G)`` and because it implies a normal instead of a
    Student quantile. Hesterberg (2015) corrects both with more extreme quantiles. Resamples without a value are
    ignored.

    Args:
        statistic: Maps ``(..., K)`` sums to ``(..., P)`` values; NaN means no value.
        sums_GK: Each cluster's sums.
        level: Confidence level.
        resamples: At least a few hundred.
        seed: Seed of the bootstrap.

    Returns:
        Three arrays of length P; low and high are NaN with fewer than two clusters.
    """
    value_P = statistic(sums_GK.sum(0))
    clusters = len(sums_GK)
    if clusters < 2:
        return value_P, np.full_like(value_P, np.nan), np.full_like(value_P, np.nan)
    values_BP = statistic(resampled(sums_GK, resamples, seed))
    outer = float(special.ndtr(-np.sqrt(clusters / (clusters - 1)) * t_quantile(clusters, level)))
    low_P, high_P = np.full_like(value_P, np.nan), np.full_like(value_P, np.nan)
    for p in np.flatnonzero(np.isfinite(values_BP).any(0)):
        found_B = values_BP[np.isfinite(values_BP[:, p]), p]
        low_P[p], high_P[p] = np.quantile(found_B, [outer, 1 - outer])
    return value_P, low_P, high_P


def estimate(value: float, low: float, high: float, n: int) -> Estimate:
    """An ``Estimate`` with None in place of NaN."""
    first, second, third = (float(x) if np.isfinite(x) else None for x in (value, low, high))
    return Estimate(first, second, third, n)
