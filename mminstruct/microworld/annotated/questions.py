"""Questions and statements about a scene that annotators ask, in several wordings, with their true and false answers.

Two questions of one scene are alike only as two wordings of the same question, so every likeness in a written world
was planted. Statements of relations come both ways round: they have the same words and opposite answers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from mminstruct.microworld.annotated.descriptions import reasons
from mminstruct.microworld.catalogue import COLOURS_AT, KINDS, KINDS_AT, SETTINGS, SETTINGS_AT, TIMES, WEATHERS, WORDS
from mminstruct.microworld.claims import contradictions
from mminstruct.microworld.language import COUNTS, NOUNS, facts_of, read_facts
from mminstruct.microworld.reading import ACTIONS, Facts, Mention
from mminstruct.microworld.scene import Scene

_UNSURE = ("maybe", "unclear", "not sure", "cannot tell")
"""What annotators write who do not know. ``yes`` and ``no`` have one false answer only, and noise needs more."""
_GROUPS = ("animal", "food", "vehicle", "furniture", "tool", "building", "plant")
"""Categories that people use as words for a thing; ``object`` could be anything."""
_SIZES = ("small", "medium", "large", "tiny", "huge", "gigantic")
_PLURALS = {"animal": "animals", "vehicle": "vehicles", "person": "people", "tool": "tools", "building": "buildings"}
_OPPOSITE = {"left of": "right of", "on": "under", "under": "above", "behind": "in front of"}
"""If one thing is *key* another, the other is *value* the first."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question that can be asked about one scene."""

    key: str
    """What it asks: ``colour dog``. No two questions of a scene have the same."""
    wordings: tuple[str, ...]
    """The usual one first. The others differ in function words, number or case: the same words carry the meaning."""
    answer: str
    wrong: tuple[str, ...]
    """At least four answers that are false."""
    why: tuple[str, ...]
    """Three true sentences that explain the answer."""
    sets: tuple[str, ...]
    """Annotation sets that ask such a question."""
    about: str = "object"
    """What COCO-QA calls its type: object, number, color or location."""
    relation: str | None = None
    """Of a statement: the relation as VSR names it. A statement is true if ``answer`` is ``yes``."""

    @property
    def sort(self) -> str:
        """Type of the answer as VQA v2 names it."""
        return "yes/no" if self.answer in ("yes", "no") else "number" if self.about == "number" else "other"


def questions(scene: Scene) -> list[Question]:
    """All questions about *scene*, in a fixed order."""
    facts = facts_of(scene)
    found = [*_place(scene, facts)]
    for thing in facts.things:
        if facts.is_one_of_two(thing):  # its kind does not tell which one is meant
            found += [_word(scene, facts, thing, (thing.the, f"this{thing.the[3:]}"), f"word {thing.colour}")]
        else:
            found += _thing(scene, facts, thing)
    return [*found, *_several(scene, facts), *_statements(scene, facts)]


@lru_cache(1024)
def right_answers(scene: Scene) -> dict[str, str]:
    """The true answer to every wording of every question and statement about *scene*, by its plain form."""
    return {plain(wording): asked.answer for asked in questions(scene) for wording in asked.wordings}


def plain(text: str) -> str:
    """*text* without regard to case, white space, final punctuation, a leading article, and digits or number words."""
    words = re.sub(r"[\s.?!]+$", "", text.strip().casefold()).split()
    if len(words) > 1 and words[0] in ("a", "an", "the"):
        words = words[1:]
    return " ".join(COUNTS[int(word)] if word.isdigit() and int(word) < len(COUNTS) else word for word in words)


def is_true(
    scene: Scene, kind: str, question: str, answer: str, choices: Sequence[str] | None = None, right: int | None = None
) -> bool:
    """Whether a question and its answer, in the form in which they are learned, are true of *scene*.

    Args:
        scene: Of the image.
        kind: ``caption`` and ``paragraph`` are judged by the answer alone. In ``explained`` and ``choice_explained`` a
            sentence with the reason follows the answer, and must be true too.
        question: As written; one that is not about *scene* has no true answer.
        answer: ``Two``, ``B``, ``Yes. There is a dog.``, ``B. There is a dog.``, or prose.
        choices: Texts, where there are any.
        right: Place of the right choice, from 0. The answer must begin with its letter.
    """
    truth = facts_of(scene)
    if kind in ("caption", "paragraph"):
        return bool(answer.strip()) and not contradictions(read_facts(answer), truth)
    said, _, reason = answer.partition(". ") if kind in ("explained", "choice_explained") else (answer, "", "")
    if choices is not None:
        if right is None or not 0 <= right < len(choices) or plain(said) != "abcdefgh"[right]:
            return False
        said = choices[right]
    expected = right_answers(scene).get(plain(question))
    return expected is not None and plain(said) == plain(expected) and not contradictions(read_facts(reason), truth)


