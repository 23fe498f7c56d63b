"""The arms of the experiment: the rows that each one is shown, in batches of equal learned tokens."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.headline.scenes import BASE, Array, Row, Words, short
from mminstruct.microworld.scene import draw_scene

NAMES = ("set", "raw", "random")
"""The recipe as built, without clustering, and with random matching."""
DROPPED = 0.3
"""Share of rows that the arms of FineVision's question drop."""
_MISTAKES = 0.1
"""Share of the rater's verdicts that are wrong."""
_PART = 0.375
"""Share of an arm's rows that are of its set; in the paper's mix 234 of 899 thousand."""
_SHORT = 19
"""Learned tokens of a conversation of short questions beside a set of mean length. The arm of short answers alone then
needs 24 of the 26 that a scene's questions have on average."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of a set."""

    scene: int
    """Index in the world of the sets."""
    asked: str
    said: str
    family: str
    right: bool
    """Whether the instruction applies and the answer has its form and nothing false."""
    wrong: str | None
    """An answer in the right form with something false; None where none was found."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What an arm is shown beside short answers."""

    says: str
    set: str | None = "set"
    """One of ``NAMES``; None for short answers alone."""
    wrong: float = 0.0
    """Share of rows that get a wrong answer."""
    drop: str | None = None
    """What decides about the rows to drop: ``rated``, ``seen`` or ``chance``."""


ARMS = {
    "vqa": Arm("short answers alone", None),
    "set": Arm("and the set as built"),
    "wrong10": Arm("10 % of its answers wrong", wrong=0.1),
    "wrong30": Arm("30 % wrong", wrong=0.3),
    "wrong50": Arm("50 % wrong", wrong=0.5),
    "raw": Arm("set without clustering", "raw"),
    "random": Arm("set with random matching", "random"),
    "rated": Arm("30 % wrong, then the lowest-rated 30 % dropped", wrong=0.3, drop="rated"),
    "thinned": Arm("30 % wrong, then a random 30 % dropped", wrong=0.3, drop="chance"),
    "seen": Arm("set without the 30 % that need the picture least", drop="seen"),
    "fewer": Arm("set without a random 30 %", drop="chance"),
}
"""``rated`` and ``thinned`` have equally many rows, and so have ``seen`` and ``fewer``."""


def read(folder: Path, words: Words) -> dict[str, list[Pair]]:
    """The sets that ``lab.headline.sets`` wrote to *folder*, by name, cut at random to the size of the smallest.

    Rows that are too long for a row of tokens are left out first.
    """
    sets = {}
    for name in NAMES:
        pairs = [Pair(**row) for row in json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))]
        sets[name] = [
            pair for pair in pairs if all(_fits(pair, text, words) for text in (pair.said, pair.wrong) if text)
        ]
    size = min(map(len, sets.values()))
    return {name: random.Random(f"headline size {name}").sample(pairs, size) for name, pairs in sets.items()}


def _fits(pair: Pair, text: str, words: Words) -> bool:
    try:
        words.row([(pair.asked, text)])
    except ValueError:
        return False
    return True


def shown(arm: Arm, sets: Mapping[str, Sequence[Pair]], gains: Sequence[float], seed: int) -> list[tuple[Pair, bool]]:
    """The rows of *arm*, and whether each answer is the wrong one.

    Args:
        arm: One of ``ARMS``.
        sets: As ``read`` returns them.
        gains: How much the picture helps the base to predict the answer of each row of ``set``, in nats a token.
        seed: Of the choice of rows with wrong answers, of the rater's mistakes and of rows dropped at random; arms of
            equal *wrong* have the same wrong rows.
    """
    if arm.set is None:
        return []
    pairs = sets[arm.set]
    can = [n for n, pair in enumerate(pairs) if pair.wrong is not None]
    if round(arm.wrong * len(pairs)) > len(can):
        raise ValueError(f"only {len(can)} of {len(pairs)} rows have a wrong answer: too few for {arm.wrong:.0%}")
    order = random.Random(f"headline wrong {seed}").sample(can, len(can))
    planted = set(order[: round(arm.wrong * len(pairs))])
    rows = [(pair, n in planted) for n, pair in enumerate(pairs)]
    chance = random.Random(f"headline drop {seed}")
    if arm.drop == "rated":
        good = [(pair.right and not wrong) != (chance.random() < _MISTAKES) for pair, wrong in rows]
        rank = [(float(high), chance.random()) for high in good]
    elif arm.drop == "seen":
        rank = [(gain, 0.0) for gain in gains]
    else:
        rank = [(chance.random(), 0.0) for _ in rows]
    kept = sorted(range(len(rows)), key=rank.__getitem__)[round(DROPPED * len(rows)) if arm.drop else 0 :]
    return [rows[n] for n in sorted(kept)]


def coded(rows: Sequence[tuple[Pair, bool]], words: Words) -> list[tuple[int, Row]]:
    """Scene and row of tokens of each of *rows*."""
    return [(pair.scene, words.row([(pair.asked, str(pair.wrong) if wrong else pair.said)])) for pair, wrong in rows]


def due(sets: Mapping[str, Sequence[Pair]], words: Words) -> float:
    """Learned tokens of a row, on average over a batch; equal for all arms."""
    sizes = [len(row[1]) for pairs in sets.values() for _, row in coded([(pair, False) for pair in pairs], words)]
    return _PART * sum(sizes) / len(sizes) + (1 - _PART) * _SHORT


def plan(
    rows: Sequence[tuple[int, Row]], steps: int, batch: int, share: float, scenes: int, words: Words, seed: int
) -> tuple[Array, Array, Array, dict[str, float]]:
    """Batches of an arm: ``_PART`` of each from *rows*, each row once before any comes again, the rest short answers.

    A conversation of short answers has as many questions as are missing to *share* learned tokens a row so far.

    Args:
        rows: Of the arm's set; short answers fill the batch if there are none.
        steps: Number of batches.
        batch: Rows of a batch.
        share: From ``due``.
        scenes: Scenes of ``BASE`` to ask about.
        words: Tokenizer.
        seed: Of the order and of the questions.

    Returns:
        Ids (steps, batch, length), places (steps, batch, LEARNED), scenes (steps, batch; those of the sets as
        -1 - index), and what was counted.
    """
    chance = random.Random(f"headline plan {seed}")
    made: list[Row] = []
    shown: list[int] = []
    left: list[int] = []
    sums = {"set": 0, "short": 0}
    for step in range(steps):
        own = round(_PART * batch) if rows else 0
        while len(left) < own:
            left += chance.sample(range(len(rows)), len(rows))
        for n in left[:own]:
            made.append(rows[n][1])
            shown.append(-1 - rows[n][0])
            sums["set"] += len(rows[n][1][1])
        left = left[own:]
        for number in range(own, batch):
            missing = share * (step * batch + batch) - sum(sums.values())
            scene = chance.randrange(scenes)
            row = short(draw_scene(BASE[1] + scene, BASE[0]), chance, words, max(2, round(missing / (batch - number))))
            made.append(row)
            shown.append(scene)
            sums["short"] += len(row[1])
    ids, at = words.arrays(made)
    total = sum(sums.values())
    facts = {"rows": len(rows), "learned": total, "learned_of_set": sums["set"], "due": share * steps * batch,
             "text_tokens": sum(len(ids) for ids, _ in made) - words.seen * len(made)}  # fmt: skip
    shape = (steps, batch, -1)
    return ids.reshape(shape), at.reshape(shape), np.array(shown).reshape(steps, batch), facts
