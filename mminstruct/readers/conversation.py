"""Conversations from outside, in every common form: LLaVA's and ShareGPT's ``conversations``, OpenAI's ``messages``.

Training, mixtures and benchmarks all read them here, so what one takes all take, with the same turns. What is not
known (stray keys) is passed over; what a row says and we cannot keep makes it unsound, for a reason that is counted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

IMAGE = "<image>"
LISTS = ("conversations", "messages", "conversation")
"""Keys that hold the turns, the first that is a list."""
_SPEAKERS = {
    **dict.fromkeys(("human", "user"), "human"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard"), "gpt"),
    "system": "system",
}
_LEADING = re.compile(rf"\A(?:\s*{IMAGE})*\s*")

Turn = TypedDict("Turn", {"from": str, "value": str})
"""``from`` is human or gpt, as LLaVA calls them."""


class Unsound(ValueError):
    """A row that no trainer should see."""

    def __init__(self, reason: str, detail: str, row: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        """A short name, to be counted."""
        self.row = row
        """Its id, where that was known."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation that is sound."""

    id: str
    """'' where it has none."""
    turns: list[Turn]
    """Human first, in pairs with gpt."""
    images: tuple[str, ...] = ()
    """Their names, one for each ``<image>``, in their order."""
    system: str | None = None
    """What precedes the turns."""
    mended: tuple[str, ...] = ()
    """What was done to it: ``first_turn_passed_over``, ``last_turn_passed_over``; ``image_without_mark``: its image is
    to be shown before the first question."""

    def folded(self) -> list[Turn]:
        """The turns with the system's text at the head of the first question, behind its images.

        For what knows no system: the formats of exports, templates without that role.
        """
        if self.system is None:
            return self.turns
        first = self.turns[0]["value"]
        images = _LEADING.match(first)
        at = images.end() if images else 0
        return [{"from": "human", "value": f"{first[:at]}{self.system}\n\n{first[at:]}"}, *self.turns[1:]]


def read(record: Mapping[str, Any]) -> Conversation:
    """The conversation that *record* holds.

    As LLaVA's loader does (``preprocess`` in train.py), a first turn of the model is passed over; so is a last turn of
    the human, which no answer follows. A text may be a list of OpenAI's parts.

    Raises:
        Unsound: ``no_conversation``, ``speaker``, ``turns``, ``system``, ``empty``, ``token``, ``image`` or
            ``image_count``.
    """
    said = next((record[name] for name in LISTS if isinstance(record.get(name), list)), None)
    if said is None:
        raise Unsound("no_conversation", f"none of {', '.join(LISTS)} is a list")
    inside: list[Any] = []
    turns = [_turn(place, turn, inside) for place, turn in enumerate(said)]
    system = _system(record, turns)
    turns = [turn for turn in turns if turn["from"] != "system"]
    mended = []
    if turns and turns[0]["from"] == "gpt":
        turns = turns[1:]
        mended.append("first_turn_passed_over")
    if turns and turns[-1]["from"] == "human":
        turns = turns[:-1]
        mended.append("last_turn_passed_over")
    found = images(record) or tuple(_name(one) for one in inside)
    check(turns, len(found))
    if len(found) > marks(turns):
        mended.append("image_without_mark")
    name = record.get("id")
    given = str(name) if isinstance(name, str | int | float) else ""
    return Conversation(given, turns, found, system, tuple(mended))


