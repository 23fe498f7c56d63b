"""Whether a second answer to a question says the same as the first. An unclear one never counts as the same."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from mminstruct.text.characters import one_line, words
from mminstruct.text.question import NEGATIONS, in_digits
from mminstruct.text.refusal import refusal
from mminstruct.text.reply import spoken, unlabelled
from mminstruct.text.turn import chosen
from mminstruct.text.vqa import normal

Outcome = Literal["same", "other", "unknown", "unparsed"]
"""``unknown``: the question cannot be answered; ``unparsed``: the reply has no answer that can be read."""

_LONGEST = 12
"""Words of a short answer; a longer reply is an explanation."""
_UNKNOWN = re.compile(
    r"\W*(?:it is )?(?:unknown|unclear|not (?:mentioned|stated|specified|given|known|clear|visible|shown)|n/?a"
    r"|(?:it )?(?:cannot|can['’]t|can not) be (?:answered|determined|told|known|said)|i (?:do not|don['’]t) know)\W*",
    re.IGNORECASE,
)
_JUDGED = re.compile(r"\W*(yes|no)\W*", re.IGNORECASE)
_SUPPORTED = re.compile(r"\W*supported\W*", re.IGNORECASE)
_SMALL = {"in", "on", "at", "of", "with", "to", "is", "are", "it", "some", "there"}
_DECISIVE = NEGATIONS | {
    "under", "below", "beneath", "behind", "above", "over", "before", "after", "left", "right", "outside",
    "front", "between",
}  # fmt: skip
"""Words that two answers share if they say the same: without them, "behind the bus" would be "the bus"."""
_SIGNED = re.compile(r"(?<!\S)[-−](?=\d)")
FLOOR = 0.5
"""Least F1 of the words of two short answers that say the same."""


def same(
    reply: str, finish: str, kind: str, answer: str, choices: tuple[str, ...] = (), right: int | None = None
) -> Outcome:
    """What *reply* says about *answer*.

    A judgement must have the same word, a choice the same text, a number the same value. Short answers are the same if
    they are alike by VQA's rules, or if all words of one are in the other and the F1 of their words is 0.5 or more: so
    "the bus" is "a red bus", and "a red bus" is no "blue bus". Negations, positions and the order
    of numbers must be the same, too, and what is behind what. A long answer is the same if the reply is "supported".

    Args:
        finish: A ``models.model.Finish``; only the text of a complete reply counts.
        choices: As they were shown to the model, without letters.
        right: Place of the right one among them.
    """
    text = unlabelled(spoken(reply), "answer")
    if finish != "stop" or not words(text) or refusal(text):
        return "unparsed"
    if _UNKNOWN.fullmatch(text):
        return "unknown"
    if kind == "judgement":
        said = _JUDGED.fullmatch(text)
        return "unparsed" if said is None else _outcome(said[1].casefold() == answer.casefold())
    if kind == "choice":
        place = chosen(text, choices)
        return "unparsed" if isinstance(place, str) else _outcome(place == right)
    if kind == "long":
        return "same" if _SUPPORTED.fullmatch(text) else "other" if _repeats(text, answer) else "unparsed"
    if "\n" in text or len(words(text)) > _LONGEST:
        return "unparsed"
    if len(_SIGNED.findall(text)) != len(_SIGNED.findall(answer)):
        return "other"
    return _outcome(_alike(*(" ".join(map(in_digits, normal(some).split())) for some in (text, answer))))


def _outcome(agrees: bool) -> Outcome:
    return "same" if agrees else "other"


def _repeats(text: str, answer: str) -> bool:
    """Whether *text* is a part of *answer*, or says that it is not supported."""
    if re.fullmatch(r"\W*(?:un|not )supported\b.{0,200}", text, re.IGNORECASE | re.DOTALL):
        return True
    part, whole = (" ".join(word.casefold() for word in words(one_line(some))) for some in (text, answer))
    return len(part.split()) > 2 and f" {part} " in f" {whole} "


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    first, second = ([word for word in words(text) if word not in _SMALL] for text in (one, other))
    if [word for word in first if word.isdigit()] != [word for word in second if word.isdigit()]:
        return False
    decisive = _DECISIVE.intersection(first)
    if decisive != _DECISIVE.intersection(second):
        return False
    if decisive and not (_in_order(first, second) or _in_order(second, first)):
        return False  # a cat behind a dog, a dog behind a cat
    mine, theirs = Counter(first), Counter(second)
    common = (mine & theirs).total()
    if not common or (mine - theirs and theirs - mine):
        return False
    return 2 * common / (mine.total() + theirs.total()) >= FLOOR


def _in_order(part: list[str], whole: list[str]) -> bool:
    """Whether the words of *part* are in *whole*, in this order."""
    left = iter(whole)
    return all(word in left for word in part)
