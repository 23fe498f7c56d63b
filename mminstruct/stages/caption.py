"""Detailed captions of the images, by a vision-language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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

    A recipe may give it the words and the domain of each image, for prompts that use them.
    """

    model: Model = role("captioner")
    """The captioner."""
    prompt: str = prompt("caption", optional=("words", "domain"))
    seed: int = 0

    kind = "vision"
    reads = {"ingest": part("image_id", "image")}
    writes = schemas.CAPTION
    row_key = "image_id"
    call_tokens = Tokens(input=40, output=150)  # assumed: a caption of 110 words

    def load(self) -> Transform:
        captioner = self.model.chat()

        def caption(
            ingest: pa.Table, transcribe: pa.Table | None = None, retrieve: pa.Table | None = None
        ) -> StageOutput:
            images = dict(zip(ingest["image_id"].to_pylist(), ingest["image"], strict=True))
            words, domains = _by_image(transcribe, "words"), _by_image(retrieve, "domain")
            ids = list(images if transcribe is None else words)
            replies = captioner.chat(
                [
                    with_image(
                        render(self.prompt, words=words.get(key, []), domain=domains.get(key, "").replace("_", " ")),
                        images[key].as_py(),
                    )
                    for key in ids
                ],
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


def _by_image(table: pa.Table | None, column: str) -> dict[str, Any]:
    return {} if table is None else dict(zip(table["image_id"].to_pylist(), table[column].to_pylist(), strict=True))
