"""What a question asks: from the facts of a world to the set of its true answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from mminstruct.microworld.catalogue import COLOURS_AT, KINDS, SETTINGS
from mminstruct.microworld.questions.knowledge import TYPICAL, group_of
from mminstruct.microworld.questions.sorts import FALSE_RELATIONS, NEAR, SORTS
from mminstruct.microworld.questions.world import World
from mminstruct.microworld.reading import COUNTS

Slots = Mapping[str, str]
Answers = Callable[[World, Slots], Iterable[str]]
Subjects = Callable[[World], Iterable[dict[str, str]]]
_YES, _NO = ("yes",), ("no",)


def things(world: World) -> list[dict[str, str]]:
    return [{"thing": kind} for kind in world.things]


def pairs(world: World) -> list[dict[str, str]]:
    return [{"thing": one, "other": other} for one, other in world.pairs]


@dataclass(frozen=True)
class Query:
    """One thing that can be asked, whatever the wording."""

    sort: str
    """Of its answers; ``truth`` if it is answered by yes or no."""
    true: Answers
    """All true answers; none where the answer is not known."""
    slots: tuple[str, ...] = ()
    """What the question must name: ``thing``, ``other``, ``number`` and the like."""
    subjects: Subjects = lambda world: ({},)
    """Ways to fill the slots that may have an answer."""
    false: Callable[[World, Slots, frozenset[str]], list[str]] | None = None
    """Plausible false answers, in place of all other values of the sort."""

    def answers(self, world: World, slots: Slots) -> frozenset[str]:
        return frozenset(self.true(world, slots))

    def wrong(self, world: World, slots: Slots, true: frozenset[str]) -> list[str]:
        """False answers beside those that are *true*."""
        if self.false is not None:
            return self.false(world, slots, true)
        if self.sort == "kind":
            return absent(world, slots, true)
        if self.sort in ("relation", "direction", "side"):
            fits = [v for v in FALSE_RELATIONS[min(true)] if v in SORTS[self.sort].ways]
            return [v for v in fits if v not in true]
        if self.sort == "number":
            here = COUNTS.index(min(true))
            low, high = (0, 11) if here < 11 else (11, len(COUNTS))  # VQA's rules write numbers up to ten as digits
            return [COUNTS[n] for n in range(max(low, here - 4), min(high, here + 5)) if COUNTS[n] not in true]
        if self.sort == "colour":
            near = {shade for colour in true for shade in NEAR.get(colour, ())}
            return [colour for colour in COLOURS_AT["easy"] if colour not in true | near]
        return [value for value in SORTS[self.sort].ways if value not in true]


def absent(world: World, slots: Slots, true: frozenset[str]) -> list[str]:
    """Kinds that are not there: those that would suit the place, or else any. Where there is a duck, no bird."""
    usual = SETTINGS[world.facts.setting].kinds if world.facts.setting else tuple(KINDS)
    here = {*world.things, *true, *(group for kind in world.things if (group := group_of(kind)) in KINDS)}
    gone = [kind for kind in usual if kind not in here]
    return gone if len(gone) > 3 else [kind for kind in KINDS if kind not in here]


def here(world: World, slots: Slots, true: frozenset[str]) -> list[str]:
    """Other kinds that are there."""
    return [kind for kind in world.things if kind not in (*true, *slots.values())]


def known(value: object) -> tuple[str, ...]:
    return () if value is None else (str(value),)


def truth(value: bool | None) -> tuple[str, ...]:
    return () if value is None else _YES if value else _NO


def number(value: int | None) -> tuple[str, ...]:
    return (COUNTS[value],) if value is not None and 0 <= value < len(COUNTS) else ()


def attribute(slot: str, sort: str) -> Query:
    def true(world: World, slots: Slots) -> Iterable[str]:
        return world.values(slots["thing"], slot)

    return Query(sort, true, ("thing",), things)


COLOUR, SIZE = attribute("colour", "colour"), attribute("size", "size")


def _other_actions(world: World, slots: Slots, true: frozenset[str]) -> list[str]:
    """Actions that things of this kind could do; then any."""
    own = [action for action in KINDS[slots["thing"]].actions if action not in true]
    return own if len(own) > 2 else [*own, *(a for a in SORTS["action"].ways if a not in true and a not in own)]


ACTION = Query("action", attribute("action", "action").true, ("thing",), things, _other_actions)
COUNT = attribute("count", "number")
SEEN = Query("kind", lambda world, slots: world.things)
SETTING = Query("setting", lambda world, slots: world.facts.settings)
INSIDE = Query("inside", lambda w, s: () if w.indoor is None else ("indoors" if w.indoor else "outdoors",))
TIME = Query("time", lambda world, slots: world.facts.times)
WEATHER = Query("weather", lambda world, slots: world.facts.weathers)
FALLS = Query("falls", WEATHER.true)
STYLE = Query("style", lambda world, slots: known(world.style))
WORD = Query("word", lambda world, slots: world.facts.words)


def _on(world: World, slots: Slots) -> Iterable[str]:
    """Words on signs of the colour in the slot."""
    signs = [thing for thing in world.facts.things if thing.kind == "sign"]
    if len(signs) == 1 and signs[0].colour == slots["colour"]:
        return world.facts.words
    return [sign.word for sign in signs if sign.word and sign.colour == slots["colour"]]


WORD_ON = Query("word", _on, ("colour",),
                lambda w: [{"colour": c} for c in sorted(w.values("sign", "colour"))])  # fmt: skip
NAME = Query("name", lambda world, slots: world.facts.places)
ANY_WORD = Query("truth", lambda world, slots: truth(bool(world.facts.words)) if world.things else ())
MEANING = Query("meaning", lambda world, slots: world.facts.words)
CATEGORY = Query("category", lambda w, s: (KINDS[s["thing"]].category,), ("thing",), things)
TRAIT = Query("trait", CATEGORY.true, ("thing",), things)
LETTERS = Query("number", lambda w, s: number(len(w.facts.words[0])) if len(w.facts.words) == 1 else ())
SIGN_COLOUR = Query("colour", lambda w, s: w.values("sign", "colour") if w.facts.words else ())
DARK = Query("truth", lambda w, s: truth(w.facts.time == "night" if w.facts.time else None))
SEVERAL = Query("truth", lambda w, s: truth(len(w.things) > 1 if w.things else None))
INDOORS = Query("truth", lambda w, s: truth(w.indoor))
ACTIONS_SEEN = Query("action", lambda w, s: {m.action for m in w.facts.mentions if m.action})
PEOPLE = Query("truth", lambda w, s: truth(bool(w.of_category("person")) if w.things else None))
_LIGHT = {"morning": "bright", "midday": "bright", "evening": "low", "night": "dark"}
LIGHT = Query("light", lambda w, s: known(_LIGHT.get(w.facts.time or "")))
COLOURS_SEEN = Query("colour", lambda w, s: {m.colour for m in w.facts.mentions if m.colour})


def ends(which: int) -> Query:
    """The first (0) or last (-1) letter on the sign."""
    return Query("letter", lambda w, s: known(w.facts.words[0][which].lower() if len(w.facts.words) == 1 else None))


def part_of_name(sort: str, which: int) -> Query:
    """The first or the second half of the place's proper name."""
    return Query(sort, lambda w, s: known(w.facts.place.split()[which] if w.facts.place else None))


