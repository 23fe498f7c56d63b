"""JSON replies: what to send with a request for them, and whether a reply is one."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from mminstruct.text.thoughts import without_thoughts

How = Literal["schema", "object", "prompt"]
"""What an endpoint understands: ``response_format`` with a schema, with any object, or none at all."""

_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)


class Unfit(ValueError):
    """A reply that is not JSON of the schema; the message says why, in words a model can act on."""


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
    """
    import jsonschema  # type: ignore[import-untyped]

    text = without_thoughts(text)
    fenced = _FENCED.search(text)
    found = fenced.group(1) if fenced else text
    starts = [place for place in (found.find("{"), found.find("[")) if place >= 0]
    bare = found.strip() if not starts else found[min(starts) :]
    try:
        value, end = json.JSONDecoder(parse_constant=_no_constant).raw_decode(bare)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"it is not JSON ({error})" if str(error) else "it is not JSON") from None
    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError as error:
        where = "".join(f"[{step!r}]" for step in error.absolute_path)
        raise Unfit(f"{where or 'it'}: {error.message[:300]}") from None
    return bare[:end]


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
