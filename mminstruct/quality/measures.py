"""How good each stage of a run is, measured against the scenes that its images were drawn from.

Every measure is a sum over a sum (right over said, kept over taken), with the 95 % percentile interval of a bootstrap
that resamples whole images, or whole clusters where those are what is counted: statements about one image stand and
fall together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from mminstruct import schemas
from mminstruct.microworld.claims import contradictions, read_answer
from mminstruct.microworld.families import FAMILIES, applicable, classify
from mminstruct.microworld.language import Facts, facts_of, read_facts
from mminstruct.microworld.oracle import (
    ATTRIBUTES,
    Tally,
    judge_answer,
    judge_caption,
    judge_fuse,
    judge_instruction,
    judge_pair,
    judge_summary,
)
from mminstruct.models.model import Embed
from mminstruct.quality.truth import Tables, Truth

_RESAMPLES = 2000
_TOP1_IMAGES = 256
_UNPARSED = ("instruction_unparsed", "instruction_refusal", "instruction_truncated", "instruction_empty")
_NO_FAULT = ("summary_duplicate", "cluster_too_small")
"""Clusters that leave for these reasons are spoken for by another one, or were not asked about."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of the report."""

    stage: str
    name: str
    value: float
    """0 to 1."""
    low: float | None
    high: float | None
    """Ends of the 95 % interval; None for a count of distinct things, which a bootstrap can only make smaller."""
    n: int
    """What the value is a share of: statements, images, pairs, clusters."""
    aim: float | None = None
    """Least value wanted; None where nothing is aimed at."""

    @property
    def met(self) -> bool | None:
        return None if self.aim is None else self.value >= self.aim


