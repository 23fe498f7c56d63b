"""Families of instructions: wordings, answers, and checks of answers.

A family asks for one task in many wordings. Its answers are written from the facts of a description, and a program can
check their form (as IFEval does, Zhou et al. 2023) and their facts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mminstruct.microworld.catalogue import COLOURS, KINDS, SETTINGS
from mminstruct.microworld.claims import contradictions, read_answer
from mminstruct.microworld.families.lore import CLUES, MEANINGS, MOODS, PACK, ROADS, SKIES, TIPS, WEAR
from mminstruct.microworld.language import COUNTS, Facts, Mention, listed, read_facts, when

Split = Literal["train", "test"]
Check = Callable[[str], str | None]
"""Returns what is wrong with the form of an answer, or None."""
Writer = Callable[[Facts, Mention], str]
Judge = Callable[[str, Facts], list[str]]
"""Returns factual errors of an answer that ``read_facts`` cannot find."""

TAILS: dict[Split, tuple[str, ...]] = {
    "train": ("in this image", "in this picture", "in the photo", "you see here"),
    "test": ("in this shot", "shown above"),
}
WHOLES: dict[Split, tuple[str, ...]] = {
    "train": ("this image", "this picture", "this photo", "this scene"),
    "test": ("this shot", "the view shown above"),
}
TOPIC_WORDS = {
    topic: f"the {topic}"
    for topic in ("food", "animal", "vehicle", "person", "plant", "tool", "furniture", "object", "building", "sign")
} | {"outdoor": "the outdoor place"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer has the requested form, and whether its claims are true."""

    format_ok: bool
    facts_ok: bool
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.format_ok and self.facts_ok


def wrong_lore(answer: str, facts: Facts) -> list[str]:
    """Colours in *answer* that nothing has, and clues, meanings, skies and moods that do not fit *facts*."""
    text = answer.lower()
    mood = _mood(facts)
    colours = {thing.colour for thing in facts.things}
    wrong = [f"nothing is {word}" for word in re.findall(r"[a-z]+", text) if word in COLOURS and word not in colours]
    wrong += [
        f"no {kind} gives that clue" for kind, clue in CLUES.items() if clue.lower() in text and not facts.thing(kind)
    ]
    wrong += [f"no sign says {word}" for word, what in MEANINGS.items() if what in text and word not in facts.words]
    wrong += [f"the sky is not {name}" for name, sky in SKIES.items() if sky.lower() in text and name != mood]
    wrong += [f"no {name} time" for name in re.findall(_MOODY, text) if name != MOODS[mood]]
    return list(dict.fromkeys(wrong))


_MOODY = re.compile(rf"\b({'|'.join(MOODS.values())}) (?:day|morning|evening|night)\b")


def _mood(facts: Facts) -> str:
    """Key of ``MOODS``: the weather if known, otherwise derived from the time of day."""
    return facts.weather or ("night" if facts.time == "night" else "indoor" if facts.time is None else "sunny")


