"""Where false statements of answers come from: the first stage that makes them."""

from __future__ import annotations

from collections import Counter

from mminstruct.microworld.claims import contradictions, read_answer
from mminstruct.microworld.language import facts_of, read_facts
from mminstruct.microworld.oracle import false_lore, judge_pair
from mminstruct.microworld.scene import Scene
from mminstruct.quality.measure import Measure, share
from mminstruct.quality.run import JudgedRun

STAGES = {
    "caption": "the caption says it",
    "fuse": "the description says it, the caption does not",
    "match": "no text before, and the instruction does not apply to the scene",
    "answer": "only the answer says it",
}
"""Stages that can be the first to make a false statement, in their order, and how that shows."""


def origin(run: JudgedRun) -> list[Measure]:
    """Share of the false statements in answers that each stage was the first to make; none where all are true."""
    first: dict[str, Counter[str]] = {}
    for row in run.answers:
        key = row["image_id"]
        texts = run.captions.get(key, ""), run.descriptions.get(key, ""), run.bank[row["instruction_id"]]
        found = first_stages(row["answer"], *texts, run.truth[key].scene)
        first.setdefault(key, Counter()).update(found)
    return [
        measure
        for stage, how in STAGES.items()
        for measure in share(
            "origin", f"false statements first made by {stage}: {how}", ((c[stage], c.total()) for c in first.values())
        )
    ]


def first_stages(answer: str, caption: str, description: str, instruction: str, scene: Scene) -> list[str]:
    """For each false statement of *answer*, the stage of ``STAGES`` that was the first to make it.

    A statement is a stage's if the stage's text makes it too. What is in neither text is the fault of ``match`` if the
    instruction does not apply to the scene, or names what is not there, and else of ``answer``. Lore (moods,
    comparisons, clues) is in no caption: it is the stage's whose text would make it right.
    """
    truth = facts_of(scene, place=True)
    seen = {"caption": read_facts(caption), "fuse": read_facts(description)}
    said = {stage: contradictions(facts, truth) for stage, facts in seen.items()}
    borne = {stage: false_lore(answer, facts, instruction) for stage, facts in seen.items()}
    found = [[stage for stage in said if wrong in said[stage]] for wrong in contradictions(read_answer(answer), truth)]
    for wrong in false_lore(answer, truth, instruction):
        about = wrong.split()[:2]
        found.append([stage for stage in seen if about not in [fault.split()[:2] for fault in borne[stage]]])
    last = "answer" if judge_pair(instruction, scene) else "match"
    return [stages[0] if stages else last for stages in found]
