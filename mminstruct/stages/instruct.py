"""Generates raw instructions: a language model writes what people might ask about an image, from its description."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pyarrow as pa

from mminstruct import schemas
from mminstruct.models.model import Model, Reply
from mminstruct.prompts import render
from mminstruct.stage import (
    Drop,
    Stage,
    StageOutput,
    Tokens,
    Transform,
    instruction_id,
    output,
    part,
    prompt,
    role,
    seed,
)
from mminstruct.text import words
from mminstruct.text.instruction import read_instruction
from mminstruct.unit import note


@dataclass(kw_only=True)
class Instruct(Stage):
    """Instructions from descriptions, with seed instructions and earlier generated ones in context.

    The paper's sources do not say how many seeds there are, how many are shown, and whether generated instructions
    are shown too; the defaults follow Self-Instruct, which mixes both. Generated instructions are shown only within
    their unit, so the output of a unit depends on nothing else.
    """

    model: Model = role("instructor")
    """The instructor."""
    prompt: str = prompt("instruct", "description", "examples")
    seeds: list[str] = field(default_factory=list, metadata={"seeds": True})
    """Instructions written by people; in YAML, the name of their file."""
    seeds_shown: int = 3
    """Seeds in a prompt."""
    generated_shown: int = 2
    """Instructions of earlier rounds in a prompt; seeds replace them as long as there are too few."""
    rounds: int = 4
    """Groups into which a unit's images are split, processed one after the other; 1 shows seeds only."""
    share: float = 1.0
    """Share of images that get instructions, above 0 to 1, sampled by content. The paper has about 50,000 raw
    instructions for 234,000 pairs."""
    per_image: int = 1
    """Instructions generated per image."""
    min_words: int = 3
    max_words: int = 80
    """Instructions with fewer than ``min_words`` or more than this are dropped."""
    seed: int = 0

    kind = "text"
    reads = {"fuse": part("image_id", "description")}
    writes = schemas.INSTRUCT
    row_key = "image_id"
    call_tokens = Tokens(input=450, output=30)  # assumed: a description and five examples

    def fan(self) -> float:
        return self.share * self.per_image

    def check(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}: must be above 0 and at most 1")
        if min(self.per_image, self.rounds, self.min_words) < 1 or min(self.seeds_shown, self.generated_shown) < 0:
            raise ValueError(
                "per_image, rounds and min_words must be 1 or more, seeds_shown and generated_shown 0 or more"
            )
        if self.max_words < self.min_words:
            raise ValueError(f"max_words is {self.max_words}, less than min_words, {self.min_words}")
        distinct = len({instruction_id(text) for text in self.seeds})
        if distinct < max(1, self.seeds_shown):
            raise ValueError(
                f"seeds has {distinct} distinct instructions: must have seeds_shown = {self.seeds_shown} or more"
            )

    def load(self) -> Transform:
        instructor = self.model.chat()
        distinct: dict[str, str] = {}
        for text in self.seeds:
            distinct.setdefault(instruction_id(text), text)
        seeds = list(distinct.values())

        def instruct(fuse: pa.Table) -> StageOutput:
            descriptions = dict(zip(fuse["image_id"].to_pylist(), fuse["description"].to_pylist(), strict=True))
            order = sorted(
                (i for i in descriptions if self._sampled(i)), key=lambda i: (seed(self.seed, "order", i), i)
            )
            size = -(-len(order) // self.rounds) or 1
            made_here: dict[str, list[dict[str, object] | Drop]] = {}
            pool: dict[str, str] = {}  # id -> instruction, of earlier rounds
            for start in range(0, len(order), size):
                asks = [(i, k) for i in order[start : start + size] for k in range(self.per_image)]
                row_seeds = [seed(self.seed, "instruct", image_id, str(k)) for image_id, k in asks]
                shown = [self._examples(row_seed, seeds, list(pool.values())) for row_seed in row_seeds]
                replies = instructor.chat(
                    [
                        render(self.prompt, description=descriptions[i], examples=examples)
                        for (i, _), examples in zip(asks, shown, strict=True)
                    ],
                    seeds=row_seeds,
                )
                for (image_id, _), examples, reply in zip(asks, shown, replies, strict=True):
                    row = self._judge(image_id, reply, examples, made_here.setdefault(image_id, []))
                    made_here[image_id].append(row)
                for image_id in order[start : start + size]:
                    for row in made_here[image_id]:
                        if not isinstance(row, Drop):
                            pool.setdefault(str(row["instruction_id"]), str(row["instruction"]))
            rows: list[dict[str, object] | Drop] = []
            for image_id in descriptions:
                mine = made_here.get(image_id, [Drop(image_id, "not_sampled")])
                kept = [row for row in mine if not isinstance(row, Drop)]
                rows += kept or mine[:1]
                for drop in mine if kept else mine[1:]:
                    if isinstance(drop, Drop):
                        note(drop.reason)
            return output(self.writes, rows)

        return instruct

    def _sampled(self, image_id: str) -> bool:
        return seed(self.seed, "share", image_id) < self.share * 2**31

    def _examples(self, row_seed: int, seeds: list[str], pool: list[str]) -> list[str]:
        """Distinct instructions in random order: up to ``generated_shown`` generated ones, seeds for the rest."""
        draw = random.Random(row_seed)
        generated = draw.sample(pool, min(self.generated_shown, len(pool)))
        taken = {instruction_id(text) for text in generated}
        free = [text for text in seeds if instruction_id(text) not in taken]
        wanted = self.seeds_shown + self.generated_shown - len(generated)
        examples = generated + draw.sample(free, min(wanted, len(free)))
        draw.shuffle(examples)
        return examples

    def _judge(
        self, image_id: str, reply: Reply, examples: list[str], earlier: list[dict[str, object] | Drop]
    ) -> dict[str, object] | Drop:
        """The row from *reply*, or the reason to drop it."""
        reason, instruction = read_instruction(reply.finish, reply.text, "instruction")
        if reason:
            return Drop(image_id, reason, reply.error or instruction[:200] or None)
        own = instruction_id(instruction)
        length = len(words(instruction))
        if not self.min_words <= length <= self.max_words:
            reason = "instruction_too_short" if length < self.min_words else "instruction_too_long"
            return Drop(image_id, reason, instruction[:200])
        if own in {instruction_id(example) for example in examples}:
            return Drop(image_id, "instruction_copy", instruction)
        if own in {row["instruction_id"] for row in earlier if not isinstance(row, Drop)}:
            return Drop(image_id, "instruction_duplicate", instruction)
        return {"instruction_id": own, "image_id": image_id, "instruction": instruction, "examples": examples}
