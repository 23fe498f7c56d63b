"""Every table's columns: name, type, unit and meaning, in one place.

``docs/tables.md`` is generated from this module (``python -m mminstruct.schemas``) and a test keeps it true.
The meaning travels in each Parquet file as field metadata.
"""

from __future__ import annotations

import pyarrow as pa


def _field(name: str, type_: pa.DataType, meaning: str, *, null: bool = False) -> pa.Field:
    return pa.field(name, type_, nullable=null, metadata={"meaning": meaning})


def _schema(meaning: str, *fields: pa.Field) -> pa.Schema:
    return pa.schema(fields, metadata={"meaning": meaning})


def _image_id() -> pa.Field:
    return _field("image_id", pa.string(), "first 16 hex digits of SHA-256 of the image's original bytes")


def _instruction_id() -> pa.Field:
    return _field("instruction_id", pa.string(), "first 16 hex digits of SHA-256 of the normalised instruction")


def _pair_id() -> pa.Field:
    return _field("pair_id", pa.string(), "first 16 hex digits of SHA-256 of image_id and instruction_id")


def _question_id() -> pa.Field:
    return _field("question_id", pa.string(), "of the set; the pair_id where a run was picked from")


INGEST = _schema(
    "One row for each distinct image of a shard: upright, RGB, safe to decode.",
    _image_id(),
    _field("image", pa.large_binary(), "JPEG (or lossless PNG) bytes, upright, sRGB, no metadata, longest side capped"),
    _field("width", pa.int32(), "of the stored image, pixels"),
    _field("height", pa.int32(), "of the stored image, pixels"),
    _field("original_width", pa.int32(), "before rotation and scaling, pixels"),
    _field("original_height", pa.int32(), "before rotation and scaling, pixels"),
    _field("format", pa.string(), "format found in the original bytes, whatever the name said: JPEG, PNG, WEBP, ..."),
    _field("frames", pa.int32(), "frames in the original; the first one is kept"),
    _field("phash", pa.uint64(), "64-bit DCT perceptual hash of the stored image"),
    _field("source", pa.string(), "name of the collection, as configured"),
    _field("shard", pa.string(), "file the image came from, relative to the source"),
    _field("member", pa.string(), "name inside the shard, as found; never used as a path"),
    _field("alt_text", pa.string(), "text that came with the image", null=True),
    _field("licence", pa.string(), "licence that came with the image, or the source's", null=True),
    _field("url", pa.string(), "where the image was published", null=True),
    _field("sidecar", pa.string(), "all other fields that came with the image, as a JSON object", null=True),
)
CAPTION = _schema(
    "What the captioner sees: one detailed caption an image.",
    _image_id(),
    _field("caption", pa.string(), "complete sentences"),
    _field("tokens", pa.int32(), "length as the captioner counts it, tokens"),
)
FUSE = _schema(
    "Caption and alt-text merged into the description that all later texts rest on (CapsFusion).",
    _image_id(),
    _field("description", pa.string(), "the fused text, or the caption itself where there is nothing to fuse"),
    _field("fused", pa.bool_(), "whether alt-text went in"),
)
INSTRUCT = _schema(
    "Raw instructions: what a person might ask about this image (MM-Instruct's instruction generation).",
    _instruction_id(),
    _image_id(),
    _field("instruction", pa.string(), "as parsed from the reply"),
    _field("examples", pa.list_(pa.string()), "the in-context instructions of its prompt"),
)
EMBED = _schema(
    "Text embeddings of the raw instructions.",
    _instruction_id(),
    _field("embedding", pa.list_(pa.float32()), "unit length"),
)
CLUSTER = _schema(
    "Which cluster each distinct raw instruction fell in.",
    _instruction_id(),
    _field("cluster", pa.int32(), "from 0, in order of the cluster's size, largest first"),
    _field("distance", pa.float32(), "to its centroid, Euclidean between unit vectors, 0 to 2"),
    _field("count", pa.int32(), "how often this very instruction was written"),
)
SUMMARIZE = _schema(
    "The bank: one reusable instruction a cluster.",
    _instruction_id(),
    _field("instruction", pa.string(), "general: fits many images"),
    _field("cluster", pa.int32(), "the cluster that it speaks for"),
    _field("size", pa.int32(), "distinct raw instructions in the cluster"),
    _field("members", pa.list_(pa.string()), "the raw instructions that the summarizer was shown, nearest first"),
)
MATCH = _schema(
    "Image-instruction pairs sampled by CLIP similarity.",
    _pair_id(),
    _image_id(),
    _instruction_id(),
    _field("similarity", pa.float32(), "cosine of image and instruction, -1 to 1"),
    _field("probability", pa.float32(), "with which it was drawn for this image, 0 to 1"),
)
EXEMPLIFY = _schema(
    "Exemplars: answers of a strong model, shown in context to the answerer.",
    _pair_id(),
    _image_id(),
    _instruction_id(),
    _field("description", pa.string(), "of the exemplar's image"),
    _field("answer", pa.string(), "by the exemplar role"),
)
ANSWER = _schema(
    "The answer to each pair, written from the description with exemplars in context.",
    _pair_id(),
    _image_id(),
    _instruction_id(),
    _field("answer", pa.string(), "complete, as replied"),
    _field("exemplars", pa.int32(), "how many were shown"),
    _field("tokens", pa.int32(), "length as the answerer counts it, tokens"),
)
FILTER = _schema(
    "The pairs that passed every rule; what fell is in _dropped with the rule's name.",
    _pair_id(),
    _image_id(),
    _instruction_id(),
    _field("words", pa.int32(), "words in the answer"),
)
SELECT = _schema(
    "The final choice: no near-duplicates, nothing of the evaluation sets, quotas kept, split assigned.",
    _pair_id(),
    _image_id(),
    _instruction_id(),
    _field("split", pa.string(), "train or test; a test row shares neither image nor instruction with train"),
)
EXPORT = _schema(
    "The dataset: one conversation about one image a row.",
    _pair_id(),
    _field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]),
           "Hugging Face Image feature: encoded bytes and a file name"),
    _field("conversations", pa.list_(pa.struct([pa.field("from", pa.string()), pa.field("value", pa.string())])),
           "LLaVA turns: human with <image> first, then gpt, in turn"),
    _field("split", pa.string(), "train or test"),
    _image_id(),
    _instruction_id(),
    _field("source", pa.string(), "name of the collection"),
    _field("licence", pa.string(), "of the image", null=True),
)  # fmt: skip
PICK = _schema(
    "The questions of a benchmark: held-out pairs of a run, or an external set.",
    _question_id(),
    _image_id(),
    _instruction_id(),
    _field("question", pa.string(), "as the contestants are asked"),
    _field("kind", pa.string(), "kind of task: the set's own category, or told by the wording"),
    _field("image", pa.large_binary(), "encoded image; null where there is none (image_id is then empty)", null=True),
    _field("caption", pa.string(), "what is in the image, for judges that cannot see it", null=True),
    _field("reference", pa.string(), "an answer that came with the question", null=True),
)
RESPOND = _schema(
    "Every contestant's answer to every question.",
    _question_id(),
    _field("contestant", pa.string(), "its name; NAME@K where K turns in other formats came before"),
    _field("answer", pa.string(), "as replied or given; null where fault says why there is none", null=True),
    _field("fault", pa.string(), "missing, no_image, model_error, model_filtered", null=True),
    _field("detail", pa.string(), "of the fault", null=True),
    _field("finish", pa.string(), "stop; length: cut at max_tokens; given: read from a file, which does not tell"),
    _field("tokens", pa.int32(), "length as the contestant counts it; null for given answers", null=True),
    _field("words", pa.int32(), "words in the answer"),
    _field("ends", pa.bool_(), "whether it ends as a text does, not in the middle of a sentence"),
    _field("earlier", pa.string(), "the turns before, a JSON list of [question, answer]; null: none", null=True),
)
JUDGE = _schema(
    "Every verdict: one call of a judge a row.",
    _question_id(),
    _field("judge", pa.string(), "its name"),
    _field("a", pa.string(), "contestant; before b in the alphabet"),
    _field("b", pa.string(), "contestant; null where a alone was graded", null=True),
    _field("order", pa.int8(), "0: a was shown first, 1: b was; null where a alone was graded", null=True),
    _field("verdict", pa.string(), "a, b, neither, or unparsed; null where a alone was graded", null=True),
    _field("grade", pa.int32(), "1 to 10; null: not graded, or unparsed", null=True),
    _field("reason", pa.string(), "as the judge gives it", null=True),
    _field("reply", pa.string(), "the whole reply, as it came"),
    _field("finish", pa.string(), "stop, length, filtered or error"),
    _field("error", pa.string(), "what the model's server said", null=True),
    _field("saw", pa.string(), "what it knew the image by: image, caption, image+caption, nothing, truth (the oracle)"),
)
SCORE = _schema(
    "What the verdicts on one question come to.",
    _question_id(),
    _field("kind", pa.string(), "kind of task"),
    _field("judge", pa.string(), "its name"),
    _field("a", pa.string(), "contestant"),
    _field("b", pa.string(), "contestant; null where a alone was graded", null=True),
    _field("outcome", pa.string(), "a, b, tie, conflict (the winner changed with the order), undecided; graded"),
    _field("score", pa.float32(), "of a: 1 won, 0.5 tied, 0 lost; or its grade, 1 to 10; null: undecided", null=True),
)

