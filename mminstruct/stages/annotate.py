"""Reads annotations of images by people from any mixture of published sets. One unit is one set."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct import schemas
from mminstruct.annotations import FORMATS
from mminstruct.annotations.record import DESCRIPTIONS, Annotation, Fault, shown
from mminstruct.annotations.sets import AnnotationSet, digest_of, facts_of
from mminstruct.sources.listing import Listing
from mminstruct.stage import Drop, Read, Rows, Stage, StageOutput, Transform, content_id
from mminstruct.text import one_line, repair
from mminstruct.text.leaks import special_token
from mminstruct.text.rules import Context, pii
from mminstruct.text.vqa import normal

_BATCH = 20_000
_SCHEMA = pa.schema(
    [*(field.with_nullable(True) for field in schemas.ANNOTATE), ("native", pa.string()), ("where", pa.string())]
)
"""Rows before they are sorted: with the id that the set has for them, and their record's number."""
_ORDER = [
    (name, "ascending") for name in ("image_key", "annotation_id", "support", "right", "coco_key", "licence", "where")
]
"""The last ones matter only where a set has the same annotation twice."""


@dataclass(kw_only=True)
class Annotate(Stage):
    """A source of annotations: one row for each that can be used, one drop with its reason for each other record.

    A set with a file that is cut, or is of another format, fails as a whole.
    """

    sets: dict[str, AnnotationSet] = field(default_factory=dict)
    """Annotation sets by name. Names consist of letters, digits, ``_``, ``.`` and ``-``."""
    agreement: float = 0.3
    """Smallest share of the annotators who gave the answer, 0 to 1, where the set has several answers."""
    question_length: int = 500
    """Longest question or statement, characters."""
    answer_length: int = 3000
    """Longest answer, description, choice or rationale, characters."""
    rows: int = 50_000
    """Annotations in a part."""

    reads: ClassVar[dict[str, Read]] = {}
    writes: ClassVar[pa.Schema] = schemas.ANNOTATE
    row_key: ClassVar[str] = "annotation_id"
    core_seconds = 0.0001

    def fan(self) -> float:
        # assumed: 4 for each set, as in the microworld; COCO has 5 captions for each image, other sets 1 to 16
        return 4.0 * (len(self.sets) or len(FORMATS))

    def __post_init__(self) -> None:
        self._listed: dict[str, dict[str, Listing]] | None = None

    def check(self) -> None:
        faults = [f"sets.{name}: {said}" for name, one in self.sets.items() for said in one.faults()]
        faults += [
            f"sets.{name}: a name has letters, digits, `_`, `.` and `-`, and begins with a letter or digit"
            for name in self.sets
            if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,59}", name, re.ASCII)
        ]
        if not 0 <= self.agreement <= 1:
            faults.append(f"agreement={self.agreement}: it is a share, 0 to 1")
        for name in ("question_length", "answer_length", "rows"):
            if getattr(self, name) <= 0:
                faults.append(f"{name}={getattr(self, name)}: it must be positive")
        if faults:
            raise ValueError("\n".join(faults))

    def shards(self) -> dict[str, dict[str, Any]]:
        """Name of a set -> facts that show whether its files changed.

        Raises:
            ValueError: there is no set, or a file is missing. The message names every set that lacks one.
        """
        self._listed = self._list()
        return {name: facts_of(listings) for name, listings in self._listed.items()}

    def content(self, key: str) -> str | None:
        """Digest of the bytes of a set's files; None on remote stores, and if one changed since ``shards`` ran."""
        listings = (self._listed or {}).get(key)
        return digest_of(listings) if listings else None

    def listing(self, taken: Collection[str] | None = None) -> dict[str, Any]:
        """Number of files, all of which are read."""
        listed = self._listed if self._listed is not None else self._list()
        files = sum(len(listing.files) for listings in listed.values() for listing in listings.values())
        return {"files": files, "shards": len(listed), "read": files, "passed": {}}

    def _list(self) -> dict[str, dict[str, Listing]]:
        if not self.sets:
            raise ValueError(
                "recipe.annotate.sets is empty: name the annotation sets, for example"
                " recipe.annotate.sets.captions='{format: coco_captions, path: captions_train2017.json}'"
            )
        found, faults = {}, []
        for name, one in self.sets.items():
            try:
                found[name] = one.listings()
            except ValueError as error:
                faults.append(f"recipe.annotate.sets.{name}: {error}")
        if faults:
            raise ValueError("\n".join(faults))
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_listed": None}

    def load(self) -> Transform:
        def annotate(key: str) -> Iterator[Rows]:
            if key not in self.sets:
                raise ValueError(f"there is no set {key}: recipe.annotate.sets has {', '.join(self.sets) or 'none'}")
            chosen = self.sets[key]
            found = chosen.reader()
            table, drops = self._read(key, chosen, found.read())
            table, repeated = _distinct(table, found.repeated)
            drops += repeated
            table = _placed(table).select(schemas.ANNOTATE.names).cast(schemas.ANNOTATE)
            said = [Drop(drop.id, drop.reason, repair(f"{key}, {drop.detail}")) for drop in drops]
            said.sort(key=lambda drop: (drop.id, drop.reason, str(drop.detail)))  # formats read in any order
            for start in range(0, max(1, len(table)), self.rows):
                part = table.slice(start, self.rows)
                yield Rows(len(part) + len(said), StageOutput(part, said))
                said = []

        return annotate

    def _read(
        self, name: str, chosen: AnnotationSet, found: Iterator[Annotation | Fault]
    ) -> tuple[pa.Table, list[Drop]]:
        """All usable annotations of a set, in the order found, and the drops of the others."""
        batches, drops, rows = list[pa.RecordBatch](), list[Drop](), list[tuple[Any, ...]]()

        def flush() -> None:
            columns = zip(*rows, strict=True) if rows else [()] * len(_SCHEMA)
            arrays = [pa.array(list(column), kind.type) for column, kind in zip(columns, _SCHEMA, strict=True)]
            batches.append(pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA))
            rows.clear()

        for one in found:
            if isinstance(one, Annotation):
                try:
                    rows.append(self._row(name, chosen, one))
                except Fault as fault:
                    drops.append(_drop(fault, one.where, one.native))
            else:
                drops.append(_drop(one, one.where, one.native))
            if len(rows) == _BATCH:
                flush()
        flush()
        return pa.Table.from_batches(batches, _SCHEMA), drops

    def _row(self, name: str, chosen: AnnotationSet, one: Annotation) -> tuple[Any, ...]:
        """The values of ``_SCHEMA``.

        Raises:
            Fault: its texts cannot be used, or too few annotators agree.
        """
        if one.support is not None and one.support < self.agreement:
            raise Fault("no_majority", f"{one.support:.0%} of the annotators say {shown(one.answer)}")
        question = None if one.kind in DESCRIPTIONS else _clean(one.question or "")
        if question is not None and not _LETTER.search(question):
            raise Fault("no_question", f"the question is {shown(one.question)}")
        if not (answer := _clean(one.answer)):
            raise Fault("empty_answer", f"the answer is {shown(one.answer)}")
        choices = None if one.choices is None else [_clean(choice) for choice in one.choices]
        if choices and all(
            choice.startswith(f"{letter}. ") for choice, letter in zip(choices, ascii_uppercase, strict=False)
        ):
            choices = [choice[3:].strip() for choice in choices]  # text.question.asked shows the letters
            answer = answer if one.right is None else choices[one.right]
        if choices is not None and (not all(choices) or len({normal(choice) for choice in choices}) < len(choices)):
            raise Fault("bad_choices", f"two are equal or one is blank in {shown(one.choices)}")
        rationale = None if one.rationale is None else _clean(one.rationale)
        if rationale is not None and not _LETTER.search(rationale):
            raise Fault("no_rationale", f"the rationale is {shown(one.rationale)}")
        others = [answer, *(choices or ()), *([rationale] if rationale else ())]
        self._check(question or "", others)
        licence = one.licence or chosen.licence
        if one.photograph:
            licence = f"{licence}; photograph: {one.photograph}" if licence else f"photograph: {one.photograph}"
        id_ = content_id(name, one.image, one.native or "", question or "", rationale or "", answer, *(choices or ()))
        return (
            id_, name, _stored(one.image), one.coco, one.kind, question, answer, choices, one.right, rationale,
            one.support, licence and _clean(licence), None, one.native, one.where,
        )  # fmt: skip

    def _check(self, question: str, others: list[str]) -> None:
        """Raise Fault if a text is too long, holds a token of a model, or names a person's address or number."""
        whole = "\n".join((question, *others))
        if len(whole) > min(self.question_length, self.answer_length):
            for text, limit in ((question, self.question_length), *((text, self.answer_length) for text in others)):
                if len(text) > limit:
                    raise Fault("too_long", f"{len(text)} characters, at most {limit}: {shown(text)}")
        if _MAY_BE_TOKEN.search(whole) and (token := special_token(whole)):
            raise Fault("special_token", token)
        if _MAY_BE_PRIVATE.search(whole) and (private := pii(whole, _CONTEXT)):
            raise Fault("private", private)


