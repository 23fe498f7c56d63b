"""A checksum inside the small files of a run: a flipped bit or a missing end is found when the file is read.

JSON files hold it as their last field, ``sha256``: the digest of all other fields, keys sorted, without white space.
YAML files hold it in their last line, a comment: the digest of all bytes before it. Files of versions that wrote no
checksum are read without a check.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

FIELD = "sha256"
_LINE = re.compile(rb"# sha256: ([0-9a-f]{64})\n?\Z")


class Damaged(OSError):
    """A file is not what was written: cut, changed, swapped, or of another program. The message names the file."""


def seal(facts: Mapping[str, Any], indent: int | None = None) -> bytes:
    """*facts* as JSON with a checksum as the last field."""
    plain = json.loads(json.dumps(facts))  # keys become text before they are sorted
    whole = {**plain, FIELD: _digest(plain)}
    try:
        return json.dumps(whole, ensure_ascii=False, indent=indent).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, in the text of an error for instance
        return json.dumps(whole, indent=indent).encode()


def unseal(data: bytes | str, where: str, mend: str) -> dict[str, Any]:
    """The fields that were sealed, without the checksum.

    Args:
        data: what was read.
        where: the file, for the error.
        mend: what to do about a damaged file, for the error.

    Raises:
        Damaged: it is no JSON object, or another than was written.
    """
    try:
        facts = json.loads(data)
    except ValueError as error:
        raise Damaged(f"{where} is torn ({len(data)} bytes, {error}): {mend}") from None
    if not isinstance(facts, dict):
        raise Damaged(f"{where} holds a {type(facts).__name__}, no JSON object: {mend}")
    said = facts.pop(FIELD, None)
    if said is not None and said != _digest(facts):
        raise Damaged(f"{where} is not what was written (its checksum differs): {mend}")
    return facts


def seal_text(text: str) -> bytes:
    """*text* with its checksum as a last line, which YAML takes for a comment."""
    data = text.encode() if text.endswith("\n") else f"{text}\n".encode()
    return data + f"# sha256: {hashlib.sha256(data).hexdigest()}\n".encode()


def unseal_text(data: bytes, where: str, mend: str) -> str:
    """The text that was sealed.

    Raises:
        Damaged: it is another than was written.
    """
    found = _LINE.search(data)
    if found is not None:
        data = data[: found.start()]
        if hashlib.sha256(data).hexdigest() != found.group(1).decode():
            raise Damaged(f"{where} is not what was written (its checksum differs): {mend}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Damaged(f"{where} is no UTF-8 ({error}): {mend}") from None


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
