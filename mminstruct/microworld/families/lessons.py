"""Worked examples for each role of the pipeline: what a model is shown, and what it should say.

Everything is pure and follows from the random generator given: the same generator state gives the same lesson.
Prompt variables are those of ``conf/prompts/*.md``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from mminstruct.microworld.families import FAMILIES, Family, Split, applicable, classify
from mminstruct.microworld.families.wordings import reworded
from mminstruct.microworld.language import Facts, alt_text, caption, facts_of, fused, read_facts
from mminstruct.microworld.scene import Scene, draw_scene

Variables = dict[str, Any]
_OTHER_WORLD = 1_000_003
"""Seed offset of the world that examples from elsewhere are drawn from, apart from the scene's own."""
_SPECIFIC = 0.15
"""Share of invented instructions that name a thing: a small model names wrong ones, and a general one fits as well."""
_REWORDED = 0.5
"""Share of questions to answer that are asked in words of ``wordings``; the others keep the families' own."""


def caption_example(scene: Scene) -> str:
    """What the captioner should say of *scene*."""
    return caption(scene)


def fuse_example(scene: Scene, rng: random.Random) -> Variables:
    """``alt_text`` and ``caption`` of the fuse prompt, and its ``target``."""
    said, alt = _caption(scene, rng), alt_text(scene, rng)
    return {"alt_text": alt.text, "caption": said, "target": fused(scene, said, alt)}


def describe(scene: Scene, rng: random.Random) -> str:
    """A description as the pipeline has it: a caption, with the name of the place where the alt-text gave it."""
    return fused(scene, _caption(scene, rng), alt_text(scene, rng))


def instruct_example(scene: Scene, rng: random.Random, split: Split, seeds: Sequence[str]) -> tuple[Variables, str]:
    """``examples`` and ``description`` of the instruct prompt, and an instruction of a family that no example has.

    Examples are seed instructions from *seeds* or instructions of other families, in random order.
    Families that need something special in the picture are drawn three times as often as those that fit any.
    """
    description = describe(scene, rng)
    facts = read_facts(description)
    families = applicable(facts)
    family = rng.choices(families, [1 if family.topic == "any" else 3 for family in families])[0]
    examples: list[str] = []
    while len(examples) < 5:
        if rng.random() < 0.6:
            text = rng.choice(seeds)
        else:
            elsewhere = _elsewhere(scene.seed, rng)
            text = rng.choice(applicable(elsewhere)).instruction(elsewhere, rng, split)
        if text not in examples and classify(text) != family.name:
            examples.append(text)
    specific = rng.random() < _SPECIFIC
    return {"examples": examples, "description": description}, family.instruction(facts, rng, split, specific=specific)


def summarize_example(rng: random.Random, split: Split) -> tuple[list[str], str]:
    """Two to twenty instructions of one family, about different pictures, and the family's general instruction."""
    family = rng.choice(list(FAMILIES.values()))
    size = rng.randint(2, 20)
    return [_of_family(family, rng, split) for _ in range(size)], family.general


def answer_example(scene: Scene, rng: random.Random, split: Split, shots: int = 0) -> tuple[Variables, str]:
    """``instruction``, ``examples`` and ``description`` of the answer prompt, and the answer.

    With examples the instruction is general, as the pipeline summarises it, and the answer keeps to their style.
    """
    description = describe(scene, rng)
    facts = read_facts(description)
    families = applicable(facts)
    family = rng.choices(families, [1 if family.topic == "any" else 3 for family in families])[0]
    if shots and rng.random() < 0.6:
        instruction = family.general
    elif split == "train" and rng.random() < _REWORDED:
        instruction = reworded(family, facts, rng, specific=not shots and rng.random() < 0.3)
    else:
        instruction = family.instruction(facts, rng, split, specific=False if shots else None)
    style = rng.randrange(len(family.styles))
    examples: list[dict[str, str]] = []
    while len(examples) < shots:
        elsewhere = draw_scene(rng.randrange(10**6), scene.seed + _OTHER_WORLD)
        if family.applies(facts_of(elsewhere)):
            other = describe(elsewhere, rng)
            read = read_facts(other)
            examples.append({"description": other, "answer": family.write(read, rng, instruction, style)})
    answer = family.write(facts, rng, instruction, style)
    return {"instruction": instruction, "examples": examples, "description": description}, answer


def _caption(scene: Scene, rng: random.Random) -> str:
    return caption(scene) if rng.random() < 0.7 else caption(scene, rng)


def _elsewhere(seed: int, rng: random.Random) -> Facts:
    """Facts of another scene, as a description would give them: every other one with the name of its place."""
    return facts_of(draw_scene(rng.randrange(10**6), seed + _OTHER_WORLD), place=rng.random() < 0.5)


def _of_family(family: Family, rng: random.Random, split: Split) -> str:
    while True:
        facts = _elsewhere(0, rng)
        if family.applies(facts):
            return family.instruction(facts, rng, split)
