"""Verdicts, and the decision that follows from all verdicts on one question.

A *verdict* is the result of one call of a judge: a question, two contestants, the order of their answers and the
winner. Rows hold ``question_id``, ``kind`` (of task), ``a`` and ``b`` (contestants, a before b), ``order`` (0: a was
shown first, 1: b) and ``verdict`` (one of ``VERDICTS``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

from mminstruct.bench.intervals import Array

VERDICTS = ("a", "b", "neither", "unparsed")
"""Contestant a is better, b is better, neither, or the reply could not be parsed; independent of the order."""
OUTCOMES = ("a", "b", "tie", "conflict", "undecided")

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = pa.Table | Sequence[Row]


T = TypeVar("T")
_COLUMNS = ("question_id", "kind", "a", "b", "order", "verdict")


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on one question and pair of contestants."""

    question_id: str
    kind: str
    cluster: str
    a: str
    b: str
    outcome: str
    """``a`` or ``b``: better in one order and not worse in the other (the paper's rule); ``tie``: neither in both;
    ``conflict``: the winner changed with the order; a tie in the paper and in the win rates here;
    ``undecided``: a verdict is missing or unparsed, so it is neither won, tied nor lost."""

    @property
    def score(self) -> float | None:
        """Score of contestant a: 1 won, 1/2 tied, 0 lost, None undecided."""
        return {"a": 1.0, "b": 0.0, "tie": 0.5, "conflict": 0.5, "undecided": None}[self.outcome]


def decide(rows: Rows, *, cluster: str = "question_id") -> list[Decision]:
    """One decision for each question and pair of contestants, sorted by question, a, b.

    Args:
        rows: Verdicts: ``question_id``, ``kind`` (of task), ``a`` and ``b`` (contestants, a before b), ``order`` (0:
            a was shown first, 1: b), ``verdict`` (one of ``VERDICTS``), and the column *cluster*. If all rows have the
            same order, the judge was asked once and its verdict is the decision.
        cluster: The column that identifies clusters of questions, for example the instruction.

    Raises:
        ValueError: a missing column, an unknown verdict or order, contestants out of order, or a duplicate verdict.
    """
    verdicts = checked(rows, cluster)
    orders = sorted({row["order"] for row in verdicts})
    found: dict[tuple[str, str, str], dict[int, Row]] = {}
    for row in verdicts:
        found.setdefault((row["question_id"], row["a"], row["b"]), {})[row["order"]] = row
    decisions = []
    for (question, a, b), by_order in sorted(found.items()):
        any_row = next(iter(by_order.values()))
        said = [by_order[order]["verdict"] if order in by_order else "unparsed" for order in orders]
        decisions.append(Decision(question, any_row["kind"], str(any_row[cluster]), a, b, _outcome(said)))
    return decisions


def _outcome(said: list[str]) -> str:
    if "unparsed" in said:
        return "undecided"
    winners = set(said) - {"neither"}
    if not winners:
        return "tie"
    return winners.pop() if len(winners) == 1 else "conflict"


def checked(rows: Rows, *more: str) -> list[Row]:
    """*rows* as a list, after checking that each is a valid verdict and has the columns *more*.

    Raises:
        ValueError: as for `decide`.
    """
    found: list[Row] = rows.to_pylist() if isinstance(rows, pa.Table) else list(rows)
    seen = set()
    for row in found:
        missing = [column for column in (*_COLUMNS, *more) if column not in row]
        if missing:
            raise ValueError(f"a verdict has no column {missing[0]}; it has {', '.join(row)}")
        where = f"question {row['question_id']}, {row['a']} and {row['b']}"
        if row["verdict"] not in VERDICTS:
            raise ValueError(f"{where}: verdict {row['verdict']!r} is not one of {', '.join(VERDICTS)}")
        if row["order"] not in (0, 1):
            raise ValueError(f"{where}: order {row['order']!r} is neither 0 (a shown first) nor 1 (b shown first)")
        if not row["a"] < row["b"]:
            raise ValueError(f"{where}: contestants must be in alphabetical order, a before b")
        if key(row) in seen:
            raise ValueError(f"{where}, order {row['order']}: two verdicts; give each judge's verdicts separately")
        seen.add(key(row))
    return found


def key(row: Row) -> tuple[Any, ...]:
    """Key of a verdict: question, contestants, order."""
    return row["question_id"], row["a"], row["b"], row["order"]


def grouped(items: Sequence[T], by: Callable[[T], Any]) -> dict[Any, list[T]]:
    """*items* grouped by *by*; groups are in order of first appearance."""
    groups: dict[Any, list[T]] = {}
    for item in items:
        groups.setdefault(by(item), []).append(item)
    return groups


def sums(items: Sequence[T], cluster: Callable[[T], str], values: Callable[[T], tuple[float, ...]]) -> Array:
    """Sums of *values* over each cluster's items, G x K; clusters are sorted by name."""
    groups = grouped(items, cluster)
    return np.array([np.sum([values(item) for item in groups[name]], axis=0, dtype=float) for name in sorted(groups)])
