"""Texts about a scene: captions, alt-text, fused descriptions and short questions.

Captions and descriptions state only facts of the scene, and ``read_facts`` parses all of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mminstruct.microworld.catalogue import COLOURS, KINDS, KINDS_AT, SETTINGS
from mminstruct.microworld.reading import COUNTS, NOUNS, Facts, Mention, Placed, read_facts
from mminstruct.microworld.scene import Group, Scene

__all__ = ["COUNTS", "NOUNS", "AltText", "Facts", "Mention", "Placed", "alt_text", "caption", "facts_of", "fused",
           "listed", "read_facts", "says", "short_questions", "when"]  # fmt: skip

ORDER = {name: place for place, name in enumerate(KINDS)}
"""Order in which a caption names kinds. It is fixed, so a model can predict it from the picture."""


def facts_of(scene: Scene, *, place: bool = False) -> Facts:
    """The facts of *scene* in the form that ``read_facts`` returns; *place* adds the proper name, which captions lack.

    People have no size: in a picture their size only shows how near they stand.
    """
    groups = sorted(scene.groups, key=_order)
    return Facts(
        settings=(scene.setting,),
        times=(scene.time,) if scene.time else (),
        weathers=(scene.weather,) if scene.weather else (),
        places=(scene.place,) if place else (),
        mentions=tuple(
            Mention(g.kind, g.count, None if g.category == "person" else g.size, g.colour, g.action, g.word)
            for g in groups
        ),
        relations=tuple(
            Placed(scene.groups[r.subject].kind, r.name, scene.groups[r.target].kind) for r in scene.relations
        ),
        words=tuple(group.word for group in groups if group.word),
    )


def _order(group: Group) -> tuple[int, int]:
    """Place in a caption: two signs are named in the order of their colours."""
    return ORDER[group.kind], COLOURS.index(group.colour)


def says(facts: Facts) -> list[str]:
    """A sentence about each word on a sign; of two signs, it names the colour."""
    signs = [thing for thing in facts.things if thing.word]
    return [f'T{sign.the[1:] if len(signs) > 1 else "he sign"} says "{sign.word}".' for sign in signs]


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def when(time: str | None, weather: str | None) -> str:
    """``on a sunny morning``, ``on a foggy day at midday``, ``at night``; empty if both are None."""
    if time is None:
        return f"on a {weather} day" if weather else ""
    if weather is None:
        return f"at {time}" if time in ("night", "midday") else f"in the {time}"
    return f"on a {weather} day at midday" if time == "midday" else f"on a {weather} {time}"


OPENINGS = ("The scene is", "The picture was taken", "This image was taken")
_SHOWS = ("It shows", "You can see", "We see")


def caption(scene: Scene, rng: random.Random | None = None, detail: str = "long") -> str:
    """Describe *scene* in about 15 to 60 words, or in one sentence if *detail* is ``short``.

    Things are named in the order of ``KINDS``. Without *rng* the phrasing is the canonical one.
    """
    facts = facts_of(scene)
    where = " ".join(filter(None, (SETTINGS[scene.setting].phrase, when(scene.time, scene.weather))))
    if detail == "short":
        things = listed([thing.named() for thing in facts.things])
        return f"{things[0].upper()}{things[1:]} {where}."
    opening = rng.choice(OPENINGS) if rng else OPENINGS[0]
    shows = rng.choice(_SHOWS) if rng else _SHOWS[0]
    sentences = [f"{opening} {where}."]
    sentences.append(f"{shows} {listed([thing.named(size=True, action=True) for thing in facts.things])}.")
    for relation in facts.relations:
        subject, target = facts.thing(relation.subject), facts.thing(relation.target)
        assert subject is not None
        assert target is not None
        verb = "are" if subject.many else "is"
        sentences.append(f"T{subject.the[1:]} {verb} {relation.name} {target.the}.")
    sentences += says(facts)
    return " ".join(sentences)


@dataclass(frozen=True, slots=True)
class AltText:
    """An alt-text, with what it says correctly and wrongly about the picture."""

    text: str
    kind: str
    """good, wrong, truncated, spam, foreign or empty."""
    true_facts: tuple[str, ...] = ()
    """Kinds named that are in the picture, and the proper name if it is complete."""
    false_facts: tuple[str, ...] = ()
    """Kinds named that are not in the picture."""


ALT_KINDS = {"good": 45, "wrong": 15, "truncated": 12, "spam": 12, "foreign": 8, "empty": 8}
"""Weights of the kinds of alt-text."""
_SPAM = (
    "IMG_{n}.JPG", "DSC{n}.jpg", "photo-{n}-final.png", "stock photo royalty free", "Buy now! Best price online",
    "free download wallpaper 4k", "click here to enlarge", "image {n} of 60 - shop sale free shipping", "untitled",
)  # fmt: skip
_FOREIGN = (
    "Ein schöner Tag in {place}", "Urlaub in {place}, Foto von gestern", "Souvenir de {place}",
    "Une belle journée à {place}", "Un día en {place}", "Vista de {place}, foto de ayer",
)  # fmt: skip


def alt_text(scene: Scene, rng: random.Random) -> AltText:
    """Sample an alt-text of *scene* as found on the web; most good ones contain the place's proper name."""
    kind = rng.choices(tuple(ALT_KINDS), tuple(ALT_KINDS.values()))[0]
    if kind == "empty":
        return AltText("", kind)
    if kind == "spam":
        return AltText(rng.choice(_SPAM).format(n=rng.randint(1000, 9999)), kind)
    if kind == "foreign":
        return AltText(rng.choice(_FOREIGN).format(place=scene.place), kind, (scene.place,))
    things = list(facts_of(scene).things)
    if kind == "wrong":
        absent = sorted(set(KINDS_AT[scene.level]) - {group.kind for group in scene.groups})
        things = [Mention(name, rng.randint(1, 4)) for name in rng.sample(absent, rng.choice((1, 2)))]
    else:
        things = rng.sample(things, min(len(things), rng.choice((1, 2))))
    said = listed(
        [replace(thing, size=None, colour=thing.colour if rng.random() < 0.4 else None).named() for thing in things]
    )
    form = rng.choice(
        ("{place}, {said}", "{said} at {place}", "{place} - {said}", "{said}, {place}")
        if rng.random() < (0.5 if kind == "wrong" else 0.85)
        else ("{said}", "photo of {said}", "{said} " + SETTINGS[scene.setting].phrase)
    )
    text = form.format(place=scene.place, said=said)
    if kind == "truncated":
        text = text[: max(6, int(len(text) * rng.uniform(0.4, 0.8)))].rstrip() + "..."
    named = tuple(mention.kind for mention in read_facts(text).mentions)
    here = {group.kind for group in scene.groups}
    return AltText(
        text,
        kind,
        (*(name for name in named if name in here), *((scene.place,) if scene.place in text else ())),
        tuple(name for name in named if name not in here),
    )


