"""The rows on which people disagree, for an adjudicator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import fsspec

from mminstruct.files import info
from mminstruct.readers.records import json_lines
from mminstruct.readers.text import Unreadable, good


def disputed(paths: Iterable[str]) -> frozenset[str]:
    """Ids of the rows with different edits, or that some people reject and others do not; skips do not count.

    Args:
        paths: Files of decisions, as pages save them.

    Raises:
        FileNotFoundError: there is no such file.
        Unreadable: a line is no decision; the message has its number.
    """
    said: dict[str, dict[str, tuple[Any, ...]]] = {}
    for path in paths:
        for line in _lines(path):
            if line["decision"] in ("accept", "edit", "reject"):
                said.setdefault(line["id"], {}).setdefault(line["person"], _word(line))  # not a hidden repeat
    return frozenset(id_ for id_, words in said.items() if _differ(set(words.values())))


def _lines(path: str) -> Iterator[dict[str, Any]]:
    fs, root = fsspec.core.url_to_fs(path)
    if info(fs, root) is None:
        raise FileNotFoundError(f"{path}: no such file of decisions")
    with fs.open(root, "rb") as file:
        for number, line in enumerate(good(json_lines(file, path), path), 1):
            if not isinstance(line, dict) or not all(isinstance(line.get(key), str) for key in _NEEDED):
                raise Unreadable(f"{path}: decision {number} has not the texts {', '.join(_NEEDED)}")
            yield line


_NEEDED = ("id", "person", "decision")


def _word(line: dict[str, Any]) -> tuple[Any, ...]:
    """What a decision says; two edits say the same if their texts are equal."""
    if line["decision"] != "edit":
        return (line["decision"],)
    return ("edit", line.get("question"), line.get("answer"), str(line.get("choices")), line.get("right"))


def _differ(words: set[tuple[Any, ...]]) -> bool:
    edits = {word for word in words if word[0] == "edit"}
    return len(edits) > 1 or (("reject",) in words and len(words) > 1)
