"""A row of a training set in any format: one conversation and its images."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mminstruct.readers.container import BadImage, sniff
from mminstruct.readers.conversation import IMAGE, InvalidRow, Turn, check, marks
from mminstruct.readers.image import GIVEN, load
from mminstruct.text import words
from mminstruct.text.leaks import broken, special_token

ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
"""Image formats allowed in a training set, and their file extensions."""

PROVENANCE = ("image_id", "instruction_id", "source", "licence")
"""Optional fields of a row, in addition to its conversation and images."""
TURNS = "turns"
"""Key of ``Row.questions`` in files."""


@dataclass(frozen=True, slots=True)
class Image:
    """An encoded image, in memory or a file."""

    name: str
    """Name in its dataset; equal names mean the same image. Formats with image files require a plain file name."""
    data: bytes | None = None
    path: Path | None = None

    def read(self) -> bytes:
        return self.path.read_bytes() if self.path is not None else self.data or b""


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation and its provenance."""

    id: str
    turns: list[Turn]
    images: tuple[Image, ...] = ()
    """One for each ``<image>``, in order."""
    image_id: str | None = None
    instruction_id: str | None = None
    source: str | None = None
    """Collection of the images, or of the conversation if there are no images."""
    licence: str | None = None
    questions: list[dict[str, Any]] | None = None
    """For each question, in order: the fields of ``stages.export.TURN``; None if unknown."""

    def provenance(self) -> dict[str, Any]:
        """Provenance, as keys of a record in any format; what is unknown is left out."""
        told = {name: value for name in PROVENANCE if (value := getattr(self, name)) is not None}
        if self.questions is None:
            return told
        return {**told, TURNS: [{k: v for k, v in one.items() if v is not None} for one in self.questions]}


def normal(text: str) -> str:
    """A turn's text without white space around ``<image>``, because loaders and chat templates change it."""
    return re.sub(r"\s*<image>\s*", "<image>", text).strip()


def check_turns(turns: list[Turn], images: int) -> None:
    """Checks a conversation: valid turns without empty texts or template tokens, and one ``<image>`` per image.

    Raises:
        InvalidRow: a check fails.
    """
    for place, turn in enumerate(turns):
        text = turn["value"].replace(IMAGE, "") if turn["from"] == "human" else turn["value"]
        if not text.strip():
            raise InvalidRow("empty", f"turn {place} is empty")
        if token := special_token(text):
            raise InvalidRow("token", f"turn {place} has the token {token!r}; the filter rule `leak` drops such pairs")
        found = broken(text, turns[place - 1]["value"]) if turn["from"] == "gpt" and place else None
        if found and (found[0] != "error_text" or len(words(text)) > _SHORT):
            raise InvalidRow(found[0], f"turn {place} has {found[1]!r}; the filter rule `leak` drops such pairs")
    check(turns, images)
    if marks(turns) != images:
        raise InvalidRow("image_count", f"{marks(turns)} times {IMAGE} for {images} images")


_SHORT = 3
"""Maximum words of a short answer, which may be "None" or the text of a sign ("Access denied") and is not a server's
error message."""


def check_image(data: bytes) -> str:
    """Checks that an encoded image can be decoded completely; returns its file extension.

    Raises:
        InvalidRow: it cannot be decoded.
    """
    try:
        load(data, replace(GIVEN, formats=tuple(ENDINGS)), longest=_LOOK)
    except BadImage as error:
        raise InvalidRow("image", f"its image cannot be decoded: {error}") from error
    return ENDINGS[str(sniff(data))]


_LOOK = 64
"""Longest side, in pixels, for decoding an image only to check it. This still reads the whole stream of a JPEG, with an
eighth of the work."""
