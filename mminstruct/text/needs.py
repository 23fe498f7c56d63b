"""Whether an image has what a domain's questions need, as far as its description and words tell.

These are necessary conditions that cost nothing: without words there is nothing to read. A model that asks from the
description meets the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mminstruct.text.question import singular

_NUMBERS = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|several|many|some|both|pair|couple|dozen"
_COUNTED = re.compile(rf"\b(?:{_NUMBERS})\b|\b(?!1\b)\d+\b", re.IGNORECASE)
_SETTING = re.compile(
    r"\b(?:scene|image|picture|photo|photograph|view|setting)\s+(?:is|was|takes place|happens)\s+(?:set\s+)?"
    r"(?:in|on|at|inside|outside|by|near)\b[^.;!?]*",
    re.IGNORECASE,
)
_PART = re.compile(r"[\w'-]+\s+of\b|\bblack\s+and\s+(?=white\b)", re.IGNORECASE)
"""Words before the name of a thing: a pair of, a black and."""
_END = (
    "of|in|on|at|by|with|without|to|from|for|near|behind|under|below|above|over|beside|between|inside|outside|left|right"
    r"|that|which|who|whose|is|are|was|were|has|have|and|or|but|as|while|an?|one|another|the|\w+ing|parked|seated"
    "|(?:stand|sit|lie|wait|sleep|walk|run|hold|rest|hang|wear|look|eat|play|read)s?"
)
_THING = re.compile(
    rf"\b(?:an?|one|another|{_NUMBERS}|\d+)\s+(?P<named>(?:(?!(?:{_END}|{_NUMBERS})\b)[\w'-]+\b\s*)+)", re.IGNORECASE
)
_NO_THINGS = {
    "day", "night", "morning", "evening", "afternoon", "scene", "image", "picture", "photo", "photograph", "view",
}  # fmt: skip
_PERSON = re.compile(
    r"(?<!\bno )(?<!\bwithout )\b(?:person|people|persons"
    r"|someone|somebody|everyone|crowd|family|couple|m[ae]n|wom[ae]n|boys?|girls?|child(?:ren)?|kids?"
    r"|bab(?:y|ies)|toddlers?|adults?|teenagers?|lad(?:y|ies)|gentlem[ae]n|guys?|players?|workers?|riders?|drivers?|passengers?"
    r"|pedestrians?|customers?|guests?|students?|teachers?|doctors?|nurses?|farmers?|fishers?|cooks?|chefs?|waiters?|soldiers?"
    r"|police(?:man|woman|men|officers?)?|firefighters?|athletes?|dancers?|musicians?|singers?|tourists?|visitors?)\b",
    re.IGNORECASE,
)  # fmt: skip
_NAMED = re.compile(r"(?<=[\w,] )(?!I\b)[A-Z][^\W\d_]{2,}")
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”")


def _kinds(description: str) -> set[str]:
    """The last word of each thing that *description* names with an article or a number, in the singular.

    The setting is no thing: of "The scene is on an office desk. It shows a red cup and two blue cups." it is the cup.
    """
    named = _THING.finditer(_PART.sub("", _SETTING.sub("", description)))
    return {singular(found["named"].split()[-1].casefold()) for found in named} - _NO_THINGS


Check = Callable[[str, Sequence[str], str], bool]
"""(description, words in the image, text that came with the image) -> whether the need is met."""

MET: dict[str, Check] = {
    "words": lambda description, words, prior: bool(words),
    "person": lambda description, words, prior: bool(_PERSON.search(description)),
    "two_things": lambda description, words, prior: len(_kinds(description)) > 1,
    "number": lambda description, words, prior: bool(_COUNTED.search(description)),
    "place": lambda description, words, prior: any(
        _NAMED.search(_QUOTED.sub("", text)) for text in (prior, description)
    ),
}
"""By need: words that can be read, a person, two kinds of things, a thing of which there are several, the name of a
place (a word with a capital letter inside a sentence)."""
