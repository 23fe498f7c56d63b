"""Training examples for the roles of the recipe ``domains``: the prompt's variables and the expected reply.

All functions are pure: the same state of the random generator gives the same example. The variables are those of
``conf/prompts/ask.md``, ``converse.md`` and ``verify.md``. Training and test use the same templates; the caller keeps
their scenes apart.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from mminstruct.microworld.families import Split
from mminstruct.microworld.language import alt_text, caption, facts_of, fused
from mminstruct.microworld.questions.domains import DOMAINS, fitting
from mminstruct.microworld.questions.forms import Asked, Form
from mminstruct.microworld.questions.grammar import KINDS_ASKED, TEMPLATES, follows, forms
from mminstruct.microworld.questions.planting import planted
from mminstruct.microworld.questions.queries import guess
from mminstruct.microworld.questions.sorts import SORTS
from mminstruct.microworld.questions.world import World, world_from
from mminstruct.microworld.scene import Scene, draw_scene

Variables = dict[str, Any]
NUMBER = {"judgement": 4, "choice": 3, "short": 3, "long": 3}
"""Questions of a reply, by kind."""
SHOWN, ROUNDS = 3, 3
"""Templates of a prompt, and rounds of a conversation."""
ANSWER_FORMS = {"judgement": "Yes or No", "choice": "the letter of a choice", "short": "at most five words", "long": ""}
"""How the prompt ``verify`` says what kind of answer it wants."""
LETTERS = "ABCD"
_FITTING, _BLIND, _STATEMENTS, _UNKNOWN, _NONE_RIGHT = 0.7, 0.18, 0.25, 0.3, 0.06
_OTHER_WORLD = 2_000_003
"""Offset from a scene's seed to the seed of the world whose questions the scene cannot answer."""


def asker_example(role: str, scene: Scene, rng: random.Random, split: Split) -> tuple[Variables, str]:
    """The variables of the prompt of *role* (``ask``, ``converse`` or ``verify``) for *scene*, and the reply.

    Raises:
        ValueError: If *role* is another one.
    """
    if role not in ("ask", "converse", "verify"):
        raise ValueError(f"role {role} is unknown: take ask, converse or verify")
    return {"ask": ask_example, "converse": converse_example, "verify": verify_example}[role](scene, rng)


def ask_example(scene: Scene, rng: random.Random) -> tuple[Variables, str]:
    """Questions of one domain and kind, after three templates in their order where they fit."""
    description, prior, words = _known(scene, rng)
    world = world_from(description, words, prior)
    kind = rng.choice(KINDS_ASKED)
    asked: list[Asked] = []
    while not asked:
        domain = rng.choice(fitting(scene) if rng.random() < _FITTING else tuple(TEMPLATES))
        shown = rng.sample(forms(domain, kind), SHOWN)
        asked = questions(domain, kind, shown, world, rng)
    values = {
        "domain": domain.replace("_", " "), "says": DOMAINS[domain].says, "kind": kind, "number": NUMBER[kind],
        "templates": [form.text for form in shown], "prior": prior, "words": list(words), "description": description,
    }  # fmt: skip
    return values, tagged(asked)


