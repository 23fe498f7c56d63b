"""Measures of instructions: raw ones, their clusters, the bank, and which of them are matched with which images."""

from __future__ import annotations

from collections import Counter

import pyarrow.compute as pc

from mminstruct.microworld.claims import contradictions
from mminstruct.microworld.families import FAMILIES, applicable, classify
from mminstruct.microworld.language import Facts, facts_of, read_facts
from mminstruct.microworld.oracle import judge_instruction, judge_pair, judge_summary
from mminstruct.models.model import Embed
from mminstruct.quality.measure import Measure, coverage, share
from mminstruct.quality.run import JudgedRun

_NEAREST_IMAGES = 256
"""Images for which the nearest instruction is looked up."""
_UNPARSED = ("instruction_unparsed", "instruction_refusal", "instruction_truncated", "instruction_empty")
_NO_FAULT = ("summary_duplicate", "cluster_too_small")
"""Reasons for dropping a cluster that are no error of the summarizer."""


def instruct(run: JudgedRun) -> list[Measure]:
    """Whether raw instructions can be read, fit their images, and differ from their examples."""
    truth = run.truth
    rows = [row for row in run.rows("instruct", "image_id", "instruction", "examples") if row["image_id"] in truth]
    drops = [row for row in run.dropped("instruct") if row["id"] in truth and row["reason"] != "not_sampled"]
    bad = [drop["reason"] in _UNPARSED or drop["reason"].startswith("model_") for drop in drops]
    copies = [(drop["reason"] != "instruction_copy", 1) for drop, unread in zip(drops, bad, strict=True) if not unread]
    judged = [judge_instruction(row["instruction"], truth[row["image_id"]].scene, row["examples"]) for row in rows]
    described = [(_suits(row["instruction"], read_facts(run.descriptions[row["image_id"]])), 1) for row in rows]
    scenes = [truth[key].scene for key in {*(row["image_id"] for row in rows), *(drop["id"] for drop in drops)}]
    possible = {family.name for scene in scenes for family in applicable(facts_of(scene, place=True))}
    return [
        *share("instruct", "parsed", [*((1, 1) for _ in rows), *((not unread, 1) for unread in bad)], 0.98),
        *share("instruct", "of a kind that the oracle knows", ((verdict.parsed, 1) for verdict in judged)),
        *share("instruct", "applicable to the scene", ((verdict.applicable, 1) for verdict in judged), 0.90),
        *share("instruct", "applicable to the description", described),
        *share("instruct", "no copy of an example", [*((not verdict.copied, 1) for verdict in judged), *copies], 0.95),
        *share("instruct", "of another kind than all examples", ((verdict.new_kind, 1) for verdict in judged)),
        *coverage("instruct", "kinds reached", {str(verdict.family) for verdict in judged}, possible, 1.0),
    ]


def _suits(instruction: str, facts: Facts) -> bool:
    """Whether *instruction* can be followed by a reader who knows only *facts*."""
    family = FAMILIES.get(classify(instruction) or "")
    return family is not None and family.applies(facts) and not contradictions(read_facts(instruction), facts)


def cluster(run: JudgedRun) -> list[Measure]:
    """Share of instructions that are of the most frequent kind in their cluster."""
    families = _families(run)
    purity = [(max(Counter(members).values()), len(members)) for members in families.values()]
    return share("cluster", "purity by kind", purity, 0.90)


def _families(run: JudgedRun) -> dict[int, list[str]]:
    """Kinds of the instructions of each cluster; an instruction of no known kind is a kind of its own."""
    texts: dict[str, str] = {}
    for row in run.rows("instruct", "instruction_id", "instruction"):
        texts.setdefault(row["instruction_id"], row["instruction"])
    families: dict[int, list[str]] = {}
    for row in run.rows("cluster", "instruction_id", "cluster"):
        family = classify(texts[row["instruction_id"]])
        families.setdefault(row["cluster"], []).append(family or f"unknown {row['instruction_id']}")
    return families


def summarize(run: JudgedRun) -> list[Measure]:
    """Whether the instruction of a cluster is a general one of its members' kind. Lost clusters count as errors."""
    bank = run.rows("summarize", "instruction", "members")
    verdicts = [(judge_summary(row["instruction"], row["members"]), 1) for row in bank]
    verdicts += [(False, 1) for drop in run.dropped("summarize") if drop["reason"] not in _NO_FAULT]
    reached = {str(classify(row["instruction"])) for row in bank}
    possible = {family for members in _families(run).values() for family in members} & set(FAMILIES)
    return [
        *share("summarize", "one general instruction of its members' kind", verdicts, 0.90),
        *coverage("summarize", "kinds of the raw instructions that the bank has", reached, possible),
    ]


def match(run: JudgedRun) -> list[Measure]:
    """Whether matched instructions apply; for comparison, random ones and the nearest in the run's CLIP space."""
    applies: dict[str, list[bool]] = {}
    used = set()
    for row in run.rows("match", "image_id", "instruction_id"):
        used.add(row["instruction_id"])
        if row["image_id"] in run.truth:
            good = judge_pair(run.bank[row["instruction_id"]], run.truth[row["image_id"]].scene)
            applies.setdefault(row["image_id"], []).append(good)
    bank = list(run.bank.values())
    chance = [(sum(judge_pair(text, run.truth[key].scene) for text in bank), len(bank)) for key in applies]
    clip = run.model("match")
    nearest = _nearest(run, sorted(applies)[:_NEAREST_IMAGES], clip.embed()) if clip and bank else {}
    first = [(judge_pair(text, run.truth[key].scene), 1) for key, text in nearest.items()]
    return [
        *share("match", "matched instructions that apply", ((sum(good), len(good)) for good in applies.values()), 0.90),
        *share("match", "... a random one of the bank would", chance),
        *share("match", "... the plain nearest would", first),
        *(coverage("match", "share of the bank used", used, set(run.bank), 0.90) if used else ()),
    ]


def _nearest(run: JudgedRun, keys: list[str], clip: Embed) -> dict[str, str]:
    """For each image, the instruction of the bank with the highest cosine similarity."""
    rows = run.rows("ingest", "image_id", "image", where=pc.field("image_id").isin(keys))
    images = {row["image_id"]: row["image"] for row in rows}
    bank = list(run.bank.values())
    similarity_NM = clip.images(list(images.values())) @ clip.texts(bank).T
    return {key: bank[place] for key, place in zip(images, similarity_NM.argmax(axis=1), strict=True)}
