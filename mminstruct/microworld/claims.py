"""Extracts the claims of an answer and compares them with the truth."""

from __future__ import annotations

import json

from mminstruct.microworld.language import Facts, Mention, read_facts


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
    for mention in claims.mentions:
        known = [thing for thing in truth.things if thing.kind == mention.kind]
        if known:
            near = sorted(known, key=lambda thing: thing.colour != mention.colour)  # of two signs, the one meant
            fewest = min((_differences(mention, thing, truth) for thing in near), key=len)
            wrong += fewest
        else:
            wrong.append(f"there is no {mention.kind}")
    return list(dict.fromkeys(wrong))


def _differences(mention: Mention, thing: Mention, truth: Facts) -> list[str]:
    """The attributes of *mention* that are not those of *thing*. A word that is on no sign is no attribute."""
    wrong = []
    for slot in ("count", "size", "colour", "action", "word"):
        said, real = getattr(mention, slot), getattr(thing, slot)
        if slot == "count" and mention.colour is None:  # "two signs" are a red one and a blue one
            real = truth.number(thing.kind) if truth.is_one_of_two(thing) else real
        if said is not None and said != real and (slot != "word" or said in truth.words):
            wrong.append(f"{slot} of {mention.kind} is {real}, not {said}")
    return wrong
