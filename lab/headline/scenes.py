"""Scenes as processes draw them for the experiment: pictures, conversations about them, and rows of tokens.

A conversation is ``<s>``, the picture (or a description in its place), then questions and answers; a question ends
with a line break and an answer with ``</s>``. Only answers are learned. Nothing here imports torch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mminstruct.microworld.drawing.render import render
from mminstruct.microworld.families import FAMILIES, applicable, lessons
from mminstruct.microworld.families.wordings import reworded
from mminstruct.microworld.language import caption, facts_of, read_facts, short_questions
from mminstruct.microworld.scene import Scene, draw_scene

HELD = ("menu", "count_report", "weather_note", "alt_text", "animal_story", "gardening", "lost_and_found", "quiz")
"""Families that are in no set. The base's language model knows them from text, as the paper's knows most tasks."""
NEVER = ("json_objects", "slogan", "dialogue", "brochure")
"""Families that are in no set and no text. These and ``HELD`` are the first 4 and the next 8 of all families, sorted by
the digest ``content_id("headline", name)``."""
SETS, BASE, EXAM = (500, 0), (500, 100_000), (2500, 0)
"""World and first scene of the sets, of the base's lessons and short answers, and of the exam."""
TEXT = 158
"""Tokens of a row after ``<s>`` and the picture."""
LEARNED = 128
"""Most learned tokens of a row."""
KINDS = ("seen", "held", "never", "short")
"""Questions about each scene of the exam: an instruction of a family of the sets, of ``HELD`` and of ``NEVER``, all in
test wordings, and a short question."""
CHUNK = 64
"""Scenes that a process draws at once."""
_OFTEN = 40
"""Characters below which a text is a short question or answer, which come often."""
_START, _END, _PAD, _IMAGE = range(4)
"""Ids of the first tokens of ``lab.teach.words.train_tokenizer``."""
_LONG = ("Describe the image.", "What is in the picture?", "What do you see?")
_BRIEF = ("Describe the image in one sentence.", "What is this, in brief?")

Turn = tuple[str, str]
Row = tuple[list[int], list[int]]
"""Token ids, and the places before learned tokens."""
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of the exam."""

    index: int
    """Of the scene in the exam's world."""
    kind: str
    text: str
    family: str | None = None
    expected: str | None = None
    """The short answer; None where the text is an instruction."""

    @property
    def scene(self) -> Scene:
        return draw_scene(EXAM[1] + self.index, EXAM[0])


class Words:
    """The tokenizer in *path*, and rows made with it.

    Args:
        path: ``tokenizer.json``.
        seen: Tokens of a picture.
    """

    def __init__(self, path: Path, seen: int) -> None:
        from tokenizers import Tokenizer

        self.inner, self.seen = Tokenizer.from_file(str(path)), seen
        self.length = 1 + seen + TEXT
        self.known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        if (found := self.known.get(text)) is None:
            found = self.inner.encode(text, add_special_tokens=False).ids
            if len(text) < _OFTEN:
                self.known[text] = found
        return found

    def prompt(self, question: str, told: str | None = None) -> list[int]:
        """Ids of a first question about the picture, or about the description *told*."""
        start = [_IMAGE] * self.seen if told is None else self.ids(f"{told}\n")
        return [_START, *start, *self.ids(f"{question}\n")]

    def row(self, turns: Sequence[Turn], told: str | None = None, most: int = LEARNED) -> Row:
        """The conversation of *turns*, without those from the first on that does not fit; at least one is kept.

        Args:
            turns: Questions and answers.
            told: A description in the place of the picture.
            most: Most learned tokens, if the first answer has fewer.

        Raises:
            ValueError: The first turn is too long.
        """
        ids: list[int] = []
        at: list[int] = []
        for question, answer in turns:
            asked = self.ids(f"{question}\n") if ids else self.prompt(question, told)
            said = [*self.ids(answer), _END]
            if len(ids) + len(asked) + len(said) > self.length or len(at) + len(said) > (most if ids else LEARNED):
                break
            ids += asked
            at += range(len(ids) - 1, len(ids) + len(said) - 1)
            ids += said
        if not ids:
            raise ValueError(f"a turn is too long for {self.length} tokens and {LEARNED} learned ones: {turns[:1]}")
        return ids, at

    def said(self, ids: Sequence[int]) -> str:
        """The text of an answer."""
        known = [one for one in ids if one not in (_START, _END, _PAD, _IMAGE)]
        return str(self.inner.decode(known)).strip()

    def arrays(self, rows: Sequence[Row]) -> tuple[Array, Array]:
        """Ids (n, length), padded, and places (n, LEARNED), -1 where there is none; int16."""
        ids = np.full((len(rows), self.length), _PAD, np.int16)
        at = np.full((len(rows), LEARNED), -1, np.int16)
        for number, (own, places) in enumerate(rows):
            ids[number, : len(own)], at[number, : len(places)] = own, places
        return ids, at


