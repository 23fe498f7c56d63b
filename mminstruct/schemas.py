"""Every table's columns: name, type, unit and meaning, in one place.

``docs/tables.md`` is generated from this module (``python -m mminstruct.schemas``) and a test keeps it true.
The meaning travels in each Parquet file as field metadata; the tag is kept in the table's manifest.
"""

from __future__ import annotations

import pyarrow as pa

TAGS = {
    "id": "names the row",
    "parent": "names a row of an earlier table that this row was made from or belongs to",
    "member": "names the row, which readers reach through its group",
    "group": "number that connects members with the row that stands for them",
    "name": "what the outside data calls the row",
    "text": "prose, written by a person or a model",
    "heavy": "too large to print",
}
"""What a column is for. Trace, deletion, report and notebooks follow tags, never table names."""


def column(name: str, type_: pa.DataType, meaning: str, *, null: bool = False, tag: str = "") -> pa.Field:
    """One column.

    Args:
        meaning: unit and meaning, for ``docs/tables.md`` and for readers of the file.
        null: Whether a kept row may have none.
        tag: One of ``TAGS``, or nothing.

    Raises:
        ValueError: there is no such tag.
    """
    if tag and tag not in TAGS:
        raise ValueError(f"column {name}: tag {tag!r} is none of {', '.join(TAGS)}")
    return pa.field(name, type_, nullable=null, metadata={"meaning": meaning} | ({"tag": tag} if tag else {}))


def table(meaning: str, *columns: pa.Field) -> pa.Schema:
    """A table of *columns*."""
    return pa.schema(columns, metadata={"meaning": meaning})


def tag(field: pa.Field) -> str:
    """The tag of a column; empty where it has none."""
    return str((field.metadata or {}).get(b"tag", b""), "utf-8")


def tagged(schema: pa.Schema, *tags: str) -> list[str]:
    """Names of the columns that have one of *tags*, in order."""
    return [field.name for field in schema if tag(field) in tags]


def stored(schema: pa.Schema) -> pa.Schema:
    """*schema* as Parquet files have it: without tags, so that a new tag changes no file."""
    fields = [field.with_metadata({k: v for k, v in (field.metadata or {}).items() if k != b"tag"}) for field in schema]
    return pa.schema(fields, schema.metadata)


def _image_id(tag: str = "parent") -> pa.Field:
    return column("image_id", pa.string(), "first 16 hex digits of SHA-256 of the image's original bytes", tag=tag)


def _instruction_id(tag: str = "parent") -> pa.Field:
    meaning = "first 16 hex digits of SHA-256 of the normalised instruction"
    return column("instruction_id", pa.string(), meaning, tag=tag)


def _pair_id(tag: str = "id") -> pa.Field:
    return column("pair_id", pa.string(), "first 16 hex digits of SHA-256 of image_id and instruction_id", tag=tag)


def _question_id(tag: str = "parent") -> pa.Field:
    return column("question_id", pa.string(), "of the set; the pair_id where a run was picked from", tag=tag)


