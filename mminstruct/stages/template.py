"""Annotations become questions and answers: rules only, no model (COCO-is-all, arXiv 2401.08968, table 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.annotations.keys import image_key
from mminstruct.prompts import blanks, fill
from mminstruct.stage import Drop, Stage, StageOutput, Transform, content_id, instruction_id, output, part_key, whole
from mminstruct.text import one_line
from mminstruct.text.question import asked, in_digits, is_abbreviated

Row = dict[str, Any]

_SHORT = "Answer the question with a short phrase."
PHRASES = {
    "caption": "Describe the content of this image in 20 words.",
    "paragraph": "Describe the image in one paragraph.",
    "short": _SHORT,
    "number": "Answer the question with a number.",
    "explained": "Answer with a short phrase and provide explanation for your answer.",
    "judgement": "Please answer yes or no about whether the statement about the image is true.",
    "choice_explained": "Answer with option's letter from the given choices and provide explanation for your choice.",
}
"""Format phrase of each kind, as in the paper's table 1."""
ANSWERS = {
    "explained": "{{ answer }}. {{ rationale }}",
    "choice_explained": "{{ letter }}. {{ rationale }}",
}
"""Wording of the answers that have two parts. The paper does not state it."""
_TERSE = ("short", "number", "judgement", "explained")
"""Kinds whose answer is a word or phrase: no final stop, and a number in digits."""
_ENDS = tuple(".!?…\"'”’)]。！？")
NO_IMAGE, AMBIGUOUS = -1, -2
_IMAGE = pa.field("image", pa.int32())
"""Column of the images' numbers, which are in the order of parts."""
_VARIABLES = frozenset({"answer", "rationale", "letter"})


@dataclass(kw_only=True)
class Template(Stage):
    """Joins annotations with their images and gives each the format phrase of its kind.

    One unit reads all annotations; a row gets the part key that its image has in ``ingest``. Choices keep the order of
    the set, as its annotators saw it: so a row can be compared with its original.
    """

    phrases: dict[str, str] = field(default_factory=lambda: dict(PHRASES))
    """Format phrase by kind; it is the question itself where the annotation has none. Kinds without an entry are
    dropped."""
    answers: dict[str, str] = field(default_factory=lambda: dict(ANSWERS))
    """Answer by kind, as a Jinja template of ``answer``, ``rationale`` and the ``letter`` of a choice; without an
    entry, the answer itself. ``merge`` compares the first sentence of explained answers."""

    reads = {
        "annotate": whole(
            "annotation_id", "set", "image_key", "coco_key", "kind", "question", "answer", "choices", "right",
            "rationale", "support", "place",
        ),
        "ingest": whole("image_id", "member", "source"),
    }  # fmt: skip
    writes = schemas.TEMPLATE
    row_key = "annotation_id"
    core_seconds = 0.0001

    def check(self) -> None:
        faults = [
            f"phrases.{kind} is empty: it is the whole question of a {kind}"
            for kind in ("caption", "paragraph")
            if not self.phrases.get(kind, "x").strip()
        ]
        for kind, text in self.answers.items():
            try:
                unknown = blanks(text) - _VARIABLES
            except ValueError as error:
                faults.append(f"answers.{kind}: {error}")
                continue
            if unknown:
                there = ", ".join(sorted(_VARIABLES))
                faults.append(f"answers.{kind} uses {', '.join(sorted(unknown))}; there is {there}")
        if faults:
            raise ValueError("\n".join(faults))

    def load(self, *, annotate: ds.Dataset, ingest: ds.Dataset) -> Transform:
        def template() -> Iterator[tuple[str, StageOutput]]:
            images, columns = _Images(ingest), list(self.reads["annotate"].columns)
            found: list[pa.Table] = []
            drops: list[Drop] = []
            for batch in annotate.to_batches(columns=columns):
                image_N = images.find(batch)
                known_N = np.asarray(pc.is_in(batch["kind"], pa.array(sorted(self.phrases), pa.string())))
                drops += _drops(batch, image_N, known_N, images)
                keep = (image_N >= 0) & known_N
                rows = pa.Table.from_batches([batch]).append_column(_IMAGE, pa.array(image_N))
                found.append(rows.filter(pa.array(keep)))
            empty = annotate.schema.empty_table().select(columns).append_column(_IMAGE, pa.array([], pa.int32()))
            table = pa.concat_tables(found or [empty])
            del found
            table = table.sort_by([(_IMAGE.name, "ascending"), ("annotation_id", "ascending")])
            part_N = images.part_I[table[_IMAGE.name].to_numpy()]
            drops.sort(key=lambda drop: drop.id)
            if drops and not len(table) and {drop.reason for drop in drops} == {"no_image"}:
                there = ", ".join(sorted(images.named)[:3]) or "no images at all"
                raise ValueError(
                    f"none of {len(drops)} annotations has its image ({drops[0].detail}; table ingest has {there}):"
                    " give recipe.ingest.path the images of the annotation sets, under their original names"
                )
            for number, key in enumerate(images.parts):
                start, end = np.searchsorted(part_N, [number, number + 1])
                rows = table.slice(start, end - start).to_pylist()
                made = output(self.writes, (self._turn(row, images.ids[row[_IMAGE.name]]) for row in rows))
                yield key, StageOutput(made.table, drops)
                drops = []

        return template

    def _turn(self, row: Row, image_id: str) -> Row:
        kind, choices, right = row["kind"], row["choices"], row["right"]
        phrase: str | None = self.phrases[kind]
        if row["question"] is None:
            question, phrase = self.phrases[kind], None
        else:
            question = _asking(row["question"], kind)
        answer = one_line(row["answer"])
        answer = _capital(_short(answer) if kind in _TERSE else answer)
        if kind in self.answers:
            answer = fill(
                self.answers[kind], answer=answer, rationale=_sentence(row["rationale"] or ""),
                letter="" if right is None else chr(ord("A") + right),
            )  # fmt: skip
        elif kind not in _TERSE:
            answer = _sentence(answer)
        instruction = instruction_id(asked(question, choices))
        return {
            "pair_id": content_id(image_id, instruction, row["annotation_id"]), "image_id": image_id,
            "instruction_id": instruction, "kind": kind, "domain": "", "question": question, "choices": choices,
            "right": right, "answer": answer, "phrase": phrase or None, "template": row["place"], "origin": row["set"],
            "annotation_id": row["annotation_id"], "support": row["support"],
        }  # fmt: skip


