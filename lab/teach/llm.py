"""Lessons of the language models: the prompts that the stages send, and the answers of the rules. Needs no PyTorch."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from mminstruct.microworld.catalogue import LEVELS
from mminstruct.microworld.families import Split, lessons
from mminstruct.microworld.questions.lessons import asker_example
from mminstruct.microworld.scene import Scene, draw_scene
from mminstruct.prompts import Message, render

PROMPTS = Path(__file__).parents[2] / "conf" / "prompts"
SEEDS = Path(__file__).parents[2] / "conf" / "seeds.yaml"
ROLES = {"fuse": 22, "fuse_capsfusion": 4, "instruct": 26, "summarize": 4, "answer": 36, "exemplify": 8}
"""Weights of the prompts of the llm. fuse is mostly verbatim copying, which every other role needs too."""
ASKED = {"ask": 10, "converse": 5, "verify": 85}
"""Weights of the prompts of the asker. A lesson of verify has a fifth of the tokens of one of ask, and batches have
lessons of similar length: with 50, 20 and 30, one step in twelve was on verify, and it answered half right."""
SCENES = 100_000
"""Lessons and pictures are of scenes 0 to SCENES - 1 of world 0."""

Lesson = tuple[list[Message], str]
Writer = Callable[[str, Scene, random.Random, Split], tuple[dict[str, Any], str]]
"""From a role, a scene, a random generator and a split to the variables of the role's prompt and the answer."""


def lesson_values(
    role: str, scene: Scene, rng: random.Random, split: Split, shots: int = 0
) -> tuple[dict[str, Any], str]:
    """Variables of the prompt of *role* for *scene*, and the target answer."""
    if role in ("fuse", "fuse_capsfusion"):
        values: dict[str, Any] = lessons.fuse_example(scene, rng)
        return values, values.pop("target")
    if role == "instruct":
        return lessons.instruct_example(scene, rng, split, seed_instructions())
    if role == "summarize":
        members, target = lessons.summarize_example(rng, split)
        return {"members": members}, target
    values, target = lessons.answer_example(scene, rng, split, shots)
    if role == "exemplify":
        del values["examples"]
    return values, target


def llm_writer(role: str, scene: Scene, rng: random.Random, split: Split) -> tuple[dict[str, Any], str]:
    """``lesson_values`` with a random number of examples in prompts of the role ``answer``."""
    shots = rng.choices((0, 1, 2, 3), (12, 7, 2, 4))[0] if role == "answer" else 0
    return lesson_values(role, scene, rng, split, shots)


@functools.cache
def seed_instructions() -> tuple[str, ...]:
    """The seed instructions of the instruct stage, in the order of their file."""
    kinds = yaml.safe_load(SEEDS.read_text("utf-8"))
    return tuple(text for texts in kinds.values() for text in texts)


def render_prompt(role: str, values: dict[str, Any]) -> list[Message]:
    """The chat that a stage sends."""
    return render(_prompt(role), **values)


@functools.cache
def _prompt(role: str) -> str:
    return (PROMPTS / f"{role}.md").read_text("utf-8")


def training_lessons(
    rng: random.Random, writer: Writer = llm_writer, roles: dict[str, int] | None = None
) -> Iterator[Lesson]:
    """Endless chats and target answers of *roles*, the llm's by default, on training scenes of all levels."""
    names, weights = zip(*(roles or ROLES).items(), strict=True)
    while True:
        role = rng.choices(names, weights)[0]
        scene = draw_scene(rng.randrange(SCENES), 0, rng.choice(LEVELS))
        values, target = writer(role, scene, rng, "train")
        yield render_prompt(role, values), target


def lessons_of(model: str, rng: random.Random) -> Iterator[Lesson]:
    """Endless lessons of the language model of this name."""
    return training_lessons(rng, asker_example, ASKED) if model == "asker" else training_lessons(rng)


def unseen_lessons(model: str, seed: int, number: int) -> Iterator[tuple[str, list[Lesson]]]:
    """Lessons of world *seed* by sort, half of them hard; ``answer_new`` has wordings that are never taught."""
    sorts: list[tuple[str, str, int, Split]] = [
        ("answer_new", "answer", 0, "test"), ("answer", "answer", 0, "train"), ("answer3", "answer", 3, "train"),
        ("fuse", "fuse", 0, "train"), ("instruct", "instruct", 0, "train"),
    ]  # fmt: skip
    if model == "asker":
        sorts = [(role, role, 0, "test") for role in ASKED]
    for name, role, shots, split in sorts:
        made = []
        for index in range(number):
            scene, rng = draw_scene(index, seed, LEVELS[index % len(LEVELS)]), random.Random(f"{name} {index}")
            if model == "asker":
                values, target = asker_example(role, scene, rng, split)
            else:
                values, target = lesson_values(role, scene, rng, split, shots)
            made.append((render_prompt(role, values), target))
        yield name, made
