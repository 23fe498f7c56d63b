"""All families of instructions, and a classifier that finds the family of an instruction."""

from __future__ import annotations

import re

from mminstruct.microworld.catalogue import COLOURS
from mminstruct.microworld.families.family import Family, Split, Verdict
from mminstruct.microworld.families.living import LIVING
from mminstruct.microworld.families.looking import LOOKING
from mminstruct.microworld.families.writing import WRITING
from mminstruct.microworld.language import COUNTS, NOUNS, Facts

__all__ = ["FAMILIES", "Family", "Split", "Verdict", "applicable", "classify"]

FAMILIES: dict[str, Family] = {family.name: family for family in (*WRITING, *LOOKING, *LIVING)}
"""Every family, by name."""
_NAMED = re.compile(
    rf"\b(picture|image|photo|shot|scene) of (?:an?|{'|'.join(COUNTS)}) (?:(?:{'|'.join(COLOURS)}) )?"
    rf"(?:{'|'.join(noun for pair in NOUNS.values() for noun in sorted(pair, key=len, reverse=True))})\b"
)
"""The thing that a specific instruction names; removed before matching, because it is no cue of a family."""
_SIGN = re.compile(r"\bsigns?\b", re.IGNORECASE)
_CUES = [(re.compile(family.cue, re.IGNORECASE), family.name) for family in FAMILIES.values()]


def classify(instruction: str) -> str | None:
    """The family whose keyword comes first in *instruction*; None if there is no keyword."""
    rest = _NAMED.sub(r"\1", instruction)
    found = [(match.start(), name) for cue, name in _CUES if (match := cue.search(rest))]
    if not found and _SIGN.search(instruction):
        return "sign_explanation"
    return min(found)[1] if found else None


def applicable(facts: Facts) -> list[Family]:
    """Families that apply to a picture with *facts*, in a fixed order."""
    return [family for family in FAMILIES.values() if family.applies(facts)]
