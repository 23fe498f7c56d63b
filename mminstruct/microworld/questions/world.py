"""What questions are answered from: the facts of a scene, or those of a description."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import permutations

from mminstruct.microworld.catalogue import SETTINGS, WORDS
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.questions.sorts import OPPOSITE
from mminstruct.microworld.reading import COUNTS, Facts, Mention, read_facts
from mminstruct.microworld.scene import Scene


@dataclass(frozen=True)
class World:
    """Facts, and the style of the picture where it is known."""

    facts: Facts = field(default_factory=Facts)
    style: str | None = None

    @cached_property
    def things(self) -> dict[str, Mention]:
        """What is known of each kind; of two signs only that there are two."""
        found: dict[str, Mention] = {}
        for thing in self.facts.things:
            two = self.facts.is_one_of_two(thing)
            found[thing.kind] = Mention(thing.kind, self.facts.number(thing.kind)) if two else thing
        return found

    def values(self, kind: str, slot: str) -> frozenset[str]:
        """All that is said of *slot* (count, size, colour, action) of things of *kind*; counts as words."""
        if slot == "count":
            count = self.count(kind)
            return frozenset() if count is None or count >= len(COUNTS) else frozenset((COUNTS[count],))
        return frozenset({getattr(mention, slot) for mention in self.facts.mentions if mention.kind == kind} - {None})

    def count(self, kind: str) -> int | None:
        """The number of things of *kind*; None where it is not known."""
        thing = self.things.get(kind)
        return thing.count if thing else None

    def total(self, kinds: Iterable[str]) -> int | None:
        """The number of things of all *kinds*, at most ten; None where one is not known."""
        counts = [self.count(kind) for kind in kinds]
        if not counts or None in counts:
            return None
        total = sum(count for count in counts if count is not None)
        return total if total < len(COUNTS) else None

    def relations(self, one: str, other: str) -> frozenset[str]:
        """Relations of things of kind *one* to those of kind *other*, both ways."""
        said = {known.name for known in self.facts.relations if (known.subject, known.target) == (one, other)}
        back = {OPPOSITE[known.name] for known in self.facts.relations if (known.subject, known.target) == (other, one)}
        return frozenset(said | back)

    def of_category(self, category: str) -> list[str]:
        return [kind for kind, thing in self.things.items() if thing.category == category]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(permutations(self.things, 2))

    @property
    def indoor(self) -> bool | None:
        return None if self.facts.setting is None else SETTINGS[self.facts.setting].indoor

    @property
    def mood(self) -> str | None:
        """The weather, or ``night`` where none is known; None indoors and where neither is known."""
        if self.indoor is not False:
            return None
        return self.facts.weather or ("night" if self.facts.time == "night" else None)


def world_of(scene: Scene) -> World:
    """All that is true of *scene*, with the proper name of its place."""
    return World(facts_of(scene, place=True), scene.style)


def world_from(description: str, words: Sequence[str] = (), prior: str = "") -> World:
    """What *description* says, the *words* in the image that signs can have, and the place's proper name in *prior*.

    Nothing else of *prior* is used: the text that an image had on the web may be about another image.
    """
    facts = read_facts(description)
    named = (*facts.places, *(name for name in read_facts(prior).places if name not in facts.places))
    known = (*facts.words, *(word for word in words if word not in facts.words))
    known = tuple(word for word in known if word in WORDS)
    return World(replace(facts, places=named, words=known))
