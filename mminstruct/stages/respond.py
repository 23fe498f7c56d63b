"""Collects every contestant's answer to every question, alone or after earlier turns of a conversation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.bench import sets
from mminstruct.bench.contestant import Contestant
from mminstruct.models.model import Chat, Reply, with_image
from mminstruct.prompts import Message, render
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, output, part, prompt, seed
from mminstruct.text import words
from mminstruct.text.error_texts import server_message
from mminstruct.text.reply import spoken
from mminstruct.text.thoughts import thoughts_left

Row = dict[str, Any]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SIGN = 3
"""Maximum words of a sign in an image. "Access denied" may be the text of a sign, not a server's error."""
_OPEN_END = re.compile(r"[\w,;:\-–—&(]\Z")
_SHORT = 5
_ENDED = ("stop", "length")
"""Finish reasons of an answer; all others are faults."""


@dataclass(kw_only=True)
class Respond(Stage):
    """Asks all contestants with the same prompt and the same token limit.

    MM-Instruct's published answers had no common limit: those of the LLaVA models stop at 256 tokens, a fifth of them
    in mid-sentence; those of other models do not. Existing answers keep their length; ``words`` and ``ends`` show it.
    """

    contestants: dict[str, Contestant] = field(default_factory=dict)
    """Contestants by name. Names consist of letters, digits, ``_``, ``.`` and ``-``."""
    prompt: str = prompt("respond", "question")
    max_tokens: int = 512
    """Maximum answer length, in tokens of the model that answers."""
    rounds: list[int] = field(default_factory=lambda: [0])
    """Number of earlier turns before each question. Comparing 0 with 3 measures the effect of a conversation on the
    answers, as in COCO-is-all (arXiv 2401.08968, section 3.2), where LLaVA-1.5 lost a fifth of its MM-Vet score.
    The paper does not publish its protocol: the turns are ours."""
    earlier: list[str] = field(
        default_factory=lambda: [
            "Is this photo taken outdoors? Answer with yes or no.",
            "What is the largest thing in this image? Answer the question using a single word or phrase.",
            "What is the main colour of this image?\nA. red\nB. green\nC. blue\nD. another one\n"
            "Answer with the option's letter from the given choices directly.",
            "Describe this image in one short sentence.",
        ]
    )
    """Questions of the earlier turns, in order, each in a different answer format."""
    seed: int = 0

    reads = {"pick": part("question_id", "image", "question")}
    writes = schemas.RESPOND
    row_key = "question_id"
    call_tokens = Tokens(input=60, output=200)  # assumed; published answers have 950 bytes

    def fan(self) -> float:
        return sum(1 if one.answers else len(self.rounds) for one in self.contestants.values())

    def asks(self) -> float:
        return sum(rounds + 1 for rounds in self.rounds)

    def check(self) -> None:
        faults = [f"contestants.{name}: {said}" for name, one in self.contestants.items() for said in one.faults()]
        faults += [
            f"contestants.{name}: a name may only contain letters, digits, _, . and -"
            for name in self.contestants if not _NAME.fullmatch(name)
        ]  # fmt: skip
        if not self.contestants:
            faults.append("there are no contestants: '+contestants={A: {name: MODEL}, B: {answers: FILE}}'")
        if self.max_tokens < 1:
            faults.append(f"max_tokens={self.max_tokens}: take 1 or more")
        if not self.rounds or len(set(self.rounds)) < len(self.rounds) or min(self.rounds) < 0:
            faults.append(f"rounds={self.rounds}: take one or more different numbers of earlier turns, from 0")
        elif max(self.rounds) > len(self.earlier):
            faults.append(f"rounds={self.rounds}, but earlier has only {len(self.earlier)} questions")
        if faults:
            raise ValueError("\n".join(faults))

    def load(self) -> Transform:
        asking: dict[str, Callable[[list[Row]], list[Row]]] = {}
        for name, one in sorted(self.contestants.items()):
            if one.answers is not None:
                asking[name] = _Given(name, sets.answers(one.answers, one.model_id))
            else:
                chat = replace(one, max_tokens=self.max_tokens).chat()
                for rounds in self.rounds:
                    asking[f"{name}@{rounds}" if rounds else name] = self._asker(name, chat, rounds)

        def respond(pick: pa.Table) -> StageOutput:
            questions = pick.select(["question_id", "image", "question"]).to_pylist()
            answers = {name: ask(questions) for name, ask in asking.items()}
            rows: list[Row | Drop] = []
            for place, question in enumerate(questions):
                mine = [{"contestant": name, **those[place]} for name, those in answers.items()]
                if all(row["answer"] is None for row in mine):
                    faults = sorted({f"{row['contestant']}: {row['fault']}" for row in mine})
                    rows.append(Drop(question["question_id"], "no_answer", ", ".join(faults)))
                else:
                    rows += [{"question_id": question["question_id"], **row} for row in mine]
            return output(self.writes, rows)

        return respond

    def _asker(self, name: str, chat: Chat, rounds: int) -> Callable[[list[Row]], list[Row]]:
        def ask(questions: list[Row]) -> list[Row]:
            shown = [question for question in questions if question["image"] is not None]
            talks: list[list[Message]] = [[] for _ in shown]
            broken: dict[int, Reply] = {}
            replies: list[Reply] = []
            for turn in range(rounds + 1):
                for talk, question in zip(talks, shown, strict=True):
                    asked = render(self.prompt, question=self.earlier[turn] if turn < rounds else question["question"])
                    talk += asked[-1:] if talk else with_image(asked, question["image"])
                # each number of rounds repeats all turns, so that its result does not depend on the other numbers
                replies = chat.chat(
                    talks,
                    seeds=[seed(self.seed, "respond", q["question_id"], f"{name}@{rounds}", str(turn)) for q in shown],
                )
                for place, (talk, reply) in enumerate(zip(talks, replies, strict=True)):
                    if reply.finish not in _ENDED:
                        broken.setdefault(place, reply)
                    if turn < rounds:
                        talk.append({"role": "assistant", "content": spoken(reply.text)})
            answered = iter(
                _row(broken.get(place, reply), talk, question["question"])
                for place, (reply, talk, question) in enumerate(zip(replies, talks, shown, strict=True))
            )
            return [_fault("no_image") if question["image"] is None else next(answered) for question in questions]

        return ask