def check(turns: Sequence[Turn], images: int) -> None:
    """A conversation must be human first and in turn with gpt, nothing empty, one ``<image>`` an image in questions.

    A single image may do without: it is shown before the first question, as LLaVA shows every image.

    Raises:
        Unsound: with the fault.
    """
    if not turns or len(turns) % 2:
        raise Unsound("turns", f"{len(turns)} turns: need pairs of human and gpt")
    for place, turn in enumerate(turns):
        speaker = ("human", "gpt")[place % 2]
        if turn["from"] != speaker:
            raise Unsound("turns", f"turn {place} is from {turn['from']!r}, should be {speaker!r}")
        if not turn["value"].strip():
            raise Unsound("empty", f"turn {place} is empty")
        if speaker == "gpt" and IMAGE in turn["value"]:
            raise Unsound("token", f"turn {place}, an answer, has the token {IMAGE!r}")
    found = marks(turns)
    if found != images and not (found == 0 and images == 1):
        raise Unsound("image_count", f"{found} times {IMAGE} for {images} images")


def marks(turns: Sequence[Turn]) -> int:
    """How many times the turns have ``<image>``."""
    return sum(turn["value"].count(IMAGE) for turn in turns)


def images(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the images of *record*: ``images`` or ``image``, each a text, an object with a ``path``, or a list.

    Raises:
        Unsound: ``image``, for what is no name of a file.
    """
    named = record.get("images") or record.get("image") or []
    return tuple(_name(one) for one in (named if isinstance(named, list) else [named]))


def located(name: str, folder: str) -> str:
    """The path or URL of the image *name* in *folder*; in a remote folder it is not looked for.

    Raises:
        Unsound: ``image`` where it leads out of the folder or is an address, ``image_missing`` where no such file is
            there.
    """
    if "://" in name or name.startswith("data:"):
        raise Unsound("image", f"{name[:80]!r} is an address: only names of files are read")
    if "://" in folder:
        if name.startswith("/") or ".." in name.split("/"):
            raise Unsound("image", f"{name!r} leads out of the folder of images; name a folder that holds them all")
        return f"{folder.rstrip('/')}/{name}"
    root = os.path.abspath(folder)
    path = os.path.join(root, name)
    if ".." in name.split("/") or os.path.commonpath([root, path]) != root:
        raise Unsound("image", f"{name!r} leads out of the folder of images; name a folder that holds them all")
    if not os.path.isfile(path):
        raise Unsound("image_missing", f"{os.path.join(folder, name)} is not there")
    return path


def _turn(place: int, turn: Any, inside: list[Any]) -> Turn:
    turn = turn if isinstance(turn, dict) else {}
    speaker, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if isinstance(text, list):
        text = "\n".join(_part(place, part, inside) for part in text)
    if not isinstance(text, str):
        raise Unsound("turns", f"turn {place} has no text")
    known = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if known is None:
        raise Unsound("speaker", f"turn {place} is from {speaker!r}")
    return {"from": known, "value": text}


def _part(place: int, part: Any, inside: list[Any]) -> str:
    """The text of one of OpenAI's parts; images that it names go to *inside*."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind not in ("image", "image_url"):
        raise Unsound("turns", f"turn {place} has a part that is neither text nor image")
    named = part.get("image_url", part.get("image", part.get("path")))
    named = named.get("url", named) if isinstance(named, dict) else named
    if named is not None:
        inside.append(named)
    return IMAGE


def _system(record: Mapping[str, Any], turns: list[Turn]) -> str | None:
    """The one text of the system: its first turn, or the field ``system`` (LLaMA-Factory's); blank is none."""
    given = record.get("system")
    found = [given] if isinstance(given, str) else []
    for place, turn in enumerate(turns):
        if turn["from"] == "system":
            if place:
                raise Unsound("system", f"turn {place} is the system's: only the first may be")
            found.append(turn["value"])
    found = [text.strip() for text in found if text.strip()]
    if len(found) > 1 or any(IMAGE in text for text in found):
        raise Unsound("system", "it has two system texts, or an image in one")
    return found[0] if found else None


def _name(given: Any) -> str:
    if isinstance(given, dict):
        if given.get("bytes") is not None:
            raise Unsound("image", "its image lies in the record itself: only names of files are read")
        given = given.get("path")
    if not isinstance(given, str) or not given.strip():
        raise Unsound("image", f"{str(given)[:80]!r} is no name of an image")
    return given
