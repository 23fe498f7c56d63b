"""A judge: its model, what it is shown, and how its replies are parsed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, TypeVar

from mminstruct.models.model import Model
from mminstruct.models.structured import InvalidJson, values
from mminstruct.stage import prompt
from mminstruct.text.reply import spoken

ASKS = ("pair", "grade")
_T = TypeVar("_T")

VERDICT: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": ["A", "B", "neither"]}},
    "required": ["reason", "verdict"],
    "additionalProperties": False,
}
"""JSON schema of a verdict; the reason comes first, so that the model reasons before it decides."""
GRADE: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "grade": {"type": "integer", "minimum": 1, "maximum": 10}},
    "required": ["reason", "grade"],
    "additionalProperties": False,
}
RATING: dict[str, Any] = {
    **GRADE,
    "properties": {"reason": {"type": "string"}, "grade": {"type": "integer", "minimum": 1, "maximum": 5}},
}
"""The same with grades from 1 to 5."""


@dataclass(kw_only=True)
class Juror(Model):
    """A judge: a model and its prompts.

    A judge without vision (``image: false``) is shown the caption. So is every judge of a question without an image.
    """

    rubric: str = prompt("rubric", "question", "answer", optional=("caption", "reference", "image_id"))
    """Prompt for grading one answer."""
    prompt: str = prompt("judge", "question", "first", "second", optional=("caption", "reference", "image_id"))
    """Prompt for comparing two answers."""
    asks: list[str] = field(default_factory=lambda: ["pair"])
    """pair: which of two answers is better; grade: 1 to 10 for each answer."""
    image: bool = True
    """Whether it is shown the image."""
    caption: bool = False
    """Whether it is shown the caption in addition to the image."""

    def faults(self) -> list[str]:
        """Configuration errors, one line each."""
        found = [f"asks {ask!r}: take any of {', '.join(ASKS)}" for ask in self.asks if ask not in ASKS]
        if not self.asks:
            found.append(f"asks nothing: take any of {', '.join(ASKS)}")
        if not self.remote and not self.pinned:
            found.append(
                f"revision is missing: pin {self.name} to a commit of its hub, or the next run may load other weights"
            )
        return found


_WORDS = {
    "a": "A", "b": "B", "c": "neither", "tie": "neither", "neither": "neither", "equal": "neither", "same": "neither",
    "none": "neither", "draw": "neither",
}  # fmt: skip
_SAID = (
    r"[\"'*_(\[]*(?:(?:answer|assistant|option|response)\s+)?([A-C]|neither|tie|equal|same|none|draw)\b[\"'*_)\].!]*"
)
_ALONE = re.compile(rf"{_SAID}(?:\s+is\s+(?:significantly\s+)?better[.!]?)?", re.IGNORECASE)
_LABELLED = re.compile(
    rf"^[\s*_#>-]*(?:final\s+)?verdict[*_]*\s*(?:is|[:=-])[\s*_]*{_SAID}\s*$", re.IGNORECASE | re.MULTILINE
)
_FRAME = re.compile(r"<(?=/?\s*(?:answer|caption|question|reference)\b)", re.IGNORECASE)


def framed(text: str) -> str:
    """*text* for a place between two tags of a prompt: whatever imitates such a tag is escaped."""
    return _FRAME.sub("< ", text)


def read_verdict(reply: str, finish: str = "stop") -> tuple[str, str | None]:
    """``A``, ``B``, ``neither`` or ``unparsed``, and the reason given in the reply.

    Accepts JSON with a ``verdict``, a line ``Verdict: ...``, or a reply that is only a verdict. A reply is unparsed if
    it holds two different verdicts, is truncated outside of JSON, or failed; it never becomes a tie or a guess.
    """
    said, reason = _read(spoken(reply), finish, "verdict", _LABELLED, _ALONE, _word)
    return ("unparsed" if said is None else said), reason


def read_grade(reply: str, finish: str = "stop", most: int = 10) -> tuple[int | None, str | None]:
    """A grade from 1 to *most* and the reason. The grade is None if the reply holds none, several, or one out of
    range.
    """
    labelled, alone = _graded(most)
    return _read(spoken(reply), finish, "grade", labelled, alone, partial(_grade, most))


@cache
def _graded(most: int) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of a line that states a grade, and of a reply that is only a grade."""
    number = rf"(\d+)(?:\s*/\s*{most})?"
    labelled = rf"^[\s*_#>-]*(?:final\s+)?(?:grade|score|rating)[*_]*\s*(?:is|[:=-])[\s*_\[]*{number}[\s*_\].]*$"
    return re.compile(labelled, re.IGNORECASE | re.MULTILINE), re.compile(rf"[\[(*]*{number}[\])*.]*")


def _read(
    text: str, finish: str, key: str, labelled: re.Pattern[str], alone: re.Pattern[str], read: Callable[[Any], _T]
) -> tuple[_T | None, str | None]:
    """The verdict or grade in *text*, and its reason; None if there is none, or several.

    Args:
        key: JSON key of the verdict or grade.
        labelled: Matches a line that states it; the first group is the value.
        alone: Matches a text that holds only the value.
        read: Parses the value from JSON or text; None if it is invalid.
    """
    if finish not in ("stop", "length"):
        return None, None
    found: list[tuple[_T | None, str | None]] = []
    rest, place = [], 0
    try:
        for entry, start, end in values(text, "{"):
            keys = {str(name).lower(): item for name, item in entry.items()}
            if len(keys) < len(entry):
                return None, None
            if key in keys:
                found.append((read(keys[key]), _reason(keys)))
            rest.append(text[place:start])
            place = end
    except InvalidJson:
        return None, None
    outside = "\n".join([*rest, text[place:]])
    if re.search(rf"[\"']{key}[\"']\s*:", outside, re.IGNORECASE):  # broken or truncated JSON
        return None, None
    said = {value for value, _ in found}
    if finish == "stop" or found:
        said |= {read(match.group(1)) for match in labelled.finditer(outside)}
    if not said and finish == "stop" and (match := alone.fullmatch(text.strip())):
        said = {read(match.group(1))}
    return (said.pop(), found[-1][1] if found else None) if len(said) == 1 else (None, None)


def _word(said: Any) -> str | None:
    match = _ALONE.fullmatch(said.strip()) if isinstance(said, str) else None
    return _WORDS[match.group(1).lower()] if match else None


def _grade(most: int, said: Any) -> int | None:
    if isinstance(said, str) and said.strip().isascii() and said.strip().isdigit() and len(said.strip()) < 4:
        said = int(said)
    return said if isinstance(said, int) and not isinstance(said, bool) and 1 <= said <= most else None


def _reason(entry: dict[str, Any]) -> str | None:
    reason = entry.get("reason")
    return reason if isinstance(reason, str) else None
