"""Judges that know the truth, and judges with planted faults: what a benchmark's statistics must find.

They are a backend, ``oracle``, so that they take the way of every judge: a prompt (``judge_oracle``, ``rubric_oracle``,
which give the facts as JSON), a reply, its reading. The name says which:

- ``oracle``: by the truth of the scene: better is what is right in every respect; of two that are not, what has the
  form that was asked for; then what says the larger share of true things;
- ``oracle:right=0.8``: right with that chance, else one of the two other verdicts;
- ``oracle:first=0.3``: with that chance the answer shown first, else by the truth; 1: always A;
- ``oracle:longer=1.5``: by the truth, as the log-odds of 2 for the better answer, and 1.5 for each doubling of length.

``options.truth`` lists the folders that ``mminstruct microworld`` wrote.
"""

from __future__ import annotations

import functools
import json
import math
import random
from pathlib import Path
from typing import Any

from mminstruct.microworld.language import facts_of
from mminstruct.microworld.oracle import judge_answer
from mminstruct.microworld.scene import Scene
from mminstruct.models.model import Model, Reply, Sampling
from mminstruct.models.transcript import spent
from mminstruct.prompts import Message
from mminstruct.quality.measures import statements
from mminstruct.quality.truth import Truth, truth
from mminstruct.text import words

SURE = 2.0
"""Log-odds with which the judge that likes length finds the better of two answers of one length."""
PLANTED = ("right", "first", "longer")


class Chatter:
    """``Chat`` of a judge; see the module."""

    def __init__(self, model: Model) -> None:
        kind, _, planted = model.name.partition(":")
        self.fault, _, amount = planted.partition("=")
        if kind != "oracle" or (planted and self.fault not in PLANTED):
            raise ValueError(
                f"{model.name}: the backend oracle has oracle, and oracle:FAULT=X with {', '.join(PLANTED)}"
            )
        try:
            self.amount = float(amount or "nan") if planted else 0.0
        except ValueError:
            self.amount = math.nan
        if math.isnan(self.amount) or (self.fault in ("right", "first") and not 0 <= self.amount <= 1):
            raise ValueError(f"{model.name}: say how much, as in oracle:right=0.8; chances are from 0 to 1")
        folders = model.options.get("truth") or []
        self.known: Truth = truth([Path(folder) for folder in ([folders] if isinstance(folders, str) else folders)])
        if not self.known:
            raise ValueError(
                f"{model.name}: options.truth lists the folders of the scenes: mminstruct microworld --to DIR"
            )

    def chat(
        self,
        messages: list[list[Message]],
        *,
        seeds: list[int],
        schema: dict[str, Any] | None = None,
        sampling: Sampling | None = None,
    ) -> list[Reply]:
        """A verdict or a grade as JSON for each transcript of ``judge_oracle`` or ``rubric_oracle``."""
        return spent([self._reply(turns, seed) for turns, seed in zip(messages, seeds, strict=True)])

    def _reply(self, messages: list[Message], seed: int) -> Reply:
        try:
            asked = json.loads(messages[-1]["content"])
            scene = self.known[asked["image_id"]].scene
        except (TypeError, ValueError, KeyError) as error:
            said = f"no scene {error}" if isinstance(error, KeyError) else f"{error}: give it prompt: judge_oracle"
            return Reply("", "error", error=f"the oracle cannot tell: {said}")
        if "answer" in asked:
            (right, form, share), problems = _worth(asked["answer"], asked["question"], scene)
            grade = 10 if right else 4 + round(4 * share) if form else 1 + round(2 * share)
            return _said({"reason": problems, "grade": grade})
        (first, one), (second, two) = (_worth(asked[name], asked["question"], scene) for name in ("first", "second"))
        truly = "A" if first > second else "B" if first < second else "neither"
        reason = f"first: {one}; second: {two}"
        return _said({"reason": reason, "verdict": self._planted(truly, asked, random.Random(seed))})

    def _planted(self, truly: str, asked: dict[str, str], chance: random.Random) -> str:
        if self.fault == "right" and chance.random() >= self.amount:
            return chance.choice([verdict for verdict in ("A", "B", "neither") if verdict != truly])
        if self.fault == "first" and chance.random() < self.amount:
            return "A"
        if self.fault == "longer":
            doublings = math.log2(max(1, len(words(asked["first"]))) / max(1, len(words(asked["second"]))))
            odds = SURE * {"A": 1, "B": -1, "neither": 0}[truly] + self.amount * doublings
            return "A" if chance.random() < 1 / (1 + math.exp(-odds)) else "B"
        return truly


@functools.lru_cache(maxsize=1 << 14)  # an answer is judged in both orders, and by several judges
def _worth(answer: str, question: str, scene: Scene) -> tuple[tuple[bool, bool, float], str]:
    """What is compared: right in every respect, in the form asked for, share of true statements; and the faults."""
    verdict = judge_answer(answer, question, scene)
    said = statements(answer, facts_of(scene, place=True), question)
    share = max(0, said.right) / said.said if said.said else 0.0
    return (verdict.ok, verdict.format_ok, share), "; ".join(verdict.problems) or "nothing is wrong"


def _said(reply: dict[str, Any]) -> Reply:
    text = json.dumps(reply)
    return Reply(text, "stop", tokens_in=1, tokens_out=len(text.split()))