def share(stage: str, name: str, counts: Iterable[tuple[float, float]], aim: float | None = None) -> list[Measure]:
    """Sum over sum of *counts*, a pair for each unit of the bootstrap; no measure where there is nothing to count."""
    counts_N2 = np.array([(part, whole) for part, whole in counts if whole], np.float64).reshape(-1, 2)
    if not len(counts_N2):
        return []
    total = counts_N2.sum(axis=0)
    rng = np.random.default_rng(0)
    size = len(counts_N2)
    at_once = max(1, min(_RESAMPLES, 500_000 // size))  # resamples: 8 MB of what is drawn
    blocks = range(0, _RESAMPLES, at_once)
    drawn_R2 = np.concatenate([counts_N2[rng.integers(size, size=(at_once, size))].sum(axis=1) for _ in blocks])
    low, high = np.percentile(drawn_R2[:, 0] / drawn_R2[:, 1], (2.5, 97.5))
    return [Measure(stage, name, float(total[0] / total[1]), float(low), float(high), int(total[1]), aim)]


def of_all(stage: str, name: str, found: set[str], possible: set[str], aim: float | None = None) -> list[Measure]:
    """How many of *possible* were *found*."""
    value = len(found & possible) / len(possible) if possible else 0.0
    return [Measure(stage, name, value, None, None, len(possible), aim)] if possible else []


def caption(tables: Tables, known: Truth) -> list[Measure]:
    """Precision and recall of what captions say. Colour and count are asked of the things that are rightly named, and
    silence about them is wrong; relation and words of all that are there.
    """
    judged = [judge_caption(text, known[key].scene) for key, text in tables.captions.items() if key in known]

    def of(aspect: str, part: str, whole: str, whole_of: str | None = None) -> list[tuple[float, float]]:
        return [(getattr(tally[aspect], part), getattr(tally[whole_of or aspect], whole)) for tally in judged]

    ingested = [row["image_id"] for row in tables.rows("ingest", "image_id")]
    return [
        *share("caption", "images that got a caption", ((key in tables.captions, 1) for key in ingested)),
        *share("caption", "object precision", of("objects", "right", "said"), 0.95),
        *share("caption", "object recall", of("objects", "right", "true"), 0.90),
        *share("caption", "colour", of("colour", "right", "right", "objects"), 0.95),
        *share("caption", "count", of("count", "right", "right", "objects"), 0.90),
        *share("caption", "relation", of("relation", "right", "true"), 0.80),
        *share("caption", "relations said that are there", of("relation", "right", "said")),
        *share("caption", "written words", of("words", "right", "true"), 0.70),
        *share("caption", "words said that are there", of("words", "right", "said")),
        *share("caption", "setting", of("setting", "right", "true")),
    ]


def fuse(tables: Tables, known: Truth) -> list[Measure]:
    """What becomes of what the alt-text says rightly and wrongly; what the caption had wrong already is not counted."""
    kept, names, refused, caption_kept, clean = [], [], [], [], []
    for key, text in tables.descriptions.items():
        alt = known[key].alt if key in known else None
        if alt is None:
            continue
        scene, seen, read = known[key].scene, read_facts(tables.captions[key]), read_facts(text)
        there = {*(mention.kind for mention in read.mentions), *read.places}
        before = {mention.kind for mention in seen.mentions}
        kept.append((sum(fact in there for fact in alt.true_facts), len(alt.true_facts)))
        names.append((scene.place in read.places, scene.place in alt.true_facts))
        news = [fact for fact in alt.false_facts if fact not in before]
        refused.append((sum(fact not in there for fact in news), len(news)))
        verdict = judge_fuse(text, tables.captions[key], alt, scene)
        caption_kept.append((verdict.caption_kept == 1.0, 1))
        clean.append((not verdict.invented, 1))
    return [
        *share("fuse", "true alt-text facts kept", kept, 0.85),
        *share("fuse", "proper names kept", ((a and b, b) for a, b in names), 0.85),
        *share("fuse", "false alt-text facts dropped", refused, 0.85),
        *share("fuse", "texts that keep all of the caption", caption_kept),
        *share("fuse", "texts that add nothing of their own", clean),
    ]


def instruct(tables: Tables, known: Truth) -> list[Measure]:
    """What the raw instructions are worth."""
    rows = [row for row in tables.rows("instruct", "image_id", "instruction", "examples") if row["image_id"] in known]
    drops = [row for row in tables.store.table("instruct").dropped() if row["id"] in known]
    drops = [drop for drop in drops if drop["reason"] != "not_sampled"]
    bad = [drop["reason"] in _UNPARSED or drop["reason"].startswith("model_") for drop in drops]
    copies = [(drop["reason"] != "instruction_copy", 1) for drop, unread in zip(drops, bad, strict=True) if not unread]
    judged = [judge_instruction(row["instruction"], known[row["image_id"]].scene, row["examples"]) for row in rows]
    described = [(_suits(row["instruction"], read_facts(tables.descriptions[row["image_id"]])), 1) for row in rows]
    scenes = [known[key].scene for key in {*(row["image_id"] for row in rows), *(drop["id"] for drop in drops)}]
    possible = {family.name for scene in scenes for family in applicable(facts_of(scene, place=True))}
    return [
        *share("instruct", "parsed", [*((1, 1) for _ in rows), *((not unread, 1) for unread in bad)], 0.98),
        *share("instruct", "of a kind that the oracle knows", ((verdict.parsed, 1) for verdict in judged)),
        *share("instruct", "applicable to the scene", ((verdict.applicable, 1) for verdict in judged), 0.90),
        *share("instruct", "applicable to the description", described),
        *share("instruct", "no copy of an example", [*((not verdict.copied, 1) for verdict in judged), *copies], 0.95),
        *share("instruct", "of another kind than all examples", ((verdict.new_kind, 1) for verdict in judged)),
        *of_all("instruct", "kinds reached", {str(verdict.family) for verdict in judged}, possible, 1.0),
    ]


def _suits(instruction: str, facts: Facts) -> bool:
    """Whether *instruction* can be followed by one who knows no more than *facts*."""
    family = FAMILIES.get(classify(instruction) or "")
    return family is not None and family.applies(facts) and not contradictions(read_facts(instruction), facts)


def cluster(tables: Tables) -> list[Measure]:
    """Whether clusters are of one kind, and whether the instruction that each became is of that kind."""
    texts: dict[str, str] = {}
    for row in tables.rows("instruct", "instruction_id", "instruction"):
        texts.setdefault(row["instruction_id"], row["instruction"])
    families: dict[int, list[str]] = {}
    for row in tables.rows("cluster", "instruction_id", "cluster"):
        family = classify(texts[row["instruction_id"]])
        families.setdefault(row["cluster"], []).append(family or f"unknown {row['instruction_id']}")
    purity = [(max(Counter(members).values()), len(members)) for members in families.values()]
    bank = tables.rows("summarize", "instruction", "members")
    verdicts = [(judge_summary(row["instruction"], row["members"]), 1) for row in bank]
    lost = [drop for drop in tables.store.table("summarize").dropped() if drop["reason"] not in _NO_FAULT]
    verdicts += [(False, 1) for _ in lost]
    reached = {str(classify(row["instruction"])) for row in bank}
    possible = {family for members in families.values() for family in members} & set(FAMILIES)
    return [
        *share("cluster", "purity by kind", purity, 0.90),
        *share("summarize", "one general instruction of its members' kind", verdicts, 0.90),
        *of_all("summarize", "kinds of the raw instructions that the bank has", reached, possible),
    ]


def match(tables: Tables, known: Truth, clip: Embed | None = None) -> list[Measure]:
    """Whether matched instructions apply, against what chance and the plain nearest would give.

    Args:
        clip: The encoder that the run was matched with, for the nearest; without it that line is missing.
    """
    applies: dict[str, list[bool]] = {}
    used = set()
    for row in tables.rows("match", "image_id", "instruction_id"):
        used.add(row["instruction_id"])
        if row["image_id"] in known:
            good = judge_pair(tables.bank[row["instruction_id"]], known[row["image_id"]].scene)
            applies.setdefault(row["image_id"], []).append(good)
    bank = list(tables.bank.values())
    chance = [(sum(judge_pair(text, known[key].scene) for text in bank), len(bank)) for key in applies]
    nearest = _nearest(tables, sorted(applies)[:_TOP1_IMAGES], clip) if clip and bank else {}
    first = [(judge_pair(text, known[key].scene), 1) for key, text in nearest.items()]
    return [
        *share("match", "matched instructions that apply", ((sum(good), len(good)) for good in applies.values()), 0.90),
        *share("match", "... a random one of the bank would", chance),
        *share("match", "... the plain nearest would", first),
        *(of_all("match", "share of the bank used", used, set(tables.bank), 0.90) if used else ()),
    ]


def _nearest(tables: Tables, keys: list[str], clip: Embed) -> dict[str, str]:
    """The instruction of the bank that is nearest to each image in CLIP's space."""
    data = tables.store.table("ingest").dataset(schemas.INGEST)
    found = data.to_table(columns=["image_id", "image"], filter=pc.field("image_id").isin(keys))
    images = dict(zip(found["image_id"].to_pylist(), found["image"].to_pylist(), strict=True))
    bank = list(tables.bank.values())
    similarity_NM = clip.images(list(images.values())) @ clip.texts(bank).T
    return {key: bank[place] for key, place in zip(images, similarity_NM.argmax(axis=1), strict=True)}


def statements(answer: str, truth: Facts, instruction: str = "") -> Tally:
    """How many statements about the picture *answer* makes, and how many of them *truth* bears out.

    A thing named, its number, size, colour and action, a place, a time, the weather, a relation, a written word: each
    is one statement; so is lore (clues, skies, moods) where it is of something that is not there.
    """
    claims = read_answer(answer)
    wrong = contradictions(claims, truth)
    lists = ("settings", "times", "weathers", "places", "words", "relations")
    said: set[tuple[object, ...]] = {(name, value) for name in lists for value in getattr(claims, name)}
    there = {thing.kind for thing in truth.things}
    for mention in claims.mentions:
        said.add(("thing", mention.kind))
        if mention.kind in there:  # of what is not there, only that it is said to be there is counted
            said |= {(mention.kind, name, value) for name in ATTRIBUTES if (value := getattr(mention, name))}
    family = FAMILIES.get(classify(instruction) or "")
    colours = {mention.colour for mention in claims.mentions}
    lore = family.judge(answer, truth) if family else []
    lore = [fault for fault in lore if not (fault.startswith("nothing is ") and fault.split()[-1] in colours)]
    return Tally(len(said) - len(wrong), len(said) + len(lore))


def answer(tables: Tables, known: Truth) -> list[Measure]:
    """Form and facts of answers, against the scene and against the description that the answerer had."""
    form: dict[str, list[bool]] = {}
    suited: dict[str, list[bool]] = {}
    true: dict[str, Tally] = {}
    borne: dict[str, Tally] = {}
    right: dict[str, list[bool]] = {}
    for row in tables.answers:
        key, asked, text = row["image_id"], tables.bank[row["instruction_id"]], row["answer"]
        if key not in known:
            continue
        scene = known[key].scene
        verdict = judge_answer(text, asked, scene)
        form.setdefault(key, []).append(verdict.format_ok)
        right.setdefault(key, []).append(verdict.facts_ok)
        if judge_pair(asked, scene):
            suited.setdefault(key, []).append(verdict.format_ok)
        true[key] = true.get(key, Tally()) + statements(text, facts_of(scene, place=True), asked)
        borne[key] = borne.get(key, Tally()) + statements(text, read_facts(tables.descriptions[key]), asked)

    def counted(found: Mapping[str, Sequence[bool]]) -> list[tuple[int, int]]:
        return [(sum(some), len(some)) for some in found.values()]

    return [
        *share("answer", "verifier passes (format), where the instruction applies", counted(suited), 0.95),
        *share("answer", "verifier passes (format), all pairs", counted(form)),
        *share("answer", "statements about the scene that are true", ((t.right, t.said) for t in true.values()), 0.95),
        *share("answer", "statements that the description bears out", ((t.right, t.said) for t in borne.values())),
        *share("answer", "answers without a false statement", counted(right)),
    ]


def whole(tables: Tables, known: Truth) -> list[Measure]:
    """Rows of the final set that are right in every respect: instruction applies, form kept, all that is said true."""
    answers = {row["pair_id"]: row["answer"] for row in tables.answers}
    right: dict[str, list[bool]] = {}
    families = set()
    for row in tables.rows("select", "pair_id", "image_id", "instruction_id"):
        if row["image_id"] not in known:
            continue
        scene, asked = known[row["image_id"]].scene, tables.bank[row["instruction_id"]]
        good = judge_pair(asked, scene) and judge_answer(answers[row["pair_id"]], asked, scene).ok
        right.setdefault(row["image_id"], []).append(good)
        families.add(str(classify(asked)))
    return [
        *share("whole", "rows right in every respect", ((sum(good), len(good)) for good in right.values()), 0.85),
        *(of_all("whole", "kinds among the rows", families, set(FAMILIES)) if right else ()),
    ]


def by_kind(tables: Tables, known: Truth) -> list[Measure]:
    """Right answers by the kind of their instruction, where it applies to the scene; the weakest first."""
    counts: dict[str, dict[str, list[bool]]] = {}
    for row in tables.answers:
        key, asked = row["image_id"], tables.bank[row["instruction_id"]]
        if key in known and judge_pair(asked, known[key].scene):
            good = judge_answer(row["answer"], asked, known[key].scene).ok
            counts.setdefault(str(classify(asked)), {}).setdefault(key, []).append(good)
    found: list[Measure] = []
    for kind, images in counts.items():
        found += share("by kind", f"{kind}: right answers", ((sum(good), len(good)) for good in images.values()))
    return sorted(found, key=lambda measure: (measure.value, measure.name))
