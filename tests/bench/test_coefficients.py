from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from mminstruct.bench.coefficients import INTERVAL, NOMINAL, ORDINAL, alpha, auc, coincidences, kappa, spearman
from mminstruct.bench.intervals import Array, bootstrap, estimate

PUBLISHED = ("1 2 3 3 2 1 4 1 2 * * *", "1 2 3 3 2 2 4 1 2 5 * 3", "* 3 3 3 2 3 4 2 2 5 1 *", "1 2 3 3 2 4 4 1 2 5 1 *")
"""Four observers, 12 units, missing ratings: section C of Krippendorff, Computing Krippendorff's Alpha-Reliability."""


def items(rows: list[list[int | None]], size: int) -> Array:
    """Sums of each item from ratings by rater and item."""
    return np.array([coincidences([one for one in item if one is not None], size) for item in zip(*rows, strict=True)])


@pytest.mark.parametrize(("metric", "value"), [(NOMINAL, 0.743), (ORDINAL, 0.815), (INTERVAL, 0.849)])
def test_alpha_is_that_of_krippendorffs_published_data(metric: str, value: float) -> None:
    rows = [[None if cell == "*" else int(cell) - 1 for cell in line.split()] for line in PUBLISHED]
    assert alpha(items(rows, 5).sum(0), metric)[0] == pytest.approx(value, abs=0.0005)


def test_kappa_is_scikit_learns_on_a_thousand_tables() -> None:
    draw = np.random.default_rng(7)
    for _ in range(1000):
        size, n = int(draw.integers(2, 6)), int(draw.integers(2, 60))
        first, second = draw.integers(0, size, (2, n))
        table = np.zeros((size, size))
        np.add.at(table, (first, second), 1)
        for quadratic in (False, True):
            theirs = cohen_kappa_score(first, second, labels=range(size), weights="quadratic" if quadratic else None) \
                if len({*first, *second}) > 1 else np.nan  # fmt: skip
            assert kappa(table.reshape(-1), quadratic=quadratic)[0] == pytest.approx(theirs, nan_ok=True)


RATINGS = st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(RATINGS)
def test_alpha_is_its_definition_pair_by_pair(ratings: list[list[int]]) -> None:
    """1 - observed / expected disagreement over all pairs of ratings, within items and between all of them."""
    kept = [item for item in ratings if len(item) > 1]
    every = [one for item in kept for one in item]
    counts = np.bincount(every or [0], minlength=5)
    apart = {
        NOMINAL: lambda c, k: float(c != k),
        INTERVAL: lambda c, k: float((c - k) ** 2),
        ORDINAL: lambda c, k: (counts[min(c, k) : max(c, k) + 1].sum() - (counts[c] + counts[k]) / 2) ** 2,
    }
    sums = sum((coincidences(item, 5) for item in ratings), np.zeros(25))
    for metric, far in apart.items():
        seen = sum(far(c, k) / (len(item) - 1) for item in kept for c in item for k in item)
        chance = sum(far(c, k) for c in every for k in every) / max(1, len(every) - 1)
        expected = 1 - seen / chance if chance else np.nan
        assert alpha(sums, metric)[0] == pytest.approx(expected, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(0, 3)), min_size=3, max_size=20))
def test_rank_statistics_are_those_of_items_repeated_by_weight(rows: list[tuple[int, int, int]]) -> None:
    x, y, weight = (np.array(column, float) for column in zip(*rows, strict=True))
    long_x, long_y = (np.repeat(values, weight.astype(int)) for values in (x, y))
    if len({*long_x}) > 1 and len({*long_y}) > 1:
        assert spearman(x, y)(weight)[0] == pytest.approx(stats.spearmanr(long_x, long_y).statistic, abs=1e-9)
    else:
        assert np.isnan(spearman(x, y)(weight)[0])
    if 0 < (long_y >= 4).sum() < len(long_y):
        assert auc(x, y >= 4)(weight)[0] == pytest.approx(roc_auc_score(long_y >= 4, long_x))
    else:
        assert np.isnan(auc(x, y >= 4)(weight)[0])


def test_the_95_percent_interval_of_alpha_holds_the_planted_value_in_about_95_of_100_worlds() -> None:
    """Two raters of one truth, wrong in 10 % and 20 %; of the rows, 70 % are right, and errors are independent."""
    chance, wrong, size = 0.7, (0.1, 0.2), 150
    planted = np.zeros((2, 2))
    for truth, share in ((0, chance), (1, 1 - chance)):
        said = [np.roll([1 - error, error], truth) for error in wrong]
        planted += share * (np.outer(*said) + np.outer(*said).T) / 2
    value = alpha(planted.reshape(-1) * 1e9)[0]  # of infinitely many items
    draw, hits = np.random.default_rng(1), 0
    for _ in range(100):
        truth = draw.random(size) > chance
        rows = [truth ^ (draw.random(size) < error) for error in wrong]
        found = bootstrap(alpha, items([list(map(int, row)) for row in rows], 2), resamples=500)
        one = estimate(*(part[0] for part in found), size)
        hits += one.low <= value <= one.high
    assert 90 <= hits <= 99, hits
