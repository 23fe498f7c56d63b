r"""The only module that prints: control characters in names and texts from outside are escaped.

A terminal executes escape sequences (ECMA-48), and reorders text after bidirectional controls (Unicode TR 36;
CVE-2021-42574). File names, licences and error texts may contain both. Each such character is printed as JSON writes
it, ``\u001b``, so printed JSON keeps its meaning.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TextIO

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and line feed, line separators, bidirectional controls, lone surrogates."""


def safe(text: str) -> str:
    """*text* with all unsafe characters escaped; line breaks stay."""
    return _UNSAFE.sub(lambda found: json.dumps(found.group())[1:-1], text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """``safe``, with line breaks escaped too: for a name, a reason, an error."""
    return safe(text).replace("\n", "\\n")


def say(text: object = "", *, to: TextIO | None = None, flush: bool = False) -> None:
    """Print *text*, safe; characters that the stream's encoding lacks are escaped."""
    stream = sys.stdout if to is None else to
    encoding = getattr(stream, "encoding", None) or "utf-8"
    line = safe(str(text)).encode(encoding, "backslashreplace").decode(encoding)
    print(line + "\n", end="", file=stream, flush=flush)  # in one piece, as another thread may print, too


class Formatter(logging.Formatter):
    """Formats log records with ``safe``."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


def log() -> None:
    """Log warnings of libraries and ours to stderr, safe."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
