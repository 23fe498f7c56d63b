"""Generated wordings of instructions, for training: a model that knows few wordings fails on others.

A wording combines a sentence shape with a name of the requested text and an object, among sentences that change
nothing. Wordings similar to a test wording are rejected, so that test wordings stay unseen. ``unseen`` makes the
stricter test: shapes, verbs, names and objects of which training has none.
"""

from __future__ import annotations

import functools
import random
import re

from mminstruct.microworld.families import FAMILIES, classify, shapes
from mminstruct.microworld.families.family import TOPIC_WORDS, Family
from mminstruct.microworld.families.genres import GENRES
from mminstruct.microworld.language import Facts, read_facts

SIMILAR = 0.7
"""Jaccard similarity of their words at which two wordings count as similar."""
_OWN = 0.3
"""Share of wordings that are a sentence of the family's own."""
_PRAISED = 0.25
_OPENED, _CLOSED, _ASIDE, _CARELESS = 0.2, 0.2, 0.2, 0.08
"""Shares of texts with an opening, a closing, an aside, and without capital and full stop."""
_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")


def similarity(one: str, two: str) -> float:
    """Jaccard similarity of the words of two texts, 0 to 1."""
    return _jaccard(_words(one), _words(two))


def _jaccard(one: frozenset[str], two: frozenset[str]) -> float:
    return len(one & two) / len(one | two)


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[\w-]+", text.lower()))


@functools.cache
def _tested(name: str) -> tuple[frozenset[str], ...]:
    return tuple(_words(ask) for ask in FAMILIES[name].asks_test)


def _acceptable(name: str, ask: str) -> bool:
    """Whether *ask* is recognised as the family *name*, names no thing, and is similar to none of the test wordings."""
    words = _words(ask)
    if any(_jaccard(words, tested) >= SIMILAR or tested <= words for tested in _tested(name)):
        return False
    return _classified(name, ask, TOPIC_WORDS.get(FAMILIES[name].topic, "it")) and not _names(ask)


def _classified(name: str, ask: str, about: str) -> bool:
    return classify(ask.format(x=about)) == name


def _names(text: str) -> bool:
    """Whether *text* names something of the microworld, by which a reader would take it for the object."""
    facts = read_facts(text)
    named = [mention for mention in facts.mentions if mention.kind != "sign"]
    return bool(named or facts.settings or facts.places or facts.words)


def _chosen(text: str, rng: random.Random) -> str:
    """*text* with one of each of its alternatives."""
    return _ALTERNATIVES.sub(lambda match: rng.choice(match[1].split("|")), text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _compose(name: str, rng: random.Random, held: bool) -> str:
    genre = GENRES[name]
    shape = rng.choice(shapes.HELD if held else shapes.SHAPES[rng.choice(list(shapes.SHAPES))])
    verb, gerund = rng.choice(list(shapes.VERBS["held" if held else "train"].items()))
    key = genre.held if held else _chosen(rng.choice(genre.names), rng)
    if not held and rng.random() < _PRAISED:
        key = re.sub(r"^(?:an? )", "a {} ", key) if key.startswith(("a ", "an ")) else key
        key = key.replace("{}", rng.choice(shapes.PRAISES), 1)
    about = f"{rng.choice(genre.between.split('|'))} {{x}}"
    role, reader = rng.choice(shapes.ROLES), rng.choice(shapes.READERS)
    fields = {"v": verb, "ing": gerund, "key": key, "x": about, "o": "{x}", "role": role, "reader": reader}
    return _chosen(shape, rng).format(**fields, **{word.capitalize(): _capital(text) for word, text in fields.items()})


def ask(family: Family, rng: random.Random) -> str:
    """A generated wording of *family*, with ``{x}`` for its object."""
    while True:
        own = rng.random() < _OWN
        made = _chosen(rng.choice(GENRES[family.name].own), rng) if own else _compose(family.name, rng, held=False)
        if _acceptable(family.name, made):
            return made


def _filled(text: str, rng: random.Random) -> str:
    """*text* with chosen alternatives, and with common words, invented names and numbers in its fields."""
    parts = re.split(r"(\{\w+\})", _chosen(text, rng))
    made = {
        "{word}": lambda: rng.choice(shapes.WORDS),
        "{name}": lambda: "".join(
            rng.choice("bcdfghjklmnprstvwyz") + rng.choice("aeiou") + rng.choice(("", "", *"bdklmnrstvx"))
            for _ in range(rng.randint(1, 3))
        ).capitalize(),
        "{number}": lambda: str(rng.randint(2, 99)),
        "{Reader}": lambda: _capital(rng.choice(shapes.READERS)),
    }
    return "".join(made[part]() if part in made else part for part in parts)


def _picture(rng: random.Random) -> str:
    which = rng.choice(("this", "this", "the", "that", "my", "our"))
    return " ".join(
        filter(None, (which, _filled(rng.choice(shapes.PICTURES), rng), _filled(rng.choice(shapes.WHERE), rng)))
    )


def _object(family: Family, facts: Facts, rng: random.Random, specific: bool) -> str:
    """What a wording is about."""
    if specific:
        return family.specific(facts, rng)
    if family.topic == "any":
        return rng.choice(shapes.WHOLES) if rng.random() < 0.1 else _picture(rng)
    topic = rng.choice(("the", "the", "this", "that")) + TOPIC_WORDS[family.topic].removeprefix("the")
    return topic if rng.random() < 0.2 else f"{topic} {rng.choice(('in', 'in', 'on', 'from'))} {_picture(rng)}"


def reworded(family: Family, facts: Facts, rng: random.Random, *, specific: bool) -> str:
    """An instruction of *family* for a picture with *facts*, in a generated wording."""
    asked = ask(family, rng)
    while True:
        about = _object(family, facts, rng, specific)
        text = _capital(asked.format(x=about))
        if rng.random() < _CARELESS and not asked.startswith("{x}"):
            text = (text[0].lower() + text[1:]).rstrip(".!")
        around = [(shapes.OPENINGS, _OPENED), (shapes.ASIDES, _ASIDE), (shapes.CLOSINGS, _CLOSED)]
        opening, aside, closing = (
            _filled(rng.choice(some), rng) if rng.random() < share else "" for some, share in around
        )
        before, after = (aside, "") if rng.random() < 0.5 else ("", aside)
        if after or closing:
            text = text if text[-1] in ".!?" else f"{text}."
        whole = " ".join(filter(None, (before, opening, text, after, closing)))
        strange = _names(" ".join((opening, aside, closing))) or (not specific and _names(about))
        if not strange and classify(whole) == family.name:
            return whole


def unseen(family: Family, facts: Facts, rng: random.Random, *, specific: bool) -> str:
    """An instruction of *family* in a shape, with a verb, name and object that no training text has.

    A *specific* instruction names a thing of *facts*, as in training.
    """
    while True:
        asked = _compose(family.name, rng, held=True)
        if specific:
            about = family.specific(facts, rng)
        elif family.topic == "any":
            about = rng.choice(shapes.HELD_PICTURES)
        else:
            about = f"{TOPIC_WORDS[family.topic]} {rng.choice(shapes.HELD_TAILS)}"
        text = _capital(asked.format(x=about))
        if classify(text) == family.name and not _names(asked):
            return text
