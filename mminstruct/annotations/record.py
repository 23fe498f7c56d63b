"""What a format yields for a record, and how its fields are read: a value of the right kind, or a named fault."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from mminstruct.annotations.files import Numbered, SetFile
from mminstruct.errors import InputError
from mminstruct.readers.text import BadRow, Unreadable
from mminstruct.stage import content_id
from mminstruct.text.vqa import normal
from mminstruct.unit import note

REASONS = (
    "bad_record", "no_image_id", "bad_image_id", "no_question", "no_answer", "empty_answer", "dup_question_id",
    "dup_annotation", "no_majority", "no_partner", "bad_label", "bad_count", "bad_choices", "bad_choice_index",
    "no_rationale", "bad_explanation", "votes_disagree", "too_long", "special_token", "private",
)  # fmt: skip
"""Why a record is dropped."""
KINDS = ("caption", "paragraph", "short", "number", "judgement", "explained", "choice_explained")
DESCRIPTIONS = ("caption", "paragraph")
"""Kinds without a question."""

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_MOST = 10**18


class Fault(InputError):
    """A record that cannot be used.

    Args:
        reason: One of ``REASONS``.
        found: What was found.
    """

    def __init__(self, reason: str, found: str) -> None:
        super().__init__(f"{reason}: {found}")
        self.reason, self.found = reason, found
        self.where, self.native = "", ""


@dataclass(slots=True, kw_only=True)
class Annotation:
    """One annotation, with texts as found."""

    image: str
    """Key of the image."""
    kind: str
    """One of ``KINDS``."""
    answer: str
    question: str | None = None
    choices: list[str] | None = None
    right: int | None = None
    rationale: str | None = None
    support: float | None = None
    """Share of the annotators who gave this answer, 0 to 1; None: unknown."""
    coco: str | None = None
    """Key of the same image in COCO, where ``image`` is another key."""
    native: str | None = None
    """The id that the set has for it."""
    licence: str | None = None
    """Of the annotation, where the file names it."""
    photograph: str | None = None
    """Licence of the image, where the file names it."""
    where: str = ""
    """Number of the record in its file, as in ``record 7``."""


class AnnotationFormat(ABC):
    """One published format. One of your own is a subclass; ``format: my_package.my_module:MyFormat`` uses it.

    Args:
        files: The set's files: ``path``, or ``path/NAME`` for each of ``members``; also ``questions`` and ``images``.
        split: The set's field ``split``.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    """Fields of the set that must be given beside ``path``: questions, images."""
    takes: ClassVar[tuple[str, ...]] = ()
    """Fields of the set that may be given."""
    members: ClassVar[tuple[str, ...]] = ()
    """Names of the files in the folder ``path``; empty: ``path`` is a file."""
    split_field: ClassVar[str | None] = None
    """Field of a record that names its split; None: ``split`` has no meaning."""
    repeated: ClassVar[str] = "dup_question_id"
    """Reason for which a second annotation with the same ``native`` id is dropped."""

    def __init__(self, files: Mapping[str, SetFile], split: str | None = None) -> None:
        self.files, self.split = files, split

    @abstractmethod
    def read(self) -> Iterator[Annotation | Fault]:
        """Each record as an ``Annotation`` or ``Fault`` with ``where``, in any order.

        Raises:
            Unreadable: a file cannot be read to its end. The set then fails as a whole.
        """

    def chosen(self, found: Iterable[Numbered]) -> Iterator[Numbered]:
        """The records of the split, all if none is named; those of other splits are counted (``other_split``).

        Raises:
            Unreadable: all records are of other splits.
        """
        others, chosen = set[str](), False
        for number, record in found:
            named = record.get(self.split_field) if self.split_field and isinstance(record, dict) else self.split
            if self.split and named != self.split:
                note("other_split")
                others.add(shown(named))
            else:
                chosen = chosen or isinstance(record, dict)
                yield number, record
        if others and not chosen:
            some = ", ".join(sorted(others)[:5])
            raise Unreadable(f"no record has {self.split_field} {self.split!r}, only {some}: give another `split`")


def each(
    found: Iterable[Numbered], make: Callable[[dict[str, Any]], Annotation], id_field: str = ""
) -> Iterator[Annotation | Fault]:
    """An ``Annotation`` or ``Fault`` for each record, with its number.

    Args:
        id_field: The field with the record's own id, for faults.
    """
    for number, record in found:
        one: Annotation | Fault
        if isinstance(record, BadRow):
            one = Fault("bad_record", record.said)
        else:
            try:
                one = make(record)
            except Fault as fault:
                one = fault
                if id_field:
                    one.native = safe_id(record.get(id_field))
        one.where = f"record {number}"
        yield one


