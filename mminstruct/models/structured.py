"""JSON replies: how to ask for them, and how to read and check them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from mminstruct.text.thoughts import without_thoughts

JsonSupport = Literal["schema", "object", "prompt"]
"""What an endpoint supports: ``response_format`` with a schema, with any object, or not at all."""

_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_MOST_TRIES = 1_000
"""Braces of one text that are tried as the start of JSON: each may cost a pass over the whole text."""


class InvalidJson(ValueError):
    """A reply that is not JSON of the schema; the message is written for the model that has to repair it."""


class AmbiguousJson(InvalidJson):
    """A reply with several different answers; it is not repaired, because which one is meant is unknown."""


def response_format(schema: dict[str, Any], support: JsonSupport) -> dict[str, Any] | None:
    """OpenAI's ``response_format`` for *schema*."""
    if support == "schema":
        made = {"name": "reply", "schema": schema, "strict": closed(schema)}
        return {"type": "json_schema", "json_schema": made}
    return {"type": "json_object"} if support == "object" else None


def closed(schema: Any) -> bool:
    """Whether every object in *schema* lists all its keys and requires them, as OpenAI's strict mode needs."""
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


def valid_json(text: str, schema: dict[str, Any]) -> str:
    """The JSON in *text*, possibly inside a code fence or between words, if it is valid under *schema*.

    The JSON is returned unchanged; nothing in it is repaired.

    Raises:
        InvalidJson: if there is no JSON, or it is not valid.
        AmbiguousJson: if there are several values, and they differ.
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
        raise InvalidJson(f"it is not JSON ({error})" if str(error) else "it is not JSON") from None
    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError as error:
        where = "".join(f"[{step!r}]" for step in error.absolute_path)
        raise InvalidJson(f"{where or 'it'}: {error.message[:300]}") from None
    outside, place = [], 0
    for other, start, stop in values(text):
        if type(other) is type(value) and other != value:
            raise AmbiguousJson("it holds several different answers")
        outside.append(text[place:start])
        place = stop
    if isinstance(value, dict) and _disputed(value, "\n".join([*outside, text[place:]])):
        raise AmbiguousJson("it says something else outside of the JSON")
    return bare[:end]


def _disputed(value: dict[str, Any], outside: str) -> bool:
    """Whether the words around the JSON give one of its short fields another value (``verdict: B``)."""
    for key, item in value.items():
        if not re.fullmatch(r"\w+", key):  # not a word, so nobody repeats it as a label
            continue
        if isinstance(item, bool | int | float) or (isinstance(item, str) and item.isalnum()):
            said = re.findall(rf"\b{re.escape(key)}\b\W{{0,4}}[:=]\W{{0,4}}(\w+)", outside, re.IGNORECASE)
            if any(word.casefold() != str(item).casefold() for word in said):
                return True
    return False


def values(text: str, opening: str = "{[") -> Iterator[tuple[Any, int, int]]:
    """(value, start, end) of each outermost JSON object or array in *text*.

    Args:
        text: Any text.
        opening: Opening brackets that are tried.

    Raises:
        InvalidJson: where too many opening brackets start no JSON.
    """
    braces, tries, place = re.compile(f"[{re.escape(opening)}]"), 0, 0
    while found := braces.search(text, place):
        try:
            value, end = _DECODER.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            place, tries = found.end(), tries + 1
            if tries > _MOST_TRIES:
                raise InvalidJson(f"more than {_MOST_TRIES} braces open nothing") from None
        else:
            yield value, found.start(), end
            place = end


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without duplicate keys, of which ``json`` would silently keep the last."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is there twice")
    return made


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_object)
