"""A row of a training set, whatever its format: one conversation, and the images that it is about."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

from mminstruct.readers.conversation import IMAGE, Turn, Unsound, check, marks
from mminstruct.rules import SPECIAL_TOKENS

ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
"""Formats that may be in a training set, and how their files end."""

PROVENANCE = ("image_id", "instruction_id", "source", "licence")
"""What a row may tell beside its conversation and images."""


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
    """A conversation must be sound, have one ``<image>`` an image, ask something, and hold no token of a template.

    Raises:
        Unsound: with the fault.
    """
    for place, turn in enumerate(turns):
        text = turn["value"].replace(IMAGE, "") if turn["from"] == "human" else turn["value"]
        if not text.strip():
            raise Unsound("empty", f"turn {place} is empty")
        stray = _STRAY.search(text)
        if stray:
            what = f"turn {place} has the token {stray.group()!r}; the filter rule `leak` drops such pairs"
            raise Unsound("token", what)
    check(turns, images)
    if marks(turns) != images:
        raise Unsound("image_count", f"{marks(turns)} times {IMAGE} for {images} images")


# LLaVA's loader splits its prompt at " ASSISTANT: " to find what to learn: one more, and nothing is learnt of the rest
_STRAY = re.compile(rf"{SPECIAL_TOKENS.pattern}|(?-i:(?<!\S)ASSISTANT: )", SPECIAL_TOKENS.flags)


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
