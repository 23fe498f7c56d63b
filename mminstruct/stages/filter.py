"""Drops answers that break a rule. The drop reason is the rule's name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.stage import Drop, Stage, StageOutput, Transform, output, part, renamed, whole
from mminstruct.text.languages import LANGUAGES
from mminstruct.text.question import asked
from mminstruct.text.rules import RULES, Context, words


@dataclass(kw_only=True)
class Filter(Stage):
    """Applies the rules of ``mminstruct.text.rules`` in order; the first one that matches is the drop reason.

    A recipe may put the question in the table ``answer`` and remove ``summarize``; it may also remove ``fuse``.
    """

    rules: list[str] = field(default_factory=lambda: list(RULES))
    languages: list[str] = field(default_factory=lambda: ["en"])
    """Allowed languages, ISO 639-1."""
    min_words: int = 3
    max_words: int = 1000
    max_copied: float = renamed("copied", 0.8)
    """Maximum share of the answer's five-word sequences that also occur in the description, 0 to 1."""

    reads = {
        "answer": part("pair_id", "image_id", "instruction_id", "answer"),
        "fuse": part("image_id", "description"),
        "summarize": whole("instruction_id", "instruction"),
    }
    writes = schemas.FILTER
    row_key = "pair_id"
    core_seconds = 0.002  # measured on the demo, 192 pairs

    def check(self) -> None:
        if unknown := sorted(set(self.rules) - set(RULES)):
            raise ValueError(f"filter.rules has {', '.join(unknown)}: the rules are {', '.join(RULES)}")
        if unknown := sorted(set(self.languages) - set(LANGUAGES)):
            raise ValueError(f"filter.languages has {', '.join(unknown)}: known are {', '.join(LANGUAGES)}")
        if not self.languages:
            raise ValueError("filter.languages is empty: name at least one, or leave `language` out of filter.rules")

    def load(self, *, summarize: ds.Dataset | None = None) -> Transform:
        names = ["instruction_id", "instruction"]
        bank = [] if summarize is None else summarize.to_table(columns=names).to_pylist()
        instructions = {row["instruction_id"]: row["instruction"] for row in bank}

        def filter(answer: pa.Table, fuse: pa.Table | None = None) -> StageOutput:
            seen = schemas.FUSE.empty_table() if fuse is None else fuse
            descriptions = dict(zip(seen["image_id"].to_pylist(), seen["description"].to_pylist(), strict=True))
            return output(self.writes, (self._judge(row, instructions, descriptions) for row in answer.to_pylist()))

        return filter

    def _judge(
        self, row: dict[str, Any], instructions: dict[str, str], descriptions: dict[str, str]
    ) -> dict[str, object] | Drop:
        from_bank = "question" not in row
        context = Context(
            instruction=instructions[row["instruction_id"]]
            if from_bank
            else asked(row["question"], row.get("choices"), row.get("phrase")),
            description=descriptions.get(row["image_id"], ""),
            languages=tuple(self.languages),
            min_words=self.min_words,
            max_words=self.max_words,
            max_copied=self.max_copied,
        )
        for name in self.rules:
            found = RULES[name](row["answer"], context)
            if found is not None:
                return Drop(row["pair_id"], name, found)
        kept = {key: row[key] for key in ("pair_id", "image_id", "instruction_id")}
        return {**kept, "words": len(words(row["answer"]))}
