"""Contamination check: whether a question or its image is in a contestant's training data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc

from mminstruct.bench.pairs import Question, Seen
from mminstruct.stage import Drop
from mminstruct.store.reader import RunReader
from mminstruct.store.tables import Store
from mminstruct.text.rules import words


class Trained:
    """The pairs of a run's split ``train``, held in memory as ids, hashes and word sequences.

    Args:
        run: Folder of the run.
        near: Images whose 64-bit perceptual hashes differ in at most this many bits count as equal.
        ngram: A question must not share this many consecutive words with an instruction; in shorter ones, all words.
            None compares whole instructions only.
        questions: Whether questions are compared, or only images.
    """

    def __init__(self, run: str, near: int, ngram: int | None, questions: bool = True) -> None:
        self.run, self.near, self.ngram = run, near, ngram
        tables = RunReader(run)
        pairs = list(_rows(tables, "select", "image_id", "instruction_id", split="train"))
        self.images = {row["image_id"] for row in pairs}
        self.instructions = {row["instruction_id"] for row in pairs} if questions else set()
        hashes = [
            row["phash"] for row in _rows(tables, "ingest", "image_id", "phash") if row["image_id"] in self.images
        ]
        self.hashes_N = np.array(hashes, np.uint64)
        self.grams: set[tuple[str, ...]] = set()
        if ngram is not None and questions:
            table = texts(run)
            column = {"review": "question", "summarize": "instruction"}[table]
            seen: set[str] = set()
            for row in _rows(tables, table, "instruction_id", column):
                if row["instruction_id"] in self.instructions and row["instruction_id"] not in seen:
                    seen.add(row["instruction_id"])
                    self.grams |= set(_grams(row[column], ngram))

    def asked(self, question: Question) -> Drop | None:
        """Why *question* is contaminated, by its words and its image's id; None if it is not."""
        if question.image in self.images:
            return Drop(question.question_id, "trained_image", f"{question.image}, in {self.run}")
        if question.instruction_id in self.instructions:
            return Drop(question.question_id, "trained_instruction", f"its very words, in {self.run}")
        shared = next((gram for gram in _grams(question.question, self.ngram) if gram in self.grams), None)
        return (
            Drop(question.question_id, "trained_instruction", f"{' '.join(shared)}: in {self.run}") if shared else None
        )

    def shown(self, question: Question, seen: Seen) -> Drop | None:
        """Why *question* is contaminated, by the content of its image; None if it is not."""
        distance_N = np.bitwise_count(self.hashes_N ^ np.uint64(seen.phash))
        if seen.image_id in self.images or (len(distance_N) and distance_N.min() <= self.near):
            return Drop(question.question_id, "trained_image", f"{distance_N.min()} bits from one in {self.run}")
        return None


def texts(run: str) -> str:
    """Name of the table that has the questions of a run: review, or in runs of earlier versions summarize."""
    return "summarize" if Store(run).table("review").manifest() is None else "review"


def _grams(text: str, size: int | None) -> Iterator[tuple[str, ...]]:
    tokens = words(text)
    size = 0 if size is None else min(size, len(tokens))
    return (tuple(tokens[n : n + size]) for n in range(len(tokens) - size + 1 if size else 0))


def _rows(run: RunReader, table: str, *columns: str, **where: str) -> Iterator[dict[str, Any]]:
    data = run[table].dataset()
    wanted = None
    for name, value in where.items():
        wanted = pc.field(name) == value
    for batch in data.to_batches(columns=list(columns), filter=wanted):
        yield from batch.to_pylist()