class _Images:
    """The images of a run by the keys that annotations have for them."""

    def __init__(self, ingest: ds.Dataset) -> None:
        self.parts: list[str] = []
        """Part keys, in order."""
        self.ids: list[str] = []
        parts: list[int] = []
        seen: dict[str, int] = {}
        named: dict[str, list[int]] = {}
        fragments = {part_key(one.path): one for one in ingest.get_fragments()}
        for key, fragment in sorted(fragments.items()):
            for batch in fragment.to_batches(columns=["image_id", "source", "member"]):
                for image_id, source, member in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    if image_id not in seen:  # an image that is in two shards counts where it is first
                        seen[image_id] = len(self.ids)
                        self.ids.append(image_id)
                        parts.append(len(self.parts))
                    same = named.setdefault(image_key(f"{source}/{member}"), [])
                    if len(same) < 2 and seen[image_id] not in same:  # two are enough to be ambiguous
                        same.append(seen[image_id])
            self.parts.append(key)
        self.part_I = np.array(parts, np.int32)
        """Of each image, the number of its part."""
        self.named = named
        self._image_of = {key: some[0] if len(some) == 1 else AMBIGUOUS for key, some in named.items()}

    def find(self, batch: pa.RecordBatch) -> np.ndarray:
        """Number of the image of each annotation, NO_IMAGE or AMBIGUOUS ``(N,)``."""
        keys = zip(batch["image_key"].to_pylist(), batch["coco_key"].to_pylist(), strict=True)
        get = self._image_of.get
        return np.array([get(key, get(also, NO_IMAGE)) for key, also in keys], np.int32)


def _drops(batch: pa.RecordBatch, image_N: np.ndarray, known_N: np.ndarray, images: _Images) -> Iterator[Drop]:
    rows = batch.select(["annotation_id", "set", "image_key", "coco_key", "kind"])
    left_N = (image_N < 0) | ~known_N
    for row, image in zip(rows.filter(pa.array(left_N)).to_pylist(), image_N[left_N].tolist(), strict=True):
        key = row["image_key"]
        if image == NO_IMAGE:
            also = f" or {row['coco_key']}" if row["coco_key"] else ""
            yield Drop(row["annotation_id"], "no_image", f"{row['set']}: no image is {key}{also}")
        elif image == AMBIGUOUS:
            key = key if key in images.named else row["coco_key"]
            two = " and ".join(sorted(images.ids[number] for number in images.named[key]))
            yield Drop(row["annotation_id"], "image_ambiguous", f"{row['set']}: {key} is both {two}")
        else:
            yield Drop(row["annotation_id"], "unknown_kind", f"{row['set']}: {row['kind']} has no phrase")


def _asking(text: str, kind: str) -> str:
    text = _capital(one_line(text))
    if text[-1:] in _ENDS:
        return text if text[-2:-1] != " " else f"{text[:-2]}{text[-1]}"  # COCO-QA's words come apart: "is it red ?"
    return text + ("." if kind == "judgement" else "?")


def _short(answer: str) -> str:
    """A word or phrase: a number in digits, no final stop but that of an abbreviation."""
    answer = in_digits(answer)
    return answer[:-1] if answer.endswith(".") and not is_abbreviated(answer) else answer


def _capital(text: str) -> str:
    """*text* with a capital first letter; a first word that has a capital elsewhere (iPhone) stays."""
    first = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if first == first.lower() else text


def _sentence(text: str) -> str:
    text = _capital(one_line(text))
    return text if text[-1:] in _ENDS or not text else f"{text}."
