"""Holds out a test split from the selected pairs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mminstruct.stage import Drop
from mminstruct.unit import note

_LOG = logging.getLogger(__name__)

Order = Callable[[str, str], str]
"""(purpose, name) -> digest, which breaks ties."""


class Pair(NamedTuple):
    """The properties of a pair by which it is selected."""

    image: str
    instruction: str
    kind: str
    domain: str


@dataclass(kw_only=True)
class Holdout:
    """Settings of the test split. All other pairs of its images are removed from train."""

    by: str = "instruction"
    """instruction: some instructions, with ``images`` images each. image, domain, kind: all pairs of some of those."""
    count: int = 33
    """Instructions (images, domains, kinds) of the test split: at most a tenth of those in use, and only as long as
    half of all pairs stay in train. A small set may have no test split; then there is a warning and the note
    ``held_out_fewer``. MM-Instruct's benchmark has 33 instructions x 3 images."""
    images: int = 3
    """Test images per instruction; only for ``by: instruction``."""
    names: list[str] = field(default_factory=list)
    """Ids or names to hold out, instead of a choice by digest; then there is no limit."""

    def faults(self) -> list[str]:
        """Faults of the settings, one line each."""
        found = [] if self.by in Pair._fields else [f"holdout.by={self.by}: take one of {', '.join(Pair._fields)}"]
        for name in ("count", "images"):
            if getattr(self, name) < 0:
                found.append(f"holdout.{name}={getattr(self, name)}: take 0 or more; 0 holds nothing out")
        return found


@dataclass
class Choice:
    """Pairs in input order, and whether each was dropped."""

    pairs: dict[str, Pair] = field(default_factory=dict)
    of_image: dict[str, list[str]] = field(default_factory=dict)
    dropped: dict[str, Drop] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    """Of several pairs, those with a lower rank stay where only some may; 0 for pairs that are not listed."""
    ratings: dict[str, float] = field(default_factory=dict)
    """Mean ratings by models; of pairs with the same rank, those with a higher rating stay."""

    def add(self, pair_id: str, pair: Pair, rank: int = 0) -> None:
        self.pairs[pair_id] = pair
        if rank:
            self.ranks[pair_id] = rank
        self.of_image.setdefault(pair.image, []).append(pair_id)

    def rank(self, pair: str) -> tuple[int, float]:
        """Sorts pairs by how they are preferred, the best first; pairs without a rating follow those with one."""
        return self.ranks.get(pair, 0), -self.ratings.get(pair, 0.0)

    def open(self, pair: str) -> bool:
        return pair in self.pairs and pair not in self.dropped

    def left(self) -> Iterator[tuple[str, Pair]]:
        return ((pair, facts) for pair, facts in list(self.pairs.items()) if pair not in self.dropped)

    def drop(self, pair: str, reason: str, detail: str) -> None:
        self.dropped.setdefault(pair, Drop(pair, reason, detail))

    def drop_images(self, image: str, reason: str, detail: str) -> None:
        """Drop all remaining pairs of an image."""
        for pair in self.of_image[image]:
            self.drop(pair, reason, detail)

    def row(self, pair: str, test: bool) -> dict[str, str]:
        image, instruction, kind, domain = self.pairs[pair]
        ids = {"pair_id": pair, "image_id": image, "instruction_id": instruction}
        return {**ids, "split": "test" if test else "train", "kind": kind, "domain": domain}


def hold_out(choice: Choice, how: Holdout, order: Order) -> set[str]:
    """Pairs of the test split; drops all other pairs that share an image (or a held-out instruction) with it."""
    groups: dict[str, list[str]] = {}
    for pair, facts in choice.left():
        groups.setdefault(getattr(facts, how.by), []).append(pair)
    total = sum(map(len, groups.values()))
    wanted = min(how.count, max(1, len(groups) // 10)) if len(groups) > 1 else 0
    by_instruction = how.by == "instruction"
    candidates = sorted(groups, key=lambda name: order(how.by, name))
    if how.names:
        _absent(how, groups)
        candidates = [name for name in candidates if name in how.names]
        wanted = len(candidates)
    images: set[str] = set()
    held: set[str] = set()
    test: set[str] = set()
    gone: set[str] = set()
    """Pairs that train may not have: those of the test split, and others with its images or instructions."""
    stopped = False
    for name in candidates:
        if len(held) >= wanted or (by_instruction and not how.images):
            break
        free = groups[name]
        if by_instruction:
            apart = (pair for pair in groups[name] if choice.pairs[pair].image not in images)
            free = sorted(apart, key=lambda pair: order("image", choice.pairs[pair].image))[: how.images]
            if len(free) < (1 if how.names else how.images):
                continue
        lost = set(groups[name])
        lost |= {other for pair in free for other in choice.of_image[choice.pairs[pair].image] if choice.open(other)}
        if 2 * len(gone | lost) > total and not how.names:
            stopped = True
            continue
        gone |= lost
        held.add(name)
        images |= {choice.pairs[pair].image for pair in free}
        test |= set(free)
    if stopped and len(held) < wanted:
        note("held_out_fewer", wanted - len(held))
        _LOG.warning(
            "select: %d of %d %ss are held out as a test split: more would leave less than half of"
            " %d pairs for training; add images, or set recipe.select.holdout.count=0",
            len(held), wanted, how.by, total,
        )  # fmt: skip
    for pair, facts in list(choice.left()):
        if pair not in test and (facts.image in images or (by_instruction and facts.instruction in held)):
            side = "instruction" if by_instruction and facts.instruction in held else "image"
            choice.drop(pair, "held_out", f"its {side} is of the test split")
    return test


def _absent(how: Holdout, groups: dict[str, list[str]]) -> None:
    """Warn about names that no pair has: a misspelt one would leave the test split empty."""
    if absent := sorted(set(how.names) - groups.keys()):
        note("held_out_absent", len(absent))
        there = ", ".join(sorted(groups)[:20])
        _LOG.warning("select: no pair has the %s %s; there is %s", how.by, ", ".join(absent), there or "nothing")
