"""All forms of questions by domain, how a question is found among them, and whether a row is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from mminstruct.microworld.questions import relating, seeing, thinking
from mminstruct.microworld.questions.forms import Form
from mminstruct.microworld.questions.queries import Query, Slots
from mminstruct.microworld.questions.sorts import SORTS, Sort, plain
from mminstruct.microworld.questions.tell import Tell, false_claims
from mminstruct.microworld.questions.world import World, world_of
from mminstruct.microworld.scene import Scene

KINDS_ASKED = ("judgement", "choice", "short", "long")
TEMPLATES: dict[str, seeing.Templates] = {
    "image_style": seeing.STYLE,
    "image_scene": seeing.SCENE,
    "image_description": seeing.DESCRIPTION,
    "object_localization": relating.LOCALIZATION,
    "attribute_recognition": seeing.ATTRIBUTES,
    "ocr": seeing.OCR,
    "object_relation": relating.OBJECT_RELATION,
    "spatial_relationship": relating.SPATIAL,
    "image_comparison": relating.COMPARISON,
    "numerical_calculation": relating.CALCULATION,
    "commonsense_reasoning": thinking.COMMONSENSE,
    "landmark": thinking.LANDMARK,
    "writing": thinking.WRITING,
    "species_recognition": seeing.SPECIES,
}
"""Templates of the domains that can be judged. ``conf/domains.yaml`` has the same."""


@cache
def forms(domain: str, kind: str) -> tuple[Form, ...]:
    """The six forms of a *domain* and a *kind*, in the order of their templates; none of an unknown domain."""
    return tuple(_form(domain, kind, *entry) for entry in TEMPLATES.get(domain, {}).get(kind, ()))


@cache
def follows() -> tuple[Form, ...]:
    """Forms of questions that continue a conversation."""
    return tuple(_form("", "follow", text, tell) for text, tell in thinking.FOLLOWS)


def _form(domain: str, kind: str, text: str, asks: Query | Tell) -> Form:
    return Form(domain, kind, text, asks, None) if isinstance(asks, Query) else Form(domain, kind, text, None, asks)


@cache
def _by_kind(kind: str) -> tuple[Form, ...]:
    return follows() if kind == "follow" else tuple(form for domain in TEMPLATES for form in forms(domain, kind))


@dataclass(frozen=True, slots=True)
class Judged:
    """What the grammar says of one question with its answer."""

    known: bool
    """Whether the grammar has such a question. If not, nothing else is judged."""
    right: bool = False
    """Whether the answer is true."""
    unique: bool = True
    """Of a choice, whether all other choices can be read and are false."""
    why: str = ""
    """What is wrong."""
    form: Form | None = None


def find(question: str, kind: str, domain: str = "") -> tuple[Form, Slots] | None:
    """The form of *question* and its slots, a form of *domain* first; None where the grammar has no such question."""
    kinds = {"choice": ("choice", "short"), "short": ("short", "choice"), "long": ("long", "follow"),
             "follow": ("follow", "long", "short", "choice")}  # fmt: skip
    for name in kinds.get(kind, (kind,)):
        for form in sorted(_by_kind(name), key=lambda form: form.domain != domain):
            slots = form.read(question)
            if slots is not None:
                return form, slots
    return None


def judge_turn(row: Mapping[str, Any], about: Scene | World) -> Judged:
    """Judge one row of ``ask``, ``converse`` or a later table.

    Args:
        row: With ``kind``, ``question``, ``answer``, ``domain``, and of a choice ``choices`` and ``right``; a row with
            ``origin`` ``converse`` is judged as the continuation of a conversation.
        about: The scene, or what a description says of it (``world_from``).
    """
    world = world_of(about) if isinstance(about, Scene) else about
    kind = "follow" if row.get("origin") == "converse" else str(row["kind"])
    found = find(str(row["question"]), kind, str(row.get("domain") or ""))
    if found is None:
        return Judged(False)
    form, slots = found
    answer = str(row["answer"])
    if form.tell is not None:
        fault = form.tell.fault(answer, world, slots)
        return Judged(True, fault is None, why=fault or "", form=form)
    assert form.query is not None
    true = form.query.answers(world, slots)
    if not true:
        return Judged(True, False, why="the answer is not known", form=form)
    sort = SORTS[form.query.sort]
    if kind == "judgement":
        fact = slots["value"] in true if "value" in slots else true == {"yes"}
        said = plain(answer)
        right = said in ("yes", "no") and (said == "yes") == fact
        return Judged(True, right, why="" if right else f"the answer is {'Yes' if fact else 'No'}", form=form)
    if kind == "choice":
        return _choice(row, sort, true, form)
    if kind == "follow":
        return _prose(answer, sort, true, world, form)
    right = sort.read(answer) in true
    return Judged(True, right, why="" if right else f"the answer is {min(true)}", form=form)


def _choice(row: Mapping[str, Any], sort: Sort, true: frozenset[str], form: Form) -> Judged:
    choices: Sequence[str] = row.get("choices") or ()
    right, letter = row.get("right"), str(row["answer"]).strip()[:1].lower()
    if right is None:
        right = "abcdefgh".find(letter) if letter else -1
    if not 0 <= right < len(choices) or letter != "abcdefgh"[right]:
        return Judged(True, False, why="the answer names no choice", form=form)
    read = [sort.read(choice) for choice in choices]
    others = read[:right] + read[right + 1 :]
    unique = None not in others and not set(others) & true and len(set(others)) == len(others)
    ok = read[right] in true
    return Judged(True, ok, unique, "" if ok else f"the answer is {min(true)}", form)


def _prose(answer: str, sort: Sort, true: frozenset[str], world: World, form: Form) -> Judged:
    """An answer in sentences to a question that asks for a value."""
    wrong = false_claims(answer, world.facts)
    said = [way for value in true for way in sort.ways[value] if way.lower() in answer.lower()]
    why = wrong[0] if wrong else "" if said else f"it does not say {min(true)}"
    return Judged(True, not why, why=why, form=form)
