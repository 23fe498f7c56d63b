"""Queries that need common knowledge: about animals, weather, uses of things and purposes of texts."""

from __future__ import annotations

from collections.abc import Callable

from mminstruct.microworld.catalogue import KINDS
from mminstruct.microworld.families import FAMILIES
from mminstruct.microworld.questions.knowledge import COVERS, LEGS, PURPOSES, TRAITS, USES, YOUNG, group_of
from mminstruct.microworld.questions.queries import Query, Slots, absent, known, truth
from mminstruct.microworld.questions.world import World


def useful(use: str) -> Query:
    """Which of the things that are there can be used so; the false ones are there as well, or could be."""
    category = USES[use]
    unclear = {category, "animal", "plant"}

    def false(world: World, slots: Slots, true: frozenset[str]) -> list[str]:
        return [kind for kind in (*world.things, *absent(world, slots, true)) if KINDS[kind].category not in unclear]

    return Query("kind", lambda world, slots: world.of_category(category), false=false)


def is_useful(use: str) -> Query:
    return Query("truth", lambda w, s: truth(bool(w.of_category(USES[use])) if w.things else None))


def _species(world: World) -> list[dict[str, str]]:
    return [{"thing": kind} for kind in world.of_category("animal")]


def lore(sort: str, of: Callable[[str], str | None]) -> Query:
    """What is known of a kind of animal without a look at the picture."""
    return Query(sort, lambda w, s: known(of(s["thing"])), ("thing",), _species)


CLASS = lore("class", lambda kind: group_of(kind) if group_of(kind) != kind else None)
COVER = lore("cover", lambda kind: COVERS.get(group_of(kind) or ""))
LEGS_OF = lore("number", lambda kind: LEGS.get(group_of(kind) or ""))
YOUNG_OF = lore("young", lambda kind: kind if kind in YOUNG else None)


def is_class(name: str) -> Query:
    return Query("truth", lambda w, s: truth(None if group_of(s["thing"]) is None else group_of(s["thing"]) == name),
                 ("thing",), _species)  # fmt: skip


def by_mood(sort: str) -> Query:
    """Outdoors, what the weather or the night asks for."""
    return Query(sort, lambda w, s: known(w.mood))


def in_mood(*moods: str) -> Query:
    """Whether the weather outdoors, or else the night, is one of *moods*."""
    return Query("truth", lambda w, s: truth(None if w.mood is None else w.mood in moods))


_EVERYWHERE = {name for name, family in FAMILIES.items() if family.topic == "any" and family.things == 1}


def _suits(world: World, slots: Slots) -> list[str]:
    return [name for name in PURPOSES if name in FAMILIES and FAMILIES[name].applies(world.facts)]


def _unsuited(world: World, slots: Slots, true: frozenset[str]) -> list[str]:
    return [name for name in PURPOSES if name not in true and name not in _EVERYWHERE]


PURPOSE = Query("purpose", _suits, false=_unsuited)


COMPOSED = Query("purpose", lambda w, s: [s["purpose"]] if s["purpose"] in _suits(w, s) else [], ("purpose",),
                 lambda w: [{"purpose": name} for name in _suits(w, {})])  # fmt: skip


def _about(world: World, slots: Slots) -> list[str]:
    family = FAMILIES[slots["purpose"]]
    if family.topic not in TRAITS or not family.applies(world.facts):
        return []
    return [thing.kind for thing in family.candidates(world.facts)]


ABOUT = Query("kind", _about, ("purpose",), lambda w: [{"purpose": name} for name in _suits(w, {})])
