"""What a question asks: from the facts of a world to the set of its true answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from mminstruct.microworld.catalogue import KINDS, SETTINGS
from mminstruct.microworld.families import FAMILIES
from mminstruct.microworld.questions.knowledge import COVERS, LEGS, PURPOSES, TRAITS, TYPICAL, USES, YOUNG, group_of
from mminstruct.microworld.questions.sorts import FALSE_RELATIONS, SORTS
from mminstruct.microworld.questions.world import World
from mminstruct.microworld.reading import COUNTS

Slots = Mapping[str, str]
True_ = Callable[[World, Slots], Iterable[str]]
Subjects = Callable[[World], Iterable[dict[str, str]]]
_YES, _NO = ("yes",), ("no",)


def _things(world: World) -> list[dict[str, str]]:
    return [{"thing": kind} for kind in world.things]


def _pairs(world: World) -> list[dict[str, str]]:
    return [{"thing": one, "other": other} for one, other in world.pairs]


@dataclass(frozen=True)
class Query:
    """One thing that can be asked, whatever the wording."""

    sort: str
    """Of its answers; ``truth`` if it is answered by yes or no."""
    true: True_
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
            return _absent(world, slots, true)
        if self.sort in ("relation", "direction", "side"):
            fits = [v for v in FALSE_RELATIONS[min(true)] if v in SORTS[self.sort].ways]
            return [v for v in fits if v not in true]
        if self.sort == "number":
            here = {COUNTS.index(value) for value in true}
            return [COUNTS[n] for n in range(max(0, min(here) - 3), min(len(COUNTS), max(here) + 4)) if n not in here]
        return [value for value in SORTS[self.sort].ways if value not in true]


def _absent(world: World, slots: Slots, true: frozenset[str]) -> list[str]:
    """Kinds that are not there: those that would suit the place, or else any. Where there is a duck, no bird."""
    usual = SETTINGS[world.facts.setting].kinds if world.facts.setting else tuple(KINDS)
    here = {*world.things, *true, *(group for kind in world.things if (group := group_of(kind)) in KINDS)}
    gone = [kind for kind in usual if kind not in here]
    return gone if len(gone) > 3 else [kind for kind in KINDS if kind not in here]


def _here(world: World, slots: Slots, true: frozenset[str]) -> list[str]:
    """Other kinds that are there, and then some that are not."""
    return [kind for kind in world.things if kind not in (*true, *slots.values())]


def _known(value: object) -> tuple[str, ...]:
    return () if value is None else (str(value),)


def _truth(value: bool | None) -> tuple[str, ...]:
    return () if value is None else _YES if value else _NO


def _number(value: int | None) -> tuple[str, ...]:
    return (COUNTS[value],) if value is not None and 0 <= value < len(COUNTS) else ()


def attribute(slot: str, sort: str) -> Query:
    def true(world: World, slots: Slots) -> Iterable[str]:
        return world.values(slots["thing"], slot)

    return Query(sort, true, ("thing",), _things)


COLOUR, SIZE = attribute("colour", "colour"), attribute("size", "size")


def _other_actions(world: World, slots: Slots, true: frozenset[str]) -> list[str]:
    """Actions that things of this kind could do; then any."""
    own = [action for action in KINDS[slots["thing"]].actions if action not in true]
    return own if len(own) > 2 else [*own, *(a for a in SORTS["action"].ways if a not in true and a not in own)]


ACTION = Query("action", attribute("action", "action").true, ("thing",), _things, _other_actions)
COUNT = attribute("count", "number")
SEEN = Query("kind", lambda world, slots: world.things)
SETTING = Query("setting", lambda world, slots: world.facts.settings)
INSIDE = Query("inside", lambda w, s: () if w.indoor is None else ("indoors" if w.indoor else "outdoors",))
TIME = Query("time", lambda world, slots: world.facts.times)
WEATHER = Query("weather", lambda world, slots: world.facts.weathers)
FALLS = Query("falls", WEATHER.true)
STYLE = Query("style", lambda world, slots: _known(world.style))
WORD = Query("word", lambda world, slots: world.facts.words)
NAME = Query("name", lambda world, slots: world.facts.places)
ANY_WORD = Query("truth", lambda world, slots: _truth(bool(world.facts.words)) if world.things else ())
MEANING = Query("meaning", lambda world, slots: world.facts.words)
CATEGORY = Query("category", lambda w, s: (KINDS[s["thing"]].category,), ("thing",), _things)
TRAIT = Query("trait", CATEGORY.true, ("thing",), _things)
LETTERS = Query("number", lambda w, s: _number(len(w.facts.words[0])) if len(w.facts.words) == 1 else ())
SIGN_COLOUR = Query("colour", lambda w, s: w.values("sign", "colour") if w.facts.words else ())
HAS_WORD = Query("truth", lambda w, s: _truth(s["text"] in w.facts.words if w.facts.words else None), ("text",),
                 lambda w: [{"text": word} for word in w.facts.words])  # fmt: skip
MEANS = Query("meaning", lambda w, s: (s["text"],), ("text",), HAS_WORD.subjects)
DARK = Query("truth", lambda w, s: _truth(w.facts.time == "night" if w.facts.time else None))
SEVERAL = Query("truth", lambda w, s: _truth(len(w.things) > 1 if w.things else None))
INDOORS = Query("truth", lambda w, s: _truth(w.indoor))
ACTIONS_SEEN = Query("action", lambda w, s: {m.action for m in w.facts.mentions if m.action})
PEOPLE = Query("truth", lambda w, s: _truth(bool(w.of_category("person")) if w.things else None))
_LIGHT = {"morning": "bright", "midday": "bright", "evening": "low", "night": "dark"}
LIGHT = Query("light", lambda w, s: _known(_LIGHT.get(w.facts.time or "")))
COLOURS_SEEN = Query("colour", lambda w, s: {m.colour for m in w.facts.mentions if m.colour})


def ends(which: int) -> Query:
    """The first (0) or last (-1) letter on the sign."""
    return Query("letter", lambda w, s: _known(w.facts.words[0][which].lower() if len(w.facts.words) == 1 else None))


def part_of_name(sort: str, which: int) -> Query:
    """The first or the second half of the place's proper name."""
    return Query(sort, lambda w, s: _known(w.facts.place.split()[which] if w.facts.place else None))


