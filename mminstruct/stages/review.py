"""Every question and answer as it will be exported. Later stages read texts only from this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.reviewing.lines import VOTED, mislettered, unsound
from mminstruct.reviewing.shown import shown
from mminstruct.reviewing.votes import DISPUTED, verdict, votes
from mminstruct.stage import Drop, Stage, StageOutput, Transform, output, part, whole
from mminstruct.unit import note

KIND = "instruction"
"""``kind`` of a question that comes from an instruction bank."""
_VOTES = (
    "decision_id", "pair_id", "sheet", "place", "person", "rank", "decision", "rating", "reason", "question",
    "answer", "choices", "right", "at", "shown",
)  # fmt: skip


@dataclass(kw_only=True)
class Review(Stage):
    """Joins the pairs that passed the filter with their texts and the human decisions.

    A decision counts only while the question and answer are those that the person saw; an edit changes texts, never
    ids. The rule is ``reviewing.votes.verdict``. Notes count the decisions of people: ``votes``, those that are none
    (``reviewing.votes.votes``), ``edit_unsound`` (the edit does not fit the row), and ``other_run`` (no such pair
    passed the filter of this run).

    A recipe that has all texts in one table reads it as ``answer``, with all columns of the turn, and removes
    ``summarize``. Otherwise the question is the instruction of the bank.
    """

    disputed: str = "drop"
    """A pair that people disagree on: ``drop``; ``keep`` it as it is, marked; or let the ``first`` decision count."""
    require: bool = False
    """Whether to drop pairs that nobody decided on."""

    reads = {
        "filter": part("pair_id"),
        "answer": part("pair_id", "image_id", "instruction_id", "answer"),
        "decide": whole(*_VOTES),
        "summarize": whole("instruction_id", "instruction"),
        "passed": whole("pair_id", of="filter"),
    }
    writes = schemas.REVIEW
    row_key = "pair_id"
    core_seconds = 0.001  # assumed: joins columns

    def check(self) -> None:
        texts = self.reads["answer"]
        if "summarize" not in self.reads and "question" not in {texts.names.get(name, name) for name in texts.columns}:
            raise ValueError(f"{texts.of or 'answer'} has no column `question` to read, and there is no bank")
        if self.disputed not in DISPUTED:
            raise ValueError(f"disputed={self.disputed}: take {', '.join(DISPUTED)}")

    def load(
        self, *, decide: ds.Dataset, passed: ds.Dataset | None = None, summarize: ds.Dataset | None = None
    ) -> Transform:
        names = ["instruction_id", "instruction"]
        bank = [] if summarize is None else summarize.to_table(columns=names).to_pylist()
        questions = {row["instruction_id"]: row["instruction"] for row in bank}
        about = _Decisions(decide, passed)

        def review(filter: pa.Table, answer: pa.Table) -> StageOutput:
            texts = {row["pair_id"]: row for row in answer.to_pylist()}
            ids = filter["pair_id"].to_pylist()
            note("other_run", about.strangers if about.counted_with in ids else 0)
            return output(self.writes, (self._decided(_turn(texts[pair], questions), about) for pair in ids))

        return review

    def _decided(self, turn: dict[str, Any], about: _Decisions) -> dict[str, Any] | Drop:
        rows = about.pairs.get(turn["pair_id"])
        if rows is None:
            return self._unseen(turn)
        ballots, notes = votes(rows, shown(turn["question"], turn["choices"], turn["answer"]))
        sound = [row for row in ballots if row["decision"] != "edit" or _fits(turn, row)]
        notes["edit_unsound"], notes["votes"] = len(ballots) - len(sound), len(sound)
        for name, count in notes.items():
            note(name, count)
        found = verdict(sound, self.disputed)
        if found.decision == "unseen":
            return self._unseen(turn)
        if found.decision == "rejected" or (found.decision == "disputed" and self.disputed == "drop"):
            return Drop(turn["pair_id"], f"review_{found.decision}", found.detail)
        made = {**turn, "decision": found.decision, "people": min(found.people, 127)}
        if found.edit is None:
            return made
        return {**made, **_edited(found.edit), "was": turn["answer"]}

    def _unseen(self, turn: dict[str, Any]) -> dict[str, Any] | Drop:
        return Drop(turn["pair_id"], "review_unseen", "nobody decided on it") if self.require else turn


@dataclass
class _Decisions:
    """The decisions about questions and answers, by pair."""

    decide: ds.Dataset
    passed: ds.Dataset | None
    pairs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    strangers: int = 0
    """Decisions about pairs that did not pass the filter of this run, or that it never had."""
    counted_with: str | None = None
    """The pair whose unit counts them, so that they are counted once."""

    def __post_init__(self) -> None:
        usable = pc.field("what").isin(list(VOTED))
        for row in self.decide.to_table(columns=list(_VOTES), filter=usable).to_pylist():
            self.pairs.setdefault(row["pair_id"], []).append(row)
        if self.pairs and self.passed is not None:
            gone, decided = dict(self.pairs), pa.array(list(self.pairs), pa.string())
            for batch in self.passed.to_batches(columns=["pair_id"]):  # there may be ten million pairs
                ids = batch["pair_id"]
                for pair in ids.filter(pc.is_in(ids, value_set=decided)).to_pylist():
                    gone.pop(pair, None)
                self.counted_with = min(filter(None, (self.counted_with, pc.min(ids).as_py())), default=None)
            self.strangers = sum(map(len, gone.values()))


def _turn(row: dict[str, Any], questions: dict[str, str]) -> dict[str, Any]:
    from_bank = {} if "question" in row else {"question": questions[row["instruction_id"]]}
    return {
        "kind": KIND, "domain": "", "origin": "answer", "choices": None, "right": None, **from_bank, **row,
        "answer": row["answer"].strip(), "decision": "unseen", "people": 0,
    }  # fmt: skip


def _edited(vote: Mapping[str, Any]) -> dict[str, Any]:
    """The texts of an edit."""
    return {name: vote[name] for name in ("question", "answer", "choices", "right")}


def _fits(turn: Mapping[str, Any], vote: Mapping[str, Any]) -> bool:
    """Whether an edit is one of this kind of question: with choices if it has choices, and with the right letter."""
    edit = _edited(vote)
    if (
        unsound(edit)
        or bool(edit["choices"]) != bool(turn["choices"])
        or bool(edit["question"]) != bool(turn["question"])
    ):
        return False
    lettered = turn["choices"] and turn["right"] is not None and not mislettered(turn)
    return not (lettered and mislettered(edit))
