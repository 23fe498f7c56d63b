"""Groups questions about an image into conversations, and orders them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.stage import Stage, StageOutput, Transform, content_id, output, part
from mminstruct.text import words
from mminstruct.text.question import asked

Row = dict[str, Any]


@dataclass(kw_only=True)
class Merge(Stage):
    """Joins the pairs of one image and one split, as LLaVA-1.5's mix does; by default each pair is a conversation.

    Order is by digests of ids, so it does not depend on the order of rows or parts. A dialogue that was written as one
    (``talk``) stays whole and in order, even if it is longer than ``turns``.
    """

    turns: int = 1
    """Maximum number of questions in a conversation; 1: each pair is its own conversation, also in dialogues."""
    seed: int = 0

    reads = {
        "select": part("pair_id", "image_id", "split"),
        "review": part("pair_id", "question", "choices", "phrase", "answer", "talk", "turn"),
    }
    writes = schemas.MERGE
    row_key = "pair_id"
    core_seconds = 0.001  # assumed: joins columns

    def check(self) -> None:
        if not 1 <= self.turns < 1 << 15:
            raise ValueError(f"turns={self.turns}: take 1 or more questions")

    def load(self) -> Transform:
        def merge(select: pa.Table, review: pa.Table) -> StageOutput:
            texts = {row["pair_id"]: row for row in review.to_pylist()}
            pairs = [{**texts[row["pair_id"]], **row} for row in select.to_pylist()]
            return output(self.writes, (row for talk in self._talks(pairs) for row in _rows(talk)))

        return merge

    def _talks(self, pairs: list[Row]) -> Iterator[list[Row]]:
        """Conversations, in the order of their images."""
        if self.turns == 1:
            yield from ([pair] for pair in pairs)
            return
        of_image: dict[tuple[str, str], list[Row]] = {}
        for pair in pairs:
            of_image.setdefault((pair["image_id"], pair["split"]), []).append(pair)
        for some in of_image.values():
            talk: list[Row] = []
            for dialogue in self._dialogues(some):
                if talk and len(talk) + len(dialogue) > self.turns:
                    yield talk
                    talk = []
                talk += dialogue
            yield talk

    def _dialogues(self, pairs: list[Row]) -> list[list[Row]]:
        """*pairs* of one image in order; the pairs of one dialogue are one list."""
        ordered = sorted(pairs, key=lambda row: (row["talk"] or "", row["turn"] or 0, row["pair_id"]))
        written = [list(group) for talk, group in groupby(ordered, itemgetter("talk")) if talk is not None]
        found = [*written, *([row] for row in ordered if row["talk"] is None)]
        return sorted(found, key=lambda some: content_id(str(self.seed), "merge", *(row["pair_id"] for row in some)))


def _rows(talk: list[Row]) -> Iterator[Row]:
    ids = [row["pair_id"] for row in talk]
    talk_id = ids[0] if len(ids) == 1 else content_id(talk[0]["image_id"], *ids)
    for place, row in enumerate(talk):
        text = asked(row["question"], row["choices"], row["phrase"])
        yield {
            "pair_id": row["pair_id"], "talk_id": talk_id, "place": place, "image_id": row["image_id"],
            "split": row["split"], "words": len(words(text)) + len(words(row["answer"])),
            "phrased": True,
        }  # fmt: skip
