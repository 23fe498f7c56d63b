"""Writes the answers: a language model follows each pair's instruction, given the image's description."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.models.model import Model
from mminstruct.prompts import render
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, output, part, prompt, role, seed, whole
from mminstruct.text.reply import fault, spoken, unlabelled


@dataclass(kw_only=True)
class Answer(Stage):
    """One answer per pair from a text-only model, with exemplars of the same instruction in context.

    The paper uses Mixtral-8x7B; its number of shots and its decoding are not known. Requests are sorted by instruction,
    and the prompt begins with what its pairs share, so that a server with a prefix cache computes it once.
    """

    model: Model = role("answerer")
    """The answerer."""
    prompt: str = prompt("answer", "instruction", "description", "examples")
    shots: int = 3
    """Maximum number of exemplars shown; never one of the same image."""
    seed: int = 0

    kind = "text"
    reads = {
        "match": part("pair_id", "image_id", "instruction_id"),
        "fuse": part("image_id", "description"),
        "exemplify": whole("image_id", "instruction_id", "description", "answer"),
        "summarize": whole("instruction_id", "instruction"),
    }
    writes = schemas.ANSWER
    row_key = "pair_id"
    call_tokens = Tokens(input=1900, output=200, cached=1500)
    """Input: three exemplars of 500 tokens, shared by the pairs of an instruction; a description; an instruction.
    Output: 950 bytes, as in the published set."""

    def check(self) -> None:
        if self.shots < 0:
            raise ValueError(f"shots is {self.shots}: must be 0 or more")

    def load(self, *, exemplify: ds.Dataset, summarize: ds.Dataset) -> Transform:
        answerer = self.model.chat()
        bank = summarize.to_table(columns=["instruction_id", "instruction"])
        instructions = dict(zip(bank["instruction_id"].to_pylist(), bank["instruction"].to_pylist(), strict=True))
        exemplars: dict[str, list[dict[str, str]]] = {}
        for row in exemplify.to_table(columns=list(self.reads["exemplify"].columns)).to_pylist():
            exemplars.setdefault(row["instruction_id"], []).append(row)

        def answer(match: pa.Table, fuse: pa.Table) -> StageOutput:
            descriptions = dict(zip(fuse["image_id"].to_pylist(), fuse["description"].to_pylist(), strict=True))
            pairs = match.select(["pair_id", "image_id", "instruction_id"]).to_pylist()
            asked = sorted(
                (pair for pair in pairs if pair["image_id"] in descriptions),
                key=lambda pair: (pair["instruction_id"], pair["image_id"]),
            )
            shown = [
                [row for row in exemplars.get(pair["instruction_id"], []) if row["image_id"] != pair["image_id"]][
                    : self.shots
                ]
                for pair in asked
            ]
            replies = answerer.chat(
                [
                    render(
                        self.prompt,
                        instruction=instructions[pair["instruction_id"]],
                        description=descriptions[pair["image_id"]],
                        examples=examples,
                    )
                    for pair, examples in zip(asked, shown, strict=True)
                ],
                seeds=[seed(self.seed, "answer", pair["pair_id"]) for pair in asked],
            )
            rows: dict[str, dict[str, object] | Drop] = {}
            for pair, examples, reply in zip(asked, shown, replies, strict=True):
                text = unlabelled(spoken(reply.text), "answer")
                if reason := fault(reply.finish, text, "answer", instructions[pair["instruction_id"]]):
                    rows[pair["pair_id"]] = Drop(pair["pair_id"], reason, reply.error or text[:200] or None)
                else:
                    rows[pair["pair_id"]] = pair | {
                        "answer": text,
                        "exemplars": len(examples),
                        "tokens": reply.tokens_out,
                    }
            return output(
                self.writes,
                (rows.get(pair["pair_id"]) or Drop(pair["pair_id"], "no_description") for pair in pairs),
            )

        return answer
