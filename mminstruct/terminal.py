r"""The one way to print: control characters in names and texts from outside are shown, not sent to the terminal.

A terminal obeys escape sequences (ECMA-48), and shows text in another order after bidirectional controls (Unicode
TR 36; CVE-2021-42574). Both come in by file names, licences and error texts. Each such character is printed as JSON
writes it, ``\u001b``, so JSON that is printed keeps its meaning.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TextIO

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls but tab and line feed, separators of lines, bidirectional controls, halves of surrogate pairs."""


def safe(text: str) -> str:
    """*text* without a character that a terminal obeys; lines stay lines."""
    return _UNSAFE.sub(lambda found: json.dumps(found.group())[1:-1], text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """``safe`` for what must not begin a line of its own: a name, a reason, an error."""
    return safe(text).replace("\n", "\\n")


def say(text: object = "", *, to: TextIO | None = None, flush: bool = False) -> None:
    """Print *text*, safe; letters that the stream's encoding lacks are shown by their numbers."""
    stream = sys.stdout if to is None else to
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(safe(str(text)).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=flush)


class Formatter(logging.Formatter):
    """Log records, safe."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


def log() -> None:
    """Warnings of libraries and ours go to stderr, safe."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
