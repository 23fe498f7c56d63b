"""All families of instructions, and the recogniser that tells which family an instruction belongs to."""

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
"""What a specific instruction names: no cue of any family."""
_SIGN = re.compile(r"\bsigns?\b", re.IGNORECASE)
_CUES = [(re.compile(family.cue, re.IGNORECASE), family.name) for family in FAMILIES.values()]


def classify(instruction: str) -> str | None:
    """Name of the family that *instruction* belongs to, by its key words; of several, the one that is named first."""
    rest = _NAMED.sub(r"\1", instruction)
    found = [(match.start(), name) for cue, name in _CUES if (match := cue.search(rest))]
    if not found and _SIGN.search(instruction):
        return "sign_explanation"
    return min(found)[1] if found else None


def applicable(facts: Facts) -> list[Family]:
    """Families that fit a picture with *facts*, in a fixed order."""
    return [family for family in FAMILIES.values() if family.applies(facts)]
