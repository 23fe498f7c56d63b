"""Detailed captions of the images, by a vision-language model."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from mminstruct import schemas
from mminstruct.models.model import Model, with_image
from mminstruct.prompts import render
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, output, part, prompt, role, seed
from mminstruct.text import one_line
from mminstruct.text.reply import fault, flaw, spoken


@dataclass(kw_only=True)
class Caption(Stage):
    """One detailed caption per image. All later texts are based on it.

    The paper captions only images without alt-text, with a model that its sources do not name (CogVLM, according to
    summaries). This stage captions all images, and ``Fuse`` adds the alt-text if there is one.
    """

    model: Model = role("captioner")
    """The captioner."""
    prompt: str = prompt("caption")
    seed: int = 0

    kind = "vision"
    reads = {"ingest": part("image_id", "image")}
    writes = schemas.CAPTION
    row_key = "image_id"
    call_tokens = Tokens(input=40, output=150)  # assumed: a caption of 110 words

    def load(self) -> Transform:
        captioner = self.model.chat()

        def caption(ingest: pa.Table) -> StageOutput:
            ids, images = ingest["image_id"].to_pylist(), ingest["image"].to_pylist()
            question = render(self.prompt)
            replies = captioner.chat(
                [with_image(question, image) for image in images],
                seeds=[seed(self.seed, "caption", image_id) for image_id in ids],
            )
            rows: list[dict[str, object] | Drop] = []
            for image_id, reply in zip(ids, replies, strict=True):
                text = spoken(reply.text)
                if reason := fault(reply.finish, text, "caption") or flaw(text, "caption"):
                    rows.append(Drop(image_id, reason, reply.error or text[:200] or None))
                else:
                    rows.append({"image_id": image_id, "caption": one_line(text), "tokens": reply.tokens_out})
            return output(self.writes, rows)

        return caption