def _place(scene: Scene, facts: Facts) -> Iterator[Question]:
    why = reasons(scene, facts)
    yield Question(
        "where", ("Where was this picture taken?", "where was the picture taken", "Where was that picture taken?"),
        scene.setting, _others(scene, "where", scene.setting, SETTINGS_AT[scene.level]), why,
        ("vg_qa", "cocoqa", "aokvqa", "vqa_e", "vqa"), "location",
    )  # fmt: skip
    inside = "indoors" if SETTINGS[scene.setting].indoor else "outdoors"
    yield Question(
        "inside", ("Is this place indoors or outdoors?", "Is the place indoors or outdoors?"), inside,
        ("outdoors" if inside == "indoors" else "indoors", *_UNSURE), why, ("okvqa",), "location",
    )  # fmt: skip
    if scene.time:
        yield Question(
            "time", ("What time of day is it?", "What time of the day is this?", "what time of day is it"), scene.time,
            _others(scene, "time", scene.time, (*TIMES, "dawn", "noon")), why, ("vqa", "aokvqa", "vqa_e", "okvqa"),
        )  # fmt: skip
    if scene.weather:
        yield Question(
            "weather", ("What is the weather like?", "what is weather like", "What is this weather like?"),
            scene.weather, _others(scene, "weather", scene.weather, WEATHERS), why, ("vqa", "okvqa", "vqa_e", "aokvqa"),
        )  # fmt: skip


def _thing(scene: Scene, facts: Facts, thing: Mention) -> Iterator[Question]:
    kind, why = thing.kind, reasons(scene, facts, thing)
    noun, plural = NOUNS[kind]
    this, be, those = ("these", "are", plural) if thing.many else ("this", "is", noun)
    colour, count = str(thing.colour), thing.count or 1
    person = thing.category == "person"

    def asked(
        what: str, wordings: Sequence[str], answer: str, wrong: tuple[str, ...], sets: str, about: str = "object"
    ) -> Question:
        return Question(f"{what} {kind}", tuple(wordings), answer, wrong, why, tuple(sets.split()), about)

    form = "What colour {be} {the} {noun}?" if not person else "What colour {do} {the} {noun} wear?"
    wordings = [form.format(be=be, do="do" if thing.many else "does", the=the, noun=those) for the in ("the", this)]
    yield asked("colour", [*wordings, wordings[0].lower().rstrip("?")], colour,
                _others(scene, f"colour {kind}", colour, COLOURS_AT[scene.level]), "vqa cocoqa vg_qa aokvqa vqa_e",
                "color")  # fmt: skip
    other = _others(scene, f"no colour {kind}", colour, COLOURS_AT[scene.level])[0]
    wears = "dressed in " if person else ""
    for said, answer in ((colour, "yes"), (other, "no")):
        yield asked(f"is {answer}", [f"{be.capitalize()} {the} {those} {wears}{said}?" for the in ("the", this)],
                    answer, _not(answer), "vqa vqa_e")  # fmt: skip
    numbers = [f"How many {plural} are{there} in the picture?" for there in ("", " there")]
    if plural == f"{noun}s":
        numbers.append(f"how many {noun} are in this picture")
    yield asked("count", numbers, COUNTS[count],
                _others(scene, f"count {kind}", COUNTS[count], COUNTS[1:8]), "tallyqa vqa cocoqa",
                "number")  # fmt: skip
    article = "an" if noun[0] in "aeiou" else "a"
    missing = _missing(scene, kind)
    of_missing = NOUNS[missing][0]
    one = f"{'an' if of_missing[0] in 'aeiou' else 'a'} {of_missing}"
    for name, answer in ((f"{article} {noun}", "yes"), (one, "no")):
        wordings = [f"Is there {name} in {here}?" for here in ("the picture", "this image")]
        yield asked(f"there {answer}", wordings, answer, _not(answer), "vqa vqa_e")
    if thing.action:
        yield asked("action", [f"What {be} {the} {those} doing?" for the in ("the", this)], thing.action,
                    _others(scene, f"action {kind}", thing.action, ACTIONS), "vqa vg_qa aokvqa")  # fmt: skip
    if thing.size:
        yield asked("size", [f"What size {be} {the} {those}?" for the in ("the", this)], thing.size,
                    _others(scene, f"size {kind}", thing.size, _SIZES),
                    "vg_qa vqa")  # fmt: skip
    if thing.category in _GROUPS:
        yield asked("group", [f"What group of things does {the} {noun} belong to?" for the in (article, "the")],
                    thing.category, _others(scene, f"group {kind}", thing.category, _GROUPS), "okvqa")  # fmt: skip
        if [other.category for other in facts.things].count(thing.category) == 1:
            here = [name for name in KINDS_AT[scene.level] if KINDS[name].category == thing.category]
            names = [f"What {thing.category} is in {the} picture?" for the in ("the", "this")]
            false = _others(scene, f"what {kind}", kind, (*here, "shadow", "cloud", "puddle"))
            yield asked("what", names, kind, false, "cocoqa vg_qa okvqa")
    if thing.word:
        yield _word(scene, facts, thing, ("the sign", "this sign"), "word sign")


