"""Tables of a benchmark."""

from __future__ import annotations

import pyarrow as pa

from mminstruct.schemas.columns import column, table
from mminstruct.schemas.ids import image_id, instruction_id, question_id

PICK = table(
    "The questions of a benchmark: held-out pairs of a run, or an external set.",
    question_id("id"),
    image_id(),
    instruction_id(),
    column("question", pa.string(), "as the contestants are asked", tag="text"),
    column("kind", pa.string(), "kind of task: the set's own category, or told by the wording"),
    column(
        "image",
        pa.large_binary(),
        "encoded image; null where there is none (image_id is then empty)",
        null=True,
        tag="heavy",
    ),
    column("caption", pa.string(), "what is in the image, for judges that cannot see it", null=True, tag="text"),
    column("reference", pa.string(), "an answer that came with the question", null=True, tag="text"),
    column(
        "earlier", pa.string(), "questions before it in its dialogue, a JSON list; null: none", null=True, tag="text"
    ),
)


RESPOND = table(
    "Every contestant's answer to every question.",
    question_id(),
    column("contestant", pa.string(), "its name; NAME@HISTORY if earlier turns came before (or their number)"),
    column(
        "answer", pa.string(), "as replied or given; null where fault says why there is none", null=True, tag="text"
    ),
    column("fault", pa.string(), "missing, no_image, model_error, model_filtered", null=True),
    column("detail", pa.string(), "of the fault", null=True),
    column("finish", pa.string(), "stop; length: cut at max_tokens; given: read from a file, which does not tell"),
    column("tokens", pa.int32(), "length as the contestant counts it; null for given answers", null=True),
    column("words", pa.int32(), "words in the answer"),
    column("ends", pa.bool_(), "whether it ends as a text does, not in the middle of a sentence"),
    column("earlier", pa.string(), "the turns before, a JSON list of [question, answer]; null: none", null=True),
)


JUDGE = table(
    "Every verdict: one call of a judge a row.",
    question_id(),
    column("judge", pa.string(), "its name"),
    column("a", pa.string(), "contestant; before b in the alphabet"),
    column("b", pa.string(), "contestant; null where a alone was graded", null=True),
    column("order", pa.int8(), "0: a was shown first, 1: b was; null where a alone was graded", null=True),
    column("verdict", pa.string(), "a, b, neither, or unparsed; null where a alone was graded", null=True),
    column("grade", pa.int32(), "1 to 10; null: not graded, or unparsed", null=True),
    column("reason", pa.string(), "as the judge gives it", null=True, tag="text"),
    column("reply", pa.string(), "the whole reply, as it came", tag="text"),
    column("finish", pa.string(), "stop, length, filtered or error"),
    column("error", pa.string(), "what the model's server said", null=True),
    column("saw", pa.string(), "what it knew the image by: image, caption, image+caption, nothing, truth (the oracle)"),
)


SCORE = table(
    "What the verdicts on one question come to.",
    question_id(),
    column("kind", pa.string(), "kind of task"),
    column("judge", pa.string(), "its name"),
    column("a", pa.string(), "contestant"),
    column("b", pa.string(), "contestant; null where a alone was graded", null=True),
    column("outcome", pa.string(), "a, b, tie, conflict (the winner changed with the order), undecided; graded"),
    column("score", pa.float32(), "of a: 1 won, 0.5 tied, 0 lost; or its grade, 1 to 10; null: undecided", null=True),
)


STANDARD = table(
    "Results of lmms-eval's standard benchmarks on a served model: one metric a row. No stage makes it, but `lmms`.",
    column("task", pa.string(), "lmms-eval's name of it"),
    column("version", pa.string(), "of the task, as lmms-eval gives it", null=True),
    column("metric", pa.string(), "as the task names it, with its filter unless that is none"),
    column("score", pa.float64(), "in the metric's own unit; null: lmms-eval could not tell", null=True),
    column("error", pa.float64(), "standard error, as lmms-eval estimates it", null=True),
    column("samples", pa.int32(), "questions asked"),
    column("limit", pa.int32(), "only the first so many were asked; null: all", null=True),
    column("model", pa.string(), "as its endpoint calls it"),
    column("lmms_eval", pa.string(), "version of lmms-eval"),
)

BENCH: dict[str, pa.Schema] = {
    "pick": PICK,
    "respond": RESPOND,
    "judge": JUDGE,
    "score": SCORE,
}
"""Tables of a benchmark, by name."""
