"""Plants questions that are asked twice in other words: with the same answer, and with another one.

Two of three groups are in sets whose support is known, so that it is decided which annotation stays.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from mminstruct.microworld.annotated.annotators import KEPT, Note, is_of_visual_genome

CONTRADICTION, NEAR_EQUAL = "contradiction", "near_equal"
_COUNTED = ("vqa", "okvqa")
"""Sets with ten answers to a question, so with a support."""
_UNCOUNTED = ("vg_qa", "cocoqa", "tallyqa")
"""Sets with one answer to a question."""
_SHARE = 0.25
"""Groups of either kind to an image: 100 in 400."""


def plant(notes: Sequence[Note], images: int, rng: random.Random) -> list[Note]:
    """*notes*, of *images* scenes, and the annotations that contradict or repeat some of them.

    Support decides where one answer has at least twice that of the other: it stays. Where it has not, and where
    nobody counted, all of a contradiction fall. Of repetitions the one with the most support stays, and any one where
    nobody counted.
    """
    free = [note for note in notes if note.question and note.planted is None and note.question.relation is None]
    counted = rng.sample(some := [note for note in free if note.set in _COUNTED], len(some))
    uncounted = rng.sample(some := [note for note in free if note.set in _UNCOUNTED and _other(note)], len(some))
    more = []
    for name in (CONTRADICTION, NEAR_EQUAL):
        for number in range(max(3, round(_SHARE * images))):
            pool = uncounted if number % 3 == 2 and uncounted else counted
            if pool:  # a world of one image may have too few questions
                more.append(_twin(pool.pop(), name, f"{name}-{number}", number, rng))
    return [*notes, *more]


def _other(note: Note) -> list[str]:
    """Sets without a support that can ask the same."""
    assert note.question is not None
    sets = [name for name in ("vg_qa", "cocoqa") if name != "vg_qa" or is_of_visual_genome(note.scene)]
    return [name for name in sets if name != note.set]


def _twin(note: Note, name: str, group: str, number: int, rng: random.Random) -> Note:
    """Another annotation with the question of *note*, which is changed to be one of the same group."""
    assert note.question is not None
    note.planted, note.group = name, group
    wrong = name == CONTRADICTION
    twin = replace(
        note,
        text=rng.choice(note.question.wordings),
        answer=rng.choice(note.question.wrong[: 1 if note.question.sort == "yes/no" else 3]) if wrong else note.answer,
        true=not wrong,
    )
    if note.set in _UNCOUNTED:
        twin.set = rng.choice(_other(note))
        note.expected = twin.expected = CONTRADICTION if wrong else "one_of_group"
        return twin
    twin.set = rng.choice(_COUNTED)
    if wrong and number % 3 == 1:
        note.agree, twin.agree = rng.choice(((7, 5), (6, 6), (5, 4), (4, 4)))
        note.expected = twin.expected = CONTRADICTION
    else:
        note.agree, twin.agree = rng.choice((9, 10)), rng.choice((3, 4))
        note.expected, twin.expected = KEPT, CONTRADICTION if wrong else "dup_question"
    return twin
