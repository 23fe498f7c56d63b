"""Plants one false statement in a true text."""

from __future__ import annotations

import random
import re

from mminstruct.microworld.catalogue import COLOURS, KINDS, NAMES, SETTINGS, TIMES, WEATHERS, WORDS
from mminstruct.microworld.questions.sorts import SORTS
from mminstruct.microworld.questions.tell import false_claims, sentences
from mminstruct.microworld.questions.world import World
from mminstruct.microworld.reading import ACTIONS, COUNTS, NOUNS

_NOUNS = tuple({noun: None for pair in NOUNS.values() for noun in pair})
_SINGULAR = {NOUNS[kind][0] for kind in KINDS}
_SWAPS: tuple[tuple[str, ...], ...] = (
    COLOURS, COUNTS[1:8], TIMES, WEATHERS, ACTIONS, ("small", "medium-sized", "large"), _NOUNS, NAMES, WORDS,
    tuple(SORTS["setting"].say(name) for name in SETTINGS), ("left of", "behind", "under", "on top of", "on"),
)  # fmt: skip
"""Words that can stand for each other."""


def planted(text: str, world: World, rng: random.Random) -> tuple[str, str] | None:
    """*text* with one word of one sentence changed so that the sentence is false of *world*, and that sentence.

    None where no change of a word makes a sentence false.
    """
    said = sentences(text)
    places = [(n, found, words) for n, sentence in enumerate(said) for words in _SWAPS
              for found in re.finditer(rf"(?<![\w#-])(?:{'|'.join(sorted(words, key=len, reverse=True))})(?![\w-])",
                                       sentence)]  # fmt: skip
    for n, found, words in rng.sample(places, len(places)):
        old = found[0]
        able = [
            word for word in words if word != old and (words is not _NOUNS or (word in _SINGULAR) == (old in _SINGULAR))
        ]
        sentence = said[n][: found.start()] + rng.choice(able) + said[n][found.end() :]
        sentence = re.sub(
            r"\b([Aa])n? (?=(\w))", lambda m: f"{m[1]}{'n' if m[2].lower() in 'aeiou' else ''} ", sentence
        )
        if false_claims(sentence, world.facts) and not false_claims(" ".join([*said[:n], *said[n + 1 :]]), world.facts):
            return " ".join([*said[:n], sentence, *said[n + 1 :]]), sentence
    return None
