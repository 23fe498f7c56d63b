"""Model doubles for tests of stages: they reply with a function of the request, and record requests."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from mminstruct.bench.contestant import Contestant
from mminstruct.bench.juror import Juror
from mminstruct.models.model import Model, Reply, images_of
from mminstruct.prompts import Message
from mminstruct.stage import content_id, runtime

PROMPTS = Path(__file__).parents[2] / "conf" / "prompts"

Script = Callable[[list[Message], int], "Reply | str"]
"""(transcript, seed) -> reply; a string stands for a reply with finish reason stop."""


def prompt_text(name: str) -> str:
    """Text of a prompt in ``conf/prompts``, as the configuration reads it."""
    return (PROMPTS / f"{name}.md").read_text(encoding="utf-8")


def said(messages: list[Message]) -> str:
    """All text of a transcript."""
    pieces: list[str] = []
    for message in messages:
        content = message["content"]
        pieces += (
            [content] if isinstance(content, str) else [item["text"] for item in content if item["type"] == "text"]
        )
    return "\n".join(pieces)


def image_of(message: Message) -> bytes | None:
    """The first image in *message*, or None."""
    return next(iter(images_of(message)), None)


def echo(messages: list[Message], seed: int) -> str:
    """A sentence that depends on every word and image of the transcript, and not on the seed."""
    picture = next((image for message in messages for image in images_of(message)), b"")
    return f"A reply about {content_id(said(messages), picture)}."


@dataclass
class Chatter:
    """Replies by script; records all transcripts and seeds in order."""

    script: Script
    asked: list[list[Message]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    calls: int = 0

    def chat(
        self, messages: list[list[Message]], *, seeds: list[int], schema: dict[str, Any] | None = None
    ) -> list[Reply]:
        assert len(messages) == len(seeds)
        assert all(0 <= seed < 2**31 for seed in seeds)
        self.calls += 1
        self.asked += messages
        self.seeds += seeds
        replies = [self.script(transcript, seed) for transcript, seed in zip(messages, seeds, strict=True)]
        return [
            Reply(reply, "stop", tokens_in=1, tokens_out=len(reply.split())) if isinstance(reply, str) else reply
            for reply in replies
        ]


@dataclass
class Encoder:
    """Sum of one random vector per word (per byte value for images), so texts with common words are similar."""

    width: int = 32

    def texts(self, texts: list[str]) -> np.ndarray:
        return self._unit([[word.strip(".,:!?") for word in text.casefold().split()] for text in texts])

    def images(self, images: list[bytes]) -> np.ndarray:
        return self._unit([[str(value) for value in image] for image in images])

    def _unit(self, bags: list[list[str]]) -> np.ndarray:
        out = np.zeros((len(bags), self.width), np.float32)
        for row, bag in zip(out, bags, strict=True):
            for word in bag or [""]:
                row += _direction(word, self.width)
            row /= np.linalg.norm(row)
        return out


@functools.cache
def _direction(word: str, width: int) -> np.ndarray:
    start = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(start).standard_normal(width).astype(np.float32)


@dataclass(kw_only=True)
class Scripted(Model):
    """A model for a stage; ``chatter`` has the recorded requests."""

    name: str = "scripted"
    script: Script = runtime(echo)
    chatter: Chatter = runtime(None)
    encoder: Encoder = runtime(factory=Encoder)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chatter = Chatter(self.script)

    def chat(self) -> Chatter:
        return self.chatter

    def embed(self) -> Encoder:
        return self.encoder


@dataclass(kw_only=True)
class Player(Contestant):
    """A contestant that replies by script; all its copies share ``chatter``."""

    name: str = "player"
    script: Script = runtime(echo)
    chatter: Chatter = runtime(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chatter = self.chatter or Chatter(self.script)

    def chat(self) -> Chatter:
        return self.chatter


def verdict(messages: list[Message], seed: int) -> str:
    """A verdict for the alphabetically first answer; as a grade, always 7."""
    text = said(messages)
    if "<answer A>" not in text:
        return '{"reason": "as good as any", "grade": 7}'
    first, second = text.split("<answer A>")[1].split("<answer B>")
    return json.dumps({"reason": "by the alphabet", "verdict": "A" if first < second else "B"})


@dataclass(kw_only=True)
class Referee(Juror):
    """A judge that replies by script, with the prompts of ``conf/prompts``."""

    name: str = "referee"
    prompt: str = field(default_factory=lambda: prompt_text("judge"))
    rubric: str = field(default_factory=lambda: prompt_text("rubric"))
    backend: str = runtime("openai")  # models of this backend cannot be pinned to a commit
    script: Script = runtime(verdict)
    chatter: Chatter = runtime(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chatter = self.chatter or Chatter(self.script)

    def chat(self) -> Chatter:
        return self.chatter


def dataset(table: pa.Table, pieces: int = 1) -> ds.Dataset:
    """*table* as a stage's whole input: a lazy dataset of *pieces* fragments."""
    rows = max(1, -(-table.num_rows // pieces))
    batches = [batch for start in range(0, table.num_rows, rows) for batch in table.slice(start, rows).to_batches()]
    return ds.dataset(pa.Table.from_batches(batches, schema=table.schema))


def turn(pair: str, question: str = "What is it?", answer: str = "A cat.", **change: Any) -> dict[str, Any]:
    """A row of the table review; *pair* is image+instruction."""
    image, instruction = pair.split("+")
    ids = {"pair_id": pair, "image_id": image, "instruction_id": instruction}
    told = {"kind": "instruction", "domain": "", "question": question, "answer": answer, "origin": "answer"}
    return {**ids, **told, "decision": "unseen", "people": 0, **change}