def picture(scene: Scene, side: int) -> Array:
    """The picture of *scene*, (side, side, 3), uint8."""
    return np.asarray(render(scene).image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def captions(scene: Scene, rng: random.Random) -> list[Turn]:
    """A long and a short caption, and short questions, in random order."""
    told = [(rng.choice(_LONG), caption(scene, rng, "long")), (rng.choice(_BRIEF), caption(scene, rng, "short"))]
    asked = short_questions(scene)
    turns = told + rng.sample(asked, min(5, len(asked)))
    rng.shuffle(turns)
    return turns


def lesson(scene: Scene, rng: random.Random) -> tuple[str, list[Turn]]:
    """A description of *scene* and up to four instructions about it with answers, none of a family of ``NEVER``."""
    description = lessons.describe(scene, rng)
    facts = read_facts(description)
    families = [family for family in applicable(facts) if family.name not in NEVER]
    families.sort(
        key=lambda family: rng.random() ** (1 if family.topic == "any" else 3)
    )  # as in lessons: 3 times as often
    turns = []
    for family in families[:4]:
        plain = rng.random() < 0.5
        text = family.instruction(facts, rng) if plain else reworded(family, facts, rng, specific=rng.random() < 0.3)
        turns.append((text, family.write(facts, rng, text)))
    return description, turns


def short(scene: Scene, rng: random.Random, words: Words, most: int) -> Row:
    """A conversation of short questions in random order, at least one, with at most *most* learned tokens if it can."""
    asked = short_questions(scene)
    rng.shuffle(asked)
    return words.row(asked, most=most)


def base_rows(scene: Scene, words: Words) -> list[Row]:
    """What the base learns of *scene*: captions, short answers, and instructions about a description in text."""
    rng = random.Random(f"headline base {scene.seed}/{scene.index}")
    told, turns = lesson(scene, rng)
    return [words.row(captions(scene, rng)), short(scene, rng, words, LEARNED), words.row(turns, told)]


def drawn(world: tuple[int, int], start: int, stop: int, side: int) -> Array:
    """Pictures of scenes *start* to *stop* - 1 of *world*: (n, side, side, 3)."""
    seed, first = world
    return np.stack([picture(draw_scene(first + index, seed), side) for index in range(start, stop)])


def studied(start: int, side: int, words: Words) -> tuple[Array, Array, Array]:
    """Pictures of ``CHUNK`` scenes of the base, and the ids (n, 3, length) and places (n, 3, LEARNED) of their rows."""
    scenes = [draw_scene(BASE[1] + index, BASE[0]) for index in range(start, start + CHUNK)]
    ids, at = words.arrays([row for scene in scenes for row in base_rows(scene, words)])
    shape = (len(scenes), 3, -1)
    return drawn(BASE, start, start + CHUNK, side), ids.reshape(shape), at.reshape(shape)


def exam(scenes: int) -> list[Asked]:
    """Questions of all ``KINDS`` about each of *scenes* scenes, in the order of the scenes."""
    asked = []
    for index in range(scenes):
        scene = draw_scene(EXAM[1] + index, EXAM[0])
        chance, truth = random.Random(f"headline exam {index}"), facts_of(scene, place=True)
        for kind in KINDS[:-1]:
            some = [family for family in applicable(truth) if kind_of(family.name) == kind]
            family = chance.choice(some)
            asked.append(Asked(index, kind, family.instruction(truth, chance, "test"), family.name))
        text, said = chance.choice(short_questions(scene))
        asked.append(Asked(index, "short", text, expected=said))
    return asked


def kind_of(family: str) -> str:
    return "held" if family in HELD else "never" if family in NEVER else "seen"


def texts(scenes: int, seed: int = 499) -> Iterator[str]:
    """Texts to train the tokenizer on: those of the base's rows, of a world that nothing else uses."""
    for index in range(scenes):
        scene, rng = draw_scene(index, seed), random.Random(f"headline texts {index}")
        told, turns = lesson(scene, rng)
        yield told
        yield from (text for turn in (*captions(scene, rng), *short_questions(scene), *turns) for text in turn)


assert set(HELD) | set(NEVER) <= set(FAMILIES)
