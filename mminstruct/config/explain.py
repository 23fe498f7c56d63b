"""Explains a configuration error in one line, with the most similar key or the available choices."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterator

from hydra.errors import OverrideParseException

from mminstruct.recipe import roles
from mminstruct.recipes import RECIPES

_MEANINGS = {"out": ": the folder of the run", "source": ": where the images are"}


def explain(error: Exception, schema: type) -> str:
    """An error of Hydra or OmegaConf about a configuration of *schema*, in one line."""
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines() if line.strip()]
    text = "\n".join(lines)
    found = re.search(r"full_key: (\S+)", text)
    where = found.group(1) if found else ""
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return (
            f"{error.override}: {lines[0]}; quote values that contain = {{ }} [ ] ( ) : or commas: '{key}=\"{value}\"'"
        )
    if missing := re.search(r"[Mm]issing mandatory value: (\S+)", text):
        key = where if where.endswith(f".{missing.group(1)}") else missing.group(1)
        needs = f" (for {where})" if where not in ("", key) else ""
        return f"{key}= is missing{_MEANINGS.get(key, '')}{needs}"
    if "is not a subclass of Model" in text:
        return unknown(f"models.{where}", schema)
    if strange := re.search(r"Could not override '([^']+)'|Key '([^']+)' (?:is )?not in", text):
        return unknown(strange.group(1) or where or strange.group(2), schema)
    if twice := re.search(r"Multiple values for (\w+)\. To override", text):
        return f"+{twice.group(1)}=: omit the plus; {twice.group(1)}=NAME chooses one"
    if none := re.search(r"Could not find '([^']+)'", text):
        names = text.partition("Available options in")[2].partition("Config search path")[0].splitlines()[1:]
        there = [name for name in names if not name.endswith("_schema")]
        return f"there is no {none.group(1)}; there is {', '.join(there) or 'nothing'}"
    said = [line.rstrip(".:") for line in lines if not line.startswith(("full_key", "object_type", "reference_type"))]
    return "; ".join(dict.fromkeys(said)) + (f" (at {where})" if where else "")


def unknown(key: str, schema: type) -> str:
    """The message that *schema* has no *key*, with the most similar full keys."""
    near = _near(key, sorted({*keys(schema)} - {key}))
    return f"there is no key {key!r}" + (f"; did you mean {' or '.join(map(repr, near))}?" if near else "")


def _near(key: str, known: list[str]) -> list[str]:
    """The most similar key; else up to three with the same or a similar last part: ``engine.gpu`` for ``gpu``."""
    pieces = key.split(".")
    mine = [
        ".".join(
            own if piece == "*" else piece for piece, own in zip(one.split("."), [*pieces, *["NAME"] * 9], strict=False)
        )
        for one in known
    ]  # the user chooses the names of new entries
    if close := difflib.get_close_matches(key, mine, n=1, cutoff=0.8):
        return close
    last = [one.rpartition(".")[2] for one in mine]
    word = next(iter(difflib.get_close_matches(pieces[-1], last, n=1, cutoff=0.75)), None)
    return [one for one, ends in zip(mine, last, strict=True) if ends == word][:3]


def keys(schema: type) -> Iterator[str]:
    """All dotted keys of *schema*; ``*`` is the name of a mapping's entry."""
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        yield item.name
        kinds = [(item.name, hints[item.name])]
        if typing.get_origin(hints[item.name]) is dict:
            kinds = [(f"{item.name}.*", typing.get_args(hints[item.name])[1])]
        if item.name == "models":
            kinds = [(f"models.{role}", typing.get_args(hints[item.name])[1]) for role in roles(*RECIPES.values())]
        if item.name == "recipe":  # the keys of all recipes, since the configuration chooses one
            kinds = [(item.name, recipe) for recipe in RECIPES.values()]
        for place, kind in kinds:
            if item.name == "models":
                yield place
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                yield from (f"{place}.{key}" for key in keys(kind))


def open_keys(schema: type) -> dict[str, bool]:
    """Mapping keys of *schema*, by their last part -> whether their entries are dataclasses."""
    hints = typing.get_type_hints(schema)
    found = {
        name: dataclasses.is_dataclass(typing.get_args(hint)[1])
        for name, hint in hints.items()
        if typing.get_origin(hint) is dict
    }
    kinds = [*hints.values(), *(RECIPES.values() if "recipe" in hints else ())]
    for kind in (kind for hint in kinds for kind in (hint, *typing.get_args(hint))):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            found |= open_keys(kind)
    return found
