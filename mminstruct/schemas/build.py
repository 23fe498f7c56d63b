"""Tables of a recipe that builds a dataset."""

from __future__ import annotations

import pyarrow as pa

from mminstruct.schemas.columns import column, table
from mminstruct.schemas.domains import ASK, CONVERSE, RETRIEVE, TRANSCRIBE, VERIFY
from mminstruct.schemas.ids import image_id, instruction_id, pair_id
from mminstruct.schemas.turn import TURN

INGEST = table(
    "One row for each distinct image of a shard: upright, RGB, safe to decode.",
    image_id("id"),
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
    image_id("id"),
    column("caption", pa.string(), "complete sentences", tag="text"),
    column("tokens", pa.int32(), "length as the captioner counts it, tokens"),
)


FUSE = table(
    "Caption and alt-text merged into the description that all later texts rest on (CapsFusion).",
    image_id("id"),
    column(
        "description", pa.string(), "the fused text, or the caption itself where there is nothing to fuse", tag="text"
    ),
    column("fused", pa.bool_(), "whether alt-text went in"),
)


INSTRUCT = table(
    "Raw instructions: what a person might ask about this image (MM-Instruct's instruction generation).",
    instruction_id("member"),
    image_id(),
    column("instruction", pa.string(), "as parsed from the reply", tag="text"),
    column("examples", pa.list_(pa.string()), "the in-context instructions of its prompt"),
)


EMBED = table(
    "Text embeddings of the raw instructions.",
    instruction_id("member"),
    column("embedding", pa.list_(pa.float32()), "unit length", tag="heavy"),
)


CLUSTER = table(
    "Which cluster each distinct raw instruction fell in.",
    instruction_id("member"),
    column("cluster", pa.int32(), "from 0, in order of the cluster's size, largest first", tag="group"),
    column("distance", pa.float32(), "to its centroid, Euclidean between unit vectors, 0 to 2"),
    column("count", pa.int32(), "how often this very instruction was written"),
)


SUMMARIZE = table(
    "The bank: one reusable instruction a cluster.",
    instruction_id("id"),
    column("instruction", pa.string(), "general: fits many images", tag="text"),
    column("cluster", pa.int32(), "the cluster that it speaks for", tag="group"),
    column("size", pa.int32(), "distinct raw instructions in the cluster"),
    column("members", pa.list_(pa.string()), "the raw instructions that the summarizer was shown, nearest first"),
)


MATCH = table(
    "Image-instruction pairs sampled by CLIP similarity.",
    pair_id(),
    image_id(),
    instruction_id(),
    column("similarity", pa.float32(), "cosine of image and instruction, -1 to 1"),
    column("probability", pa.float32(), "with which it was drawn for this image, 0 to 1"),
)


EXEMPLIFY = table(
    "Exemplars: answers of a strong model, shown in context to the answerer.",
    pair_id(""),
    image_id(),
    instruction_id(),
    column("description", pa.string(), "of the exemplar's image", tag="text"),
    column("answer", pa.string(), "by the exemplar role", tag="text"),
)


ANSWER = table(
    "The answer to each pair, written from the description with exemplars in context.",
    pair_id(),
    image_id(),
    instruction_id(),
    column("answer", pa.string(), "complete, as replied", tag="text"),
    column("exemplars", pa.int32(), "how many were shown"),
    column("tokens", pa.int32(), "length as the answerer counts it, tokens"),
)


FILTER = table(
    "The pairs that passed every rule; what fell is in _dropped with the rule's name.",
    pair_id(),
    image_id(),
    instruction_id(),
    column("words", pa.int32(), "words in the answer"),
)


ANNOTATE = table(
    "Annotations of images by people, a question or a description a row, from any mixture of published sets.",
    column("annotation_id", pa.string(), "digest of the set and of what was annotated", tag="id"),
    column("set", pa.string(), "name of the annotation set, as configured"),
    column("image_key", pa.string(), "`coco:9`, `vg:2410408`, or `stem:NAME` of another file name", tag="name"),
    column("coco_key", pa.string(), "`coco:9` where an image of Visual Genome is also one of COCO", null=True),
    column("kind", pa.string(), "caption, paragraph, short, number, judgement, explained or choice_explained"),
    column("question", pa.string(), "question or statement; null: a description of the image", null=True, tag="text"),
    column("answer", pa.string(), "as annotated, or what most annotators say; of a choice, its text", tag="text"),
    column("choices", pa.list_(pa.string()), "texts without letters, in the order of the set", null=True, tag="text"),
    column("right", pa.int8(), "place of the right choice, from 0", null=True),
    column("rationale", pa.string(), "why the answer is right", null=True, tag="text"),
    column("support", pa.float32(), "share of the annotators who gave this answer, 0 to 1; null: unknown", null=True),
    column("licence", pa.string(), "of the annotation", null=True),
    column("place", pa.string(), "the id that the set has for it, else its image and its own number there"),
)


TEMPLATE = table(
    "Annotations as questions and answers, each with its format phrase (COCO-is-all, table 1). "
    "Here pair_id also covers annotation_id, since several people annotate the same question.",
    *TURN,
    column("annotation_id", pa.string(), "the annotation that it is made from", tag="parent"),
    column("support", pa.float32(), "share of the annotators who gave this answer, 0 to 1; null: unknown", null=True),
)


