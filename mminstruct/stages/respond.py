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
from mminstruct.bench.histories import DIALOGUE, filled, label, ordered
from mminstruct.bench.histories import faults as history_faults
from mminstruct.models.model import Chat, Reply, with_image
from mminstruct.prompts import Message, render
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, output, part, prompt, seed
from mminstruct.text import words
from mminstruct.text.error_texts import server_message
from mminstruct.text.reply import spoken
from mminstruct.text.thoughts import thoughts_left

Row = dict[str, Any]
Before = Callable[[Row], list[str] | None]
"""Turns before a question, given its row."""
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
    """Number of earlier turns before each question, the first ones of ``earlier``; 0: none."""
    earlier: list[str] = field(
        default_factory=lambda: [
            "Is this photo taken outdoors? Answer with yes or no.",
            "What is the largest thing in this image? Answer the question using a single word or phrase.",
            "What is the main colour of this image?\nA. red\nB. green\nC. blue\nD. another one\n"
            "Answer with the option's letter from the given choices directly.",
            "Describe this image in one short sentence.",
        ]
    )
    """Questions of the earlier turns that ``rounds`` counts, in order, each in a different answer format."""
    histories: dict[str, list[str]] = field(default_factory=dict)
    """Earlier turns by name: each question is also asked after each of these conversations, as NAME@HISTORY. An empty
    list stands for the turns of that name in ``mminstruct.bench.histories``: phrase, yesno, letter, number, paragraph,
    open_phrase, mixed. The turns are ours: COCO-is-all (arXiv 2401.08968), which raised the question of what a
    conversation does to the answers, does not publish its own."""
    shuffle: bool = True
    """Whether the turns of a history have an order of their own for each question, the same for all contestants. The
    order of open_phrase, and of ``earlier``, never changes."""
    seed: int = 0

    reads = {"pick": part("question_id", "image", "question", "earlier")}
    writes = schemas.RESPOND
    row_key = "question_id"
    call_tokens = Tokens(input=60, output=200)  # assumed; published answers have 950 bytes

    def __post_init__(self) -> None:
        self.histories = filled(self.histories)

    def names(self, dialogues: bool = False) -> list[str]:
        """Contestants with their histories, as the table names them.

        Args:
            dialogues: Whether questions have earlier turns of their own.
        """
        asked = [str(count) if count else "" for count in self.rounds] + list(self.histories)
        asked += [DIALOGUE] if dialogues else []
        turns = {name: ["", *one.after] if one.answers else asked for name, one in sorted(self.contestants.items())}
        return [label(name, history) for name, histories in turns.items() for history in histories]

    def fan(self) -> float:
        return len(self.names())

    def asks(self) -> float:
        return sum(rounds + 1 for rounds in self.rounds) + sum(len(turns) + 1 for turns in self.histories.values())

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
        elif self.histories and 0 not in self.rounds:
            faults.append(f"rounds={self.rounds}: histories are compared with answers without one, so add 0")
        faults += history_faults(self.histories)
        if faults:
            raise ValueError("\n".join(faults))

    def load(self) -> Transform:
        asking: dict[str, Callable[[list[Row]], list[Row | None]]] = {}
        for name, one in sorted(self.contestants.items()):
            if one.answers is not None:
                asking[name] = _Given(name, sets.answers(one.answers, one.model_id))
                for history, path in sorted(one.after.items()):
                    who = label(name, history)
                    asking[who] = _Given(who, sets.answers(path, one.model_id, history))
            else:
                chat = replace(one, max_tokens=self.max_tokens).chat()
                for history, before in self._before().items():
                    asking[label(name, history)] = self._asker(chat, f"{name}@{history or 0}", before)

        def respond(pick: pa.Table) -> StageOutput:
            questions = pick.select(["question_id", "image", "question", "earlier"]).to_pylist()
            answers = {name: ask(questions) for name, ask in asking.items()}
            rows: list[Row | Drop] = []
            for place, question in enumerate(questions):
                found = {name: those[place] for name, those in answers.items()}
                mine = [{"contestant": name, **row} for name, row in found.items() if row is not None]
                if all(row["answer"] is None for row in mine):
                    faults = sorted({f"{row['contestant']}: {row['fault']}" for row in mine})
                    rows.append(Drop(question["question_id"], "no_answer", ", ".join(faults)))
                else:
                    rows += [{"question_id": question["question_id"], **row} for row in mine]
            return output(self.writes, rows)

        return respond

    def _before(self) -> dict[str, Before]:
        """By history, the turns before a question; None if it is not asked after this history."""

        def counted(count: int) -> Before:
            return lambda question: self.earlier[:count]

        def named(name: str, turns: list[str]) -> Before:
            return lambda question: ordered(name, turns, question["question_id"], self.shuffle, self.seed)

        return {
            **{str(count) if count else "": counted(count) for count in self.rounds},
            **{name: named(name, turns) for name, turns in self.histories.items()},
            DIALOGUE: lambda question: json.loads(question["earlier"]) if question["earlier"] else None,
        }

    def _asker(self, chat: Chat, who: str, before: Before) -> Callable[[list[Row]], list[Row | None]]:
        def ask(questions: list[Row]) -> list[Row | None]:
            turns = {question["question_id"]: before(question) for question in questions}
            shown = [one for one in questions if one["image"] is not None and turns[one["question_id"]] is not None]
            texts = [[*(turns[one["question_id"]] or ()), one["question"]] for one in shown]
            talks: list[list[Message]] = [[] for _ in shown]
            last: list[Reply] = [Reply("", "error")] * len(shown)
            broken: dict[int, Reply] = {}
            for turn in range(max(map(len, texts), default=0)):
                now = [place for place, asked in enumerate(texts) if turn < len(asked)]
                for place in now:
                    asked = render(self.prompt, question=texts[place][turn])
                    talks[place] += asked[-1:] if turn else with_image(asked, shown[place]["image"])
                # each history repeats all turns, so that its result does not depend on the other histories
                ids = [shown[place]["question_id"] for place in now]
                replies = chat.chat(
                    [talks[place] for place in now],
                    seeds=[seed(self.seed, "respond", question, who, str(turn)) for question in ids],
                )
                for place, reply in zip(now, replies, strict=True):
                    last[place] = reply
                    if reply.finish not in _ENDED:
                        broken.setdefault(place, reply)
                    if turn < len(texts[place]) - 1:
                        talks[place].append({"role": "assistant", "content": spoken(reply.text)})
            answered = {
                question["question_id"]: _row(broken.get(place, reply), talk, question["question"])
                for place, (reply, talk, question) in enumerate(zip(last, talks, shown, strict=True))
            }
            return [
                None if turns[one["question_id"]] is None else answered.get(one["question_id"]) or _fault("no_image")
                for one in questions
            ]

        return ask


@dataclass(frozen=True)
class _Given:
    """Existing answers, by question_id."""

    name: str
    answers: dict[str, sets.Given]

    def __call__(self, questions: list[Row]) -> list[Row | None]:
        rows: list[Row | None] = []
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