@dataclass(frozen=True)
class Family:
    """One kind of instruction: its wordings, its answers and their checks."""

    name: str
    kind: str
    """Kind of task: poetry, advice, structured output ..."""
    topic: str
    """What the picture must contain: a category of things, ``outdoor``, or ``any``."""
    cue: str
    """Regular expression that matches every wording of this family and none of other families."""
    asks: tuple[str, ...]
    """Training wordings, with ``{x}`` for their object; the first is the canonical one."""
    asks_test: tuple[str, ...]
    """Wordings held out from training."""
    styles: tuple[str | Writer, ...]
    """Ways to answer: templates with the names of ``slots``, or functions."""
    checks: tuple[Check, ...] = ()
    judge: Judge = wrong_lore
    things: int = 1
    """Smallest number of kinds of things in the picture."""

    @property
    def wordings_train(self) -> tuple[str, ...]:
        return tuple(ask.format(x=x) for ask in self.asks for x in self._general("train"))

    @property
    def wordings_test(self) -> tuple[str, ...]:
        return tuple(ask.format(x=x) for ask in self.asks_test for x in self._general("test"))

    @property
    def general(self) -> str:
        """The canonical wording, which suits every picture that the family applies to."""
        return self.wordings_train[0]

    def _general(self, split: Split) -> tuple[str, ...]:
        if self.topic == "any":
            return WHOLES[split]
        return tuple(f"{TOPIC_WORDS[self.topic]} {tail}" for tail in TAILS[split])

    def candidates(self, facts: Facts) -> list[Mention]:
        """Things in *facts* that an instruction of this family can be about."""
        if self.topic in ("any", "outdoor"):
            return list(facts.things)
        return [thing for thing in facts.things if thing.category == self.topic]

    def applies(self, facts: Facts) -> bool:
        """Whether a picture with *facts* contains what the family is about."""
        if self.topic == "outdoor" and (facts.setting is None or SETTINGS[facts.setting].indoor):
            return False
        if self.topic == "sign" and not facts.words:
            return False
        return len(facts.things) >= self.things and bool(self.candidates(facts))

    def instruction(
        self, facts: Facts, rng: random.Random, split: Split = "train", *, specific: bool | None = None
    ) -> str:
        """An instruction for a picture with *facts*; a *specific* one names a thing in it. None: half of them do."""
        if specific is None:
            specific = rng.random() < 0.5
        if not specific:
            return rng.choice(self.wordings_train if split == "train" else self.wordings_test)
        return rng.choice(self.asks if split == "train" else self.asks_test).format(x=self.specific(facts, rng))

    def specific(self, facts: Facts, rng: random.Random) -> str:
        if self.topic == "outdoor":
            return facts.place if facts.place and rng.random() < 0.5 else f"this {facts.setting}"
        thing = rng.choice(self.candidates(facts))
        return thing.the if self.topic != "any" else f"this picture of {thing.a}"

    def focus(self, facts: Facts, instruction: str = "") -> Mention:
        """The thing that *instruction* names, or the first candidate."""
        candidates = self.candidates(facts)
        named = {(mention.kind, mention.colour) for mention in read_facts(instruction).mentions}
        exact = [thing for thing in candidates if (thing.kind, thing.colour) in named]  # one of two signs
        close = [thing for thing in candidates if thing.kind in {kind for kind, _ in named}]
        return next(iter((*exact, *close, *candidates)))

    def write(self, facts: Facts, rng: random.Random, instruction: str = "", style: int | None = None) -> str:
        """Answer *instruction* from *facts* in *style*, an index of ``styles``; *rng* chooses it if it is None.

        Raises:
            ValueError: If the family does not apply to *facts*.
        """
        if not self.applies(facts):
            raise ValueError(f"family {self.name} does not apply to {facts}; call Family.applies first")
        writer = rng.choice(self.styles) if style is None else self.styles[style % len(self.styles)]
        thing = self.focus(facts, instruction)
        if callable(writer):
            return writer(facts, thing)
        return writer.format_map(slots(facts, thing))

    def verify(self, answer: str, facts: Facts) -> Verdict:
        """Check the form of *answer*, and each of its claims against *facts*."""
        form = [problem for check in self.checks if (problem := check(answer))]
        claims = read_answer(answer)
        if not answer.strip():
            form.append("the answer is empty")
        elif not self._speaks_of(claims):
            form.append(f"the answer names nothing of topic {self.topic}")
        wrong = contradictions(claims, facts) + self.judge(answer, facts)
        return Verdict(not form, not wrong, (*form, *wrong))

    def _speaks_of(self, claims: Facts) -> bool:
        if self.topic == "outdoor":
            return bool(claims.settings or claims.places)
        if self.topic == "sign":
            return bool(claims.words)
        return any(self.topic in ("any", mention.category) for mention in claims.mentions)


def _where(facts: Facts) -> str:
    return SETTINGS[facts.setting].phrase if facts.setting else "in this place"