def is_size(size: str) -> Query:
    def true(world: World, slots: Slots) -> Iterable[str]:
        known = world.values(slots["thing"], "size")
        return _truth(size in known if len(known) == 1 else None)

    return Query("truth", true, ("thing",), _things)


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
    absent = [kind for kind in _absent(everywhere, slots, true) if KINDS[kind].category == category]
    return absent if len(absent) > 2 else _absent(world, slots, true)


def useful(use: str) -> Query:
    """Which of the things that are there can be used so; the false ones are there as well, or could be."""
    category = USES[use]
    unclear = {category, "animal", "plant"}

    def false(world: World, slots: Slots, true: frozenset[str]) -> list[str]:
        return [kind for kind in (*world.things, *_absent(world, slots, true)) if KINDS[kind].category not in unclear]

    return Query("kind", lambda world, slots: world.of_category(category), false=false)


def is_useful(use: str) -> Query:
    return Query("truth", lambda w, s: _truth(bool(w.of_category(USES[use])) if w.things else None))


def _side(world: World, slots: Slots) -> frozenset[str]:
    return world.relations(slots["thing"], slots["other"])


def _related(world: World) -> list[dict[str, str]]:
    return [pair for pair in _pairs(world) if world.relations(pair["thing"], pair["other"])]


SIDE = Query("side", lambda w, s: _side(w, s) & {"left of", "right of"}, ("thing", "other"), _related)
RELATION = Query("relation", _side, ("thing", "other"), _related)
DIRECTION = Query("direction", _side, ("thing", "other"), _related)


def stands(*names: str) -> Query:
    """Whether ``thing`` is in one of the relations *names* to ``other``; unknown where no relation is known."""

    def true(world: World, slots: Slots) -> Iterable[str]:
        known = world.relations(slots["thing"], slots["other"])
        excluded = {name for one in known for name in FALSE_RELATIONS[one]}
        return _YES if known & set(names) else _NO if set(names) <= excluded else ()

    return Query("truth", true, ("thing", "other"), _related)


def found(*names: str) -> Query:
    """Kinds of things that are in one of the relations *names* to ``other``."""

    def true(world: World, slots: Slots) -> list[str]:
        return [kind for kind in world.things if kind != slots["other"]
                and world.relations(kind, slots["other"]) & set(names)]  # fmt: skip

    def subjects(world: World) -> list[dict[str, str]]:
        return [{"other": one} for one in world.things]

    return Query("kind", true, ("other",), subjects, _absent)


def _compared(test: Callable[[int, int], bool]) -> Query:
    def true(world: World, slots: Slots) -> Iterable[str]:
        one, other = world.count(slots["thing"]), world.count(slots["other"])
        return _truth(None if one is None or other is None else test(one, other))

    return Query("truth", true, ("thing", "other"), _pairs)


MORE, FEWER = _compared(lambda one, other: one > other), _compared(lambda one, other: one < other)
AS_MANY = _compared(lambda one, other: one == other)
TWICE = _compared(lambda one, other: one >= 2 * other)


def _same_colour(world: World, slots: Slots) -> Iterable[str]:
    one, other = world.values(slots["thing"], "colour"), world.values(slots["other"], "colour")
    return _truth(one == other if len(one) == len(other) == 1 else None)


SAME_COLOUR = Query("truth", _same_colour, ("thing", "other"), _pairs)


