"""Extracts the claims of an answer and compares them with the truth."""

from __future__ import annotations

import json

from mminstruct.microworld.language import Facts, read_facts


def read_answer(answer: str) -> Facts:
    """The claims of *answer*, which may be prose, a JSON object or a markdown table."""
    start, end = answer.find("{"), answer.rfind("}")
    if 0 <= start < end:
        try:
            return read_facts(_prose(json.loads(answer[start : end + 1])))
        except ValueError:
            pass
    rows = [row.strip().strip("|").split("|") for row in answer.splitlines() if row.strip().startswith("|")]
    if len(rows) > 2 and len(rows[0]) >= 3:
        keys = [key.strip().lower() for key in rows[0]]
        things = [dict(zip(keys, (cell.strip() for cell in row), strict=False)) for row in rows[2:]]
        return read_facts(_prose({"things": things}))
    return read_facts(answer)


def _prose(value: object) -> str:
    """Sentences with the content of a JSON value that a family wrote."""
    if isinstance(value, dict):
        if "thing" in value:
            return " ".join(str(value[key]) for key in ("number", "size", "colour", "thing") if value.get(key)) + "."
        return " ".join(_prose(part) for part in value.values())
    if isinstance(value, list):
        return " ".join(_prose(part) for part in value)
    return f'"{value}" .' if isinstance(value, str) and value.isupper() else f"{value} ."


def contradictions(claims: Facts, truth: Facts) -> list[str]:
    """The claims that *truth* contradicts. Omissions are not contradictions."""
    wrong = []
    for slot in ("settings", "times", "weathers", "places", "words", "relations"):
        wrong += [
            f"{slot}: {claim} is not there" for claim in getattr(claims, slot) if claim not in getattr(truth, slot)
        ]
    known = {thing.kind: thing for thing in truth.things}
    for mention in claims.mentions:
        thing = known.get(mention.kind)
        if thing is None:
            wrong.append(f"there is no {mention.kind}")
            continue
        for slot in ("count", "size", "colour", "action"):
            said, real = getattr(mention, slot), getattr(thing, slot)
            if said is not None and said != real:
                wrong.append(f"{slot} of {mention.kind} is {real}, not {said}")
    return list(dict.fromkeys(wrong))
