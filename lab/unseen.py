"""What a build holds out by kind, and by instruction, and whether training has none of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mminstruct.microworld import shards
from mminstruct.microworld.families import classify
from mminstruct.quality.run import RunTables

HELD = ("choice_explained", "number")
"""Kinds that are held out."""
IMAGES, SEED = 96, 1000


@dataclass(frozen=True, slots=True)
class Split:
    """The selected pairs of a run."""

    train: Counter[str]
    """Pairs by kind."""
    test: Counter[str]
    dropped: Counter[str]
    """Pairs by the reason for which `select` dropped them."""
    shared_images: int
    """Images of both splits."""


def split(url: str) -> Split:
    tables = RunTables(url)
    rows = tables.rows("select", "split", "kind", "image_id")
    images = {name: {row["image_id"] for row in rows if row["split"] == name} for name in ("train", "test")}
    kinds = {name: Counter(row["kind"] for row in rows if row["split"] == name) for name in ("train", "test")}
    gone = Counter(row["reason"] for row in tables.dropped("select"))
    return Split(kinds["train"], kinds["test"], gone, len(images["train"] & images["test"]))


def world(folder: Path) -> Path:
    """Draw annotated scenes, as `mminstruct microworld --layout coco` does."""
    return shards.write("coco", folder, IMAGES, SEED)


def table(found: Split) -> str:
    """Pairs by kind and split as Markdown."""
    lines = ["| kind | train | test |", "|---|---|---|"]
    for kind in sorted(found.train | found.test):
        lines.append(f"| {kind} | {found.train[kind]:,} | {found.test[kind]:,} |")
    return "\n".join(lines)


def families(url: str) -> tuple[set[str], set[str]]:
    """Families of the instructions in the splits train and test of the run at *url*."""
    tables = RunTables(url)
    texts = {
        row["instruction_id"]: row["instruction"] for row in tables.rows("summarize", "instruction_id", "instruction")
    }
    rows = tables.rows("select", "split", "instruction_id")

    def of(name: str) -> set[str]:
        asked: Iterable[str] = (texts[row["instruction_id"]] for row in rows if row["split"] == name)
        return {family for text in asked if (family := classify(text))}

    return of("train"), of("test")