def _word(scene: Scene, facts: Facts, sign: Mention, names: tuple[str, str], key: str) -> Question:
    wordings = [f"What does {name} say?" for name in names]
    word = str(sign.word)
    return Question(key, (*wordings, wordings[0].lower().rstrip("?")), word, _others(scene, "word", word, WORDS),
                    reasons(scene, facts, sign), ("stvqa",))  # fmt: skip


def _several(scene: Scene, facts: Facts) -> Iterator[Question]:
    """Counts over several kinds, which TallyQA calls complex, and comparisons."""
    why = reasons(scene, facts)
    for category, plural in _PLURALS.items():
        counts = [thing.count or 1 for thing in facts.things if thing.category == category]
        if len(counts) > 1:
            yield _total(scene, category, plural, sum(counts), why)
    for one, two in combinations({thing.kind: thing for thing in facts.things}.values(), 2):
        (_, these), (_, those) = NOUNS[one.kind], NOUNS[two.kind]
        many, others = facts.number(one.kind), facts.number(two.kind)
        yield _total(scene, f"{one.kind} {two.kind}", f"{these} and {those}", many + others, why)
        answer = "yes" if many > others else "no"
        wordings = (f"Are there more {these} than {those}?", f"Are there more {these} than there are {those}?")
        yield Question(f"more {one.kind} {two.kind}", wordings, answer, _not(answer), why, ("vqa_e", "vqa"))


def _total(scene: Scene, what: str, plural: str, count: int, why: tuple[str, ...]) -> Question:
    wordings = tuple(f"How many {plural} are{there} in the picture?" for there in ("", " there"))
    wrong = _others(scene, f"total {what}", COUNTS[count], COUNTS[1 : 11 if scene.level == "easy" else None])
    return Question(f"total {what}", wordings, COUNTS[count], wrong, why, ("tallyqa",), "number")


def _statements(scene: Scene, facts: Facts) -> Iterator[Question]:
    """Each relation both ways round and in both directions: two true statements, two false ones."""
    for known in facts.relations:
        subject, target = facts.thing(known.subject), facts.thing(known.target)
        assert subject is not None
        assert target is not None
        back = _OPPOSITE[known.name]
        for first, relation, second, answer in (
            (subject, known.name, target, "yes"), (target, known.name, subject, "no"),
            (target, back, subject, "yes"), (subject, back, target, "no"),
        ):  # fmt: skip
            be = "are" if first.many else "is"
            text = f"T{first.the[1:]} {be} {relation} {second.the}."
            yield Question(f"{first.kind} {relation} {second.kind}", (text,), answer, _not(answer),
                           reasons(scene, facts), ("vsr",), relation=relation)  # fmt: skip


def _not(answer: str) -> tuple[str, ...]:
    return ("no" if answer == "yes" else "yes", *_UNSURE)


def _others(scene: Scene, what: str, answer: str, of: Iterable[str]) -> tuple[str, ...]:
    """All of *of* but *answer*, in an order that depends on the scene."""
    rest = [value for value in of if value != answer]
    return tuple(random.Random(f"mminstruct false {what} {scene.seed}/{scene.index}").sample(rest, len(rest)))


def _missing(scene: Scene, kind: str) -> str:
    """A kind that is not in *scene*: another one for each *kind* that is."""
    here = sorted(group.kind for group in scene.groups)
    absent = [name for name in KINDS_AT[scene.level] if name not in here and name != scene.setting]
    rng = random.Random(f"mminstruct missing {scene.seed}/{scene.index}")
    return rng.sample(absent, len(here))[here.index(kind)]
