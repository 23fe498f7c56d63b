"""Every question and answer as it will be exported. Later stages read texts only from this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.stage import Stage, StageOutput, Transform, output, part, whole

KIND = "instruction"
"""``kind`` of a question that comes from an instruction bank."""


@dataclass(kw_only=True)
class Review(Stage):
    """Joins the pairs that passed the filter with their texts and the human decisions.

    A recipe that has all texts in one table reads it as ``answer``, with all columns of the turn, and removes
    ``summarize``. Otherwise the question is the instruction of the bank.
    """

    reads = {
        "filter": part("pair_id"),
        "answer": part("pair_id", "image_id", "instruction_id", "answer"),
        "decide": whole("pair_id"),
        "summarize": whole("instruction_id", "instruction"),
    }
    writes = schemas.REVIEW
    row_key = "pair_id"
    core_seconds = 0.001  # assumed: joins columns

    def check(self) -> None:
        texts = self.reads["answer"]
        if "summarize" not in self.reads and "question" not in {texts.names.get(name, name) for name in texts.columns}:
            raise ValueError(f"{texts.of or 'answer'} has no column `question` to read, and there is no bank")

    def load(self, *, decide: ds.Dataset, summarize: ds.Dataset | None = None) -> Transform:
        if decide.count_rows():
            raise ValueError("table decide has rows: this version cannot apply decisions")
        names = ["instruction_id", "instruction"]
        bank = [] if summarize is None else summarize.to_table(columns=names).to_pylist()
        questions = {row["instruction_id"]: row["instruction"] for row in bank}

        def review(filter: pa.Table, answer: pa.Table) -> StageOutput:
            texts = {row["pair_id"]: row for row in answer.to_pylist()}
            passed = (texts[pair] for pair in filter["pair_id"].to_pylist())
            return output(self.writes, (_turn(row, questions) for row in passed))

        return review


def _turn(row: dict[str, Any], questions: dict[str, str]) -> dict[str, Any]:
    from_bank = {} if "question" in row else {"question": questions[row["instruction_id"]]}
    return {
        "kind": KIND, "domain": "", "origin": "answer", **from_bank, **row, "answer": row["answer"].strip(),
        "decision": "unseen", "people": 0,
    }  # fmt: skip