def fused(scene: Scene, caption: str, alt: AltText | str) -> str:
    """*caption*, with the proper name of the place inserted if *alt* contains all of it."""
    if scene.place not in (alt if isinstance(alt, str) else alt.text):
        return caption
    for opening in OPENINGS:
        if caption.startswith(f"{opening} "):
            return f"{opening} at {scene.place}, {caption[len(opening) + 1 :]}"
    return f"{caption} The place is {scene.place}."


def short_questions(scene: Scene) -> list[tuple[str, str]]:
    """Visual questions with answers of one or two words; *yes* and *no* are equally frequent."""
    rng = random.Random(f"questions {scene.seed}/{scene.index}")
    facts = facts_of(scene)
    asked = [("Where was this picture taken?", scene.setting)]
    if scene.time:
        asked.append(("What time of day is it?", scene.time))
    if scene.weather:
        asked.append(("What is the weather like?", scene.weather))
    absent = sorted(set(KINDS_AT[scene.level]) - {thing.kind for thing in facts.things} - {scene.setting})
    for thing, missing in zip(facts.things, rng.sample(absent, len(facts.things)), strict=True):
        one, many = NOUNS[thing.kind]
        verb, noun = ("are", many) if thing.many else ("is", one)
        if not facts.is_one_of_two(thing):
            asked.append((f"What colour {verb} the {noun}?", str(thing.colour)))
        asked.append((f"How many {many} are there?", COUNTS[facts.number(thing.kind)]))
        asked += [
            (f"Is there {Mention(name).a} in the picture?", said)
            for name, said in ((thing.kind, "yes"), (missing, "no"))
        ]
        if thing.action:
            asked.append((f"What {verb} the {noun} doing?", thing.action))
    if len(facts.things) == 1:
        thing = facts.things[0]
        asked.append(("What kind of thing is in the picture?", thing.kind))
    for thing in facts.things:
        if thing.word:
            asked.append((f"What does {thing.the if facts.is_one_of_two(thing) else 'the sign'} say?", thing.word))
    return list(dict.fromkeys(asked))
