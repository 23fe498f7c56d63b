"""Captions, paragraphs and reasons: true sentences about a scene, in several wordings and with different details."""

from __future__ import annotations

import random
from dataclasses import replace

from mminstruct.microworld import language
from mminstruct.microworld.catalogue import SETTINGS
from mminstruct.microworld.language import facts_of, listed, when
from mminstruct.microworld.reading import Facts, Mention
from mminstruct.microworld.scene import Scene


def captions(scene: Scene) -> list[str]:
    """Five different captions of *scene*, as five people write them."""
    rng = random.Random(f"mminstruct captions {scene.seed}/{scene.index}")
    facts = facts_of(scene)
    things = list(facts.things)
    where = " ".join(filter(None, (SETTINGS[scene.setting].phrase, when(scene.time, scene.weather))))
    one = rng.choice(things)
    bare = [(thing if facts.is_one_of_two(thing) else replace(thing, colour=None)).named() for thing in things]
    found = [
        language.caption(scene, rng, "short"),
        language.caption(scene, rng, "long"),
        f"A photo of {listed([thing.a for thing in things])}.",
        f"There {_be(one)} {replace(one, count=one.count or 1).named(size=True, action=True)} {where}.",
        f"A picture with {listed(bare)}, taken {SETTINGS[scene.setting].phrase}.",
    ]
    return rng.sample(found, len(found))


def paragraph(scene: Scene) -> str:
    """Four sentences or more about *scene*, with every fact of it."""
    rng = random.Random(f"mminstruct paragraph {scene.seed}/{scene.index}")
    facts = facts_of(scene)
    things = list(facts.things)
    told = [language.caption(scene, rng, "long")]
    for thing in rng.sample(things, len(things)):
        told.append(rng.choice((
            f"Somebody who looks closely finds {thing.named(size=True)}.",
            f"There {_be(thing)} {thing.named(size=True, action=True)}.",
        )))  # fmt: skip
    told.append(f"All of it can be seen {SETTINGS[scene.setting].phrase}.")
    return " ".join(told)


def reasons(scene: Scene, facts: Facts, thing: Mention | None = None) -> tuple[str, str, str]:
    """Three true sentences that explain answers about *thing*, or about the whole scene."""
    where = " ".join(filter(None, (SETTINGS[scene.setting].phrase, when(scene.time, scene.weather))))
    everything = listed([each.named() for each in facts.things])
    if thing is None:
        return (
            f"The picture was taken {where}.", f"We see {everything} {where}.",
            f"The scene is {where} and shows {everything}.",
        )  # fmt: skip
    if thing.kind == "sign":
        word, sign = f'"{thing.word}"', thing.the if facts.is_one_of_two(thing) else "the sign"
        return (f"T{sign[1:]} says {word}.", f"There is {thing.a} that says {word}.", f"{word} is written on {sign}.")
    only = thing.named(size=True, action=True)
    return (
        f"There {_be(thing)} {only} in the picture.", f"The picture shows {everything}.",
        f"You can see {only} {SETTINGS[scene.setting].phrase}.",
    )  # fmt: skip


def _be(thing: Mention) -> str:
    return "are" if thing.many else "is"