@dataclass(frozen=True)
class _Given:
    """Existing answers, by question_id."""

    name: str
    answers: dict[str, sets.Given]

    def __call__(self, questions: list[Row]) -> list[Row]:
        rows = []
        for question in questions:
            given = self.answers.get(question["question_id"])
            rows.append(
                _fault("missing", f"no answer of {self.name} has this id") if given is None
                else _said(given.text, given.finish, given.tokens)
            )  # fmt: skip
        return rows


def _row(reply: Reply, talk: list[Message], question: str) -> Row:
    """The row of a reply. A bad answer is kept for the judges; a server's error message becomes a fault."""
    if reply.finish not in _ENDED:
        return _fault(f"model_{reply.finish}", reply.error)
    text = spoken(reply.text)
    if len(words(text)) > _SIGN and (message := server_message(text, question)):
        return _fault("error_text", message[:200])
    if thoughts_left(text, question) == text:  # the thoughts never ended, so there is no answer
        text = ""
    row = _said(text, reply.finish, reply.tokens_out)
    asked = [message["content"] for message in talk if message["role"] == "user"][:-1]
    said = [message["content"] for message in talk if message["role"] == "assistant"]
    texts = [content if isinstance(content, str) else content[-1]["text"] for content in asked]
    return row | {"earlier": json.dumps(list(zip(texts, said, strict=True)), ensure_ascii=False) if said else None}


def _said(text: str, finish: str, tokens: int | None) -> Row:
    return {"answer": text, "finish": finish, "tokens": tokens, "words": len(words(text)), "ends": ends(text)}


def _fault(fault: str, detail: str | None = None) -> Row:
    return {"answer": None, "fault": fault, "detail": detail, "finish": "stop", "words": 0, "ends": True}


def ends(text: str) -> bool:
    """Whether *text* is complete. A short last line, a list item or a line of hashtags may end without punctuation."""
    last = text.rstrip().rsplit("\n", 1)[-1].strip()
    if len(words(last)) <= _SHORT or re.match(r"[#*\-•|{<]|\d+[.)]", last) or re.search(r"#\w+$", last):
        return True
    return _OPEN_END.search(last) is None
