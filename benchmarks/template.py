"""Measures the stage template: seconds and peak memory of its one unit, as a run executes it, on one core.

    python -m benchmarks.template [--annotations 600000] [--images 120000]

The annotations have the kinds and lengths of COCO's sets; a hundredth of them has no image.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.run import Run, claim, execute
from mminstruct.stage import Rows, Stage, StageOutput, Transform, content_id, where
from mminstruct.stages.template import Template

_PART = 512
_WORDS = (
    "a", "man", "woman", "dog", "cat", "red", "bus", "on", "the", "street", "near", "with", "two", "small", "table",
    "holding", "riding", "white", "is", "in", "of",
)  # fmt: skip
_KINDS = ("caption",) * 4 + ("short",) * 5 + ("number", "judgement", "explained", "choice_explained", "paragraph")


@dataclass(kw_only=True)
class Ingest(Stage):
    """Images without pixels, under COCO's names."""

    images: int = where()

    reads = {}
    writes = pa.schema([schemas.INGEST.field(name) for name in ("image_id", "member", "source")])
    row_key = "image_id"

    def shards(self) -> dict[str, dict[str, Any]]:
        return {"train2017": {"images": self.images}}

    def load(self) -> Transform:
        def ingest(key: str) -> Iterator[Rows]:
            for start in range(0, self.images, _PART):
                numbers = range(start, min(start + _PART, self.images))
                rows = {
                    "image_id": [content_id("image", str(n)) for n in numbers],
                    "member": [f"{n:012d}.jpg" for n in numbers],
                    "source": [key] * len(numbers),
                }
                yield Rows(len(numbers), StageOutput(pa.table(rows, schema=self.writes), []))

        return ingest


@dataclass(kw_only=True)
class Annotate(Stage):
    """Random annotations of these images."""

    images: int = where()
    annotations: int = where()

    reads = {}
    writes = schemas.ANNOTATE
    row_key = "annotation_id"

    def shards(self) -> dict[str, dict[str, Any]]:
        return {"all": {"annotations": self.annotations}}

    def load(self) -> Transform:
        def annotate(key: str) -> Iterator[Rows]:
            for start in range(0, self.annotations, 1 << 16):
                numbers = range(start, min(start + (1 << 16), self.annotations))
                rows = [self._row(n, random.Random(n)) for n in numbers]
                yield Rows(len(rows), StageOutput(pa.Table.from_pylist(rows, schema=self.writes), []))

        return annotate

    def _row(self, number: int, rng: random.Random) -> dict[str, Any]:
        def said(words: int) -> str:
            return " ".join(rng.choices(_WORDS, k=words))

        kind = _KINDS[number % len(_KINDS)]
        image = rng.randrange(self.images) if number % 100 else self.images + number
        length = {"caption": 10, "paragraph": 60}.get(kind, 2)
        return {
            "annotation_id": content_id("annotation", str(number)), "set": kind, "image_key": f"coco:{image}",
            "kind": kind, "question": None if length >= 10 else said(6), "answer": said(length),
            "choices": [said(2) for _ in range(4)] if kind == "choice_explained" else None,
            "right": number % 4 if kind == "choice_explained" else None,
            "rationale": said(12) if kind.endswith("explained") else None, "support": rng.random(),
            "place": str(number),
        }  # fmt: skip


@dataclass(kw_only=True)
class Sources(Recipe):
    """The two tables that template reads."""

    ingest: Ingest
    annotate: Annotate


@dataclass(kw_only=True)
class Joined(Sources):
    """The same and template."""

    template: Template


def make(recipe: Recipe, folder: str) -> tuple[float, float, float]:
    """Make the tables of *recipe* that are missing.

    Returns:
        Seconds, seconds of this process on a core, and its peak memory in MB.
    """
    began, worked = time.monotonic(), time.process_time()
    run = Run(url=folder, recipe=recipe)
    claim(run)
    execute(run, Local())
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return time.monotonic() - began, time.process_time() - worked, peak / 1024


def main() -> None:
    given = argparse.ArgumentParser(description="seconds and peak memory of the stage template on one core")
    given.add_argument("--annotations", type=int, default=600_000)
    given.add_argument("--images", type=int, default=120_000)
    words = given.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ingest = Ingest(images=words.images)
    annotate = Annotate(images=words.images, annotations=words.annotations)
    recipes = (
        Sources(ingest=ingest, annotate=annotate),
        Joined(ingest=ingest, annotate=annotate, template=Template()),
    )
    with tempfile.TemporaryDirectory() as folder:
        for recipe in recipes:  # each in a process of its own, so that the peak is template's
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, core, peak = pool.apply(make, (recipe, folder))
        receipt = Run(url=folder, recipe=recipes[1]).table("template").receipts()["all"]
    print(f"{receipt.rows_in} annotations, {receipt.kept} kept, dropped {receipt.dropped}")
    print(f"{seconds:.1f} s, of which {core:.1f} s on the core (others use it, too); peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
