"""Who judges: a model, what it is shown, and what its replies say."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from mminstruct.models.model import EXTRAS, Model
from mminstruct.stage import prompt
from mminstruct.text import spoken

ASKS = ("pair", "grade")

VERDICT: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": ["A", "B", "neither"]}},
    "required": ["reason", "verdict"],
    "additionalProperties": False,
}
"""JSON schema of a verdict; the reason comes first, so that a model thinks before it decides."""
GRADE: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "grade": {"type": "integer", "minimum": 1, "maximum": 10}},
    "required": ["reason", "grade"],
    "additionalProperties": False,
}


@dataclass(kw_only=True)
class Juror(Model):
    """A judge: a model with the prompts that it is asked by.

    A judge that cannot see (``image: false``) is shown the caption, and so is one where there is no image.
    """

    rubric: str = prompt("rubric", "question", "caption", "reference", "answer", "image_id")
    """For one answer."""
    prompt: str = prompt("judge", "question", "caption", "reference", "first", "second", "image_id")
    """For two answers."""
    asks: list[str] = field(default_factory=lambda: ["pair"])
    """pair: which of two answers is better; grade: 1 to 10 for each by itself."""
    image: bool = True
    """Whether it is shown the image."""
    caption: bool = False
    """Whether it is shown the caption beside the image."""

    def faults(self) -> list[str]:
        """What is wrong with it, one line each."""
        found = [f"asks {ask!r}: take any of {', '.join(ASKS)}" for ask in self.asks if ask not in ASKS]
        if not self.asks:
            found.append(f"asks nothing: take any of {', '.join(ASKS)}")
        if EXTRAS.get(self.backend) and not self.pinned:
            found.append(
                f"revision is missing: pin {self.name} to a commit of its hub, or other weights may judge next time"
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
_GRADED = re.compile(
    r"^[\s*_#>-]*(?:final\s+)?(?:grade|score|rating)[*_]*\s*(?:is|[:=-])[\s*_\[]*(\d+)(?:\s*/\s*10)?[\s*_\].]*$",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(r"[\[(*]*(\d+)(?:\s*/\s*10)?[\])*.]*")


def read_verdict(reply: str, finish: str = "stop") -> tuple[str, str | None]:
    """``A``, ``B``, ``neither`` or ``unparsed``, and the reason that was given.

    Read is JSON with a ``verdict``, a line ``Verdict: ...``, or a reply that is nothing but one. A reply that holds
    two different verdicts, or was cut off before its end outside of JSON, is unparsed: never a tie, never a guess.
    """
    text = spoken(reply)
    found = [(_word(entry["verdict"]), _reason(entry)) for entry in _objects(text) if "verdict" in entry]
    if found:
        words = {word for word, _ in found}
        return found[-1] if len(words) == 1 else ("unparsed", None)
    return _plain(text, finish, _LABELLED, _ALONE, _word), None


def read_grade(reply: str, finish: str = "stop") -> tuple[int | None, str | None]:
    """A grade from 1 to 10, or None where the reply holds none, or several, or one out of range; and the reason."""
    text = spoken(reply)
    found = [(_grade(entry["grade"]), _reason(entry)) for entry in _objects(text) if "grade" in entry]
    if found:
        return found[-1] if len({grade for grade, _ in found}) == 1 else (None, None)
    said = _plain(text, finish, _GRADED, _NUMBER, str)
    return _grade(int(said)) if said != "unparsed" and len(said) < 4 else None, None


def _plain(text: str, finish: str, labelled: re.Pattern[str], alone: re.Pattern[str], read: Any) -> str:
    if finish != "stop":
        return "unparsed"
    said = {read(match.group(1)) for match in labelled.finditer(text)}
    if not said and (match := alone.fullmatch(text.strip())):
        said = {read(match.group(1))}
    return str(said.pop()) if len(said) == 1 else "unparsed"


def _objects(text: str) -> list[dict[str, Any]]:
    """JSON objects in *text*, wherever they stand, their keys in lower case."""
    decoder = json.JSONDecoder()
    found, place = [], text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            found.append({str(key).lower(): item for key, item in value.items()})
        place = text.find("{", end)
    return found


def _word(said: Any) -> str:
    match = _ALONE.fullmatch(said.strip()) if isinstance(said, str) else None
    return _WORDS[match.group(1).lower()] if match else "unparsed"


def _grade(said: Any) -> int | None:
    if isinstance(said, str) and said.strip().isascii() and said.strip().isdigit() and len(said.strip()) < 4:
        said = int(said)
    return said if isinstance(said, int) and not isinstance(said, bool) and 1 <= said <= 10 else None


def _reason(entry: dict[str, Any]) -> str | None:
    reason = entry.get("reason")
    return reason if isinstance(reason, str) else None