def is_size(size: str) -> Query:
    def true(world: World, slots: Slots) -> Iterable[str]:
        known = world.values(slots["thing"], "size")
        return truth(size in known if len(known) == 1 else None)

    return Query("truth", true, ("thing",), things)


def who_does() -> Query:
    """Kinds of things that do the action in the slot ``event``."""

    def doers(world: World, slots: Slots) -> list[str]:
        return [kind for kind in world.things if slots["event"] in world.values(kind, "action")]

    def done(world: World) -> list[dict[str, str]]:
        return [{"event": event} for kind in world.things for event in sorted(world.values(kind, "action"))]

    return Query("kind", doers, ("event",), done)


def of_colour() -> Query:
    """Kinds of things that have the colour in the slot ``colour``."""

    def those(world: World, slots: Slots) -> list[str]:
        return [kind for kind in world.things if slots["colour"] in world.values(kind, "colour")]

    def there(world: World) -> list[dict[str, str]]:
        return [{"colour": c} for kind in world.things for c in sorted(world.values(kind, "colour"))]

    return Query("kind", those, ("colour",), there)


def of_category(category: str) -> Query:
    """Kinds of things of *category* that are there."""
    return Query("kind", lambda world, slots: world.of_category(category), false=partial(_not_of, category))


def _not_of(category: str, world: World, slots: Slots, true: frozenset[str]) -> list[str]:
    everywhere = World(replace(world.facts, settings=()))
    others = [kind for kind in absent(everywhere, slots, true) if KINDS[kind].category == category]
    return others if len(others) > 2 else absent(world, slots, true)


def majority_colour() -> Query:
    """The colour of most things."""

    def true(world: World, slots: Slots) -> list[str]:
        tally: Counter[str] = Counter()
        for thing in world.facts.things:
            if thing.colour:
                tally[thing.colour] += thing.count or 1
        top = [colour for colour, n in tally.items() if n == max(tally.values())]
        return top if len(top) == 1 else []

    return Query("colour", true)


MAIN_COLOUR = majority_colour()
ALL = Query("number", lambda w, s: number(w.total(w.things)))
KINDS_SEEN = Query("number", lambda w, s: number(len(w.things) or None))


def guess(query: Query, slots: Slots) -> str | None:
    """The answer that needs no look at the picture; None where there is none."""
    if query is COLOUR:
        return TYPICAL.get(slots["thing"])
    answers = query.answers(World(), slots)
    return next(iter(answers)) if len(answers) == 1 else None
