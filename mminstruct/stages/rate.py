"""Rates every question and answer from 1 to 5, by a language model and a vision-language model; off by default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.bench.juror import RATING, framed, read_grade
from mminstruct.models.model import Chat, Model, with_image
from mminstruct.prompts import render
from mminstruct.schemas import AXES
from mminstruct.stage import Stage, StageOutput, Tokens, Transform, output, part, prompt, role, runtime, seed
from mminstruct.text.question import asked
from mminstruct.unit import note

Row = dict[str, Any]
_SEEN = ("visual_dependency", "image_correspondence")
"""Axes that only a model that sees the image can rate."""
_MOST = 5


@dataclass(kw_only=True)
class Rate(Stage):
    """One call per axis, as FineVision does (arXiv 2510.17269, section 3.4).

    It drops nothing. A reply without a clear rating gives null, never a guess; ``select.min_rating`` drops such rows.
    """

    enable: bool = runtime(False)
    """Whether ratings are made; if not, the run has no such table."""
    reader: Model = role("rater", like="answerer")
    """Rates what can be rated without the image."""
    viewer: Model = role("viewer", like="captioner")
    """Rates what needs the image. If it has the same settings as the reader, a worker loads it only once."""
    axes: list[str] = field(default_factory=lambda: list(AXES))
    """What is rated."""
    prompt: str = prompt("rate", "axis", "question", "answer", optional=("image_id",))
    seed: int = 0

    kind = "vision"
    reads = {
        "review": part("pair_id", "image_id", "question", "choices", "phrase", "answer"),
        "ingest": part("image_id", "image"),
    }
    writes = schemas.RATE
    row_key = "pair_id"
    call_tokens = Tokens(input=400, output=60)  # assumed: a question, an answer of 100 tokens, a reason

    def enabled(self) -> bool:
        return self.enable

    def asks(self) -> float:
        """Calls to each of the two models; the axes are shared between them."""
        return len(self.axes) / 2

    def check(self) -> None:
        if unknown := sorted(set(self.axes) - AXES.keys()):
            raise ValueError(f"axes has {', '.join(unknown)}: take any of {', '.join(AXES)}")
        if not self.axes or len(set(self.axes)) < len(self.axes):
            raise ValueError(f"axes={self.axes}: take one or more different axes, or set enable=false")

    def load(self) -> Transform:
        raters: dict[str, tuple[Model, Chat]] = {}
        for axis in self.axes:
            model = self.viewer if axis in _SEEN else self.reader
            loaded = next((chat for other, chat in raters.values() if other == model), None)
            raters[axis] = (model, loaded or model.chat())

        def rate(review: pa.Table, ingest: pa.Table) -> StageOutput:
            pairs = review.to_pylist()
            place_of = {key: place for place, key in enumerate(ingest["image_id"].to_pylist())}
            rows: list[Row] = [{"pair_id": row["pair_id"], "image_id": row["image_id"], "replies": []} for row in pairs]
            for axis, (model, chat) in raters.items():
                messages = []
                for pair in pairs:
                    question = framed(asked(pair["question"], pair["choices"], pair["phrase"]))
                    facts = {"question": question, "answer": framed(pair["answer"]), "image_id": pair["image_id"]}
                    said = render(self.prompt, axis=axis, **facts)
                    if axis in _SEEN and model.backend != "oracle":
                        said = with_image(said, ingest["image"][place_of[pair["image_id"]]].as_py())
                    messages.append(said)
                seeds = [seed(self.seed, "rate", pair["pair_id"], axis) for pair in pairs]
                replies = chat.chat(messages, seeds=seeds, schema=RATING)
                for row, reply in zip(rows, replies, strict=True):
                    row[axis], _ = read_grade(reply.text, reply.finish, _MOST)
                    row["replies"].append({"axis": axis, "reply": reply.text})
                    if row[axis] is None:
                        note(f"unrated_{axis}" if reply.finish in ("stop", "length") else f"model_{reply.finish}")
            return output(self.writes, rows)

        return rate