def extreme(best: Callable[[Iterable[int]], int]) -> Query:
    """The kind of which there are most, or fewest; unknown in a tie, and where there is one kind only."""

    def true(world: World, slots: Slots) -> list[str]:
        counts = {kind: world.count(kind) for kind in world.things}
        known = {kind: count for kind, count in counts.items() if count is not None}
        if len(known) < max(2, len(counts)):
            return []
        found = [kind for kind, count in known.items() if count == best(known.values())]
        return found if len(found) == 1 else []

    return Query("kind", true, false=lambda w, s, t: [*_here(w, s, t), *_absent(w, s, t)])


def either(of: Callable[[int, int], bool]) -> Query:
    """The one of ``thing`` and ``other`` that there are more, or fewer, of."""

    def true(world: World, slots: Slots) -> list[str]:
        one, other = world.count(slots["thing"]), world.count(slots["other"])
        if one is None or other is None or one == other:
            return []
        return [slots["thing"] if of(one, other) else slots["other"]]

    return Query("kind", true, ("thing", "other"), _pairs)


MOST, FEWEST = extreme(max), extreme(min)
MORE_OF, FEWER_OF = either(lambda one, other: one > other), either(lambda one, other: one < other)
TOTAL = Query("number", lambda w, s: _number(w.total((s["thing"], s["other"]))), ("thing", "other"), _pairs)
ALL = Query("number", lambda w, s: _number(w.total(w.things)))
KINDS_SEEN = Query("number", lambda w, s: _number(len(w.things) or None))


def _difference(world: World, slots: Slots) -> tuple[str, ...]:
    one, other = world.count(slots["thing"]), world.count(slots["other"])
    return () if one is None or other is None or one <= other else _number(one - other)


DIFFERENCE = Query("number", _difference, ("thing", "other"), _pairs)


def changed(sign: int) -> Query:
    """The number of things after ``number`` were added (1) or taken away (-1)."""

    def true(world: World, slots: Slots) -> tuple[str, ...]:
        count, step = world.count(slots["thing"]), COUNTS.index(slots["number"])
        return () if count is None or step < 1 else _number(count + sign * step)

    def subjects(world: World) -> list[dict[str, str]]:
        return [{"thing": kind, "number": COUNTS[n]} for kind in world.things
                for n in range(1, min(4, (world.count(kind) or 0) + 1) if sign < 0 else 4)
                if (world.count(kind) or 0) + sign * n != n]  # the question must not have its answer in it  # fmt: skip

    return Query("number", true, ("thing", "number"), subjects)


LEFT_OVER, ADDED = changed(-1), changed(1)


def _total_more(world: World, slots: Slots) -> Iterable[str]:
    total = world.total(world.things)
    return _truth(None if total is None else total > COUNTS.index(slots["number"]))


MORE_THAN = Query("truth", _total_more, ("number",), lambda w: [{"number": COUNTS[n]} for n in range(2, 9)])


def _species(world: World) -> list[dict[str, str]]:
    return [{"thing": kind} for kind in world.of_category("animal")]


def lore(sort: str, of: Callable[[str], str | None]) -> Query:
    """What is known of a kind of animal without a look at the picture."""
    return Query(sort, lambda w, s: _known(of(s["thing"])), ("thing",), _species)


CLASS = lore("class", lambda kind: group_of(kind) if group_of(kind) != kind else None)
COVER = lore("cover", lambda kind: COVERS.get(group_of(kind) or ""))
LEGS_OF = lore("number", lambda kind: LEGS.get(group_of(kind) or ""))
YOUNG_OF = lore("young", lambda kind: kind if kind in YOUNG else None)


def is_class(name: str) -> Query:
    return Query("truth", lambda w, s: _truth(None if group_of(s["thing"]) is None else group_of(s["thing"]) == name),
                 ("thing",), _species)  # fmt: skip


def by_mood(sort: str) -> Query:
    """Outdoors, what the weather or the night asks for."""
    return Query(sort, lambda w, s: _known(w.mood))


def in_mood(*moods: str) -> Query:
    """Whether the weather outdoors, or else the night, is one of *moods*."""
    return Query("truth", lambda w, s: _truth(None if w.mood is None else w.mood in moods))


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


def majority_colour() -> Query:
    """The colour of most things."""

    def true(world: World, slots: Slots) -> list[str]:
        tally: Counter[str] = Counter()
        for kind in world.things:
            for colour in world.values(kind, "colour"):
                tally[colour] += world.count(kind) or 1
        top = [colour for colour, n in tally.items() if n == max(tally.values())]
        return top if len(top) == 1 else []

    return Query("colour", true)


MAIN_COLOUR = majority_colour()


def guess(query: Query, slots: Slots) -> str | None:
    """The answer that needs no look at the picture; None where there is none."""
    if query is COLOUR:
        return TYPICAL.get(slots["thing"])
    answers = query.answers(World(), slots)
    return next(iter(answers)) if len(answers) == 1 else None
