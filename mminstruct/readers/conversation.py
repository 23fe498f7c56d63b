"""Conversations from outside, in every common form: LLaVA's and ShareGPT's ``conversations``, OpenAI's ``messages``.

Training, mixtures and benchmarks all read them here, so they accept the same rows and see the same turns. Unknown keys
are ignored. A row with content that cannot be kept is invalid, for a reason that is counted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

IMAGE = "<image>"
LISTS = ("conversations", "messages", "conversation")
"""Keys that may hold the turns; the first that is a list counts."""
_SPEAKERS = {
    **dict.fromkeys(("human", "user"), "human"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard"), "gpt"),
    "system": "system",
}
_LEADING = re.compile(rf"\A(?:\s*{IMAGE})*\s*")

Turn = TypedDict("Turn", {"from": str, "value": str})
"""``from`` is human or gpt, as LLaVA calls them."""


class InvalidRow(ValueError):
    """A row that no trainer should see; ``reason`` is counted, the message is for people."""

    def __init__(self, reason: str, detail: str, row: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        """A short name: ``turns``, ``image_missing``..."""
        self.row = row
        """Its id, if known."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A valid conversation."""

    id: str
    """'' if it has none."""
    turns: list[Turn]
    """Pairs of a human's turn and gpt's."""
    images: tuple[str, ...] = ()
    """Their names, one for each ``<image>``, in the same order."""
    system: str | None = None
    """The system prompt."""
    repairs: tuple[str, ...] = ()
    """Changes made to it: ``first_turn_passed_over``, ``last_turn_passed_over``; ``image_without_mark``: its image must
    be shown before the first question."""

    def folded(self) -> list[Turn]:
        """The turns with the system prompt in front of the first question, after its images.

        For export formats and chat templates without a system role.
        """
        if self.system is None:
            return self.turns
        first = self.turns[0]["value"]
        images = _LEADING.match(first)
        at = images.end() if images else 0
        return [{"from": "human", "value": f"{first[:at]}{self.system}\n\n{first[at:]}"}, *self.turns[1:]]


def read(record: Mapping[str, Any]) -> Conversation:
    """The conversation in *record*.

    As in LLaVA's loader (``preprocess`` in train.py), a first turn of the model is left out; so is a last turn of the
    human, which has no answer. A text may be a list of OpenAI's parts.

    Raises:
        InvalidRow: ``no_conversation``, ``speaker``, ``turns``, ``system``, ``empty``, ``token``, ``image`` or
            ``image_count``.
    """
    said = next((record[name] for name in LISTS if isinstance(record.get(name), list)), None)
    if said is None:
        raise InvalidRow("no_conversation", f"none of {', '.join(LISTS)} is a list")
    inside: list[Any] = []
    turns = [_turn(place, turn, inside) for place, turn in enumerate(said)]
    system = _system(record, turns)
    turns = [turn for turn in turns if turn["from"] != "system"]
    repairs = []
    if turns and turns[0]["from"] == "gpt":
        turns = turns[1:]
        repairs.append("first_turn_passed_over")
    if turns and turns[-1]["from"] == "human":
        turns = turns[:-1]
        repairs.append("last_turn_passed_over")
    found = images(record) or tuple(_name(one) for one in inside)
    check(turns, len(found))
    if len(found) > marks(turns):
        repairs.append("image_without_mark")
    name = record.get("id")
    given = str(name) if isinstance(name, str | int | float) else ""
    return Conversation(given, turns, found, system, tuple(repairs))