def slots(facts: Facts, thing: Mention) -> dict[str, str]:
    """Values for templates of answers: *thing* is the subject of the answer, ``other`` and ``others`` are the rest."""
    many = thing.many
    rest = [rest for rest in facts.things if rest != thing]
    pronoun = ("they", "them", "their") if many or thing.kind == "child" else {
        "man": ("he", "him", "his"), "woman": ("she", "her", "her")}.get(thing.kind, ("it", "it", "its"))  # fmt: skip
    place = f"at {facts.place}" if facts.place else _where(facts)
    time = when(facts.time, facts.weather)
    mood = _mood(facts)
    colours = list(dict.fromkeys(t.colour for t in facts.things if t.colour))
    word = thing.word or (facts.words[0] if facts.words else "...")
    values = {
        "the": thing.the,
        "a": thing.a,
        "name": thing.named(count=many),
        "noun": thing.noun,
        "full": thing.named(size=True, action=True),
        "is": "are" if many else "is",
        "was": "were" if many else "was",
        "s": "" if many else "s",
        "es": "" if many else "es",
        "has": "have" if many else "has",
        "it": pronoun[0],
        "them": pronoun[1],
        "its": pronoun[2],
        "this": "these" if many else "this",
        "other": rest[0].the if rest else "a soft shadow",
        "others": listed([t.a for t in rest]) or "nobody",
        "where": place,
        "setting": facts.setting or "place",
        "when": f" {time}" if time else "",
        "time": time or "today",
        "all": listed([t.named() for t in facts.things]),
        "alls": listed([t.a for t in facts.things]),
        "word": word,
        "sign": thing.the[4:] if thing.word and facts.is_one_of_two(thing) else "sign",
        "meaning": MEANINGS.get(word, "something is said here"),
        "doing": f" {thing.action}" if thing.action else "",
        "tip": TIPS[thing.kind].format(them=pronoun[1]),
        "clue": CLUES[thing.kind],
        "mood": MOODS[mood],
        "day": "day" if facts.time in (None, "midday") else str(facts.time),
        "relation": _relation(facts) if len(facts.things) <= 4 else "",
        "sky": SKIES[mood],
        "pack": PACK[mood],
        "wear": WEAR[mood],
        "roads": ROADS[mood],
        "tag": KINDS[thing.kind].name,
        "colour": thing.colour or "plain",
        "place_tag": (facts.setting or "place").replace(" ", ""),
        "colours": listed(colours) or "plain",
        "count": COUNTS[thing.count or 1],
        "place": facts.place or f"the {facts.setting or 'place'}",
    }
    return values | {name.capitalize(): value[:1].upper() + value[1:] for name, value in values.items()}


def _relation(facts: Facts) -> str:
    """A sentence about the position of one thing, with a leading space; empty if no relation is known."""
    for relation in facts.relations:
        subject, target = facts.thing(relation.subject), facts.thing(relation.target)
        if subject and target:
            return f" T{subject.the[1:]} {'are' if subject.many else 'is'} {relation.name} {target.the}."
    return ""


def words(low: int, high: int) -> Check:
    """Between *low* and *high* words."""

    def check(answer: str) -> str | None:
        count = len(answer.split())
        return None if low <= count <= high else f"{count} words, not {low} to {high}"

    return check


def at_most(letters: int) -> Check:
    """At most *letters* characters."""
    return lambda answer: None if len(answer) <= letters else f"{len(answer)} characters, more than {letters}"


def lines(low: int, high: int | None = None) -> Check:
    """Between *low* and *high* lines that are not empty; exactly *low* if *high* is None."""

    def check(answer: str) -> str | None:
        count = len([line for line in answer.splitlines() if line.strip()])
        return None if low <= count <= (high or low) else f"{count} lines, not {low} to {high or low}"

    return check


def has(pattern: str, what: str, least: int = 1) -> Check:
    """At least *least* matches of *pattern*, in which ``^`` and ``$`` match at lines."""
    finder = re.compile(pattern, re.MULTILINE)
    return lambda answer: None if len(finder.findall(answer)) >= least else f"lacks {what} ({least} at least)"


def numbered(least: int) -> Check:
    """A numbered list ``1. 2. 3.`` of at least *least* items, in order."""

    def check(answer: str) -> str | None:
        found = [int(number) for number in re.findall(r"(?:^|\s)(\d)\. ", answer)]
        good = len(found) >= least and found == list(range(1, len(found) + 1))
        return None if good else f"is no numbered list of {least} or more"

    return check
