"""What a variant of a run comes to, judged by the truth of its scenes, and how two variants differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mminstruct.bench.intervals import Array, Estimate, bootstrap, estimate
from mminstruct.microworld.families import FAMILIES, classify
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.oracle import judge_answer, judge_pair, statements
from mminstruct.quality.run import JudgedRun
from mminstruct.quality.truth import Truth

Counts = Mapping[str, tuple[float, float]]
"""(right, all) by image."""

COLUMNS = ("match applies", "statements true", "answer right", "rows right", "rows kept")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results of a variant."""

    name: str
    counts: Mapping[str, Counts]
    """By column."""
    families: Mapping[str, Mapping[str, int]]
    """Final rows of each family of instructions, by image."""
    bank: int
    bank_digest: str
    """Of the bank's ids and texts: variants with the same bank can be compared pair by pair."""
    used: float
    """Share of the bank that was matched with at least one image."""
    rows: int

    @property
    def kinds(self) -> int:
        """Families of instructions among the final rows."""
        return len({family for row in self.families.values() for family in row})


def outcome(name: str, url: str, known: Truth) -> Outcome:
    """Judge the run at *url*."""
    run = JudgedRun(url, known)
    counts: dict[str, dict[str, tuple[float, float]]] = {column: {} for column in COLUMNS}

    def add(column: str, image: str, good: int, of: int = 1) -> None:
        before = counts[column].get(image, (0, 0))
        counts[column][image] = (before[0] + good, before[1] + of)

    right: dict[str, bool] = {}
    for row in run.answers:
        scene, asked = known[row["image_id"]].scene, run.bank[row["instruction_id"]]
        good = judge_answer(row["answer"], asked, scene).ok
        right[row["pair_id"]] = good and judge_pair(asked, scene)
        tally = statements(row["answer"], facts_of(scene, place=True), asked)
        add("statements true", row["image_id"], tally.right, tally.said)
        add("answer right", row["image_id"], good)
    final = [row for row in run.rows("select", "pair_id", "image_id", "instruction_id") if row["pair_id"] in right]
    families: dict[str, dict[str, int]] = {}
    for row in final:
        add("rows right", row["image_id"], right[row["pair_id"]])
        if family := classify(run.bank[row["instruction_id"]]):
            own = families.setdefault(row["image_id"], {})
            own[family] = own.get(family, 0) + 1
    kept, used = {row["pair_id"] for row in final}, set()
    for row in run.rows("match", "pair_id", "image_id", "instruction_id"):
        used.add(row["instruction_id"])
        if row["image_id"] in known:
            asked = run.bank[row["instruction_id"]]
            add("match applies", row["image_id"], judge_pair(asked, known[row["image_id"]].scene))
            add("rows kept", row["image_id"], row["pair_id"] in kept)
    bank = len(run.bank)
    digest = hashlib.sha256(json.dumps(sorted(run.bank.items())).encode()).hexdigest()
    return Outcome(name, counts, families, bank, digest, len(used) / bank if bank else 0.0, len(final))


def mean(counts: Counts) -> float:
    """Share over all images; 0 where there is nothing."""
    right, of = (sum(column) for column in zip(*counts.values(), strict=True)) if counts else (0, 0)
    return right / of if of else 0.0


def difference(these: Counts, those: Counts) -> Estimate:
    """Share of *these* minus share of *those*; the bootstrap draws the same images from both."""
    images = sorted({*these, *those})
    if not these or not those:
        return Estimate(None, None, None, 0)

    def minus(sums: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return sums[..., 0:1] / sums[..., 1:2] - sums[..., 2:3] / sums[..., 3:4]

    both_G4 = np.array([(*these.get(image, (0, 0)), *those.get(image, (0, 0))) for image in images], np.float64)
    return _paired(minus, both_G4)


def differs(these: Counts, those: Counts) -> bool:
    """Whether the 95 % interval of the difference excludes zero."""
    return excludes_zero(difference(these, those))


def excludes_zero(found: Estimate) -> bool:
    """Whether zero lies outside the interval; False without one."""
    return found.low is not None and found.high is not None and (found.low > 0 or found.high < 0)


def right_rows(one: Outcome) -> Counts:
    """By image: its right final rows, and 1: their share is the right rows of an image."""
    seen = {image for counts in one.counts.values() for image in counts}
    return {image: (one.counts["rows right"].get(image, (0, 0))[0], 1) for image in seen}


def effective_kinds(one: Outcome) -> float:
    """The number of equally frequent families with the same entropy as the final rows' (Hill number of order 1)."""
    return float(_hill(_families_GK(one, sorted(one.families)).sum(0))) if one.families else 0.0


def kinds_difference(this: Outcome, that: Outcome) -> Estimate:
    """Effective kinds of *this* minus those of *that*; the bootstrap draws the same images from both."""
    images = sorted({*this.families, *that.families})
    if not this.families or not that.families:
        return Estimate(None, None, None, 0)

    def minus(sums: Array) -> Array:
        return (_hill(sums[..., : len(FAMILIES)]) - _hill(sums[..., len(FAMILIES) :]))[..., None]

    return _paired(minus, np.hstack([_families_GK(this, images), _families_GK(that, images)]))


def _families_GK(one: Outcome, images: list[str]) -> Array:
    rows = [[one.families.get(image, {}).get(family, 0) for family in FAMILIES] for image in images]
    return np.array(rows, np.float64).reshape(len(images), len(FAMILIES))


def _hill(counts: Array) -> Array:
    share = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    logs = np.log(share, where=share > 0, out=np.zeros_like(share))
    return np.asarray(np.exp(-(share * logs).sum(-1)), np.float64)


def _paired(statistic: Callable[[Array], Array], sums_GK: Array) -> Estimate:
    value, low, high = bootstrap(statistic, sums_GK)
    return estimate(value[0], low[0], high[0], len(sums_GK))
