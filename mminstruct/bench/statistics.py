"""Statistics of a benchmark's verdicts: win rates, judge biases, ranking and agreement, with confidence intervals.

Pure functions from rows to numbers. The sampling unit of all intervals is the question (or the instruction:
``cluster``), because verdicts on one question are not independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mminstruct.bench.agreement import Agreement, agreement
from mminstruct.bench.bias import Length, Position, length, position
from mminstruct.bench.intervals import LEVEL, Array, Estimate, mean, rate, spread
from mminstruct.bench.power import detectable
from mminstruct.bench.ranking import Rank, ranking
from mminstruct.bench.verdicts import Decision, Row, Rows, checked, decide, grouped, sums


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two contestants over a set of questions, seen from a. ``win + tie + lose + undecided == questions``."""

    a: str
    b: str
    questions: int
    win: int
    tie: int
    lose: int
    conflict: int
    """Ties in which the winner changed with the order."""
    undecided: int
    win_rate: Estimate
    """(win + tie / 2) / (win + tie + lose)."""
    win_rate_decisive: Estimate
    """win / (win + lose): the paper's win rate, without ties."""
    detectable: float | None
    """Smallest distance of the win rate from 1/2 that these questions, with their ties and clusters, detect with power
    0.8 at the level of the intervals."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A comparison over all questions, and over the questions of each kind."""

    all: Comparison
    kinds: dict[str, Comparison]


@dataclass(frozen=True, slots=True)
class Summary:
    """All statistics of one judge's verdicts; ``dataclasses.asdict`` turns it into JSON."""

    level: float
    cluster: str
    """The column that identifies clusters."""
    clusters: int
    questions: int
    verdicts: int
    unparsed: int
    pairs: list[Pair]
    ranking: list[Rank]
    """Empty with fewer than two contestants, or if comparisons do not connect them."""
    position: Position
    length: Length | None
    """None if the rows have no ``length_a`` and ``length_b``."""
    truth: Agreement | None
    """Agreement with the oracle; None without an oracle."""


@dataclass(frozen=True, slots=True)
class Score:
    """One contestant's grades by a rubric."""

    contestant: str
    mean: Estimate
    kinds: dict[str, Estimate]
    difference: Estimate | None
    """Mean difference to the first contestant, over the questions that both have; None for the first."""
    unparsed: int


def summarize(
    rows: Rows,
    truth: Rows | None = None,
    *,
    cluster: str = "question_id",
    level: float = LEVEL,
    resamples: int = 2000,
    seed: int = 0,
) -> Summary:
    """All statistics of one judge's verdicts; zeros for no rows.

    Args:
        rows: As for `decide`; ``length_a`` and ``length_b`` (lengths of the answers, in any unit) add length bias.
        truth: An oracle's verdicts on the same questions, in the same form.
        cluster: As for `decide`.
        level: Confidence level of every interval.
        resamples: Bootstrap resamples for ranking and kappa.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: as for `decide`.
    """
    verdicts = checked(rows, cluster)
    decisions = decide(verdicts, cluster=cluster)
    pairs = []
    for (a, b), some in grouped(decisions, lambda d: (d.a, d.b)).items():
        kinds = grouped(some, lambda d: d.kind)
        by_kind = {kind: compare(a, b, those, level=level) for kind, those in sorted(kinds.items())}
        pairs.append(Pair(compare(a, b, some, level=level), by_kind))
    measured = bool(verdicts) and "length_a" in verdicts[0] and "length_b" in verdicts[0]
    oracle = None if truth is None else checked(truth)
    return Summary(
        level=level,
        cluster=cluster,
        clusters=len({d.cluster for d in decisions}),
        questions=len({d.question_id for d in decisions}),
        verdicts=len(verdicts),
        unparsed=sum(row["verdict"] == "unparsed" for row in verdicts),
        pairs=pairs,
        ranking=_ranking(decisions, level, resamples, seed),
        position=position(verdicts, cluster, level),
        length=length(verdicts, cluster, level, oracle) if measured else None,
        truth=None if oracle is None
        else agreement(verdicts, oracle, cluster=cluster, level=level, resamples=resamples, seed=seed),
    )  # fmt: skip


def compare(a: str, b: str, decisions: Sequence[Decision], *, level: float = LEVEL) -> Comparison:
    """Contestant *a* against *b* over *decisions* on this pair."""
    count = Counter(d.outcome for d in decisions)
    won_G, decisive_G, scored_G = _won(decisions).T
    score_G = won_G + (scored_G - decisive_G) / 2
    there = scored_G > 0
    error = spread(score_G[there], scored_G[there]) if there.sum() > 1 else 0.0
    return Comparison(
        a=a, b=b, questions=len(decisions), win=count["a"], tie=count["tie"] + count["conflict"], lose=count["b"],
        conflict=count["conflict"], undecided=count["undecided"],
        win_rate=rate(score_G, scored_G, level), win_rate_decisive=rate(won_G, decisive_G, level),
        detectable=detectable(error, int(there.sum()), level=level) if error > 0 else None,
    )  # fmt: skip


def _won(decisions: Sequence[Decision]) -> Array:
    """Counts of questions won by a, decisive and decided, per cluster: G x 3."""
    return sums(
        decisions,
        lambda d: d.cluster,
        lambda d: (d.outcome == "a", d.outcome in ("a", "b"), d.outcome != "undecided"),
    ).reshape(-1, 3)


def _ranking(decisions: Sequence[Decision], level: float, resamples: int, seed: int) -> list[Rank]:
    names = sorted({name for d in decisions for name in (d.a, d.b)})
    place = {name: m for m, name in enumerate(names)}
    groups = grouped([d for d in decisions if d.score is not None], lambda d: d.cluster)
    wins_GMM = np.zeros((len(groups), len(names), len(names)))
    for g, cluster in enumerate(sorted(groups)):
        for d in groups[cluster]:
            assert d.score is not None
            wins_GMM[g, place[d.a], place[d.b]] += d.score
            wins_GMM[g, place[d.b], place[d.a]] += 1 - d.score
    return ranking(names, wins_GMM, level, resamples=resamples, seed=seed)


def scores(rows: Rows, *, cluster: str = "question_id", level: float = LEVEL) -> list[Score]:
    """Mean grades by a rubric, and each contestant's paired difference to the first.

    Args:
        rows: ``question_id``, ``kind``, ``contestant``, ``score`` (a number, or None if it could not be parsed) and
            the column *cluster*. The contestant of the first row is the first one.
        cluster: As for `decide`.
        level: Confidence level of the intervals.
    """
    graded = rows.to_pylist() if isinstance(rows, pa.Table) else list(rows)
    by_name = grouped(graded, lambda row: row["contestant"])
    first = {row["question_id"]: row["score"] for row in next(iter(by_name.values()), [])}
    found: list[Score] = []
    for name, mine in by_name.items():
        have = [row for row in mine if row["score"] is not None]
        paired = [row for row in have if first.get(row["question_id"]) is not None]
        difference = [{**row, "score": row["score"] - first[row["question_id"]]} for row in paired]
        found.append(
            Score(
                contestant=name,
                mean=_mean(have, cluster, level),
                kinds={k: _mean(those, cluster, level) for k, those in grouped(have, lambda row: row["kind"]).items()},
                difference=_mean(difference, cluster, level) if found else None,
                unparsed=len(mine) - len(have),
            )
        )
    return found


def _mean(rows: Sequence[Row], cluster: str, level: float) -> Estimate:
    total = sums(rows, lambda row: str(row[cluster]), lambda row: (row["score"], 1.0)).reshape(-1, 2)
    return mean(total[:, 0], total[:, 1], level)
