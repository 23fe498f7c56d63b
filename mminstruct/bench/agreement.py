"""Agreement between two judges, or between a judge and the oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mminstruct.bench.coefficients import kappa
from mminstruct.bench.intervals import LEVEL, Estimate, bootstrap, estimate, rate
from mminstruct.bench.verdicts import Decision, Row, Rows, checked, decide, key, sums

_PLACE = {"a": 0, "b": 1, "tie": 2, "conflict": 2}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two judges over what both judged."""

    shared: int
    """Verdicts (question, pair, order) that both gave."""
    verdicts: Estimate
    """Share of them that are equal. If one judge is an oracle, this is the accuracy of the other."""
    decisions: Estimate
    """Share of questions with the same decision; a conflict counts as a tie here."""
    kappa: Estimate
    """Cohen's kappa of the decisions: 0 is agreement by chance, 1 is full agreement."""


def agreement(
    rows: Rows,
    others: Rows,
    *,
    cluster: str = "question_id",
    level: float = LEVEL,
    resamples: int = 2000,
    seed: int = 0,
) -> Agreement:
    """How far two judges agree, over the verdicts that both gave. An unparsed verdict agrees with nothing.

    Args:
        rows: One judge's verdicts, as for `decide`.
        others: The other judge's verdicts; they need no column *cluster*.
        cluster: As for `decide`.
        level: Confidence level of the intervals.
        resamples: Bootstrap resamples for kappa.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: as for `decide`.
    """
    theirs = {key(row): row for row in checked(others)}
    shared = [row for row in checked(rows, cluster) if key(row) in theirs]

    def alike(row: Row) -> tuple[float, float]:
        said = row["verdict"]
        return float(said != "unparsed" and said == theirs[key(row)]["verdict"]), 1.0

    second = {(d.question_id, d.a, d.b): d.outcome for d in decide([theirs[key(row)] for row in shared])}
    both = [
        (d, second[d.question_id, d.a, d.b])
        for d in decide(shared, cluster=cluster)
        if "undecided" not in (d.outcome, second[d.question_id, d.a, d.b])
    ]

    def cell(item: tuple[Decision, str]) -> tuple[float, ...]:
        return tuple(np.eye(9)[3 * _PLACE[item[0].outcome] + _PLACE[item[1]]])

    verdict_G2 = sums(shared, lambda row: str(row[cluster]), alike).reshape(-1, 2)
    table_GK = sums(both, lambda item: item[0].cluster, cell).reshape(-1, 9)
    value, low, high = bootstrap(kappa, table_GK, level, resamples=resamples, seed=seed)
    return Agreement(
        shared=len(shared),
        verdicts=rate(verdict_G2[:, 0], verdict_G2[:, 1], level),
        decisions=rate(table_GK[:, [0, 4, 8]].sum(1), table_GK.sum(1), level),
        kappa=estimate(value[0], low[0], high[0], len(both)),
    )
