"""Judge models that know the truth, some with injected faults, to test a benchmark's statistics.

They are the backend ``oracle``, so they run like any other judge: a prompt (``judge_oracle``, ``rubric_oracle`` or
``rate_oracle``, which give the facts as JSON), a reply, its parsing. The model's name selects the behaviour:

- ``oracle``: judges by the truth of the scene. The better answer is the one that is right in every respect; if neither
  or both are, the one with the requested form; then the one with the larger share of true statements;
- ``oracle:right=0.8``: gives the true verdict with this probability, else one of the two others;
- ``oracle:first=0.3``: prefers the answer shown first with this probability, else judges by the truth;
- ``oracle:longer=1.5``: draws the verdict from log-odds: 2 for the better answer, plus 1.5 for each doubling of length.

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
from mminstruct.microworld.oracle import judge_answer, judge_pair, statements
from mminstruct.microworld.scene import Scene
from mminstruct.models.model import Model, Reply, Sampling
from mminstruct.models.transcript import count_usage
from mminstruct.prompts import Message
from mminstruct.quality.truth import Truth, read_truth
from mminstruct.text import words

SURE = 2.0
"""Log-odds of the better of two answers of equal length, for ``longer``."""
FAULTS = ("right", "first", "longer")


class Chatter:
    """The ``Chat`` of a judge."""

    def __init__(self, model: Model) -> None:
        kind, _, fault = model.name.partition(":")
        self.fault, _, amount = fault.partition("=")
        if kind != "oracle" or (fault and self.fault not in FAULTS):
            raise ValueError(
                f"{model.name} is no model of the backend oracle: take oracle, or oracle:FAULT=X where FAULT is one of "
                f"{', '.join(FAULTS)}"
            )
        try:
            self.amount = float(amount or "nan") if fault else 0.0
        except ValueError:
            self.amount = math.nan
        if math.isnan(self.amount) or (self.fault in ("right", "first") and not 0 <= self.amount <= 1):
            raise ValueError(f"{model.name}: give the fault a number, as in oracle:right=0.8; probabilities are 0 to 1")
        folders = model.options.get("truth") or []
        folders = [folders] if isinstance(folders, str) else folders
        self.truth: Truth = read_truth([Path(folder) for folder in folders])
        if not self.truth:
            raise ValueError(
                f"{model.name}: options.truth is empty; list folders that `mminstruct microworld --to DIR` wrote"
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
        return count_usage([self._reply(turns, seed) for turns, seed in zip(messages, seeds, strict=True)])

    def _reply(self, messages: list[Message], seed: int) -> Reply:
        try:
            asked = json.loads(messages[-1]["content"])
            scene = self.truth[asked["image_id"]].scene
        except (TypeError, ValueError, KeyError) as error:
            why = f"no scene {error}" if isinstance(error, KeyError) else f"{error}; set its prompt to judge_oracle"
            return Reply("", "error", error=f"the oracle cannot judge: {why}")
        if "axis" in asked:
            return self._rating(asked, scene, random.Random(seed))
        if "answer" in asked:
            (right, form, share), problems = _worth(asked["answer"], asked["question"], scene)
            grade = 10 if right else 4 + round(4 * share) if form else 1 + round(2 * share)
            return _json_reply({"reason": problems, "grade": grade})
        (first, one), (second, two) = (_worth(asked[name], asked["question"], scene) for name in ("first", "second"))
        truly = "A" if first > second else "B" if first < second else "neither"
        reason = f"first: {one}; second: {two}"
        return _json_reply({"reason": reason, "verdict": self._verdict(truly, asked, random.Random(seed))})

    def _rating(self, asked: dict[str, str], scene: Scene, chance: random.Random) -> Reply:
        """1 to 5 on one axis. The need of the image is told by whether the answer states a fact about it."""
        (right, form, share), problems = _worth(asked["answer"], asked["question"], scene)
        said = statements(asked["answer"], facts_of(scene, place=True), asked["question"]).said
        truly = {
            "formatting": 5 if form else 2,
            "relevance": 5 if form else 2,
            "visual_dependency": 5 if said else 2,
            "image_correspondence": 5 if right and judge_pair(asked["question"], scene) else 1 + round(3 * share),
        }[asked["axis"]]
        if self.fault == "right" and chance.random() >= self.amount:
            truly = chance.choice([grade for grade in range(1, 6) if grade != truly])
        return _json_reply({"reason": problems, "grade": truly})

    def _verdict(self, truly: str, asked: dict[str, str], chance: random.Random) -> str:
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
    """Key to compare answers by (all right, form right, share of true statements), and what is wrong."""
    verdict = judge_answer(answer, question, scene)
    said = statements(answer, facts_of(scene, place=True), question)
    share = said.right / said.said if said.said else 0.0
    return (verdict.ok, verdict.format_ok, share), "; ".join(verdict.problems) or "nothing is wrong"


def _json_reply(reply: dict[str, Any]) -> Reply:
    text = json.dumps(reply)
    return Reply(text, "stop", tokens_in=1, tokens_out=len(text.split()))