DECIDE = table(
    "What people decided, a decision a row: about a pair, an instruction, or the caption of an image.",
    column("decision_id", pa.string(), "digest of the line in its file, without the time", tag="id"),
    pair_id("parent").with_nullable(True),  # a decision is about one of the three
    instruction_id("parent").with_nullable(True),
    image_id("parent").with_nullable(True),
    column("what", pa.string(), "on the sheet: turns, match, instructions, answers or captions"),
    column("sheet", pa.string(), "digest of the rows that were given to one person"),
    column("place", pa.int32(), "on the sheet, from 0; a hidden repeat has the same id at another place"),
    column("person", pa.string(), "a short name, never exported"),
    column("rank", pa.int8(), "0: annotator, 1: adjudicator"),
    column("decision", pa.string(), "accept, edit, reject or skip; rate where rows are rated"),
    column("axis", pa.string(), "what is rated: fits; grounded, new or useful", null=True),
    column("rating", pa.int8(), "1 to 5", null=True),
    column("reason", pa.string(), "of a rejection", null=True),
    column("question", pa.string(), "after an edit", null=True, tag="text"),
    column("answer", pa.string(), "after an edit", null=True, tag="text"),
    column("choices", pa.list_(pa.string()), "after an edit", null=True, tag="text"),
    column("right", pa.int8(), "after an edit", null=True),
    column("seconds", pa.float32(), "that the person took; null: unknown", null=True),
    column("at", pa.string(), "UTC, ISO 8601; null: unknown", null=True),
    column("shown", pa.string(), "digest of what was on the screen"),
)


REVIEW = table(
    "Every question and answer that passed, as it will be exported, with what people decided.",
    *TURN,
    column("decision", pa.string(), "unseen, accepted or edited"),
    column("people", pa.int8(), "who decided"),
    column("was", pa.string(), "the answer before an edit", null=True, tag="text"),
)


AXES = {
    "formatting": "how clear and well formed the texts are",
    "relevance": "how well the answer answers the question",
    "visual_dependency": "how much the question needs the image",
    "image_correspondence": "how well question and answer agree with the image",
}
"""Axes on which models rate a question with its answer (FineVision, arXiv 2510.17269)."""


RATE = table(
    "Ratings of every question and answer by models, 1 to 5; null where a reply had none.",
    pair_id(),
    image_id(),
    *(column(axis, pa.int8(), f"{meaning}, 1 to 5", null=True) for axis, meaning in AXES.items()),
    column("replies", pa.list_(pa.struct([pa.field("axis", pa.string()), pa.field("reply", pa.string())])),
           "what the raters replied, as it came"),
)  # fmt: skip


SELECT = table(
    "The final choice: no near-duplicates, nothing of the evaluation sets, quotas kept, split assigned.",
    pair_id(),
    image_id(),
    instruction_id(),
    column("split", pa.string(), "train or test; a test row shares no image with train, nor what is held out"),
    column("kind", pa.string(), "of question and answer"),
    column("domain", pa.string(), "empty where the recipe has none"),
)


MERGE = table(
    "Which pairs make up one conversation, and in which order.",
    pair_id(),
    column("talk_id", pa.string(), "the conversation: the pair_id of its only pair, else a digest", tag="parent"),
    column("place", pa.int16(), "in the conversation, from 0"),
    image_id(),
    column("split", pa.string(), "train or test; all of a conversation have the same"),
    column("words", pa.int32(), "of question and answer"),
    column("phrased", pa.bool_(), "whether the question is shown with its format phrase"),
)


EXPORT = table(
    "The dataset: one conversation about one image a row.",
    column("pair_id", pa.string(), "of its only pair, or the talk_id where there are several", tag="id"),
    column("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]),
           "Hugging Face Image feature: encoded bytes and a file name", tag="heavy"),
    column("conversations", pa.list_(pa.struct([pa.field("from", pa.string()), pa.field("value", pa.string())])),
           "LLaVA turns: human with <image> first, then gpt, in turn", tag="text"),
    column("split", pa.string(), "train or test"),
    image_id(),
    column("instruction_id", pa.string(), "of its only question, else null", null=True, tag="parent"),
    column("source", pa.string(), "name of the collection"),
    column("licence", pa.string(), "of the image", null=True),
    column("turns", pa.list_(pa.struct([
        *(pa.field(name, pa.string()) for name in ("pair_id", "instruction_id", "kind", "domain", "origin")),
        *(pa.field(axis, pa.int8()) for axis in AXES)])), "one for each question, in order, with its ratings"),
)  # fmt: skip


DROPPED = table(
    "What left a stage, and why: beside every table, in _dropped/.",
    column("id", pa.string(), "of the row that left: an image_id, instruction_id or pair_id, or a shard's member"),
    column("reason", pa.string(), "a short name, counted in the receipts"),
    column("detail", pa.string(), "what was found", null=True),
)

BUILD: dict[str, pa.Schema] = {
    "ingest": INGEST,
    "retrieve": RETRIEVE,
    "transcribe": TRANSCRIBE,
    "caption": CAPTION,
    "fuse": FUSE,
    "instruct": INSTRUCT,
    "embed": EMBED,
    "cluster": CLUSTER,
    "summarize": SUMMARIZE,
    "match": MATCH,
    "exemplify": EXEMPLIFY,
    "answer": ANSWER,
    "ask": ASK,
    "converse": CONVERSE,
    "verify": VERIFY,
    "annotate": ANNOTATE,
    "template": TEMPLATE,
    "filter": FILTER,
    "decide": DECIDE,
    "review": REVIEW,
    "rate": RATE,
    "select": SELECT,
    "merge": MERGE,
    "export": EXPORT,
}
"""Tables of a recipe that builds a dataset, by name."""
