"""Training examples for each role of the pipeline: the prompt's variables and the expected reply.

All functions are pure: the same state of the random generator gives the same example. Other scenes that an example
needs have the level of its own.
Prompt variables are those of ``conf/prompts/*.md``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from mminstruct.microworld.catalogue import LEVELS
from mminstruct.microworld.families import FAMILIES, Family, Split, applicable, classify
from mminstruct.microworld.families.wordings import reworded
from mminstruct.microworld.language import Facts, alt_text, caption, facts_of, fused, read_facts
from mminstruct.microworld.scene import Scene, draw_scene

Variables = dict[str, Any]
_OTHER_WORLD = 1_000_003
"""Offset from a scene's seed to the seed of the world from which examples are drawn."""
_SPECIFIC = 0.15
"""Share of target instructions that name a thing. It is low because a small model often names a wrong thing."""
_REWORDED = 0.8
"""Share of instructions to answer that have a wording of ``wordings``; the others have one of the family's."""


def caption_example(scene: Scene) -> str:
    """The expected caption of *scene*."""
    return caption(scene)


def fuse_example(scene: Scene, rng: random.Random) -> Variables:
    """``alt_text`` and ``caption`` of the fuse prompt, and its ``target``."""
    said, alt = _caption(scene, rng), alt_text(scene, rng)
    return {"alt_text": alt.text, "caption": said, "target": fused(scene, said, alt)}


def describe(scene: Scene, rng: random.Random) -> str:
    """A description as the fuse stage makes it: a caption, with the proper name of the place if the alt-text has it."""
    return fused(scene, _caption(scene, rng), alt_text(scene, rng))


def instruct_example(scene: Scene, rng: random.Random, split: Split, seeds: Sequence[str]) -> tuple[Variables, str]:
    """``examples`` and ``description`` of the instruct prompt, and an instruction of a family without an example.

    Examples are seed instructions from *seeds* or instructions of other families, in random order.
    Families that require a topic are drawn three times as often as those that apply to any picture.
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
            elsewhere = _other_facts(scene.seed, rng, scene.level)
            text = rng.choice(applicable(elsewhere)).instruction(elsewhere, rng, split)
        if text not in examples and classify(text) != family.name:
            examples.append(text)
    specific = rng.random() < _SPECIFIC
    return {"examples": examples, "description": description}, family.instruction(facts, rng, split, specific=specific)


def summarize_example(rng: random.Random, split: Split) -> tuple[list[str], str]:
    """Two to twenty instructions of one family for pictures of all levels, and the family's general instruction."""
    family = rng.choice(list(FAMILIES.values()))
    size = rng.randint(2, 20)
    return [_of_family(family, rng, split) for _ in range(size)], family.general


def answer_example(scene: Scene, rng: random.Random, split: Split, shots: int = 0) -> tuple[Variables, str]:
    """``instruction``, ``examples`` and ``description`` of the answer prompt, and the answer.

    With examples, the instruction names no thing, as in the summarize stage, and the answer has the examples' style.
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
        elsewhere = draw_scene(rng.randrange(10**6), scene.seed + _OTHER_WORLD, scene.level)
        if family.applies(facts_of(elsewhere)):
            other = describe(elsewhere, rng)
            read = read_facts(other)
            examples.append({"description": other, "answer": family.write(read, rng, instruction, style)})
    answer = family.write(facts, rng, instruction, style)
    return {"instruction": instruction, "examples": examples, "description": description}, answer


def _caption(scene: Scene, rng: random.Random) -> str:
    return caption(scene) if rng.random() < 0.7 else caption(scene, rng)


def _other_facts(seed: int, rng: random.Random, level: str) -> Facts:
    """Facts of a scene from another world; half of them contain the proper name of the place."""
    return facts_of(draw_scene(rng.randrange(10**6), seed + _OTHER_WORLD, level), place=rng.random() < 0.5)


def _of_family(family: Family, rng: random.Random, split: Split) -> str:
    while True:
        facts = _other_facts(0, rng, rng.choice(LEVELS))
        if family.applies(facts):
            return family.instruction(facts, rng, split)
