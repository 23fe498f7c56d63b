"""The text that came with an image, as prior knowledge for questions about it."""

from __future__ import annotations

import re

from mminstruct.text.characters import cut, one_line, repair, words
from mminstruct.text.leaks import broken

_NO_TEXT = re.compile(r"(?:https?://|www\.)\S+|\S+\.(?:jpe?g|png|gif|webp|bmp|tiff?|heic)|[\W\d_]+", re.IGNORECASE)


def prior(text: str | None, most: int) -> str | None:
    """At most *most* words of *text*; '' where it is an address, a file name or no words, None where it is broken."""
    line = one_line(repair(text or ""))
    if not words(line) or _NO_TEXT.fullmatch(line) or not most:
        return ""
    return None if broken(line) else cut(line, most)
