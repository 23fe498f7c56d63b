"""A row of a training set, whatever its format: one conversation, and the images that it is about."""

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
"""Formats that may be in a training set, and how their files end."""

PROVENANCE = ("image_id", "instruction_id", "source", "licence")
"""What a row may tell beside its conversation and images."""
TURNS = "turns"
"""Key, in files, of what is known of each question (``Row.questions``)."""


@dataclass(frozen=True, slots=True)
class Image:
    """An encoded image, in memory or a file."""

    name: str
    """As its set calls it; all images of one name are one image. Formats with files want a plain file name."""
    data: bytes | None = None
    path: Path | None = None

    def read(self) -> bytes:
        return self.path.read_bytes() if self.path is not None else self.data or b""


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation, and where it comes from."""

    id: str
    turns: list[Turn]
    images: tuple[Image, ...] = ()
    """One for each ``<image>``, in their order."""
    image_id: str | None = None
    instruction_id: str | None = None
    source: str | None = None
    """Collection of the images, or of the conversation where there are none."""
    licence: str | None = None
    questions: list[dict[str, str | None]] | None = None
    """For each question in order ``pair_id, instruction_id, kind, domain, origin``; None where that is not known."""

    def provenance(self) -> dict[str, Any]:
        """What a record of any format tells beside the conversation itself."""
        told = {name: value for name in PROVENANCE if (value := getattr(self, name)) is not None}
        return told if self.questions is None else {**told, TURNS: self.questions}


def normal(text: str) -> str:
    """A turn's text up to white space beside ``<image>``, which loaders and chat templates set as they like."""
    return re.sub(r"\s*<image>\s*", "<image>", text).strip()


def check_turns(turns: list[Turn], images: int) -> None:
    """A conversation must be sound, have one ``<image>`` an image, ask something, and hold no token of a template.

    Raises:
        InvalidRow: with the fault.
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
"""Words of a short answer, which may be "None" or what a sign says ("Access denied"), and is no server's message."""


def check_image(data: bytes) -> str:
    """An encoded image must decode to its end; how its file should end.

    Raises:
        InvalidRow: with the reason.
    """
    try:
        load(data, replace(GIVEN, formats=tuple(ENDINGS)), longest=_LOOK)
    except BadImage as error:
        raise InvalidRow("image", f"its image does not open: {error}") from error
    return ENDINGS[str(sniff(data))]


_LOOK = 64
"""Longest side, pixels, to which an image is decoded where only its soundness counts: of a JPEG the whole stream,
at an eighth of the work."""
