"""Rows from files of conversations: a JSON list of any length, or JSON Lines; our own exports or foreign files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mminstruct.export.row import PROVENANCE, TURNS, Image, Row
from mminstruct.readers import conversation, text
from mminstruct.readers import records as outside
from mminstruct.readers.conversation import InvalidRow
from mminstruct.stages.export import TURN


def records(path: Path, seen: Counter[str] | None = None) -> Iterator[dict[str, Any] | text.BadRow]:
    """The objects in the file at *path*; a ``BadRow`` in place of each row that cannot be parsed.

    Raises:
        Unreadable: the file cannot be read to its end.
    """
    with open(path, "rb") as file:
        yield from outside.records(file, str(path), seen)


def own(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file of an export.

    Raises:
        Unreadable: a line cannot be parsed; the message names the line.
    """
    yield from text.good(records(path), str(path))


def row_of(record: dict[str, Any], folder: Path | None, mended: Counter[str] | None = None) -> Row:
    """A record as a row; images are files in *folder*. A system prompt is merged into the first question.

    Args:
        mended: counts repairs.

    Raises:
        InvalidRow: it is not a conversation, or names an image that is not a file in the folder.
    """
    found = conversation.read(record)
    if mended is not None:
        mended.update(found.repairs)
        mended.update(["system_folded"] if found.system else [])
    if folder is None and found.images:
        raise InvalidRow("image", f"it names the image {found.images[0]}, but no folder of images is given")
    images = tuple(Image(name, path=Path(conversation.located(name, str(folder)))) for name in found.images)
    return Row(id=found.id, turns=found.folded(), images=images, **provenance(record))


def provenance(record: dict[str, Any]) -> dict[str, Any]:
    """A record's provenance, as arguments of ``Row``."""
    told: dict[str, Any] = {name: str(record[name]) for name in PROVENANCE if record.get(name)}
    turns = record.get(TURNS)
    if not isinstance(turns, list) or not all(isinstance(one, dict) and one.get("pair_id") for one in turns):
        return told  # in foreign files the key may hold anything
    return {**told, "questions": [{name: _value(one.get(name), TURN[name]) for name in TURN} for one in turns]}


def _value(value: Any, dtype: str) -> str | int | None:
    if dtype == "string":
        return None if value is None else str(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
