"""Whether an image has what a domain's questions need, as far as its description and words tell.

These are necessary conditions that cost nothing: without words there is nothing to read. A model that asks from the
description meets the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_NUMBERS = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|several|many|some|both|pair|couple|dozen"
_COUNTED = re.compile(rf"\b(?:{_NUMBERS})\b|\b(?!1\b)\d+\b", re.IGNORECASE)
_THING = re.compile(rf"\b(?:an?|one|another|{_NUMBERS}|\d+)\s+\w", re.IGNORECASE)
_PERSON = re.compile(
    r"\b(?:person|people|persons|someone|somebody|everyone|crowd|family|couple|m[ae]n|wom[ae]n|boys?|girls?|child(?:ren)?|kids?"
    r"|bab(?:y|ies)|toddlers?|adults?|teenagers?|lad(?:y|ies)|gentlem[ae]n|guys?|players?|workers?|riders?|drivers?|passengers?"
    r"|pedestrians?|customers?|guests?|students?|teachers?|doctors?|nurses?|farmers?|fishers?|cooks?|chefs?|waiters?|soldiers?"
    r"|police(?:man|woman|men|officers?)?|firefighters?|athletes?|dancers?|musicians?|singers?|tourists?|visitors?)\b",
    re.IGNORECASE,
)  # fmt: skip
_NAMED = re.compile(r"(?<=[\w,] )(?!I\b)[A-Z][^\W\d_]{2,}")
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”")

Check = Callable[[str, Sequence[str], str], bool]
"""(description, words in the image, text that came with the image) -> whether the need is met."""

MET: dict[str, Check] = {
    "words": lambda description, words, prior: bool(words),
    "person": lambda description, words, prior: bool(_PERSON.search(description)),
    "two_things": lambda description, words, prior: len(_THING.findall(description)) > 1,
    "number": lambda description, words, prior: bool(_COUNTED.search(description)),
    "place": lambda description, words, prior: any(
        _NAMED.search(_QUOTED.sub("", text)) for text in (prior, description)
    ),
}
"""By need: words that can be read, a person, two things, a thing of which there are several, the name of a place (a
word with a capital letter inside a sentence)."""
