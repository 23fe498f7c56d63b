"""JSON replies: what to send with a request for them, and whether a reply is one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from mminstruct.text.thoughts import without_thoughts

How = Literal["schema", "object", "prompt"]
"""What an endpoint understands: ``response_format`` with a schema, with any object, or none at all."""

_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_MOST_TRIES = 1_000
"""Braces of one text that are tried: each may be read to the end of the text in vain."""


class Unfit(ValueError):
    """A reply that is not JSON of the schema; the message says why, in words a model can act on."""


class Contradiction(Unfit):
    """A reply that holds several different answers: which one is meant is not known, and is not asked."""


def response_format(schema: dict[str, Any], how: How) -> dict[str, Any] | None:
    """OpenAI's ``response_format`` for *schema*."""
    if how == "schema":
        made = {"name": "reply", "schema": schema, "strict": closed(schema)}
        return {"type": "json_schema", "json_schema": made}
    return {"type": "json_object"} if how == "object" else None


def closed(schema: Any) -> bool:
    """Whether every object in *schema* names all its keys and requires them: what OpenAI's strict mode asks for."""
    if isinstance(schema, list):
        return all(map(closed, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        keys = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(keys):
            return False
        return all(map(closed, keys.values())) and closed([v for k, v in schema.items() if k != "properties"])
    return all(map(closed, schema.values()))


def fitting(text: str, schema: dict[str, Any]) -> str:
    """The JSON in *text*, which may stand in fences or between words, if it is valid under *schema*.

    Nothing is invented: a reply is taken as it is, or not at all.

    Raises:
        Unfit: if there is none, or it is not valid.
        Contradiction: if there are several, and they differ.
    """
    import jsonschema  # type: ignore[import-untyped]

    text = without_thoughts(text)
    fenced = _FENCED.search(text)
    found = fenced.group(1) if fenced else text
    starts = [place for place in (found.find("{"), found.find("[")) if place >= 0]
    bare = found.strip() if not starts else found[min(starts) :]
    try:
        value, end = _DECODER.raw_decode(bare)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"it is not JSON ({error})" if str(error) else "it is not JSON") from None
    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError as error:
        where = "".join(f"[{step!r}]" for step in error.absolute_path)
        raise Unfit(f"{where or 'it'}: {error.message[:300]}") from None
    outside, place = [], 0
    for other, start, stop in values(text):
        if type(other) is type(value) and other != value:
            raise Contradiction("it holds several different answers")
        outside.append(text[place:start])
        place = stop
    if isinstance(value, dict) and _disputed(value, "\n".join([*outside, text[place:]])):
        raise Contradiction("it says something else outside of the JSON")
    return bare[:end]


def _disputed(value: dict[str, Any], outside: str) -> bool:
    """Whether words around the JSON give a short field of it (``verdict: B``) another value."""
    for key, item in value.items():
        if not re.fullmatch(r"\w+", key):  # no word, so no label that somebody would repeat
            continue
        if isinstance(item, bool | int | float) or (isinstance(item, str) and item.isalnum()):
            said = re.findall(rf"\b{re.escape(key)}\b\W{{0,4}}[:=]\W{{0,4}}(\w+)", outside, re.IGNORECASE)
            if any(word.casefold() != str(item).casefold() for word in said):
                return True
    return False


def values(text: str, opening: str = "{[") -> Iterator[tuple[Any, int, int]]:
    """(value, start, end) of each JSON object and array in *text* that is part of no other, or of those in *opening*.

    Raises:
        Unfit: where there are too many braces that open nothing.
    """
    braces, tries, place = re.compile(f"[{re.escape(opening)}]"), 0, 0
    while found := braces.search(text, place):
        try:
            value, end = _DECODER.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            place, tries = found.end(), tries + 1
            if tries > _MOST_TRIES:
                raise Unfit(f"more than {_MOST_TRIES} braces open nothing") from None
        else:
            yield value, found.start(), end
            place = end


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different: of two equal ones, ``json`` would keep the last in silence."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is there twice")
    return made


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_object)
