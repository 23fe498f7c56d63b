"""Named histories: the turns of a conversation before a benchmark question."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mminstruct.stage import content_id

_PHRASE = "What is the largest thing in this image? Answer the question using a single word or phrase."
_YESNO = "Is this photo taken outdoors? Answer with yes or no."
_LETTER = (
    "What is the main colour of this image?\nA. red\nB. green\nC. blue\nD. another one\n"
    "Answer with the option's letter from the given choices directly."
)
_NUMBER = "How many people are in this image? Answer the question with a number."
_PARAGRAPH = "Describe the image in one paragraph."

HISTORIES: dict[str, tuple[str, ...]] = {
    "phrase": (_PHRASE,),
    "yesno": (_YESNO,),
    "letter": (_LETTER,),
    "number": (_NUMBER,),
    "paragraph": (_PARAGRAPH,),
    "open_phrase": (
        "What is happening in this image?",
        "What is the mood of this image? Answer the question using a single word or phrase.",
    ),
    "mixed": (_PHRASE, _YESNO, _LETTER, _NUMBER, _PARAGRAPH),
}
"""Questions of the earlier turns, by name of the history. Those of one turn differ in the answer format only;
``open_phrase`` has the formats of COCO-is-all's figure 1 (arXiv 2401.08968): an open question, a short one, then the
benchmark's. All wordings are ours."""
_ORDERED = frozenset({"open_phrase"})
"""Histories whose order is what they measure, so that it never changes."""
FRESH = "fresh"
"""Name of no history, in results."""
DIALOGUE = "dialogue"
"""Name of the history that consists of a question's own earlier turns in a run's dialogue."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def filled(histories: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """*histories* with the turns of ``HISTORIES`` in place of empty lists."""
    return {name: list(turns or HISTORIES.get(name, ())) for name, turns in histories.items()}


def faults(histories: Mapping[str, Sequence[str]]) -> list[str]:
    """Configuration errors of ``filled`` histories, one line each."""
    found = [
        f"histories.{name}: a name begins with a letter, has only letters, digits, _ and -, and is not"
        f" {FRESH} or {DIALOGUE}"
        for name in histories if not _NAME.fullmatch(name) or name in (FRESH, DIALOGUE)
    ]  # fmt: skip
    found += [
        f"histories.{name}: give its turns, a list of questions; only {', '.join(HISTORIES)} may be empty"
        for name, turns in histories.items() if not turns or not all(turn.strip() for turn in turns)
    ]  # fmt: skip
    return found


def ordered(name: str, turns: Sequence[str], question: str, shuffle: bool, seed: int) -> list[str]:
    """The turns before *question* (an id), in an order of its own if *shuffle*.

    It depends on the seed, the history and the question only: all contestants see the same turns.
    """
    if not shuffle or name in _ORDERED:
        return list(turns)
    return sorted(turns, key=lambda turn: (content_id(str(seed), "history", name, question, turn), turn))


def label(name: str, history: str) -> str:
    """The name of a contestant after *history*; empty: none."""
    return f"{name}@{history}" if history else name
