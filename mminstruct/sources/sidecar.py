"""Sidecars of an image: JSON, text and table columns, sorted into alt-text, licence, URL and other fields."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mminstruct.readers.container import BadImage
from mminstruct.readers.text import Unreadable, decode
from mminstruct.readers.values import parse
from mminstruct.sources.sample import Sample
from mminstruct.text import repair
from mminstruct.unit import note

GUESSES: dict[str, tuple[str, ...]] = {
    "alt_text": ("alt_text", "caption", "alt", "TEXT", "text", "txt", "Caption", "captions"),
    "licence": ("licence", "license", "LICENSE", "License"),
    "url": ("url", "URL", "image_url", "uri"),
}
"""Names of our columns in common datasets (img2dataset, DataComp, LAION); the first that is present and not blank."""

_DIGESTS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}


@dataclass(frozen=True, slots=True)
class Description:
    """Sidecars of an image, as columns of the table."""

    alt_text: str | None
    licence: str | None
    url: str | None
    sidecar: str | None
    """All other fields, as a JSON object."""


def describe(sample: Sample, names: Mapping[str, str], checksum: str = "") -> Description:
    """The columns of *sample*. Its JSON takes precedence over its row; its text file over both.

    Of a list of captions the first text that is not blank is the alt-text; the others stay in ``sidecar`` and are noted
    (``captions_more``). A row of several images gives none of them an alt-text (``caption_shared``).

    Args:
        sample: the image and its sidecars.
        names: our column -> its name in the dataset (``alt_text: TEXT``), instead of the usual names.
        checksum: field with a hexadecimal digest of the image's bytes; '' for none.

    Raises:
        BadImage: ``img_checksum``: the image has another digest.
    """
    fields = {**sample.row, **_json(sample.json)}
    if checksum and isinstance(stated := fields.get(checksum), str):
        _check_digest(sample.data, stated)
    wanted = {ours: (names[ours],) if ours in names else guesses for ours, guesses in GUESSES.items()}
    if sample.shared:
        note("caption_shared")
        wanted["alt_text"] = ()
    found = {ours: _take(fields, guesses) for ours, guesses in wanted.items()}
    if sample.text is not None:
        found["alt_text"] = _text(sample.text) or found["alt_text"]
    return Description(**found, sidecar=_dump(fields))


def _json(data: bytes | None) -> dict[str, Any]:
    """Fields of a JSON sidecar; none if it is invalid, or neither an object nor a list of texts."""
    if not data:
        return {}
    try:
        value = parse(decode(data, "it"), "it")
        if isinstance(value, dict):
            return value
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return {"captions": value}
    except Unreadable:
        pass
    note("sidecar_bad")
    return {}


def _text(data: bytes) -> str | None:
    try:
        return _clean(decode(data, "it"))
    except Unreadable:
        note("sidecar_bad")
        return None


def _clean(text: str) -> str | None:
    cleaned = repair(text)
    if cleaned != text.strip():
        note("text_repaired")
    return cleaned or None


def _take(fields: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """Remove and return the first of *names* in *fields* that is a text, or a list with one, and not blank."""
    for name in names:
        value = fields.get(name)
        texts = value if isinstance(value, list | tuple) else [value]
        for place, one in enumerate(texts):
            if isinstance(one, str) and (text := _clean(one)):
                del fields[name]
                if rest := [*texts[:place], *texts[place + 1 :]]:
                    note("captions_more", len(rest))
                    fields[name] = rest
                return text
    return None


def _dump(fields: dict[str, Any]) -> str | None:
    fields = {name: value for name, value in fields.items() if value is not None}
    if not fields:
        return None
    try:
        try:
            text = json.dumps(fields, ensure_ascii=False, allow_nan=False, default=str)
        except ValueError:  # infinities, which JSON does not have
            text = json.dumps(_finite(fields), ensure_ascii=False, default=str)
    except RecursionError:
        note("sidecar_bad")
        return None
    return text if text.isascii() or _encodable(text) else json.dumps(_finite(fields), default=str)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates
        return False
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_digest(data: bytes, stated: str) -> None:
    algorithm = _DIGESTS.get(len(stated))
    if algorithm is None:
        raise BadImage("img_checksum", f"a digest of {len(stated)} characters is none that is known")
    found = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
    if found != stated.lower():
        raise BadImage("img_checksum", f"{algorithm} is {found[:16]}..., stated is {stated[:16]}...")
