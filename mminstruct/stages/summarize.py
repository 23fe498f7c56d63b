"""Builds the instruction bank: rewrites each cluster of raw instructions as one that fits many images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.models.model import Model
from mminstruct.prompts import render
from mminstruct.stage import (
    Drop,
    Stage,
    StageOutput,
    Tokens,
    Transform,
    instruction_id,
    output,
    prompt,
    role,
    seed,
    whole,
)
from mminstruct.text import words
from mminstruct.text.instruction import read_instruction


@dataclass(kw_only=True)
class Summarize(Stage):
    """One reusable instruction per cluster.

    The paper's sources say that each cluster is summarised to one general instruction, about 300 in all; how many
    members the summarizer sees is not known.
    """

    model: Model = role("summarizer")
    """The summarizer."""
    prompt: str = prompt("summarize", "members")
    members: int = 20
    """Maximum number of members shown: those nearest the centroid."""
    min_size: int = 1
    """Clusters with fewer distinct instructions are dropped."""
    max_words: int = 60
    """Longer instructions are dropped: CLIP reads at most 77 tokens."""
    seed: int = 0

    kind = "text"
    reads = {
        "cluster": whole("instruction_id", "cluster", "distance"),
        "instruct": whole("instruction_id", "instruction"),
    }
    writes = schemas.SUMMARIZE
    row_key = "cluster"
    call_tokens = Tokens(input=500, output=30)  # assumed: 20 members

    def check(self) -> None:
        if min(self.members, self.min_size, self.max_words) < 1:
            raise ValueError("members, min_size and max_words must be 1 or more")

    def load(self, *, cluster: ds.Dataset, instruct: ds.Dataset) -> Transform:
        summarizer = self.model.chat()

        def summarize() -> StageOutput:
            clusters = self._nearest(cluster)
            texts = _texts(instruct, {member for _, _, nearest in clusters for member in nearest})
            asked = [(name, size, nearest) for name, size, nearest in clusters if size >= self.min_size]
            shown = [[texts[member] for member in nearest] for _, _, nearest in asked]
            replies = summarizer.chat(
                [render(self.prompt, members=members) for members in shown],
                seeds=[seed(self.seed, "summarize", *nearest) for _, _, nearest in asked],
            )
            rows: list[dict[str, Any] | Drop] = [
                Drop(str(name), "cluster_too_small", f"size {size}")
                for name, size, _ in clusters
                if size < self.min_size
            ]
            taken: dict[str, int] = {}
            for (name, size, _), members, reply in zip(asked, shown, replies, strict=True):
                reason, instruction = read_instruction(reply.finish, reply.text, "summary")
                if reason:
                    rows.append(Drop(str(name), reason, reply.error or instruction[:200]))
                elif len(words(instruction)) > self.max_words:
                    rows.append(Drop(str(name), "summary_too_long", instruction[:200]))
                elif (own := instruction_id(instruction)) in taken:
                    rows.append(Drop(str(name), "summary_duplicate", f"of cluster {taken[own]}: {instruction}"))
                else:
                    taken[own] = name
                    rows.append(
                        {
                            "instruction_id": own,
                            "instruction": instruction,
                            "cluster": name,
                            "size": size,
                            "members": members,
                        }
                    )
            return output(self.writes, rows)

        return summarize

    def _nearest(self, cluster: ds.Dataset) -> list[tuple[int, int, list[str]]]:
        """(cluster, size, ids of the members nearest the centroid, nearest first), largest cluster first."""
        table = cluster.to_table(columns=["cluster", "distance", "instruction_id"])
        table = table.sort_by([("cluster", "ascending"), ("distance", "ascending"), ("instruction_id", "ascending")])
        rows = zip(table["cluster"].to_pylist(), table["instruction_id"].to_pylist(), strict=True)
        groups = [(name, [member for _, member in group]) for name, group in groupby(rows, key=lambda row: row[0])]
        found = [(name, len(members), members[: self.members]) for name, members in groups]
        return sorted(found, key=lambda row: (-row[1], row[0]))


def _texts(instruct: ds.Dataset, wanted: set[str]) -> dict[str, str]:
    """Instruction id -> its first wording, of those *wanted* only."""
    keep = pc.field("instruction_id").isin(pa.array(sorted(wanted), pa.string()))
    texts: dict[str, str] = {}
    for batch in instruct.to_batches(columns=["instruction_id", "instruction"], filter=keep):
        for own, text in zip(batch["instruction_id"].to_pylist(), batch["instruction"].to_pylist(), strict=True):
            texts.setdefault(own, text)
    return texts