_LETTER = re.compile(r"[^\W_]")
"""A letter or digit: without one, a question asks nothing and a rationale explains nothing."""
_MAY_BE_TOKEN = re.compile(r"[<\[◁]|ASSISTANT")
_MAY_BE_PRIVATE = re.compile(r"@|(?:[0-9][^0-9]*){6}")
"""Cheap tests before the full patterns: addresses have ``@``, and the shortest telephone number has six digits."""
_CONTEXT = Context()


def _clean(text: str) -> str:
    return one_line(text) if text.isascii() and text.isprintable() else one_line(repair(text))


def _stored(name: str) -> str:
    return name if name.isascii() and name.isprintable() else repair(name)


def _drop(fault: Fault, where: str, native: str | None) -> Drop:
    return Drop(_stored(native or where), fault.reason, f"{where}: {fault.found}")


def _distinct(table: pa.Table, repeated: str) -> tuple[pa.Table, list[Drop]]:
    """*table* in the order of ``_ORDER``, without annotations that repeat another's id or content, and their drops.

    Args:
        repeated: The reason where the set's own id is repeated.
    """
    table = table.sort_by(_ORDER).combine_chunks()
    ids = pc.coalesce(table["native"], table["annotation_id"])
    if pc.count_distinct(ids).as_py() == len(table):
        return table, []
    counts = pc.value_counts(ids)
    often = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    places = pc.indices_nonzero(pc.is_in(ids, value_set=often)).to_pylist()
    first: dict[str, tuple[str, int]] = {}
    rows = table.take(places).to_pylist()
    for place, row in zip(places, rows, strict=True):
        id_ = row["native"] or row["annotation_id"]
        first[id_] = min(first.get(id_, (row["annotation_id"], place)), (row["annotation_id"], place))
    drops, gone = [], set[int]()
    for place, row in zip(places, rows, strict=True):
        if first[row["native"] or row["annotation_id"]][1] != place:
            gone.add(place)
            said = f"id {row['native']} is there twice" if row["native"] else "the same annotation is there twice"
            reason = repeated if row["native"] else "dup_annotation"
            drops.append(Drop(row["native"] or row["where"], reason, f"{row['where']}: {said}"))
    return table.filter(pa.array([place not in gone for place in range(len(table))])), drops


def _placed(table: pa.Table) -> pa.Table:
    """*table* with the column ``place``: the set's own id, else the image and a number by the order of the rows."""
    places, last, number = [], None, 0
    for image, native in zip(table["image_key"].to_pylist(), table["native"].to_pylist(), strict=True):
        number = number + 1 if image == last else 1
        last = image
        places.append(native or f"{image} {number}")
    return table.set_column(table.schema.get_field_index("place"), "place", pa.array(places, pa.string()))
