"""Judges texts about scenes of the microworld without a model, since the truth of a scene is known.

Every judge parses the text with ``read_facts`` and compares the facts with the scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mminstruct.microworld.claims import contradictions, read_answer
from mminstruct.microworld.families import FAMILIES, Verdict, classify
from mminstruct.microworld.language import AltText, Facts, Mention, facts_of, read_facts
from mminstruct.microworld.scene import Scene

ATTRIBUTES = ("count", "size", "colour", "action")


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of claims in a text and of facts in the scene; tallies of several texts add up."""

    right: int = 0
    """Claims that are true."""
    said: int = 0
    """Claims."""
    true: int = 0
    """Facts that could have been claimed."""

    @property
    def precision(self) -> float:
        """Share of claims that are true, 0 to 1; 1 where nothing is claimed."""
        return self.right / self.said if self.said else 1.0

    @property
    def recall(self) -> float:
        """Share of facts that are claimed, 0 to 1; 1 where there is no fact."""
        return self.right / self.true if self.true else 1.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.right + other.right, self.said + other.said, self.true + other.true)


def judge_caption(text: str, scene: Scene) -> dict[str, Tally]:
    """Tallies of the claims of *text* about *scene*.

    Returns:
        By aspect: ``objects`` (kinds of things), ``count``, ``size``, ``colour`` and ``action`` of the things,
        ``setting``, ``time``, ``weather``, ``relation`` and ``words`` (on signs). Tallies of texts add up.
    """
    claims, truth = read_facts(text), facts_of(scene)
    said, true = claims.things, truth.things
    tallies = {"objects": _tally(_counted(said), _counted(true))}
    for slot in ATTRIBUTES:
        tallies[slot] = _tally(
            *({(thing.kind, value) for thing in things if (value := getattr(thing, slot))} for things in (said, true))
        )
    for name in ("settings", "times", "weathers", "relations"):
        tallies[name.removesuffix("s")] = _tally(getattr(claims, name), getattr(truth, name))
    tallies["words"] = _tally(claims.words, truth.words)
    return tallies


def _counted(things: Sequence[Mention]) -> list[tuple[str, int]]:
    """The kinds of *things*, the second sign as another one."""
    kinds = [thing.kind for thing in things]
    return [(kind, kinds[:place].count(kind)) for place, kind in enumerate(kinds)]


def _tally(said: Iterable[object], true: Iterable[object]) -> Tally:
    said, true = set(said), set(true)
    return Tally(len(said & true), len(said), len(true))


@dataclass(frozen=True, slots=True)
class FuseVerdict:
    """How a description follows from its caption and its alt-text."""

    name_kept: bool | None
    """Whether the description has the proper name that the alt-text gives; None where it gives none."""
    caption_kept: float
    """Share of the caption's claims that the description keeps, 0 to 1."""
    invented: tuple[str, ...]
    """Claims that are neither in the caption nor the true proper name."""

    @property
    def ok(self) -> bool:
        return self.name_kept is not False and self.caption_kept == 1.0 and not self.invented


def judge_fuse(text: str, caption: str, alt: AltText | str, scene: Scene) -> FuseVerdict:
    """Judge *text* as the description fused from *caption* and *alt*. The caption counts as true."""
    claims, seen = read_facts(text), read_facts(caption)
    alt = alt if isinstance(alt, str) else alt.text
    known = {
        field: getattr(seen, field) for field in ("settings", "times", "weathers", "mentions", "relations", "words")
    }
    wrong = contradictions(claims, Facts(**known, places=(scene.place,) if scene.place in alt else ()))
    was, now = _claims(seen), _claims(claims)
    return FuseVerdict(
        name_kept=scene.place in claims.places if scene.place in alt else None,
        caption_kept=len(was & now) / len(was) if was else 1.0,
        invented=tuple(wrong),
    )


def _claims(facts: Facts) -> set[object]:
    """Claims of *facts* one by one, without the proper name."""
    found: set[object] = {*facts.settings, *facts.times, *facts.weathers, *facts.relations, *facts.words}
    for thing in facts.things:
        found.add(thing.kind)
        found |= {(thing.kind, slot, value) for slot in ATTRIBUTES if (value := getattr(thing, slot))}
    return found