INGEST = table(
    "One row for each distinct image of a shard: upright, RGB, safe to decode.",
    _image_id("id"),
    column(
        "image",
        pa.large_binary(),
        "JPEG (or lossless PNG) bytes, upright, sRGB, no metadata, longest side capped",
        tag="heavy",
    ),
    column("width", pa.int32(), "of the stored image, pixels"),
    column("height", pa.int32(), "of the stored image, pixels"),
    column("original_width", pa.int32(), "before rotation and scaling, pixels"),
    column("original_height", pa.int32(), "before rotation and scaling, pixels"),
    column("format", pa.string(), "format found in the original bytes, whatever the name said: JPEG, PNG, WEBP, ..."),
    column("frames", pa.int32(), "frames in the original; the first one is kept"),
    column("phash", pa.uint64(), "64-bit DCT perceptual hash of the stored image"),
    column("source", pa.string(), "name of the collection, as configured"),
    column("shard", pa.string(), "file the image came from, relative to the source"),
    column("member", pa.string(), "name inside the shard, as found; never used as a path", tag="name"),
    column("alt_text", pa.string(), "text that came with the image", null=True, tag="text"),
    column("licence", pa.string(), "licence that came with the image, or the source's", null=True),
    column("url", pa.string(), "where the image was published", null=True),
    column("sidecar", pa.string(), "all other fields that came with the image, as a JSON object", null=True),
)
CAPTION = table(
    "What the captioner sees: one detailed caption an image.",
    _image_id("id"),
    column("caption", pa.string(), "complete sentences", tag="text"),
    column("tokens", pa.int32(), "length as the captioner counts it, tokens"),
)
FUSE = table(
    "Caption and alt-text merged into the description that all later texts rest on (CapsFusion).",
    _image_id("id"),
    column(
        "description", pa.string(), "the fused text, or the caption itself where there is nothing to fuse", tag="text"
    ),
    column("fused", pa.bool_(), "whether alt-text went in"),
)
INSTRUCT = table(
    "Raw instructions: what a person might ask about this image (MM-Instruct's instruction generation).",
    _instruction_id("member"),
    _image_id(),
    column("instruction", pa.string(), "as parsed from the reply", tag="text"),
    column("examples", pa.list_(pa.string()), "the in-context instructions of its prompt"),
)
EMBED = table(
    "Text embeddings of the raw instructions.",
    _instruction_id("member"),
    column("embedding", pa.list_(pa.float32()), "unit length", tag="heavy"),
)
CLUSTER = table(
    "Which cluster each distinct raw instruction fell in.",
    _instruction_id("member"),
    column("cluster", pa.int32(), "from 0, in order of the cluster's size, largest first", tag="group"),
    column("distance", pa.float32(), "to its centroid, Euclidean between unit vectors, 0 to 2"),
    column("count", pa.int32(), "how often this very instruction was written"),
)
SUMMARIZE = table(
    "The bank: one reusable instruction a cluster.",
    _instruction_id("id"),
    column("instruction", pa.string(), "general: fits many images", tag="text"),
    column("cluster", pa.int32(), "the cluster that it speaks for", tag="group"),
    column("size", pa.int32(), "distinct raw instructions in the cluster"),
    column("members", pa.list_(pa.string()), "the raw instructions that the summarizer was shown, nearest first"),
)
MATCH = table(
    "Image-instruction pairs sampled by CLIP similarity.",
    _pair_id(),
    _image_id(),
    _instruction_id(),
    column("similarity", pa.float32(), "cosine of image and instruction, -1 to 1"),
    column("probability", pa.float32(), "with which it was drawn for this image, 0 to 1"),
)
EXEMPLIFY = table(
    "Exemplars: answers of a strong model, shown in context to the answerer.",
    _pair_id(""),
    _image_id(),
    _instruction_id(),
    column("description", pa.string(), "of the exemplar's image", tag="text"),
    column("answer", pa.string(), "by the exemplar role", tag="text"),
)
ANSWER = table(
    "The answer to each pair, written from the description with exemplars in context.",
    _pair_id(),
    _image_id(),
    _instruction_id(),
    column("answer", pa.string(), "complete, as replied", tag="text"),
    column("exemplars", pa.int32(), "how many were shown"),
    column("tokens", pa.int32(), "length as the answerer counts it, tokens"),
)
FILTER = table(
    "The pairs that passed every rule; what fell is in _dropped with the rule's name.",
    _pair_id(),
    _image_id(),
    _instruction_id(),
    column("words", pa.int32(), "words in the answer"),
)
_TURN = (
    _pair_id(),
    _image_id(),
    _instruction_id(),
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
DECIDE = table(
    "What people decided about questions and answers, a decision a row.",
    column("decision_id", pa.string(), "digest of the line in its file, without the time", tag="id"),
    _pair_id("parent"),
    column("sheet", pa.string(), "the set of rows that was given to one person"),
    column("person", pa.string(), "a short name, never exported"),
    column("decision", pa.string(), "accept, edit, reject or skip"),
    column("rating", pa.int8(), "1 to 5", null=True),
    column("reason", pa.string(), "of a rejection", null=True),
    column("question", pa.string(), "as edited", null=True, tag="text"),
    column("answer", pa.string(), "as edited", null=True, tag="text"),
    column("choices", pa.list_(pa.string()), "as edited", null=True, tag="text"),
    column("right", pa.int8(), "as edited", null=True),
    column("seconds", pa.float32(), "that the person took"),
    column("at", pa.string(), "UTC, ISO 8601"),
    column("rank", pa.int8(), "0: annotator, 1: adjudicator"),
    column("shown", pa.string(), "digest of what was on the screen"),
)
REVIEW = table(
    "Every question and answer that passed, as it will be exported, with what people decided.",
    *_TURN,
    column("decision", pa.string(), "unseen, accepted or edited"),
    column("people", pa.int8(), "who decided"),
    column("was", pa.string(), "the answer before an edit", null=True, tag="text"),
)
SELECT = table(
    "The final choice: no near-duplicates, nothing of the evaluation sets, quotas kept, split assigned.",
    _pair_id(),
    _image_id(),
    _instruction_id(),
    column("split", pa.string(), "train or test; a test row shares no image with train, nor what is held out"),
    column("kind", pa.string(), "of question and answer"),
    column("domain", pa.string(), "empty where the recipe has none"),
)
MERGE = table(
    "Which pairs make up one conversation, and in which order.",
    _pair_id(),
    column("talk_id", pa.string(), "the conversation: the pair_id of its only pair, else a digest", tag="parent"),
    column("place", pa.int16(), "in the conversation, from 0"),
    _image_id(),
    column("split", pa.string(), "train or test; all of a conversation have the same"),
    column("words", pa.int32(), "of question and answer"),
)
EXPORT = table(
    "The dataset: one conversation about one image a row.",
    column("pair_id", pa.string(), "of its only pair, or the talk_id where there are several", tag="id"),
    column("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]),
           "Hugging Face Image feature: encoded bytes and a file name", tag="heavy"),
    column("conversations", pa.list_(pa.struct([pa.field("from", pa.string()), pa.field("value", pa.string())])),
           "LLaVA turns: human with <image> first, then gpt, in turn", tag="text"),
    column("split", pa.string(), "train or test"),
    _image_id(),
    column("instruction_id", pa.string(), "of its only question, else null", null=True, tag="parent"),
    column("source", pa.string(), "name of the collection"),
    column("licence", pa.string(), "of the image", null=True),
    column("turns", pa.list_(pa.struct([pa.field(name, pa.string()) for name in (
        "pair_id", "instruction_id", "kind", "domain", "origin")])), "one for each question, in order"),
)  # fmt: skip
PICK = table(
    "The questions of a benchmark: held-out pairs of a run, or an external set.",
    _question_id("id"),
    _image_id(),
    _instruction_id(),
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
)
RESPOND = table(
    "Every contestant's answer to every question.",
    _question_id(),
    column("contestant", pa.string(), "its name; NAME@K where K turns in other formats came before"),
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
    _question_id(),
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
    _question_id(),
    column("kind", pa.string(), "kind of task"),
    column("judge", pa.string(), "its name"),
    column("a", pa.string(), "contestant"),
    column("b", pa.string(), "contestant; null where a alone was graded", null=True),
    column("outcome", pa.string(), "a, b, tie, conflict (the winner changed with the order), undecided; graded"),
    column("score", pa.float32(), "of a: 1 won, 0.5 tied, 0 lost; or its grade, 1 to 10; null: undecided", null=True),
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
    "decide": DECIDE,
    "review": REVIEW,
    "select": SELECT,
    "merge": MERGE,
    "export": EXPORT,
    "pick": PICK,
    "respond": RESPOND,
    "judge": JUDGE,
    "score": SCORE,
}
"""Schemas by table name."""

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

DROPPED = table(
    "What left a stage, and why: beside every table, in _dropped/.",
    column("id", pa.string(), "of the row that left: an image_id, instruction_id or pair_id, or a shard's member"),
    column("reason", pa.string(), "a short name, counted in the receipts"),
    column("detail", pa.string(), "what was found", null=True),
)


def document() -> str:
    """docs/tables.md."""
    lines = ["# Tables", "", "Generated by `python -m mminstruct.schemas` from `mminstruct/schemas.py`.", ""]
    lines += ["A tag says what a column is for:", ""]
    lines += [f"- `{name}`: {meaning}" for name, meaning in TAGS.items()]
    lines += [""]
    for name, schema in [*TABLES.items(), ("standard", STANDARD), ("_dropped", DROPPED)]:
        lines += [f"## {name}", "", schema.metadata[b"meaning"].decode(), ""]
        lines += ["| column | type | meaning | tag |", "|---|---|---|---|"]
        for field in schema:
            kind = f"{field.type}{', may be null' if field.nullable else ''}"
            lines.append(f"| {field.name} | `{kind}` | {field.metadata[b'meaning'].decode()} | {tag(field)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(document())
