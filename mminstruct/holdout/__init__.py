"""Holds out a test split from the selected pairs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mminstruct.holdout.choice import SIDES, Choice, Side
from mminstruct.unit import note

_LOG = logging.getLogger(__name__)

Order = Callable[[str, np.ndarray], np.ndarray]
"""(purpose, ids or names as numbers) -> digests ``(N,)``, which break ties."""


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
        found = [] if self.by in SIDES else [f"holdout.by={self.by}: take one of {', '.join(SIDES)}"]
        for name in ("count", "images"):
            if getattr(self, name) < 0:
                found.append(f"holdout.{name}={getattr(self, name)}: take 0 or more; 0 holds nothing out")
        return found


def hold_out(choice: Choice, how: Holdout, order: Order) -> np.ndarray:
    """Which rows are of the test split ``(N,)``; drops all others that share an image (or a held-out instruction)."""
    test_N = np.zeros(len(choice.reason_N), bool)
    side, by_instruction = choice.sides[how.by], how.by == "instruction"
    image_N = choice.sides["image"].of_N
    grouped, edges = choice.groups(how.by)
    there = np.flatnonzero(np.diff(edges))
    wanted = min(how.count, max(1, len(there) // 10)) if len(there) > 1 else 0
    if how.names:
        there = _named(how, side, there)
        wanted = len(there)
    if not wanted or (by_instruction and not how.images):
        return test_N
    of_image, image_edges = choice.groups("image")
    gone_N = np.zeros(len(test_N), bool)
    """Rows that train may not have: those of the test split, and others with its images or instructions."""
    tested_I = np.zeros(choice.sides["image"].count, bool)
    held: list[int] = []
    gone, stopped = 0, False
    for name in there[np.argsort(order(how.by, side.ids[there]), kind="stable")].tolist():
        if len(held) >= wanted:
            break
        free = group = grouped[edges[name] : edges[name + 1]]
        if by_instruction:
            free = group[~tested_I[image_N[group]]]
            digests = order("image", choice.sides["image"].ids[image_N[free]])
            free = free[np.argsort(digests, kind="stable")][: how.images]
            if len(free) < (1 if how.names else how.images):
                continue
        images = np.unique(image_N[free]).tolist()
        lost = np.unique(np.concatenate([group, *(of_image[image_edges[i] : image_edges[i + 1]] for i in images)]))
        lost = lost[~gone_N[lost]]
        if 2 * (gone + len(lost)) > len(grouped) and not how.names:
            stopped = True
            continue
        gone_N[lost] = True
        gone += len(lost)
        held.append(name)
        tested_I[images] = True
        test_N[free] = True
    if stopped and len(held) < wanted:
        note("held_out_fewer", wanted - len(held))
        _LOG.warning(
            "select: %d of %d %ss are held out as a test split: more would leave less than half of"
            " %d pairs for training; add images, or set recipe.select.holdout.count=0",
            len(held), wanted, how.by, len(grouped),
        )  # fmt: skip
    rest = grouped[~test_N[grouped]]
    if by_instruction:
        choice.drop(rest[np.isin(side.of_N[rest], held)], "held_out", "its instruction is of the test split")
    choice.drop(rest[tested_I[image_N[rest]]], "held_out", "its image is of the test split")
    return test_N


def _named(how: Holdout, side: Side, there: np.ndarray) -> np.ndarray:
    """Numbers of the names to hold out. Warns about those that no pair has: a misspelt one leaves no test split."""
    chosen = there[side.has(how.names)[there]]
    absent = sorted(set(how.names) - set(side.texts(chosen).to_pylist()))
    if absent:
        note("held_out_absent", len(absent))
        others = ", ".join(side.texts(there[:20]).to_pylist())
        _LOG.warning("select: no pair has the %s %s; there is %s", how.by, ", ".join(absent), others or "nothing")
    return np.asarray(chosen)
