"""A benchmark question, and the questions of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.stage import Drop
from mminstruct.store.reader import RunReader
from mminstruct.text.question import asked


@dataclass(frozen=True, slots=True)
class Question:
    """One question; its image is not read yet."""

    question_id: str
    question: str
    instruction_id: str
    image: str | None
    """The set's name for its image; None if there is none."""
    kind: str = ""
    caption: str | None = None
    reference: str | None = None
    earlier: tuple[str, ...] = ()
    """Questions before it in its dialogue, in order."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An image that was read."""

    image_id: str
    image: bytes
    phash: int


TURNS = ("first", "all", "last")
"""Which questions of a dialogue are asked; with all, each has the ones before it as ``earlier``."""
SPLITS = ("test", "train", "any")


class RunSet:
    """Questions of a run's conversations.

    Args:
        turns: One of ``TURNS``.
        split: One of ``SPLITS``.
    """

    def __init__(self, url: str, turns: str = "first", split: str = "test") -> None:
        self.run, self.turns, self.split = RunReader(url), turns, split
        self.merged = "merge" in self.run
        """Whether the run has the tables merge and review; runs of earlier versions only have export."""
        how = (self.run["select"].manifest["config"].get("holdout") if "select" in self.run else None) or {}
        self.by = str(how.get("by", "instruction"))
        """What the test split holds out."""

    def facts(self) -> dict[str, Any]:
        """Digests that reveal when the data at this path change."""
        tables = ("merge", "review", *self._described()) if self.merged else ("export", "fuse")
        return {name: self.run.store.table(name).digest() for name in (*tables, "ingest")}

    def questions(self) -> Iterator[Question | Drop]:
        pairs = self._merged() if self.merged else self._exported()
        if not pairs:
            raise ValueError(
                f"{self.run.url} has no pairs of the split {self.split}: the set is small, or"
                " recipe.select.holdout.count is 0; build it from more images, set another pick.split, or give a file"
                " of questions"
            )
        images = [pair.image for pair in pairs]
        captions: dict[str, str] = {}
        for table, column in self._described().items():
            rows = self._rows(table, ["image_id", column], ("image_id", images))
            captions = {row["image_id"]: row[column] for row in rows}
        yield from (replace(pair, caption=captions.get(pair.image or "")) for pair in pairs)

    def _merged(self) -> list[Question]:
        where = None if self.split == "any" else ("split", [self.split])
        names = ["pair_id", "talk_id", "place", "phrased"]  # earlier versions always showed the phrase
        rows = self._rows("merge", [name for name in names if name in self.run["merge"].schema.names], where)
        bare = {row["pair_id"] for row in rows if not row.get("phrased", True)}
        last = {row["talk_id"]: row["place"] for row in sorted(rows, key=lambda row: int(row["place"]))}
        wanted = {"first": lambda row: row["place"] == 0, "last": lambda row: row["place"] == last[row["talk_id"]]}
        asking = [row["pair_id"] for row in rows if wanted.get(self.turns, bool)(row)]
        columns = ["pair_id", "image_id", "instruction_id", "kind", "question", "choices", "phrase", "answer"]
        texts = {row["pair_id"]: row for row in self._rows("review", columns, ("pair_id", asking))}
        shown = {
            pair: asked(row["question"], row["choices"], None if pair in bare else row["phrase"])
            for pair, row in texts.items()
        }
        before: dict[str, tuple[str, ...]] = {}
        if self.turns == "all":
            for _, talk in groupby(sorted(rows, key=itemgetter("talk_id", "place")), itemgetter("talk_id")):
                pairs = [row["pair_id"] for row in talk]
                said = [shown[pair] for pair in pairs]
                before |= {pair: tuple(said[:place]) for place, pair in enumerate(pairs)}
        return [
            Question(
                row["pair_id"], shown[row["pair_id"]], row["instruction_id"], row["image_id"], kind=row["kind"],
                reference=row["answer"], earlier=before.get(row["pair_id"], ()),
            )
            for row in map(texts.__getitem__, asking)
        ]  # fmt: skip

    def _exported(self) -> list[Question]:
        """Pairs of a run of an earlier version, in which each pair is one conversation."""
        columns = ["pair_id", "image_id", "instruction_id", "conversations"]
        rows = self._rows("export", columns, None if self.split == "any" else ("split", [self.split]))
        return [
            Question(
                row["pair_id"], row["conversations"][0]["value"].replace("<image>", "").strip(),
                row["instruction_id"], row["image_id"], reference=row["conversations"][1]["value"],
            )
            for row in rows
        ]  # fmt: skip

    def _described(self) -> dict[str, str]:
        """Table and column that describe an image in words."""
        named = {"fuse": "description", "caption": "caption"}
        there = [name for name in named if name in self.run]
        return {name: named[name] for name in there[:1]}

    def pictures(self, questions: list[Question]) -> dict[str, Seen | str]:
        """Images of *questions* by name, or the reason why an image is not available."""
        wanted = ("image_id", [question.image for question in questions])
        return {
            row["image_id"]: Seen(row["image_id"], row["image"], row["phash"])
            for row in self._rows("ingest", ["image_id", "image", "phash"], wanted)
        }

    def _rows(self, table: str, columns: list[str], where: tuple[str, list[Any]] | None) -> list[dict[str, Any]]:
        data = self.run[table].dataset()
        wanted = None if where is None else pc.field(where[0]).isin(pa.array(where[1], pa.string()))
        return list(data.to_table(columns=columns, filter=wanted).to_pylist())
