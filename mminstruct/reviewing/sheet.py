"""``sheet.json``: which rows are on which person's sheet, in which order, and what was shown of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mminstruct.checksum import Damaged, seal, unseal
from mminstruct.files import Files
from mminstruct.stage import content_id

FILE = "sheet.json"
DECISIONS = "decisions"
"""Folder beside ``sheet.json`` for the files that people send back."""
_FIX = "write the sheets again into another folder (`mminstruct review`)"


@dataclass(frozen=True, slots=True)
class Row:
    """A row at one place of a sheet; a hidden repeat has the same id at another place."""

    id: str
    shown: str
    """Digest of what is displayed (``shown.shown``)."""
    origin: str = "run"
    """run; random: an image and an instruction that were not matched; seed, vqa: instructions mixed in."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows of one person, in the order of their places."""

    sheet: str
    """Digest of the run, the person and the rows; 16 hex digits."""
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Sheets:
    """Content of ``sheet.json``."""

    what: str
    """turns, match, instructions, answers or captions."""
    run: str
    """Fingerprint of the table with the run's images: it stays the same in later builds with ``base=``."""
    table: str
    """The table of the texts."""
    digest: str
    """Of the parts of ``table``."""
    seed: int
    rows: int
    overlap: float
    order: str
    where: list[str]
    rank: int
    """0: annotators; 1: adjudicators, who get the rows that others disagree on."""
    sheets: Mapping[str, Sheet]
    """By person."""


def sheet_id(run: str, what: str, person: str, rows: tuple[Row, ...]) -> str:
    """Digest of a person's sheet."""
    return content_id(run, what, person, *(f"{row.id} {row.shown}" for row in rows))


def dump(sheets: Sheets) -> bytes:
    """The bytes of ``sheet.json``."""
    return seal(asdict(sheets), indent=1)


def read(url: str) -> Sheets:
    """The sheets in the folder *url*, on a disk or at any fsspec URL.

    Raises:
        FileNotFoundError: the folder has no ``sheet.json``.
        Damaged: it is not what was written.
    """
    files = Files(url)
    data = files.read(FILE)
    if data is None:
        raise FileNotFoundError(f"{files.show(FILE)}: no such file; `mminstruct review RUN --to DIR` writes it")
    facts = unseal(data, files.show(FILE), _FIX)
    try:
        return Sheets(**facts | {"sheets": {person: _sheet(one) for person, one in facts["sheets"].items()}})
    except (TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{files.show(FILE)} is no file of sheets ({error}): {_FIX}") from None


def _sheet(facts: dict[str, Any]) -> Sheet:
    return Sheet(facts["sheet"], tuple(Row(**row) for row in facts["rows"]))