@dataclass(frozen=True, slots=True)
class InstructionVerdict:
    """Quality of a generated instruction."""

    family: str | None
    """Family that it belongs to; None where it fits none."""
    applicable: bool
    """Whether it can be followed for the scene and names only things that are there."""
    copied: bool
    """Whether it repeats one of the examples word for word."""
    new_kind: bool
    """Whether no example is of its family."""

    @property
    def parsed(self) -> bool:
        return self.family is not None

    @property
    def ok(self) -> bool:
        return self.applicable and not self.copied and self.new_kind


def judge_instruction(text: str, scene: Scene, examples: Sequence[str] = ()) -> InstructionVerdict:
    """Judge *text* as an instruction generated for *scene* with *examples* in the prompt."""
    family = classify(text)
    plain = _plain(text)
    return InstructionVerdict(
        family=family,
        applicable=judge_pair(text, scene),
        copied=any(plain == _plain(example) for example in examples),
        new_kind=family is not None and all(classify(example) != family for example in examples),
    )


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".!? ")


def judge_pair(instruction: str, scene: Scene) -> bool:
    """Whether *instruction* is of a known family, applies to *scene*, and names only things that are there."""
    family = classify(instruction)
    truth = facts_of(scene, place=True)
    return family is not None and FAMILIES[family].applies(truth) and not contradictions(read_facts(instruction), truth)


def judge_summary(text: str, members: Sequence[str]) -> bool:
    """Whether *text* is an instruction of the most frequent family in *members* and names no single thing or place."""
    families = [classify(member) for member in members]
    family = max(families, key=families.count, default=None)
    claims = read_facts(text)
    named = [mention for mention in claims.mentions if mention.kind != "sign" or mention.colour]
    return family is not None and classify(text) == family and not (named or claims.settings or claims.places)


def judge_answer(answer: str, instruction: str, scene: Scene) -> Verdict:
    """Check *answer* for the form that *instruction* asks for, and every claim in it against *scene*.

    An answer to an instruction that names a thing must name it too. Where the instruction fits no family, the form
    counts as wrong and only the facts are checked.
    """
    truth = facts_of(scene, place=True)
    name = classify(instruction)
    claims = read_answer(answer)
    if name is None:
        wrong = contradictions(claims, truth)
        return Verdict(False, not wrong, ("the instruction is of no known family", *wrong))
    family = FAMILIES[name]
    verdict = family.verify(answer, truth)
    if family.topic not in ("any", "outdoor", "sign"):
        asked = [mention.kind for mention in read_facts(instruction).mentions if mention.category == family.topic]
        missed = [kind for kind in asked if kind not in {mention.kind for mention in claims.mentions}]
        if missed:
            problems = tuple(f"the answer leaves out the {kind} asked for" for kind in missed)
            return Verdict(False, verdict.facts_ok, (*verdict.problems, *problems))
    return verdict


def statements(answer: str, truth: Facts, instruction: str = "") -> Tally:
    """Counts statements about the picture in *answer* (``said``), and those that *truth* confirms (``right``).

    A named thing, its number, size, colour and action, a place, a time, the weather, a relation and a written word are
    one statement each. Lore (clues, skies, moods) counts only where it is about something that is not there.
    """
    claims = read_answer(answer)
    wrong = contradictions(claims, truth)
    lists = ("settings", "times", "weathers", "places", "words", "relations")
    said: set[tuple[object, ...]] = {(name, value) for name in lists for value in getattr(claims, name)}
    there = {thing.kind for thing in truth.things}
    for mention in claims.mentions:
        said.add(("thing", mention.kind))
        if mention.kind in there:  # attributes of a thing that is not there are not counted on top
            said |= {(mention.kind, name, value) for name in ATTRIBUTES if (value := getattr(mention, name))}
    return Tally(max(0, len(said) - len(wrong)), len(said) + len(false_lore(answer, truth, instruction)))


def false_lore(answer: str, truth: Facts, instruction: str) -> list[str]:
    """What is wrong with the lore in *answer*, by the family of *instruction*; no colour that a mention has already."""
    family = FAMILIES.get(classify(instruction) or "")
    colours = {mention.colour for mention in read_answer(answer).mentions}
    lore = family.judge(answer, truth) if family else []
    return [fault for fault in lore if not (fault.startswith("nothing is ") and fault.split()[-1] in colours)]
