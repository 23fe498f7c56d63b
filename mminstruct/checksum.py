"""A checksum inside the small files of a run, so that damage is found when a file is read.

In JSON files it is the last field, ``sha256``: the digest of all other fields, keys sorted, without white space. In
YAML files it is the last line, a comment: the digest of all bytes before it. Files of old versions, which have no
checksum, are read without a check.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from mminstruct.errors import StorageError

FIELD = "sha256"
_LINE = re.compile(rb"# sha256: ([0-9a-f]{64})\n?\Z")


class Damaged(StorageError):
    """A file is not what was written: truncated, changed, swapped, or from another program. The message names it."""


def seal(facts: Mapping[str, Any], indent: int | None = None) -> bytes:
    """*facts* as JSON with a checksum as the last field."""
    plain = json.loads(json.dumps(facts))  # keys become text before they are sorted
    whole = {**plain, FIELD: _digest(plain)}
    try:
        return json.dumps(whole, ensure_ascii=False, indent=indent).encode()
    except UnicodeEncodeError:  # a lone surrogate, in the text of an error for instance
        return json.dumps(whole, indent=indent).encode()


def unseal(data: bytes | str, where: str, fix: str) -> dict[str, Any]:
    """The fields that were sealed, without the checksum.

    Args:
        data: the content of the file.
        where: the file, for the error.
        fix: what to do about a damaged file, for the error.

    Raises:
        Damaged: it is not a JSON object, or its checksum differs.
    """
    try:
        facts = json.loads(data)
    except ValueError as error:
        raise Damaged(f"{where} is torn ({len(data)} bytes, {error}): {fix}") from None
    if not isinstance(facts, dict):
        raise Damaged(f"{where} holds a JSON {type(facts).__name__}, not an object: {fix}")
    said = facts.pop(FIELD, None)
    if said is not None and said != _digest(facts):
        raise Damaged(f"{where} is not what was written (its checksum differs): {fix}")
    return facts


def seal_text(text: str) -> bytes:
    """*text* with its checksum as the last line, which is a comment in YAML."""
    data = text.encode() if text.endswith("\n") else f"{text}\n".encode()
    return data + f"# sha256: {hashlib.sha256(data).hexdigest()}\n".encode()


def unseal_text(data: bytes, where: str, fix: str) -> str:
    """The text that was sealed.

    Raises:
        Damaged: its checksum differs, or it is not UTF-8.
    """
    found = _LINE.search(data)
    if found is not None:
        data = data[: found.start()]
        if hashlib.sha256(data).hexdigest() != found.group(1).decode():
            raise Damaged(f"{where} is not what was written (its checksum differs): {fix}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Damaged(f"{where} is no UTF-8 ({error}): {fix}") from None


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
