"""Turns the verdicts on each question into a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.bench.verdicts import decide
from mminstruct.stage import Stage, StageOutput, Transform, output, whole

CLUSTERS = ("question_id", "instruction_id")


@dataclass(kw_only=True)
class Score(Stage):
    """One decision for each judge, question and pair of contestants, by the paper's rule: a contestant wins if it is
    better in one order and not worse in the other. ``bench.result`` computes rates and intervals from the tables.
    """

    cluster: str = "question_id"
    """Sampling unit of the confidence intervals: question_id, or instruction_id if questions share instructions and the
    claim is about new instructions."""
    level: float = 0.95
    """Confidence level of every interval."""
    truth: str | None = None
    """Judge whose verdicts count as true, to measure the accuracy of the others: the oracle, or people."""

    reads = {
        "judge": whole("question_id", "judge", "a", "b", "order", "verdict", "grade"),
        "pick": whole("question_id", "kind"),
    }
    writes = schemas.SCORE
    row_key = "question_id"
    core_seconds = 0.00002  # measured: 10,000 verdicts on 5,000 questions

    def check(self) -> None:
        if self.cluster not in CLUSTERS:
            raise ValueError(f"cluster={self.cluster}: take {' or '.join(CLUSTERS)}")
        if not 0.5 <= self.level < 1:
            raise ValueError(f"level={self.level}: take 0.5 or more, and less than 1")

    def load(self, *, judge: ds.Dataset, pick: ds.Dataset) -> Transform:
        def score() -> StageOutput:
            asked = pick.to_table(columns=["question_id", "kind"]).to_pylist()
            kinds = {row["question_id"]: row["kind"] for row in asked}
            by_judge: dict[str, list[dict[str, Any]]] = {}
            for row in judge.to_table(columns=list(self.reads["judge"].columns)).to_pylist():
                by_judge.setdefault(row["judge"], []).append(row | {"kind": kinds[row["question_id"]]})
            if self.truth is not None and by_judge and self.truth not in by_judge:
                raise ValueError(f"score.truth={self.truth}: no such judge; there is {', '.join(sorted(by_judge))}")
            rows: list[dict[str, Any]] = []
            for name, said in sorted(by_judge.items()):
                for one in decide([row for row in said if row["b"] is not None]):
                    facts = {"question_id": one.question_id, "kind": one.kind, "judge": name, "a": one.a, "b": one.b}
                    rows.append(facts | {"outcome": one.outcome, "score": one.score})
                for row in said:
                    if row["b"] is None:
                        facts = {"question_id": row["question_id"], "kind": row["kind"], "judge": name, "a": row["a"]}
                        outcome = "undecided" if row["grade"] is None else "graded"
                        rows.append(facts | {"outcome": outcome, "score": row["grade"]})
            rows.sort(key=lambda row: (row["judge"], row["question_id"], row["a"], row.get("b") or ""))
            return output(self.writes, rows)

        return score
