"""Annotations before they have a format: which set asks what about which scene, and how many people agree."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from mminstruct.microworld.annotated.descriptions import captions, paragraph
from mminstruct.microworld.annotated.questions import Question, questions
from mminstruct.microworld.language import COUNTS
from mminstruct.microworld.scene import Scene

PEOPLE = 10
"""Annotators of a question of VQA v2, OK-VQA, VQA-E and A-OKVQA."""
KEPT = "kept"
_WEIGHTS = {"vqa": 4, "vg_qa": 3, "tallyqa": 2, "vsr": 2, "cocoqa": 2}
"""How many questions a set asks about an image beside others, 1 if not named."""
_AGREE = {10: 8, 9: 5, 8: 4, 7: 3, 6: 2, 5: 2, 4: 1, 3: 1}
"""Weights of the number of annotators who give the majority's answer."""
_NUMBERS = {word: str(number) for number, word in enumerate(COUNTS)}


@dataclass(slots=True, kw_only=True)
class Note:
    """One annotation, and what is known about it."""

    set: str
    scene: Scene
    text: str = ""
    """Question or statement; empty for a description."""
    answer: str
    """What most annotators say; a description's own text."""
    question: Question | None = None
    agree: int = PEOPLE
    """Of ten annotators, how many give *answer*."""
    true: bool = True
    planted: str | None = None
    """Name of the fault, or of the relation to another annotation."""
    group: str | None = None
    """Of annotations with near-equal questions."""
    expected: str = KEPT
    """What becomes of it: ``kept``, ``one_of_group``, or the reason why it is dropped."""


def is_of_visual_genome(scene: Scene) -> bool:
    """Four of five images are also images of Visual Genome."""
    return scene.index % 5 != 4


def annotate(scene: Scene) -> list[Note]:
    """What the sets say about *scene*: all true, and every question asked once.

    Each question goes to the set, of those that ask such questions, that has asked the least so far.
    """
    rng = random.Random(f"mminstruct annotators {scene.seed}/{scene.index}")
    notes = [Note(set="coco_captions", scene=scene, answer=text) for text in captions(scene)]
    if is_of_visual_genome(scene):
        notes.append(Note(set="paragraph", scene=scene, answer=paragraph(scene)))
    asked: Counter[str] = Counter()
    all_questions = questions(scene)
    for question in rng.sample(all_questions, len(all_questions)):
        sets = [name for name in question.sets if name != "vg_qa" or is_of_visual_genome(scene)]
        name = min(rng.sample(sets, len(sets)), key=lambda name: (asked[name] + 1) / _WEIGHTS.get(name, 1))
        asked[name] += 1
        agree = rng.choices(tuple(_AGREE), tuple(_AGREE.values()))[0]
        notes.append(
            Note(set=name, scene=scene, text=question.wordings[0], answer=question.answer, question=question,
                 agree=agree)
        )  # fmt: skip
    return notes


def answers(note: Note, rng: random.Random) -> list[str]:
    """Ten answers to *note*, of which ``note.agree`` are its answer, some in another spelling.

    No other answer is given as often. Spellings differ in case, final stop, and numbers as digits or words.
    """
    assert note.question is not None
    said = [_spelled(note.answer, rng) for _ in range(note.agree)]
    others = [answer for answer in (note.question.answer, *note.question.wrong) if answer != note.answer]
    each: Counter[str] = Counter()
    while len(said) < PEOPLE:
        answer = rng.choice(others)
        if each[answer] < note.agree - 1:
            each[answer] += 1
            said.append(answer)
    return rng.sample(said, PEOPLE)


def _spelled(answer: str, rng: random.Random) -> str:
    if rng.random() < 0.7:
        return answer
    return rng.choice((answer.capitalize(), f"{answer}.", _NUMBERS.get(answer, answer)))


def sure(answer: str, note: Note, rng: random.Random) -> str:
    """How sure an annotator is of *answer*: ``yes``, ``maybe`` or ``no``."""
    agrees = answer.casefold().rstrip(".") in (note.answer.casefold(), _NUMBERS.get(note.answer))
    return rng.choices(("yes", "maybe", "no"), (8, 2, 0) if agrees else (2, 5, 3))[0]


def choices(question: Question, rng: random.Random) -> tuple[list[str], int]:
    """Four choices and the place of the right one."""
    texts = rng.sample([question.answer, *question.wrong[:3]], 4)
    return texts, texts.index(question.answer)
