"""Continues from the questions about an image: a language model writes a conversation of several rounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.models.model import Model, Reply
from mminstruct.prompts import render
from mminstruct.stage import (
    Stage,
    StageOutput,
    Tokens,
    Transform,
    content_id,
    instruction_id,
    output,
    pair_id,
    part,
    prompt,
    role,
    seed,
)
from mminstruct.text.languages import LANGUAGES
from mminstruct.text.turn import Checker, Limits, question_key, read_reply
from mminstruct.unit import note

Row = dict[str, Any]
_PER_IMAGE = 13
"""Rows of ``ask`` for an image, by its defaults."""


@dataclass(kw_only=True)
class Converse(Stage):
    """One conversation for each image that has a question without a fault (MMInstruct, step e).

    It passes on the rows of ``ask`` and adds the rounds, which share a ``talk``. Nothing is dropped: an image whose
    reply has no rounds keeps its questions, and notes count why (``text.turn.REPLIES``), and ``converse_no_example``.
    """

    model: Model = role("asker", like="answerer")
    """The asker."""
    prompt: str = prompt("converse", "examples", "number", "description")
    rounds: int = 3
    """Rounds of a conversation; 0: none is written."""
    examples: int = 3
    """Maximum number of the image's questions that a conversation continues from; choice questions are not shown."""
    question_words: list[int] = field(default_factory=lambda: [3, 60])
    """Shortest and longest question."""
    answer_words: int = 4
    """Shortest answer."""
    languages: list[str] = field(default_factory=lambda: ["en"])
    """Allowed languages, ISO 639-1."""
    seed: int = 0

    kind = "text"
    reads = {"ask": part(*schemas.ASK.names), "caption": part("image_id", "caption")}
    writes = schemas.CONVERSE
    row_key = "image_id"
    call_tokens = Tokens(input=520, output=260)  # assumed: a description of 150 tokens, three examples, three rounds

    def fan(self) -> float:
        return (_PER_IMAGE + self.rounds) / _PER_IMAGE

    def asks(self) -> float:
        return min(1, self.rounds) / _PER_IMAGE

    def check(self) -> None:
        faults = []
        if self.rounds < 0 or self.examples < 1:
            faults.append(
                f"rounds={self.rounds} and examples={self.examples}: take 0 or more rounds, 1 or more examples"
            )
        if len(self.question_words) != 2 or not 1 <= self.question_words[0] <= self.question_words[1]:
            faults.append(f"question_words={self.question_words}: take [shortest, longest]")
        if self.answer_words < 1:
            faults.append(f"answer_words={self.answer_words}: take 1 or more")
        if not self.languages or set(self.languages) - set(LANGUAGES):
            faults.append(f"languages={self.languages}: take any of {', '.join(LANGUAGES)}")
        if faults:
            raise ValueError("\n".join(faults))

    def load(self) -> Transform:
        asker = self.model.chat()

        def converse(ask: pa.Table, caption: pa.Table) -> StageOutput:
            descriptions = dict(zip(caption["image_id"].to_pylist(), caption["caption"].to_pylist(), strict=True))
            of_image: dict[str, list[Row]] = {}
            for row in ask.to_pylist():
                of_image.setdefault(row["image_id"], []).append(row)
            shown = {image: self._examples(rows) for image, rows in of_image.items()}
            asked = [image for image in of_image if shown[image] and self.rounds]
            note("converse_no_example", sum(not some for some in shown.values()) if self.rounds else 0)
            messages = [
                render(
                    self.prompt, number=self.rounds, description=descriptions[image],
                    examples=[{"question": row["question"], "answer": row["answer"]} for row in shown[image]],
                )
                for image in asked
            ]  # fmt: skip
            replies = asker.chat(messages, seeds=[seed(self.seed, "converse", image) for image in asked])
            said = dict(zip(asked, replies, strict=True))
            rows: list[Row] = []
            for image, some in of_image.items():
                rows += some
                rows += self._rounds(image, some, said[image]) if image in said else []
            return output(self.writes, rows)

        return converse

    def _examples(self, rows: list[Row]) -> list[Row]:
        """Questions without a fault, chosen and ordered by a digest."""
        sound = [row for row in rows if row["fault"] is None and row["choices"] is None]
        return sorted(sound, key=lambda row: content_id(str(self.seed), "example", row["pair_id"]))[: self.examples]

    def _rounds(self, image: str, rows: list[Row], reply: Reply) -> Iterator[Row]:
        reason, found = read_reply(reply.finish, reply.text, "converse")
        if reason:
            note(reason)
        note("converse_more", len(found[self.rounds :]))
        domain = rows[0]["domain"]
        limits = Limits((self.question_words[0], self.question_words[1]), 0, self.answer_words, tuple(self.languages))
        checker = Checker(domain, limits, {question_key(row["question"]) for row in rows if row["fault"] is None})
        talk = content_id(str(self.seed), "talk", image)
        for place, one in enumerate(found[: self.rounds]):
            turn = checker.check(one, "long")
            question = instruction_id(turn.question)
            pair = content_id(image, question, "round", str(place)) if turn.fault else pair_id(image, question)
            yield {
                "pair_id": pair, "image_id": image, "instruction_id": question, "kind": "long", "domain": domain,
                "question": turn.question, "choices": None, "right": None, "answer": turn.answer, "phrase": None,
                "template": None, "origin": "converse", "talk": talk, "turn": place, "fault": turn.fault,
                "detail": turn.detail,
            }  # fmt: skip
