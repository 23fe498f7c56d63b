"""Runs a benchmark with contestants whose reaction to earlier turns is known, and checks that the result finds it.

    python -m benchmarks.rounds [--questions 240] [--to DIR]

Draws scenes with a question about each. Contestant `split` answers an open question in one word with chance 0.6 if the
turn before it asked for a single word or phrase; `merged` never does. Runs `mminstruct bench` with three histories and
prints the result. The tables stay in the folder.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

from lab import contest
from mminstruct.cli import main
from mminstruct.models.model import Model, Reply
from mminstruct.prompts import Message

CHANCE = 0.6
_SHORT = "single word or phrase"
_REPLIES = {_SHORT: "Calm.", "with yes or no": "Yes.", "option's letter": "B", "with a number": "2"}
_LONG = "There is a quiet street with two parked cars and a tree."


class Player:
    """A backend: answers in the form that is asked for, but after a short turn it may stay with the short form."""

    def __init__(self, model: Model) -> None:
        self.chance = float(model.options.get("falls", 0))

    def chat(self, messages: list[list[Message]], *, seeds: list[int], **_: Any) -> list[Reply]:
        return [Reply(self._said(talk, seed), "stop") for talk, seed in zip(messages, seeds, strict=True)]

    def _said(self, talk: list[Message], seed: int) -> str:
        *before, last = [_text(message) for message in talk if message["role"] == "user"]
        for wording, reply in _REPLIES.items():
            if wording in last:
                return reply
        stays = bool(before) and _SHORT in before[-1] and random.Random(seed).random() < self.chance
        return "Nothing." if stays else _LONG


def _text(message: Message) -> str:
    content = message["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def run(folder: Path, questions: int) -> int:
    """Draw the questions into *folder* and run the command on them; its exit code."""
    contest.write(folder / "drawn", questions, {})
    drawn, player = folder / "drawn", "backend: 'benchmarks.rounds:Player'"
    contestants = f"split: {{name: s, {player}, options: {{falls: {CHANCE}}}}}, merged: {{name: m, {player}}}"
    return main([
        "bench", "engine=local", f"out={folder}/run", f"source={drawn}/questions.json",
        f"recipe.pick.images={drawn}/images", f"+contestants={{{contestants}}}",
        "recipe.respond.histories={phrase: [], yesno: [], mixed: []}",
        "experiment=oracle", f"judges.oracle.options.truth=[{drawn}]", "judges.oracle.asks=[grade]",
    ])  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=240)
    parser.add_argument("--to", type=Path, help="folder of the questions and the run; by default a temporary one")
    given = parser.parse_args()
    raise SystemExit(run(given.to or Path(tempfile.mkdtemp(prefix="rounds-")), given.questions))
