"""What ratings of people say about matches and instructions: against what was mixed in blind, and against CLIP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mminstruct.bench.coefficients import auc, spearman
from mminstruct.bench.intervals import Array, Estimate, bootstrap, estimate, mean
from mminstruct.bench.kinds import KINDS, kind_of
from mminstruct.reviewing.lines import Row
from mminstruct.reviewing.rows import Item, column
from mminstruct.store.reader import RunReader

GOOD = 4
"""The lowest mean rating of a pair that fits."""
_WORST = 10


@dataclass(frozen=True, slots=True)
class Axis:
    """Mean ratings on one axis, 1 to 5."""

    axis: str
    means: dict[str, Estimate]
    """By origin: run; random; seed, vqa."""
    differences: dict[str, Estimate]
    """The run's mean minus that of each other origin."""
    kinds: dict[str, Estimate]
    """Means of the run's rows by kind of task, as the wording tells it (``bench.kinds``)."""


@dataclass(frozen=True, slots=True)
class Worst:
    """A matched pair with a low rating."""

    id: str
    rating: float
    similarity: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings of one kind of sheet; each interval is of 95 % over rows."""

    axes: list[Axis]
    rho: Estimate | None = None
    """Of matches: Spearman's correlation of CLIP similarity and mean rating."""
    auc: Estimate | None = None
    """Of matches: probability that a pair with a mean rating of ``GOOD`` or more has the higher similarity."""
    worst: list[Worst] = field(default_factory=list)


def measured(
    run: RunReader, what: str, by_axis: Mapping[str | None, Sequence[Sequence[Row]]], origins: Mapping[str, str],
    items: Mapping[str, Item], resamples: int,
) -> Ratings:  # fmt: skip
    """Ratings of the rows of a sheet, by axis.

    Args:
        by_axis: The votes on each row.
        origins: Origin of each id.
        items: Texts of the run's rows.
    """
    axes, rated = [], dict[str, tuple[float, int]]()
    for axis, ballots in by_axis.items():
        sums = {some[0]["id"]: (sum(row["rating"] for row in some), len(some)) for some in ballots if some}
        axes.append(_axis(str(axis), dict(sorted(sums.items())), origins, items, resamples))
        rated = {id_: one for id_, one in sums.items() if origins[id_] == "run"}
    if what != "match":
        return Ratings(axes)
    similar = column(run, what, "similarity", sorted(rated))
    ids = sorted(id_ for id_ in rated if similar.get(id_) is not None)
    x_G = np.array([similar[id_] for id_ in ids], float)
    y_G = np.array([rated[id_][0] / rated[id_][1] for id_ in ids])
    low = sorted(rated, key=lambda id_: (rated[id_][0] / rated[id_][1], -(similar.get(id_) or 0.0), id_))
    return Ratings(
        axes,
        rho=_weighted(spearman(x_G, y_G), len(ids), resamples),
        auc=_weighted(auc(x_G, (y_G >= GOOD).astype(float)), len(ids), resamples),
        worst=[
            Worst(id_, rated[id_][0] / rated[id_][1], similar.get(id_), items[id_].question if id_ in items else "")
            for id_ in low[:_WORST]
            if rated[id_][0] / rated[id_][1] < GOOD
        ],
    )


def _axis(
    axis: str, sums: Mapping[str, tuple[float, int]], origins: Mapping[str, str], items: Mapping[str, Item],
    resamples: int,
) -> Axis:  # fmt: skip
    by_origin: dict[str, list[tuple[float, int]]] = {"run": []}
    by_kind: dict[str, list[tuple[float, int]]] = {}
    for id_, one in sums.items():
        by_origin.setdefault(origins[id_], []).append(one)
        if id_ in items:
            by_kind.setdefault(kind_of(items[id_].question, KINDS), []).append(one)
    others = sorted(by_origin.keys() - {"run"})
    return Axis(
        axis, {name: _mean(by_origin[name]) for name in ("run", *others)},
        {name: _difference(by_origin["run"], by_origin[name], resamples) for name in others},
        {kind: _mean(some) for kind, some in sorted(by_kind.items())},
    )  # fmt: skip


def _mean(sums: Sequence[tuple[float, int]]) -> Estimate:
    sums_G2 = np.array(sums, float).reshape(-1, 2)
    return mean(sums_G2[:, 0], sums_G2[:, 1])


def _difference(ours: Sequence[tuple[float, int]], others: Sequence[tuple[float, int]], resamples: int) -> Estimate:
    """Difference of two means, by the bootstrap over the rows of both."""
    if not ours or not others:
        return Estimate(None, None, None, 0)
    rows = [[*one, 0, 0] for one in ours] + [[0, 0, *one] for one in others]

    def statistic(sums_K: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums_K[..., 0] / sums_K[..., 1] - sums_K[..., 2] / sums_K[..., 3])[..., None]

    value, low, high = bootstrap(statistic, np.array(rows, float), resamples=resamples)
    return estimate(value[0], low[0], high[0], len(rows))


def _weighted(statistic: Callable[[Array], Array], rows: int, resamples: int) -> Estimate:
    """A rank statistic, by the bootstrap over rows."""
    if not rows:
        return Estimate(None, None, None, 0)
    value, low, high = bootstrap(statistic, np.eye(rows), resamples=resamples)
    return estimate(value[0], low[0], high[0], rows)