def check(turns: Sequence[Turn], images: int) -> None:
    """Check that human and gpt alternate, human first, that no turn is empty, and that questions have all ``<image>``.

    There is one ``<image>`` for each image. A single image may have none: it is shown before the first question, as
    LLaVA shows every image.

    Raises:
        InvalidRow: with the reason.
    """
    if not turns or len(turns) % 2:
        raise InvalidRow("turns", f"{len(turns)} turns: need pairs of human and gpt")
    for place, turn in enumerate(turns):
        speaker = ("human", "gpt")[place % 2]
        if turn["from"] != speaker:
            raise InvalidRow("turns", f"turn {place} is from {turn['from']!r}, should be {speaker!r}")
        if not turn["value"].strip():
            raise InvalidRow("empty", f"turn {place} is empty")
        if speaker == "gpt" and IMAGE in turn["value"]:
            raise InvalidRow("token", f"turn {place}, an answer, has the token {IMAGE!r}")
    found = marks(turns)
    if found != images and not (found == 0 and images == 1):
        raise InvalidRow("image_count", f"{found} times {IMAGE} for {images} images")


def marks(turns: Sequence[Turn]) -> int:
    """Number of ``<image>`` in the turns."""
    return sum(turn["value"].count(IMAGE) for turn in turns)


def images(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the images of *record*: ``images`` or ``image``, each a text, an object with a ``path``, or a list.

    Raises:
        InvalidRow: ``image``: it is no file name.
    """
    named = record.get("images") or record.get("image") or []
    return tuple(_name(one) for one in (named if isinstance(named, list) else [named]))


def located(name: str, folder: str) -> str:
    """The path or URL of the image *name* in *folder*; whether it exists is checked in a local folder only.

    Raises:
        InvalidRow: ``image``: it leads out of the folder or is an address; ``image_missing``: no such file.
    """
    if "://" in name or name.startswith("data:"):
        raise InvalidRow("image", f"{name[:80]!r} is an address: only names of files are read")
    if "://" in folder:
        if name.startswith("/") or ".." in name.split("/"):
            raise InvalidRow("image", f"{name!r} leads out of the folder of images; name a folder that holds them all")
        return f"{folder.rstrip('/')}/{name}"
    root = os.path.abspath(folder)
    path = os.path.join(root, name)
    if ".." in name.split("/") or os.path.commonpath([root, path]) != root:
        raise InvalidRow("image", f"{name!r} leads out of the folder of images; name a folder that holds them all")
    if not os.path.isfile(path):
        raise InvalidRow("image_missing", f"{os.path.join(folder, name)} is not there")
    return path


def _turn(place: int, turn: Any, inside: list[Any]) -> Turn:
    turn = turn if isinstance(turn, dict) else {}
    speaker, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if isinstance(text, list):
        text = "\n".join(_part(place, part, inside) for part in text)
    if not isinstance(text, str):
        raise InvalidRow("turns", f"turn {place} has no text")
    known = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if known is None:
        raise InvalidRow("speaker", f"turn {place} is from {speaker!r}")
    return {"from": known, "value": text}


def _part(place: int, part: Any, inside: list[Any]) -> str:
    """The text of one of OpenAI's parts; names of images are added to *inside*."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind not in ("image", "image_url"):
        raise InvalidRow("turns", f"turn {place} has a part that is neither text nor image")
    named = part.get("image_url", part.get("image", part.get("path")))
    named = named.get("url", named) if isinstance(named, dict) else named
    if named is not None:
        inside.append(named)
    return IMAGE


def _system(record: Mapping[str, Any], turns: list[Turn]) -> str | None:
    """The system prompt: the first turn, or the field ``system`` (LLaMA-Factory's); a blank one is none."""
    given = record.get("system")
    found = [given] if isinstance(given, str) else []
    for place, turn in enumerate(turns):
        if turn["from"] == "system":
            if place:
                raise InvalidRow("system", f"turn {place} is the system's: only the first may be")
            found.append(turn["value"])
    found = [text.strip() for text in found if text.strip()]
    if len(found) > 1 or any(IMAGE in text for text in found):
        raise InvalidRow("system", "it has two system texts, or an image in one")
    return found[0] if found else None


def _name(given: Any) -> str:
    if isinstance(given, dict):
        if given.get("bytes") is not None:
            raise InvalidRow("image", "its image lies in the record itself: only names of files are read")
        given = given.get("path")
    if not isinstance(given, str) or not given.strip():
        raise InvalidRow("image", f"{str(given)[:80]!r} is no name of an image")
    return given
