"""Sorts of answers: their values, how each is written, and which values are false beside a true one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from mminstruct.microworld.catalogue import COLOURS, KINDS, NAMES, SETTINGS, SIZES, TIMES, WEATHERS, WORDS
from mminstruct.microworld.families.lore import MEANINGS
from mminstruct.microworld.questions.knowledge import (
    CLASSES,
    CLOTHES,
    COVERS,
    DOING,
    DRIVING,
    PURPOSES,
    TRAITS,
    YOUNG,
)
from mminstruct.microworld.reading import ACTIONS, COUNTS, NOUNS, SIZE_WORDS


@dataclass(frozen=True)
class Sort:
    """Values of one sort, each with the ways to write it; the first is the usual one."""

    name: str
    ways: Mapping[str, tuple[str, ...]]

    def say(self, value: str, *, many: bool = False) -> str:
        """*value* as it is written. Only kinds of things have a plural, which is the second way."""
        ways = self.ways[value]
        return ways[1] if many and self.name == "kind" else ways[0]

    def read(self, text: str) -> str | None:
        """The value that *text* names, without regard to case, articles and final marks; None if it names none."""
        return self._values.get(plain(text))

    @cached_property
    def _values(self) -> dict[str, str]:
        return {plain(way): value for value, ways in self.ways.items() for way in ways}

    @property
    def pattern(self) -> str:
        """A regular expression of every way to write a value, in the form of ``plain``."""
        return "|".join(re.escape(way) for way in sorted(self._values, key=len, reverse=True))


_DROPPED = re.compile(r"[\"“”*.?!,:;]|\b(?:an?|the) ")


def plain(text: str) -> str:
    """*text* in lower case, with single spaces, without articles, quotation marks, stars and punctuation."""
    return " ".join(_DROPPED.sub("", f"{text.casefold()} ").split())


def _same(values: Iterable[str]) -> dict[str, tuple[str, ...]]:
    return {value: (value,) for value in values}


_SETTING_WAYS = {"street": ("city street", "street"), "snow field": ("snowy field", "snow field"),
                 "desk": ("office desk", "desk")}  # fmt: skip
SORTS: dict[str, Sort] = {
    sort.name: sort
    for sort in (
        Sort("truth", {"yes": ("Yes",), "no": ("No",)}),
        Sort("kind", {name: (*NOUNS[name], name, kind.plural) for name, kind in KINDS.items()}),
        Sort("number", {word: (word, str(n)) for n, word in enumerate(COUNTS)}),
        Sort("colour", _same(COLOURS)),
        Sort("size", {size: tuple(dict.fromkeys((SIZE_WORDS[size], size))) for size in SIZES}),
        Sort("action", _same(ACTIONS)),
        Sort("setting", {name: _SETTING_WAYS.get(name, (name,)) for name in SETTINGS}),
        Sort("inside", _same(("indoors", "outdoors"))),
        Sort("time", _same(TIMES)),
        Sort("weather", _same(WEATHERS)),
        Sort("falls", {"sunny": ("sunshine",), "cloudy": ("a cover of clouds",), "rainy": ("rain",),
                       "snowy": ("snow",), "foggy": ("fog",)}),
        Sort("relation", _same(("left of", "right of", "on", "under", "above", "behind", "in front of"))),
        Sort("direction", {"left of": ("to the left", "left"), "right of": ("to the right", "right"),
                           "on": ("on top", "top"), "under": ("underneath",), "above": ("above",),
                           "behind": ("behind",), "in front of": ("in front", "front")}),
        Sort("side", {"left of": ("left",), "right of": ("right",), "behind": ("back",), "in front of": ("front",)}),
        Sort("word", _same(WORDS)),
        Sort("letter", {letter: (letter.upper(),) for letter in "abcdefghijklmnopqrstuvwxyz"}),
        Sort("meaning", {word: (meaning,) for word, meaning in MEANINGS.items()}),
        Sort("style", {"flat": ("a flat drawing", "flat"), "outlined": ("a drawing with outlines", "outlined"),
                       "photo": ("a picture with soft shading", "a photo", "photo"),
                       "oil": ("an oil painting",), "pencil": ("a pencil sketch",)}),
        Sort("light", {"bright": ("bright daylight",), "dim": ("dim daylight",), "low": ("low light of the evening",),
                       "dark": ("darkness",)}),
        Sort("category", {"person": ("person", "people", "persons")}
             | {name: (name, f"{name}s") for name in TRAITS if name != "person"}),
        Sort("trait", {name: (trait,) for name, trait in TRAITS.items()}),
        Sort("name", _same(f"{first} {proper}" for first in NAMES
                           for proper in sorted({s.proper for s in SETTINGS.values()}))),
        Sort("proper", {s.proper: (s.proper.lower(),) for s in SETTINGS.values()}),
        Sort("first", _same(NAMES)),
        Sort("class", {name: (name, f"{name}s" if name != "fish" else "fish")
                       for name in (*sorted(set(CLASSES.values())), "insect", "amphibian")}),
        Sort("cover", _same((*COVERS.values(), "bare skin"))),
        Sort("young", {kind: (name,) for kind, name in {**YOUNG, "frog": "tadpole", "moth": "caterpillar"}.items()}),
        Sort("clothes", {mood: (text,) for mood, text in CLOTHES.items()}),
        Sort("driving", {mood: (text,) for mood, text in DRIVING.items()}),
        Sort("doing", {mood: (text,) for mood, text in DOING.items()}),
        Sort("purpose", {family: (text,) for family, text in PURPOSES.items()}),
    )
}  # fmt: skip
"""Every sort, by name."""

FALSE_RELATIONS = {
    "left of": ("right of", "on", "under"), "right of": ("left of", "on", "under"),
    "on": ("under", "behind", "in front of"), "under": ("on", "behind", "in front of"),
    "above": ("under", "behind", "in front of"), "behind": ("in front of", "on", "under"),
    "in front of": ("behind", "on", "under"),
}  # fmt: skip
"""Relations that cannot hold beside a true one. A thing behind a tree may also be to its left."""
NEAR = {"grey": ("white", "black"), "turquoise": ("blue", "green"), "beige": ("white", "brown", "yellow"),
        "navy": ("blue", "black")}  # fmt: skip
"""Colours that one could also call a shade."""
OPPOSITE = {"left of": "right of", "on": "under", "under": "above", "behind": "in front of"}
"""If one thing is *key* another, the other is *value* the first."""