def shown(value: Any) -> str:
    """*value* for a message."""
    return repr(value)[:80]


def whole(value: Any) -> int | None:
    """*value* as a whole number from 0; None if it is none. Texts of digits, and 9.0, are numbers; true is none."""
    if type(value) is int:
        return value if 0 <= value < _MOST else None
    if isinstance(value, float):
        return int(value) if 0 <= value < _MOST and value.is_integer() else None
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value.strip()) else None


def number_of_image(record: Mapping[str, Any], name: str) -> int:
    """The number of an image in the field *name*."""
    value = record.get(name)
    if value is None or value == "":
        raise Fault("no_image_id", f"no `{name}`")
    if (number := whole(value)) is None:
        raise Fault("bad_image_id", f"`{name}` is {shown(value)}")
    return number


def name_of_image(record: Mapping[str, Any], name: str) -> str:
    """The file name of an image in the field *name*."""
    value = record.get(name)
    if value is None or value == "":
        raise Fault("no_image_id", f"no `{name}`")
    if not isinstance(value, str) or len(value) > 1000 or not value.rpartition("/")[2].strip(". "):
        raise Fault("bad_image_id", f"`{name}` is {shown(value)}")
    return value


def own_id(record: Mapping[str, Any], name: str) -> str:
    """The record's own id, a whole number or a text, as text."""
    value = record.get(name)
    if not (found := safe_id(value)):
        raise Fault("bad_record", f"`{name}` is {shown(value)}" if value is not None else f"no `{name}`")
    return found


def safe_id(value: Any) -> str:
    """An id as text; empty if *value* cannot be one."""
    if (number := whole(value)) is not None:
        return str(number)
    return value.strip() if isinstance(value, str) and len(value) <= 200 and value.isprintable() else ""


def text(record: Mapping[str, Any], name: str, absent: str, blank: str = "") -> str:
    """The text in the field *name*.

    Args:
        absent: Reason where there is none.
        blank: Reason where it is blank; by default the same.
    """
    value = record.get(name)
    if value is None:
        raise Fault(absent, f"no `{name}`")
    if not isinstance(value, str):
        raise Fault("bad_record", f"`{name}` is {shown(value)}, should be a text")
    if not value or value.isspace():
        raise Fault(blank or absent, f"`{name}` is {shown(value)}")
    return value


def licence(value: Any) -> str | None:
    """The name of a licence, which sets write as a text or as an object with name and url."""
    if isinstance(value, Mapping):
        value = value.get("name") or value.get("url")
    return value.strip() or None if isinstance(value, str) else None


def majority(record: Mapping[str, Any], ties: str) -> tuple[str, float | None]:
    """The answer that most annotators gave, and its share of ``answers`` by VQA's rules; None: no ``answers``.

    ``multiple_choice_answer`` is the answer where the record has it. Equally frequent answers are ordered by digest.

    Args:
        ties: Names the question, for that digest.
    """
    given = record.get("answers")
    chosen = None
    if record.get("multiple_choice_answer") is not None:
        chosen = text(record, "multiple_choice_answer", "no_answer", "empty_answer")
    if given is None and chosen is not None:
        return chosen, None
    if given is not None and not isinstance(given, list):
        raise Fault("bad_record", f"`answers` is {shown(given)}, should be a list")
    if not given:
        raise Fault("no_answer", "no `answers`")
    answers: list[Any] = [one.get("answer") if isinstance(one, dict) else one for one in given]
    if set(map(type, answers)) != {str}:
        raise Fault("bad_record", f"`answers` has {shown(next(one for one in answers if not isinstance(one, str)))}")
    written = Counter(answers)
    counts: dict[str, int] = {}
    for answer, count in written.items():
        form = _form(answer)
        counts[form] = counts.get(form, 0) + count
    if chosen is not None:
        return chosen, counts.get(_form(chosen), 0) / len(answers)
    counts.pop("", None)
    if not counts:
        raise Fault("empty_answer", "all `answers` are blank")
    most = max(counts.values())
    tied = [form for form, count in counts.items() if count == most]
    form = tied[0] if len(tied) == 1 else min(tied, key=lambda form: content_id(ties, form))
    ways = [answer for answer in written if _form(answer) == form]
    return max(ways, key=lambda answer: (written[answer], answer)), most / len(answers)


@lru_cache(1 << 17)
def _form(answer: str) -> str:
    """The form in which answers are compared; ``a`` and ``?``, of which nothing would be left, stay."""
    return normal(answer) or answer.strip().lower()
