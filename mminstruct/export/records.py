"""Records of conversations in JSON, one at a time: a list of any length, or JSON Lines; ours and other people's.

LLaVA's mix665k, ShareGPT, LLaMA-Factory and ms-swift files say the same in other words, with keys that no one needs:
what is not known is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from mminstruct.export.row import PROVENANCE, Image, Row, Turn, Unsound

_GAP = re.compile(r"[\s,]*")
_SPEAKERS = {"human": "human", "user": "human", **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard"), "gpt")}
_LISTS = ("conversations", "messages", "conversation")


def records(path: Path, chunk: int = 1 << 20) -> Iterator[dict[str, Any]]:
    """The objects in a file that is a JSON list or JSON Lines; *chunk* characters are read at a time.

    Raises:
        ValueError: the file is no such thing or ends too early; with the number of the record, from 0.
    """
    number = 0
    with open(path, encoding="utf-8-sig") as file:
        try:
            for number, record in enumerate(_values(file, chunk)):
                if not isinstance(record, dict):
                    raise ValueError(f"it is a {type(record).__name__}, should be an object")
                yield record
                number += 1
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: record {number}: {error}") from error


def _values(file: TextIO, chunk: int) -> Iterator[Any]:
    """JSON values that follow each other, or the items of one list, a record at a time in memory."""
    decoder = json.JSONDecoder()
    text, place, listed = "", 0, None
    while True:
        place = _GAP.match(text, place).end()  # type: ignore[union-attr]  # it matches nothing, too
        if listed is None and place < len(text):
            listed = text[place] == "["
            place += listed
            continue
        if listed and text.startswith("]", place):
            if (text[place + 1 :] + file.read()).strip():
                raise ValueError("something follows the list")
            return
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            # it goes on beyond what was read: read as much again, so that a long one costs no square of its length
            more = file.read(max(chunk, len(text) - place))
            if not more:
                if place == len(text) and not listed:
                    return
                raise ValueError(f"broken or cut short: {error.msg}") from error
            text, place = text[place:] + more, 0
        else:
            yield value


def row_of(record: dict[str, Any], folder: Path | None) -> Row:
    """A record as a row; images are files of *folder*.

    As LLaVA's loader does, a first turn of gpt is passed over; so is a last turn of human, which no answer follows.

    Raises:
        Unsound: it is no conversation, or names an image that is no file in the folder.
    """
    said = next((record[name] for name in _LISTS if isinstance(record.get(name), list)), None)
    if said is None:
        raise Unsound("no conversation", f"none of {', '.join(_LISTS)} is a list")
    turns = [_turn(place, turn) for place, turn in enumerate(said)]
    if turns and turns[0]["from"] == "gpt":
        turns = turns[1:]
    if turns and turns[-1]["from"] == "human":
        turns = turns[:-1]
    named = record.get("images", record.get("image")) or []
    images = tuple(_image(name, folder) for name in (named if isinstance(named, list) else [named]))
    texts = {name: str(record[name]) for name in PROVENANCE if record.get(name)}
    return Row(id=str(record.get("id", "")), turns=turns, images=images, **texts)


def _turn(place: int, turn: Any) -> Turn:
    turn = turn if isinstance(turn, dict) else {}
    speaker, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if not isinstance(text, str):
        raise Unsound("turns", f"turn {place} has no text")
    known = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if known is None:
        raise Unsound("speaker", f"turn {place} is from {speaker!r}")
    return {"from": known, "value": text}


def _image(name: Any, folder: Path | None) -> Image:
    if not isinstance(name, str) or not name:
        raise Unsound("image", f"{name!r} is no name of an image")
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise Unsound("image", f"{name!r} leads out of the folder of images")
    if folder is None:
        raise Unsound("image", f"it names {name}, and no folder of images is given")
    path = folder / name
    if not path.is_file():
        raise Unsound("image", f"{path} is not there")
    return Image(name=name, path=path)
