"""A row of a training set, whatever its format: one conversation, and the images that it is about."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from mminstruct.text import words
from mminstruct.text.leaks import broken, special_token

ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
"""Formats that may be in a training set, and how their files end."""

PROVENANCE = ("image_id", "instruction_id", "source", "licence")
"""What a row may tell beside its conversation and images."""

Turn = TypedDict("Turn", {"from": str, "value": str})
"""``from`` is human or gpt, as LLaVA calls them."""


class Unsound(ValueError):
    """A row that no trainer should see."""

    def __init__(self, reason: str, detail: str, row: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        """A short name, to be counted."""
        self.row = row
        """Its id, where whoever found the fault knew it."""


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

    def provenance(self) -> dict[str, str]:
        """What a record of any format tells beside the conversation itself."""
        return {name: value for name in PROVENANCE if (value := getattr(self, name)) is not None}


def normal(text: str) -> str:
    """A turn's text up to white space beside ``<image>``, which loaders and chat templates set as they like."""
    return re.sub(r"\s*<image>\s*", "<image>", text).strip()


def check_turns(turns: list[Turn], images: int) -> None:
    """A conversation must be human first and in turn with gpt, one ``<image>`` an image, nothing empty or stray.

    Raises:
        Unsound: with the fault.
    """
    if not turns or len(turns) % 2:
        raise Unsound("turns", f"{len(turns)} turns: need pairs of human and gpt")
    for place, turn in enumerate(turns):
        speaker = ("human", "gpt")[place % 2]
        if turn["from"] != speaker:
            raise Unsound("turns", f"turn {place} is from {turn['from']!r}, should be {speaker!r}")
        text = turn["value"].replace("<image>", "") if speaker == "human" else turn["value"]
        if not text.strip():
            raise Unsound("empty", f"turn {place} is empty")
        if token := special_token(text):
            raise Unsound("token", f"turn {place} has the token {token!r}; the filter rule `leak` drops such pairs")
        found = broken(text, turns[place - 1]["value"]) if speaker == "gpt" else None
        if found and (found[0] != "error_text" or len(words(text)) > _SHORT):
            raise Unsound(found[0], f"turn {place} has {found[1]!r}; the filter rule `leak` drops such pairs")
    count = sum(turn["value"].count("<image>") for turn in turns)
    if count != images:
        raise Unsound("image count", f"{count} times <image> for {images} images")


_SHORT = 3
"""Words of a short answer, which may be "None" or what a sign says ("Access denied"), and is no server's message."""


def check_image(data: bytes) -> str:
    """An encoded image must decode to its end; how its file should end.

    Raises:
        Unsound: with the decoder's words.
    """
    from PIL import Image as decoder

    try:
        with decoder.open(io.BytesIO(data), formats=tuple(ENDINGS)) as image:
            ending = ENDINGS[str(image.format)]
            image.draft("RGB", (image.width // 8, image.height // 8))  # JPEG: all of the stream, an eighth of the work
            image.load()
    except Exception as error:  # decoders raise all kinds of errors on broken bytes
        raise Unsound("image", f"its image does not open: {type(error).__name__}: {error}") from error
    return ending
