"""Collects verdicts: which of two answers is better, in both orders, and a grade for each answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.bench.juror import GRADE, VERDICT, Juror, framed, read_grade, read_verdict
from mminstruct.models.model import Reply, with_image
from mminstruct.prompts import Message, render
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, output, part, seed
from mminstruct.text import repair
from mminstruct.text.leaks import broken

Row = dict[str, Any]
One = tuple[str, str | None, int | None]
"""What is judged: contestants a and b, and their order; only a for a grade."""


@dataclass(kw_only=True)
class Judge(Stage):
    """Asks every judge about every question and pair of contestants; each call is one row with the unchanged reply.

    The published script also shows both orders, but it counts a judge that always says A as a tie and skips replies
    that it cannot parse. Here every verdict is kept, and a reply that cannot be parsed is ``unparsed``.
    """

    judges: dict[str, Juror] = field(default_factory=dict)
    """Judges by name; with several, their agreement is measured."""
    baseline: str | None = None
    """Contestant that all others are compared with; null: all pairs are compared."""
    both_orders: bool = True
    """Whether each pair is shown in both orders. With one order, the judge's position bias affects the result."""
    seed: int = 0

    reads = {
        "respond": part("question_id", "contestant", "answer"),
        "pick": part("question_id", "image_id", "image", "question", "caption", "reference"),
    }
    writes = schemas.JUDGE
    row_key = "question_id"
    call_tokens = Tokens(
        input=700, output=60
    )  # assumed: a question, two answers of 200 tokens, a reason of two sentences

    def fan(self) -> float:
        return len(self.judges) * self.asks()

    def asks(self) -> float:
        """Calls per answer for two contestants; all pairs of n contestants need n - 1 times as many."""
        pairs = 0.5 * (2 if self.both_orders else 1)
        return sum(pairs if ask == "pair" else 1 for one in self.judges.values() for ask in one.asks) / len(self.judges)

    def check(self) -> None:
        faults = [f"judges.{name}: {said}" for name, one in self.judges.items() for said in one.faults()]
        if not self.judges:
            faults.append("there are no judges: '+judges={J: {name: MODEL, backend: openai}}'")
        if faults:
            raise ValueError("\n".join(faults))

    def load(self) -> Transform:
        chats = {name: juror.chat() for name, juror in sorted(self.judges.items())}

        def judge(respond: pa.Table, pick: pa.Table) -> StageOutput:
            questions = {row["question_id"]: row for row in pick.to_pylist()}
            answers: dict[str, dict[str, str]] = {}
            for row in respond.select(["question_id", "contestant", "answer"]).to_pylist():
                mine = answers.setdefault(row["question_id"], {})
                if row["answer"] is not None:
                    mine[row["contestant"]] = row["answer"]
            rows: dict[str, list[Row | Drop]] = {question: [] for question in answers}
            for name, chat in chats.items():
                juror = self.judges[name]
                for ask in juror.asks:
                    asked = [
                        (questions[question], one)
                        for question, mine in answers.items()
                        for one in (self._pairs(mine) if ask == "pair" else _each(mine))
                    ]
                    replies = chat.chat(
                        [_ask(juror, question, answers[question["question_id"]], *one) for question, one in asked],
                        seeds=[
                            seed(self.seed, "judge", question["question_id"], name, *map(str, one))
                            for question, one in asked
                        ],
                        schema=VERDICT if ask == "pair" else GRADE,
                    )
                    for (question, (a, b, order)), reply in zip(asked, replies, strict=True):
                        row = {"question_id": question["question_id"], "judge": name, "a": a, "b": b, "order": order}
                        rows[question["question_id"]].append(row | _read(reply, order) | {"saw": _saw(juror, question)})
            return output(
                self.writes, (row for question, mine in rows.items() for row in mine or [_nothing(question, answers)])
            )

        return judge

    def _pairs(self, answers: dict[str, str]) -> list[One]:
        """Comparisons; a is before b in alphabetical order."""
        pairs = [pair for pair in combinations(sorted(answers), 2) if self.baseline is None or self.baseline in pair]
        return [(a, b, order) for a, b in pairs for order in ((0, 1) if self.both_orders else (0,))]


def _each(answers: dict[str, str]) -> list[One]:
    return [(who, None, None) for who in sorted(answers)]


def _nothing(question: str, answers: dict[str, dict[str, str]]) -> Drop:
    return Drop(question, "nothing_to_compare", f"answered by {', '.join(sorted(answers[question])) or 'no one'}")


def _ask(
    juror: Juror, question: Row, answers: dict[str, str], a: str, b: str | None, order: int | None
) -> list[Message]:
    """The messages to the judge. Text that imitates a tag of the prompt is escaped."""
    saw = _saw(juror, question)
    facts = {name: question[name] and framed(question[name]) for name in ("question", "reference")}
    facts |= {"image_id": question["image_id"], "caption": framed(question["caption"]) if "caption" in saw else None}
    if b is None:
        messages = render(juror.rubric, answer=framed(answers[a]), **facts)
    else:
        first, second = (answers[a], answers[b]) if order == 0 else (answers[b], answers[a])
        messages = render(juror.prompt, first=framed(first), second=framed(second), **facts)
    return with_image(messages, question["image"]) if "image" in saw else messages


def _saw(juror: Juror, question: Row) -> str:
    if juror.backend == "oracle":
        return "truth"
    image = juror.image and question["image"] is not None
    caption = (juror.caption or not image) and question["caption"] is not None
    return "+".join(name for name, shown in (("image", image), ("caption", caption)) if shown) or "nothing"


def _read(reply: Reply, order: int | None) -> Row:
    """The parsed reply, in terms of a and b instead of first and second."""
    row: Row = {"reply": reply.text, "finish": reply.finish, "error": reply.error}
    if order is None:
        grade, reason = read_grade(reply.text, reply.finish)
        return row | {"grade": grade, "reason": _kept(reason)}
    said, reason = read_verdict(reply.text, reply.finish)
    verdict = {"A": "ab"[order], "B": "ba"[order]}.get(said, said)
    return row | {"verdict": verdict, "reason": _kept(reason)}


def _kept(reason: str | None) -> str | None:
    """*reason* if it can be shown; None if it holds template tokens or a server's error message."""
    text = repair(reason or "")
    return text if text and broken(text) is None else None