TABLES: dict[str, pa.Schema] = {
    "ingest": INGEST,
    "caption": CAPTION,
    "fuse": FUSE,
    "instruct": INSTRUCT,
    "embed": EMBED,
    "cluster": CLUSTER,
    "summarize": SUMMARIZE,
    "match": MATCH,
    "exemplify": EXEMPLIFY,
    "answer": ANSWER,
    "filter": FILTER,
    "select": SELECT,
    "export": EXPORT,
    "pick": PICK,
    "respond": RESPOND,
    "judge": JUDGE,
    "score": SCORE,
}
"""Schemas by table name."""

STANDARD = _schema(
    "Results of lmms-eval's standard benchmarks on a served model: one metric a row. No stage makes it, but `lmms`.",
    _field("task", pa.string(), "lmms-eval's name of it"),
    _field("version", pa.string(), "of the task, as lmms-eval gives it", null=True),
    _field("metric", pa.string(), "as the task names it, with its filter unless that is none"),
    _field("score", pa.float64(), "in the metric's own unit; null: lmms-eval could not tell", null=True),
    _field("error", pa.float64(), "standard error, as lmms-eval estimates it", null=True),
    _field("samples", pa.int32(), "questions asked"),
    _field("limit", pa.int32(), "only the first so many were asked; null: all", null=True),
    _field("model", pa.string(), "as its endpoint calls it"),
    _field("lmms_eval", pa.string(), "version of lmms-eval"),
)

DROPPED = _schema(
    "What left a stage, and why: beside every table, in _dropped/.",
    _field("id", pa.string(), "of the row that left: an image_id, instruction_id or pair_id, or a shard's member"),
    _field("reason", pa.string(), "a short name, counted in the receipts"),
    _field("detail", pa.string(), "what was found", null=True),
)


def document() -> str:
    """docs/tables.md."""
    lines = ["# Tables", "", "Generated by `python -m mminstruct.schemas` from `mminstruct/schemas.py`.", ""]
    for name, schema in [*TABLES.items(), ("standard", STANDARD), ("_dropped", DROPPED)]:
        lines += [f"## {name}", "", schema.metadata[b"meaning"].decode(), ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        for field in schema:
            kind = f"{field.type}{', may be null' if field.nullable else ''}"
            lines.append(f"| {field.name} | `{kind}` | {field.metadata[b'meaning'].decode()} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(document())
