"""How language models learn. Each runs in a process of its own; *attempt* is 1 after a first one failed."""

from __future__ import annotations

import queue
import random
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.teach import llm, mixtral
from lab.teach.exam import judge
from lab.teach.learner import Learner, Losses
from lab.teach.plan import WATCHED, WEAK, Plan
from lab.teach.pupil import Row, begin, device_of, learn, placed, saved
from lab.teach.words import Words
from lab.teach.workers import arrays
from mminstruct.microworld.catalogue import LEVELS
from mminstruct.microworld.scene import Scene, draw_scene

AGAIN = 3000
"""Batches kept for a second time, which comes when lessons are learned faster than they are written."""
FEWEST = 20
"""Kept batches from which a second time begins."""


class Inbox:
    """Batches for the model *name*, on the device: new ones, else one that was learned once."""

    def __init__(self, plan: Plan, name: str, device: torch.device, share: int) -> None:
        self._queue, self._device, self._share = plan.queues[name], device, share
        self._known: deque[tuple[Tensor, ...]] = deque(maxlen=AGAIN)
        self.lessons = self.batches = 0

    def next(self) -> tuple[Tensor, ...] | None:
        """None where nothing came within half a second."""
        again = len(self._known) > FEWEST
        try:
            ids, where, labels = self._queue.get(timeout=0.001 if again else 0.5)
        except queue.Empty:
            return self._known.popleft() if again else None
        if self._share > 1 and len(ids) > self._share:  # after a failure: fewer rows
            ids = ids[: len(ids) // self._share]
            labels, where = labels[where < ids.size], where[where < ids.size]
        self.lessons, self.batches = self.lessons + len(ids), self.batches + 1
        self._known.append(placed((ids, where, labels), self._device))
        return self._known[-1]


def speak(plan: Plan, attempt: int, name: str) -> None:
    """The llm, the asker or the small llm, on batches that the writers send."""
    device = device_of(plan, attempt)
    while (tokens := plan.tokens_of(name)) is None:
        time.sleep(0.2)
    words = Words(tokens)

    def start(folder: Path) -> None:
        if name == "asker" and list((plan.work / "llm").glob("*.safetensors")):
            mixtral.start_asker(plan.work / "llm", tokens, folder)
        else:
            mixtral.start(name, tokens, folder)

    fresh = not begin(plan, name, start)
    rate = 2.5e-3 if not fresh or name == "asker" else 4e-3
    learner = Learner(mixtral.stacked(saved(plan.work / name)), device, rate, 0.05)
    p, inbox = learner.p, Inbox(plan, name, device, 1 + attempt)
    chance = np.random.default_rng(5)
    held = {
        sort: placed(arrays(words.coded(lessons), chance, 0.0), device)
        for sort, lessons in llm.unseen_lessons(name, WATCHED, plan.sizes.asked)
    }
    asked = questions(plan.sizes.asked) if name in WEAK else []

    def cost(progress: float) -> Losses | None:
        batch = inbox.next()
        return None if batch is None else mixtral.cost(p, batch[0], batch[1], batch[2])

    def watch() -> Row:
        found: Row = {}
        for sort, (ids, where, labels) in held.items():
            found[f"unseen_{sort}"] = float(mixtral.cost(p, ids, where, labels)["cross_entropy"])
        if not asked:
            return found
        prompts = [prompt for prompt, _ in words.coded((llm.render_prompt("answer", v), "") for v, _ in asked)]
        said = [words.text(reply) for reply in mixtral.replies(p, prompts, 120)]
        verdicts = [judge("answer", v, text, scene) for (v, scene), text in zip(asked, said, strict=True)]
        return found | {part: sum(one[part] for one in verdicts) / len(verdicts) for part in ("ok", "facts", "form")}

    learn(
        plan, name, learner, cost, mixtral.unstacked, watch,
        facts=lambda: {"lessons": inbox.lessons, "batches": inbox.batches},
    )  # fmt: skip


def questions(number: int) -> list[tuple[dict[str, Any], Scene]]:
    """Variables of prompts of the role ``answer``, without examples, of the world that is watched."""
    made = []
    for index in range(number):
        scene = draw_scene(index, WATCHED, LEVELS[index % len(LEVELS)])
        values, _ = llm.lesson_values("answer", scene, random.Random(f"watched {index}"), "train")
        made.append((values, scene))
    return made
