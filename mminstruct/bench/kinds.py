"""Kind of task of an instruction, guessed from its wording; choice of questions evenly over kinds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

OTHER = "other"
KINDS = {
    "poetry": r"haiku|poe(?:m|try|tic)|verses?|rhym\w*|lyrics?|song|limerick|ode",
    "dialogue": r"dialogue|conversation|interview|role.?play|script",
    "storytelling": r"stor(?:y|ies)|tale|diary|narrative|legend|adventure|plot|fable|letter",
    "riddles": r"riddles?|puzzle|quiz|trivia|jokes?|game",
    "marketing": r"advert\w*|slogan|marketing|brochure|product|listing|promot\w*|campaign|catalogue|menu|tagline|brand",
    "social media": r"tweet|post|hashtags?|instagram|blog|social media|caption|title|headline",
    "advice": r"tips?|advice|how (?:to|can)|guide|recipe|steps?|instructions|tutorial|care for|suggest\w*|plan"
              r"|itinerary|recommend\w*|checklist|safety",
    "structured": r"json|table|list|bullet|tags?|ya?ml|csv|outline",
    "reasoning": r"why|explain|analy[sz]e|compare|infer|deduce|reason\w*|what (?:might|could|would)|predict|estimate",
    "description": r"describe|description|summar\w*|introduc\w*|overview|history|report|what (?:is|are)|tell me about",
}  # fmt: skip
"""Regular expressions by kind of task. If several kinds match, the one that matches first in the text applies."""

T = TypeVar("T")


def kind_of(question: str, kinds: Mapping[str, str]) -> str:
    """The kind that matches first in *question*; "other" if none matches."""
    found = [
        (match.start(), kind)
        for kind, words in kinds.items()
        if (match := re.search(rf"\b(?:{words})\b", question, re.IGNORECASE))
    ]
    return min(found, key=lambda item: item[0])[1] if found else OTHER


def evenly(items: Iterable[T], most: int, by: list[Callable[[T], str]], order: Callable[[T], str]) -> list[T]:
    """*most* of *items*, as evenly as possible over the values of ``by[0]``, within each of them over ``by[1]``, and so
    on; *order* breaks ties.
    """
    return _woven(sorted(items, key=order), by)[:most]


def _woven(items: list[T], by: list[Callable[[T], str]]) -> list[T]:
    """*items* in an order in which every prefix is evenly spread."""
    if not by:
        return items
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(by[0](item), []).append(item)
    woven = [_woven(group, by[1:]) for group in groups.values()]
    ranked = [(rank, place, item) for place, group in enumerate(woven) for rank, item in enumerate(group)]
    return [item for _, _, item in sorted(ranked, key=lambda entry: entry[:2])]
