"""Answers in sentences, and whether such an answer is true and says what was asked."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mminstruct.microworld.catalogue import SETTINGS
from mminstruct.microworld.claims import contradictions, read_answer
from mminstruct.microworld.families import FAMILIES
from mminstruct.microworld.families.family import wrong_lore
from mminstruct.microworld.language import listed, says, when
from mminstruct.microworld.questions.queries import Query, Slots
from mminstruct.microworld.questions.sorts import SORTS
from mminstruct.microworld.questions.world import World
from mminstruct.microworld.reading import COUNTS, Facts, Mention, read_facts

LEAST, MOST = 20, 5
"""Words and sentences of a long answer."""
Part = Callable[[World, Slots], str]
"""A sentence; empty where nothing is known."""
_END = re.compile(r"(?<=[.!?])\s+")


def sentences(text: str) -> list[str]:
    return [sentence for sentence in _END.split(text.strip()) if sentence]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def where(world: World, slots: Slots) -> str:
    facts = world.facts
    if facts.setting is None:
        return ""
    return " ".join(filter(None, ("The picture was taken", SETTINGS[facts.setting].phrase,
                                  when(facts.time, facts.weather)))) + "."  # fmt: skip


def inside(world: World, slots: Slots) -> str:
    return "" if world.indoor is None else f"The place is {'indoors' if world.indoor else 'outdoors'}."


def named(world: World, slots: Slots) -> str:
    return f"The place is called {world.facts.place}." if world.facts.place else ""


def contents(world: World, slots: Slots) -> str:
    things = [thing.named(size=True, action=True) for thing in world.facts.things]
    return f"The picture shows {listed(things)}." if things else ""


def numbers(world: World, slots: Slots) -> str:
    return _there(world.things.values())


def _there(things: Iterable[Mention]) -> str:
    said = [Mention(thing.kind, thing.count).named() for thing in things]
    first = next(iter(things), None)
    return f"There {'are' if first and first.many else 'is'} {listed(said)}." if said else ""


def about(world: World, slots: Slots) -> str:
    """All that is known of the thing."""
    thing = world.things.get(slots["thing"])
    return f"There {'are' if thing.many else 'is'} {thing.named(size=True, action=True)}." if thing else ""


def rest(world: World, slots: Slots) -> str:
    """The other things."""
    others = [thing for kind, thing in world.things.items() if kind not in (slots.get("thing"), slots.get("other"))]
    return f"One can also see {listed([thing.named(size=True, action=True) for thing in others])}." if others else ""


def both(world: World, slots: Slots) -> str:
    """The two things that are compared or related."""
    pair = [world.things[slots[name]] for name in ("thing", "other") if slots[name] in world.things]
    return _there(pair) if len(pair) == 2 else ""


def looks(world: World, slots: Slots) -> str:
    """The two things with their colours and actions."""
    pair = [world.things[slots[name]] for name in ("thing", "other") if slots[name] in world.things]
    return f"The picture shows {listed([t.named(size=True, action=True) for t in pair])}." if len(pair) == 2 else ""


def colours(world: World, slots: Slots) -> str:
    return f"There {_be(world)} {listed([t.a for t in world.facts.things])}." if world.facts.things else ""


def animals(world: World, slots: Slots) -> str:
    there = [world.things[kind].named(size=True, action=True) for kind in world.of_category("animal")]
    return f"These animals can be seen: {listed(there)}." if there else ""


def _be(world: World) -> str:
    first = next(iter(world.facts.things), None)
    return "are" if first and first.many else "is"


def _bare(thing: Mention) -> Mention:
    return Mention(thing.kind, thing.count)


def colour(world: World, slots: Slots) -> str:
    thing = world.things.get(slots["thing"])
    if thing is None or not thing.colour:
        return ""
    if thing.category == "person":
        return f"One can see {thing.a}."
    return f"{_upper(_bare(thing).the)} {'are' if thing.many else 'is'} {thing.colour}."


def size(world: World, slots: Slots) -> str:
    thing = world.things.get(slots["thing"])
    if thing is None or not thing.size:
        return ""
    return f"{_upper(_bare(thing).the)} {'are' if thing.many else 'is'} {SORTS['size'].say(thing.size)}."


def count(world: World, slots: Slots) -> str:
    thing = world.things.get(slots["thing"])
    return _there([thing]) if thing and thing.count else ""


def action(world: World, slots: Slots) -> str:
    thing = world.things.get(slots["thing"])
    if thing is None or not thing.action:
        return ""
    return f"{_upper(_bare(thing).the)} {'are' if thing.many else 'is'} {thing.action}."


def actions(world: World, slots: Slots) -> str:
    said = [f"{_bare(t).the} {'are' if t.many else 'is'} {t.action}" for t in world.facts.things if t.action]
    return f"{_upper(listed(said))}." if said else ""


def relations(world: World, slots: Slots) -> str:
    """The first relation, or the one between the things in the slots."""
    asked = {slots[name] for name in ("thing", "other") if name in slots}
    for known in world.facts.relations:
        subject, target = world.things.get(known.subject), world.things.get(known.target)
        if subject and target and asked <= {subject.kind, target.kind}:
            return f"{_upper(subject.the)} {'are' if subject.many else 'is'} {known.name} {target.the}."
    return ""


def sign(world: World, slots: Slots) -> str:
    """What is written, on each of two signs."""
    said = says(world.facts) or [f'The sign says "{word}".' for word in world.facts.words[:1]]
    return " ".join(said)


def no_more(world: World, slots: Slots) -> str:
    return "Nothing else can be seen in the picture."


FILL = (where, contents, relations, sign, no_more)
"""Sentences that make an answer long enough."""


def _unsaid(world: World, said: Sequence[str]) -> str:
    """The things that *said* does not name."""
    known = {mention.kind for mention in read_facts(" ".join(said)).mentions}
    others = [thing for kind, thing in world.things.items() if kind not in known]
    return f"One can also see {listed([thing.named(size=True, action=True) for thing in others])}." if others else ""


@dataclass(frozen=True)
class Tell:
    """An answer of one to five sentences: those of *parts*, then *close* with the answer of *query*.

    The first part is what the question is about: without it there is no answer.
    """

    parts: tuple[Part, ...]
    query: Query | None = None
    close: str = ""
    """The last sentence of the core, with ``{value}``."""
    slots: tuple[str, ...] = ()

    def subjects(self, world: World) -> Iterable[dict[str, str]]:
        if self.query is not None:
            return self.query.subjects(world)
        if self.slots == ("thing",):
            return [{"thing": kind} for kind in world.things]
        if self.slots == ("thing", "other"):
            return [{"thing": one, "other": other} for one, other in world.pairs]
        return ({},)

    def core(self, world: World, slots: Slots) -> list[str]:
        """The sentences that answer the question; none where it cannot be answered."""
        said = [part(world, slots) for part in self.parts]
        if not said or not said[0]:
            return []
        said = list(filter(None, said))
        if self.query is not None:
            answers = self.query.answers(world, slots)
            if len(answers) != 1:
                return []
            said.append(self.close.format(value=self._said(world, min(answers))))
        return said

    def _said(self, world: World, value: str) -> str:
        assert self.query is not None
        thing = world.things.get(value) if self.query.sort == "kind" else None
        return SORTS[self.query.sort].say(value, many=thing is not None and thing.many)

    def write(self, world: World, slots: Slots, rng: random.Random, *, long: bool) -> str:
        """The answer; empty where there is none, and where a *long* one would stay too short."""
        said = self.core(world, slots)
        if not said:
            return ""
        if long:
            for part in FILL:
                if len(" ".join(said).split()) >= LEAST and len(said) > 1:
                    break
                more = part(world, {}) if part is not contents else _unsaid(world, said)
                said += [more] if more and more not in said else []
            if len(" ".join(said).split()) < LEAST or not 2 <= len(said) <= MOST:
                return ""
        return " ".join(said)

    def fault(self, answer: str, world: World, slots: Slots) -> str | None:
        """What is wrong with *answer*: a false claim, or nothing about what was asked."""
        core = self.core(world, slots)
        if not core:
            return "it cannot be answered"
        if wrong := false_claims(answer, world.facts):
            return wrong[0]
        said, asked = read_answer(answer), read_facts(self.parts[0](world, slots) if self.parts else "")
        missing = {m.kind for m in asked.mentions} - {m.kind for m in said.mentions}
        if missing:
            return f"it does not speak of {min(missing)}"
        for name in ("settings", "words", "places", "relations"):
            if getattr(asked, name) and not getattr(said, name):
                return f"it tells no {name}"
        if self.query is not None:
            value = self._said(world, min(self.query.answers(world, slots)))
            if not re.search(rf"\b{re.escape(value.lower())}\b", answer.lower()):
                return f"it does not say {value}"
            alone = " ".join(sentence for sentence in sentences(answer.lower()) if not read_facts(sentence).mentions)
            if self.query.sort == "number" and set(_NUMBERS.findall(alone)) - {value}:
                return "it gives a wrong number"
        return None


_NUMBERS = re.compile(rf"\b(?:{'|'.join(COUNTS)})\b")


def false_claims(answer: str, facts: Facts) -> list[str]:
    """The claims of *answer* that *facts* contradict."""
    return contradictions(read_answer(answer), facts) + wrong_lore(answer, facts)


@dataclass(frozen=True)
class Compose(Tell):
    """A text of the family in the slot ``purpose``, if it is long enough to be a long answer."""

    def core(self, world: World, slots: Slots) -> list[str]:
        family = FAMILIES[slots["purpose"]]
        return [family.name] if family.applies(world.facts) else []

    def write(self, world: World, slots: Slots, rng: random.Random, *, long: bool) -> str:
        family = FAMILIES[slots["purpose"]]
        for style in rng.sample(range(len(family.styles)), len(family.styles)):
            text = family.write(world.facts, rng, style=style)
            if "\n" not in text and len(text.split()) >= LEAST and 2 <= len(sentences(text)) <= MOST:
                return text
        return ""

    def fault(self, answer: str, world: World, slots: Slots) -> str | None:
        family = FAMILIES[slots["purpose"]]
        if not family.applies(world.facts):
            return f"{family.name} does not suit the picture"
        return next(iter(family.verify(answer, world.facts).problems), None)
