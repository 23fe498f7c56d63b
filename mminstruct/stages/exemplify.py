"""Writes exemplars: a strong model answers each instruction for a few images. The answerer sees them in context."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.models.model import Model
from mminstruct.prompts import render
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, output, prompt, role, seed, whole
from mminstruct.text.reply import fault, flaw, spoken, unlabelled
from mminstruct.unit import note

_SPARE = 4
"""Candidates kept per exemplar: some images have no description."""

Candidate = tuple[int, str, str]
"""(hash, pair_id, image_id); the smallest hashes are chosen."""


@dataclass(kw_only=True)
class Exemplify(Stage):
    """A few good answers to each instruction of the bank.

    The paper's sources say that GPT-4 wrote them; how many per instruction is not known. The images are sampled by
    content from those matched to the instruction, so they are typical and not only the best fits.
    """

    model: Model = role("exemplar")
    """The exemplar model: the strongest that is affordable for a few answers per instruction."""
    prompt: str = prompt("exemplify", "instruction", "description")
    per_instruction: int = 3
    seed: int = 0

    kind = "text"
    reads = {
        "summarize": whole("instruction_id", "instruction"),
        "match": whole("pair_id", "image_id", "instruction_id"),
        "fuse": whole("image_id", "description"),
    }
    writes = schemas.EXEMPLIFY
    row_key = "instruction_id"
    call_tokens = Tokens(input=350, output=200)  # an answer has 950 bytes in the published set

    def fan(self) -> float:
        return self.per_instruction

    def check(self) -> None:
        if self.per_instruction < 1:
            raise ValueError(f"per_instruction is {self.per_instruction}: must be 1 or more")

    def load(self, *, summarize: ds.Dataset, match: ds.Dataset, fuse: ds.Dataset) -> Transform:
        strong = self.model.chat()

        def exemplify() -> StageOutput:
            bank = summarize.to_table(columns=["instruction_id", "instruction"])
            instructions = dict(zip(bank["instruction_id"].to_pylist(), bank["instruction"].to_pylist(), strict=True))
            candidates = self._candidates(match, instructions)
            descriptions = _descriptions(fuse, {image for found in candidates.values() for _, _, image in found})
            rows: list[Mapping[str, object] | Drop] = []
            asked: list[dict[str, str]] = []
            for own, found in candidates.items():
                usable = [(pair, image) for _, pair, image in found if image in descriptions]
                if not usable:
                    rows.append(Drop(own, "no_description" if found else "no_match"))
                for pair, image in usable[: self.per_instruction]:
                    ids = {"pair_id": pair, "image_id": image, "instruction_id": own}
                    asked.append(ids | {"description": descriptions[image]})
            replies = strong.chat(
                [
                    render(self.prompt, instruction=instructions[ask["instruction_id"]], description=ask["description"])
                    for ask in asked
                ],
                seeds=[seed(self.seed, "exemplify", ask["pair_id"]) for ask in asked],
            )
            failed: dict[str, str] = {}
            kept: set[str] = set()
            for ask, reply in zip(asked, replies, strict=True):
                text = unlabelled(spoken(reply.text), "answer")
                asked_for = instructions[ask["instruction_id"]]
                if reason := fault(reply.finish, text, "exemplar", asked_for) or flaw(text, "exemplar"):
                    note(reason)
                    failed.setdefault(ask["instruction_id"], f"{reason}: {reply.error or text[:200]}")
                else:
                    kept.add(ask["instruction_id"])
                    rows.append(ask | {"answer": text})
            rows += [Drop(own, "exemplar_failed", detail) for own, detail in failed.items() if own not in kept]
            return output(self.writes, rows)

        return exemplify

    def _candidates(self, match: ds.Dataset, instructions: dict[str, str]) -> dict[str, list[Candidate]]:
        """Instruction id -> candidates, smallest hash first. One pass; memory grows with the bank, not the pairs."""
        room = self.per_instruction * _SPARE
        heaps: dict[str, list[tuple[int, str, str]]] = {own: [] for own in instructions}
        for batch in match.to_batches(columns=["pair_id", "image_id", "instruction_id"]):
            columns = (batch[name].to_pylist() for name in ("pair_id", "image_id", "instruction_id"))
            for pair, image, own in zip(*columns, strict=True):
                heap = heaps.get(own)
                if heap is None:
                    continue
                item = (-seed(self.seed, "exemplar", pair), pair, image)  # min-heap: the worst kept comes first
                if len(heap) < room:
                    heapq.heappush(heap, item)
                elif item > heap[0]:
                    heapq.heapreplace(heap, item)
        return {own: sorted((-key, pair, image) for key, pair, image in heap) for own, heap in heaps.items()}


def _descriptions(fuse: ds.Dataset, wanted: set[str]) -> dict[str, str]:
    """Image id -> description, of those *wanted* only."""
    keep = pc.field("image_id").isin(pa.array(sorted(wanted), pa.string()))
    table = fuse.to_table(columns=["image_id", "description"], filter=keep)
    return dict(zip(table["image_id"].to_pylist(), table["description"].to_pylist(), strict=True))
