"""One number of a report, with its confidence interval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mminstruct.bench.intervals import rate


@dataclass(frozen=True, slots=True)
class Measure:
    """A share of what was counted."""

    stage: str
    name: str
    value: float
    """0 to 1."""
    low: float | None
    high: float | None
    """Ends of the 95 % confidence interval; None for distinct kinds, and where a single cluster was counted."""
    n: int
    """Denominator: statements, images, pairs or clusters."""
    aim: float | None = None
    """Least value wanted; None where there is no aim."""

    @property
    def met(self) -> bool | None:
        return None if self.aim is None else self.value >= self.aim

    @property
    def interval(self) -> str:
        """``0.912 to 0.934``; empty where there is none."""
        return "" if self.low is None or self.high is None else f"{self.low:.3f} to {self.high:.3f}"


def share(stage: str, name: str, counts: Iterable[tuple[float, float]], aim: float | None = None) -> list[Measure]:
    """Sum of parts over sum of wholes, with the cluster-robust Wilson interval of ``bench.intervals``.

    Args:
        stage: Section of the report.
        name: Of the measure.
        counts: (part, whole) of each cluster, usually an image: statements about one image are not independent.
            0 <= part <= whole.
        aim: Least value wanted.

    Returns:
        One measure, or none where the wholes are all 0.
    """
    counts_G2 = np.array(list(counts), np.float64).reshape(-1, 2)
    found = rate(counts_G2[:, 0], counts_G2[:, 1])
    return [] if found.value is None else [Measure(stage, name, found.value, found.low, found.high, found.n, aim)]


def coverage(stage: str, name: str, found: set[str], possible: set[str], aim: float | None = None) -> list[Measure]:
    """Share of *possible* that was *found*; no measure where nothing is possible."""
    if not possible:
        return []
    return [Measure(stage, name, len(found & possible) / len(possible), None, None, len(possible), aim)]
