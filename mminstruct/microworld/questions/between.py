"""Queries about relations, comparisons and numbers of things."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mminstruct.microworld.questions.queries import Query, Slots, absent, here, number, pairs, truth
from mminstruct.microworld.questions.sorts import FALSE_RELATIONS
from mminstruct.microworld.questions.world import World
from mminstruct.microworld.reading import COUNTS


def _side(world: World, slots: Slots) -> frozenset[str]:
    return world.relations(slots["thing"], slots["other"])


def _related(world: World) -> list[dict[str, str]]:
    return [pair for pair in pairs(world) if world.relations(pair["thing"], pair["other"])]


SIDE = Query("side", lambda w, s: _side(w, s) & {"left of", "right of"}, ("thing", "other"), _related)
RELATION = Query("relation", _side, ("thing", "other"), _related)
DIRECTION = Query("direction", _side, ("thing", "other"), _related)


def stands(*names: str) -> Query:
    """Whether ``thing`` is in one of the relations *names* to ``other``; unknown where no relation is known."""

    def true(world: World, slots: Slots) -> Iterable[str]:
        known = world.relations(slots["thing"], slots["other"])
        excluded = {name for one in known for name in FALSE_RELATIONS[one]}
        return truth(True if known & set(names) else False if set(names) <= excluded else None)

    return Query("truth", true, ("thing", "other"), _related)


def found(*names: str) -> Query:
    """Kinds of things that are in one of the relations *names* to ``other``."""

    def true(world: World, slots: Slots) -> list[str]:
        return [kind for kind in world.things if kind != slots["other"]
                and world.relations(kind, slots["other"]) & set(names)]  # fmt: skip

    def subjects(world: World) -> list[dict[str, str]]:
        return [{"other": one} for one in world.things]

    return Query("kind", true, ("other",), subjects, absent)


def _compared(test: Callable[[int, int], bool]) -> Query:
    def true(world: World, slots: Slots) -> Iterable[str]:
        one, other = world.count(slots["thing"]), world.count(slots["other"])
        return truth(None if one is None or other is None else test(one, other))

    return Query("truth", true, ("thing", "other"), pairs)


MORE, FEWER = _compared(lambda one, other: one > other), _compared(lambda one, other: one < other)
AS_MANY = _compared(lambda one, other: one == other)
TWICE = _compared(lambda one, other: one >= 2 * other)


def _same_colour(world: World, slots: Slots) -> Iterable[str]:
    one, other = world.values(slots["thing"], "colour"), world.values(slots["other"], "colour")
    return truth(one == other if len(one) == len(other) == 1 else None)


SAME_COLOUR = Query("truth", _same_colour, ("thing", "other"), pairs)


def extreme(best: Callable[[Iterable[int]], int]) -> Query:
    """The kind of which there are most, or fewest; unknown in a tie, and where there is one kind only."""

    def true(world: World, slots: Slots) -> list[str]:
        counts = {kind: world.count(kind) for kind in world.things}
        known = {kind: count for kind, count in counts.items() if count is not None}
        if len(known) < max(2, len(counts)):
            return []
        found = [kind for kind, count in known.items() if count == best(known.values())]
        return found if len(found) == 1 else []

    return Query("kind", true, false=lambda w, s, t: [*here(w, s, t), *absent(w, s, t)])


def either(of: Callable[[int, int], bool]) -> Query:
    """The one of ``thing`` and ``other`` that there are more, or fewer, of."""

    def true(world: World, slots: Slots) -> list[str]:
        one, other = world.count(slots["thing"]), world.count(slots["other"])
        if one is None or other is None or one == other:
            return []
        return [slots["thing"] if of(one, other) else slots["other"]]

    return Query("kind", true, ("thing", "other"), pairs)


MOST, FEWEST = extreme(max), extreme(min)
MORE_OF, FEWER_OF = either(lambda one, other: one > other), either(lambda one, other: one < other)
TOTAL = Query("number", lambda w, s: number(w.total((s["thing"], s["other"]))), ("thing", "other"), pairs)


def _difference(world: World, slots: Slots) -> tuple[str, ...]:
    one, other = world.count(slots["thing"]), world.count(slots["other"])
    return () if one is None or other is None or one <= other else number(one - other)


DIFFERENCE = Query("number", _difference, ("thing", "other"), pairs)


def _gap(world: World, slots: Slots) -> tuple[str, ...]:
    one, other = world.count(slots["thing"]), world.count(slots["other"])
    return () if one is None or other is None else number(abs(one - other))


GAP = Query("number", _gap, ("thing", "other"), pairs)


def changed(sign: int) -> Query:
    """The number of things after ``number`` were added (1) or taken away (-1)."""

    def true(world: World, slots: Slots) -> tuple[str, ...]:
        count, step = world.count(slots["thing"]), COUNTS.index(slots["number"])
        return () if count is None or step < 1 else number(count + sign * step)

    def subjects(world: World) -> list[dict[str, str]]:
        return [{"thing": kind, "number": COUNTS[n]} for kind in world.things
                for n in range(1, min(4, (world.count(kind) or 0) + 1) if sign < 0 else 4)
                if (world.count(kind) or 0) + sign * n != n]  # the question must not have its answer in it  # fmt: skip

    return Query("number", true, ("thing", "number"), subjects)


LEFT_OVER, ADDED = changed(-1), changed(1)


def _total_more(world: World, slots: Slots) -> Iterable[str]:
    total = world.total(world.things)
    return truth(None if total is None else total > COUNTS.index(slots["number"]))


MORE_THAN = Query("truth", _total_more, ("number",), lambda w: [{"number": COUNTS[n]} for n in range(2, 9)])
