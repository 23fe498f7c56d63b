"""Forms of questions: a template is the grammar by which a question is written and read."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from mminstruct.microworld.catalogue import KINDS
from mminstruct.microworld.questions.queries import Query, Slots
from mminstruct.microworld.questions.sorts import SORTS, plain
from mminstruct.microworld.questions.tell import Tell
from mminstruct.microworld.questions.world import World

PLACEHOLDER = re.compile(r"<([a-z_]+)>")
_SORT_OF = {"thing": "kind", "other": "kind", "species": "kind", "person_role": "kind", "number": "number",
            "colour": "colour", "style": "style", "text": "word", "event": "action", "purpose": "purpose",
            "part": "time", "place": "setting", "direction": "direction"}  # fmt: skip
"""Sort of the values of a placeholder that is no answer of its query."""
_ONLY = {"species": "animal", "person_role": "person"}
"""Category of the kinds that a placeholder takes."""
_VERBS = {"is": "are", "does": "do", "has": "have"}
_AGREES = re.compile(rf"\b({'|'.join(_VERBS)})(?= the <(?:thing|other|species|person_role)>)", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """A question with its answer as the asker writes them."""

    form: Form
    slots: Slots
    question: str
    answer: str
    """``Yes``, ``B``, one to five words, or prose."""
    choices: tuple[str, ...] = ()
    right: int | None = None


@dataclass(frozen=True)
class Form:
    """One template of a domain and a kind, and what it asks."""

    domain: str
    kind: str
    """judgement, choice, short, long, or follow: a question that only continues a conversation."""
    text: str
    query: Query | None
    """None where any true text answers the question."""
    tell: Tell | None = None
    """Writes the answer of kinds ``long`` and ``follow``."""

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        return tuple(PLACEHOLDER.findall(self.text))

    @cached_property
    def roles(self) -> dict[str, str]:
        """Slot of the query by placeholder; ``value`` is the slot of a proposed answer."""
        of = self.query or (self.tell and self.tell.query)
        needed = of.slots if of else self.tell.slots if self.tell else ()
        roles = {name: name for name in self.placeholders if name in needed}
        for name in self.placeholders:
            if name not in roles:
                roles[name] = (
                    "thing" if name in _ONLY and "thing" in needed and "thing" not in roles.values() else "value"
                )
        missing = set(needed) - set(roles.values())
        if (
            missing
            or list(roles.values()).count("value") > 1
            or ("value" in roles.values() and self.kind != "judgement")
        ):
            raise ValueError(
                f"template {self.text!r} must name {', '.join(needed)}, and one answer if it is a judgement"
            )
        return roles

    def sort_of(self, placeholder: str) -> str:
        if self.roles[placeholder] == "value" and self.query:
            return self.query.sort
        return _SORT_OF[placeholder]

    def takes(self, slots: Slots) -> bool:
        """Whether the kinds in *slots* are of the category that the placeholders ask for."""
        return all(KINDS[slots[self.roles[name]]].category == _ONLY[name] for name in self.placeholders
                   if name in _ONLY and self.roles[name] in slots)  # fmt: skip

    def fill(self, world: World, slots: Slots) -> str:
        """The question about *slots*, with nouns and verbs in the number that *world* gives."""
        many = {name: self._many(name, world, slots) for name in self.placeholders}

        def verb(found: re.Match[str]) -> str:
            noun = PLACEHOLDER.search(self.text, found.end())
            plural = _VERBS[found[1].lower()] if noun and many[noun[1]] else found[1]
            return plural.capitalize() if found[1][0].isupper() else plural

        text = _AGREES.sub(verb, self.text)
        for name in self.placeholders:
            said = SORTS[self.sort_of(name)].say(slots[self.roles[name]], many=many[name])
            text = text.replace(f"<{name}>", said)
            text = re.sub(rf"\b([Aa])n? (?={re.escape(said)})", rf"\1{_n(said)} ", text)
        return text

    def _many(self, name: str, world: World, slots: Slots) -> bool:
        """After ``a`` and ``every`` a noun is singular, after ``the`` as there are, elsewhere plural."""
        before = self.text[: self.text.index(f"<{name}>")].split()[-1:]
        if before and before[0].lower() in ("a", "an", "every", "young"):
            return False
        if before and before[0].lower() == "the":
            thing = world.things.get(slots[self.roles[name]])
            return thing is not None and thing.many
        return True

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches every question of this form in the form of ``plain``."""
        text = _AGREES.sub(lambda found: f"qx{found[1]}", self.text)
        text = re.escape(plain(PLACEHOLDER.sub(lambda found: f"qz{found[1]}qz", text)))
        for one, several in _VERBS.items():
            text = text.replace(f"qx{one}", f"(?:{one}|{several})")
        for name in self.placeholders:
            text = text.replace(f"qz{name}qz", f"(?P<{name}>{SORTS[self.sort_of(name)].pattern})")
        return re.compile(text)

    def read(self, question: str) -> dict[str, str] | None:
        """The slots of *question*, with its proposed answer as ``value``; None where it is not of this form."""
        match = self.pattern.fullmatch(plain(question))
        if match is None:
            return None
        slots = {self.roles[name]: SORTS[self.sort_of(name)].read(match[name]) or "" for name in self.placeholders}
        return slots if self.takes(slots) else None

    def subjects(self, world: World) -> Iterator[Mapping[str, str]]:
        """Fillings of the slots that have one true answer, for judgements also several."""
        of = self.query or self.tell
        for slots in of.subjects(world) if of else ():
            if self.takes(slots):
                yield slots

    def ask(self, world: World, rng: random.Random, yes: bool | None = None, but: Collection[str] = ()) -> Asked | None:
        """A question about *world* with its true answer; None where the form does not fit.

        Args:
            world: What the question is answered from.
            rng: Chooses among all that fit.
            yes: Of judgements, the answer wanted.
            but: Questions that were asked before.
        """
        able = list(self.subjects(world))
        for slots in rng.sample(able, len(able)):
            asked = self.about(world, slots, rng, yes)
            if asked is not None and asked.question not in but:
                return asked
        return None

    def about(self, world: World, slots: Slots, rng: random.Random, yes: bool | None = None) -> Asked | None:
        """The question about *slots* with its true answer, as ``ask``."""
        if self.tell is not None:
            answer = self.tell.write(world, slots, rng, long=self.kind == "long")
            return Asked(self, slots, self.fill(world, slots), answer) if answer else None
        assert self.query is not None
        true = self.query.answers(world, slots)
        if not true or (self.kind == "short" and len(true) > 1):
            return None
        sort = SORTS[self.query.sort]
        if self.kind == "judgement":
            if "value" not in self.roles.values():
                return Asked(self, slots, self.fill(world, slots), sort.say(min(true))) if (
                    yes is None or true == {"yes" if yes else "no"}) else None  # fmt: skip
            yes = rng.random() < 0.5 if yes is None else yes
            pool = sorted(true) if yes else self.query.wrong(world, slots, true)
            pool = [value for value in pool if self.takes({**slots, "value": value})]
            if not pool:
                return None
            slots = {**slots, "value": rng.choice(pool)}
            return Asked(self, slots, self.fill(world, slots), "Yes" if yes else "No")
        value = rng.choice(sorted(true))
        thing = world.things.get(value) if sort.name == "kind" else None
        many = thing is not None and thing.many
        question = self.fill(world, slots)
        if self.kind == "short":
            return Asked(self, slots, question, sort.say(value, many=many))
        wrong = self.query.wrong(world, slots, true)
        first = [v for v in wrong if v in world.things] if sort.name == "kind" else []
        rest = [v for v in wrong if v not in first]
        false = [*rng.sample(first, min(3, len(first))), *rng.sample(rest, len(rest))][:3]
        if len(false) < 3:
            return None
        return Asked(self, slots, question, "A", tuple(sort.say(v, many=many) for v in (value, *false)), 0)


def _n(noun: str) -> str:
    return "n" if noun[0].lower() in "aeiou" else ""