def questions(domain: str, kind: str, shown: Sequence[Form], world: World, rng: random.Random) -> list[Asked]:
    """As many different questions as a reply has, or fewer where *world* does not answer so many.

    Question *n* follows template *n* of *shown* if it fits, else the next that fits, then another of the domain.
    Judgements alternate between Yes and No, and end with a No.
    """
    others = [form for form in forms(domain, kind) if form not in shown]
    asked: list[Asked] = []
    for place in range(NUMBER[kind]):
        turned = place % len(shown)
        order = [*shown[turned:], *shown[:turned], *rng.sample(others, len(others))]
        yes = place % 2 == 0 if kind == "judgement" else None
        before = {one.question for one in asked}
        found = next((one for form in order if (one := form.ask(world, rng, yes, before))), None)
        if found is None:
            break
        asked.append(found)
    return asked[: len(asked) // 2 * 2] if kind == "judgement" else asked


def tagged(asked: Sequence[Asked]) -> str:
    """The reply with *asked*, a question a line."""
    lines = []
    for n, one in enumerate(asked, 1):
        choices = " ".join(f"{letter}. {text}" for letter, text in zip(LETTERS, one.choices, strict=False))
        middle = f" <C{n}> {choices} </C{n}>" if choices else ""
        lines.append(f"<Q{n}> {one.question} </Q{n}>{middle} <A{n}> {one.answer} </A{n}>")
    return "\n".join(lines)


def converse_example(scene: Scene, rng: random.Random) -> tuple[Variables, str]:
    """Three rounds that continue from one to three questions; each is about a thing that was just named."""
    description, prior, words = _known(scene, rng)
    world = world_from(description, words, prior)
    examples: list[Asked] = []
    wanted = rng.randint(1, 3)
    while len(examples) < wanted:
        domain, kind = rng.choice(tuple(TEMPLATES)), rng.choice(("judgement", "short", "long"))
        one = rng.choice(forms(domain, kind)).ask(world, rng, None, {one.question for one in examples})
        examples += [one] if one else []
    shown = [{"question": one.question, "answer": one.answer} for one in examples]
    rounds = _rounds(world_from(description), examples, rng)
    return {"examples": shown, "number": ROUNDS, "description": description}, tagged(rounds)


def _rounds(world: World, examples: Sequence[Asked], rng: random.Random) -> list[Asked]:
    """Rounds about the thing that was named last, each in another way; then about a thing that its answer names."""
    named = [value for one in examples for value in one.slots.values() if value in world.things]
    focus = named[-1] if named else rng.choice(tuple(world.things))
    before, told = {one.question for one in examples}, {one.answer for one in examples}
    ways: set[object] = set()
    rounds: list[Asked] = []
    while len(rounds) < ROUNDS:
        able = [
            one for kind in (focus, *(kind for kind in world.things if kind != focus)) for form in follows()
            for slots in form.subjects(world) if kind in slots.values() or not slots
            if (one := form.about(world, slots, rng)) and one.question not in before and one.answer not in told
        ]  # fmt: skip
        if not able:
            break
        best = [one for one in able if focus in one.slots.values() and _way(one) not in ways]
        one = rng.choice(best or [one for one in able if _way(one) not in ways] or able)
        rounds.append(one)
        before.add(one.question)
        told.add(one.answer)
        ways.add(_way(one))
        others = [kind for kind in world_from(one.answer).things if kind != focus and kind in world.things]
        focus = rng.choice(others) if others else focus
    return rounds


def _way(asked: Asked) -> object:
    return asked.form.tell.parts[0] if asked.form.tell else None


def verify_example(scene: Scene, rng: random.Random) -> tuple[Variables, str]:
    """A question to be answered with or without the description, or statements of which half have one that is false."""
    description, prior, _ = _known(scene, rng)
    world = world_from(description, prior=prior)
    kind = "long" if rng.random() < _STATEMENTS else rng.choice(KINDS_ASKED[:3])
    blind = kind != "long" and rng.random() < _BLIND
    guessed = blind and kind != "judgement" and rng.random() < 0.5
    source = _elsewhere(scene, rng) if kind != "long" and rng.random() < _UNKNOWN else world
    asked = None
    while asked is None:
        one = rng.choice(forms(rng.choice(tuple(TEMPLATES)), kind)).ask(source, rng)
        clear = one is not None and (kind != "short" or blind or len(_true(one, world)) < 2)
        asked = one if clear and (not guessed or _guessed(one)) else None
    values: Variables = {
        "statements": "", "question": asked.question, "form": ANSWER_FORMS[kind], "choices": [],
        "prior": prior, "description": description,
    }  # fmt: skip
    if kind == "long":
        text, wrong = asked.answer, None
        if rng.random() < 0.5:
            text, wrong = planted(asked.answer, world, rng) or (text, None)
        return {**values, "statements": text}, wrong or "supported"
    if blind:
        values |= {"prior": "", "description": ""}
    true = _guessed(asked) if blind else _true(asked, world)
    if kind == "choice":
        choices = _shuffled(asked, rng)
        values["choices"] = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=True)]
        return values, _letter(asked, choices, true)
    return values, _said(asked, true, world)


def answer(asked: Asked, world: World) -> str:
    """What the verifier should reply to *asked* from *world*, its choices in the order shown: ``unknown`` if it
    cannot be told.
    """
    true = _true(asked, world)
    return _letter(asked, asked.choices, true) if asked.choices else _said(asked, true, world)


def _true(asked: Asked, world: World) -> frozenset[str]:
    return asked.form.query.answers(world, asked.slots) if asked.form.query else frozenset()


def _guessed(asked: Asked | None) -> frozenset[str]:
    """The answer without a description; none where it cannot be told."""
    best = guess(asked.form.query, asked.slots) if asked and asked.form.query else None
    return frozenset([best] if best else [])


def _said(asked: Asked, true: frozenset[str], world: World) -> str:
    if not true:
        return "unknown"
    assert asked.form.query is not None
    if asked.form.kind == "judgement":
        return "Yes" if asked.slots.get("value", "yes") in true else "No"
    value = min(true)
    return SORTS[asked.form.query.sort].say(value, many=value in world.things and world.things[value].many)


def _letter(asked: Asked, choices: Sequence[str], true: frozenset[str]) -> str:
    assert asked.form.query is not None
    sort = SORTS[asked.form.query.sort]
    right = [place for place, text in enumerate(choices) if sort.read(text) in true]
    return LETTERS[right[0]] if len(right) == 1 else "unknown"


def _shuffled(asked: Asked, rng: random.Random) -> list[str]:
    """The choices in another order; now and then the right one is replaced by a false one."""
    choices = rng.sample(asked.choices, len(asked.choices))
    assert asked.form.query is not None
    if rng.random() < _NONE_RIGHT:
        sort = SORTS[asked.form.query.sort]
        free = [text for value in sort.ways if (text := sort.say(value)) not in choices
                and sort.read(text) not in {sort.read(choice) for choice in choices}]  # fmt: skip
        if free and sort.name not in ("kind", "relation", "direction", "side", "purpose"):
            choices[choices.index(asked.choices[asked.right or 0])] = rng.choice(free)
    return choices


def _elsewhere(scene: Scene, rng: random.Random) -> World:
    other = draw_scene(rng.randrange(10**6), scene.seed + _OTHER_WORLD)
    return world_from(caption(other))


def _known(scene: Scene, rng: random.Random) -> tuple[str, str, tuple[str, ...]]:
    """A description as the pipeline has it, the text that came with the image, and the words that can be read."""
    alt = alt_text(scene, rng).text
    said = caption(scene) if rng.random() < 0.7 else caption(scene, rng)
    description = fused(scene, said, alt) if rng.random() < 0.15 else said
    return description, alt if rng.random() < 0.9 else "", facts_of(scene).words
