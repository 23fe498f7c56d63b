"""Columns of a question with its answer."""

from __future__ import annotations

import pyarrow as pa

from mminstruct.schemas.columns import column
from mminstruct.schemas.ids import image_id, instruction_id, pair_id

TURN = (
    pair_id(),
    image_id(),
    instruction_id(),
    column("kind", pa.string(), "form of question and answer: instruction, judgement, choice, short, long, ..."),
    column("domain", pa.string(), "empty where the recipe has none"),
    column("question", pa.string(), "without choices and phrase", tag="text"),
    column("choices", pa.list_(pa.string()), "texts without letters, in the order shown", null=True, tag="text"),
    column("right", pa.int8(), "place of the right choice, from 0", null=True),
    column("answer", pa.string(), "as it is learned: `Yes`, `B`, prose", tag="text"),
    column("phrase", pa.string(), "format phrase, added to the question when it is shown", null=True, tag="text"),
    column("template", pa.string(), "seed template, or the annotation's own id of the question", null=True),
    column("origin", pa.string(), "table that wrote the answer, or the annotation set"),
    column("talk", pa.string(), "the dialogue that it was written in, where that is one", null=True),
    column("turn", pa.int16(), "place in that dialogue, from 0", null=True),
)
"""Columns of a question with its answer, alike in every table that holds texts to be exported."""
