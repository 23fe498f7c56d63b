"""A recipe: an ordered list of stages that are checked against each other before anything runs.

    @dataclass(kw_only=True)
    class MMInstruct(Recipe):
        ingest: Ingest
        caption: Caption
        ...

The order of fields is the order of stages, and a field's name is the name of its table.
"""

from __future__ import annotations

import base64
import dataclasses
import difflib
import importlib.util
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from mminstruct import prompts
from mminstruct.errors import ConfigurationError
from mminstruct.models.backends import find
from mminstruct.models.model import Model
from mminstruct.stage import Read, Stage, fingerprint, identity, keys


class RecipeError(ConfigurationError):
    """A recipe cannot run. Each line names one fault and how to fix it."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Description of a recipe's method, for the card of a dataset."""

    title: str = ""
    """Name of the method."""
    paper: str = ""
    """Title of its paper and ``arXiv:NUMBER``."""
    made: str = ""
    """How a row is made, as the end of a sentence: ``instructions were generated from images, ... and filtered``."""
    limits: str = ""
    """What a user of the dataset must know, in whole sentences."""
    tags: tuple[str, ...] = ()
    """Tags of the Hub; ``synthetic`` says that models wrote the texts."""


@dataclass(kw_only=True)
class Recipe:
    """Base class of all recipes."""

    wires: ClassVar[Mapping[str, Mapping[str, Read | None]]] = {}
    """Connections of this recipe: stage -> input name -> what is read for it, where that differs from the stage's class
    (see ``Stage.wired``)."""
    method: ClassVar[Method] = Method()
    """For the cards of datasets; each manifest has it, so that an export needs only the run."""

    def stages(self) -> dict[str, Stage]:
        """Stages by table name, in order, each with its inputs in this recipe. Disabled stages are left out, and no
        other stage reads their tables.
        """
        given: dict[str, Stage] = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        found = {}
        for name, stage in given.items():
            if not stage.enabled():
                continue
            wired = stage.wired(self.wires[name]) if name in self.wires else stage
            off = {put for put, (table, _) in inputs(wired).items() if table in given and not given[table].enabled()}
            found[name] = wired.wired(dict.fromkeys(off)) if off else wired
        return found

    def check(self) -> None:
        """Raise ValueError if stages do not fit together."""


def stage_types(recipe: type[Recipe]) -> dict[str, type[Stage]]:
    """The classes of a recipe's stages, by table name, in order.

    Raises:
        ConfigurationError: A table has the name of an attribute that all recipes have.
    """
    taken = [item.name for item in dataclasses.fields(recipe) if hasattr(Recipe, item.name)]
    if taken:
        raise ConfigurationError(f"{recipe.__name__}.{taken[0]}: every recipe has an attribute of that name; rename it")
    hints = typing.get_type_hints(recipe)
    return {item.name: hints[item.name] for item in dataclasses.fields(recipe)}


def roles(*recipes: type[Recipe]) -> dict[str, str | None]:
    """The roles of models in the stages of *recipes*, and for each the role whose model it has by default."""
    stages = [stage for recipe in recipes for stage in stage_types(recipe).values()]
    found = [item.metadata for stage in stages for item in dataclasses.fields(stage) if "role" in item.metadata]
    return {metadata["role"]: metadata["like"] for metadata in found}


def inputs(stage: Stage) -> dict[str, tuple[str, Read]]:
    """Inputs of *stage*: argument name -> (table, how it is read)."""
    return {name: (read.of or name, read) for name, read in stage.reads.items()}


def primary(stage: Stage) -> str | None:
    """The table whose parts are this stage's units; None for sources and for stages that read only whole tables."""
    return next((table for table, read in inputs(stage).values() if read.mode == "part"), None)


def sources(recipe: Recipe) -> dict[str, str]:
    """Table -> the source that its part keys come from. A stage that reads only whole tables has keys of its own."""
    found: dict[str, str] = {}
    for name, stage in recipe.stages().items():
        first = primary(stage)
        found[name] = name if first is None else found.get(first, first)
    return found


def check(recipe: Recipe, installed: bool = True) -> None:
    """Check a recipe before it runs.

    Args:
        installed: Whether the models' backends must be installed; False where a run is only estimated.

    Raises:
        RecipeError: One line for each fault: an unknown table or column, an unknown or missing variable of a prompt, a
            path that does not exist, an unknown backend or backend option, a missing package, a fault that a stage
            reports itself.
    """
    faults: list[str] = []
    written: dict[str, pa.Schema] = {}
    for name, stage in recipe.stages().items():
        for table, read in inputs(stage).values():
            if table not in written:
                hint = _near(table, written)
                faults.append(f"{name} reads table {table!r}, which no earlier stage writes{hint}")
                continue
            for column in read.columns:
                if column not in written[table].names:
                    hint = _near(column, written[table].names)
                    faults.append(f"{name} reads column {table}.{column}, which {table} does not write{hint}")
        for where, holder in holders(f"recipe.{name}", stage):
            for field in dataclasses.fields(holder):
                given, look = field.metadata.get("prompt"), field.metadata.get("files")
                value = getattr(holder, field.name)
                if given is not None:
                    faults += _prompt_faults(f"{where}.{field.name}", value, given, field.metadata["needed"])
                if look is not None and value is not None and installed:
                    try:
                        look(value, holder)
                    except OSError as error:
                        faults.append(f"{where}.{field.name}: {error}")
            unknown = holder.unknown() if isinstance(holder, Model) else []
            faults += [f"{where}: {line}" for line in unknown]
            backend = find(holder.backend) if isinstance(holder, Model) and not unknown else None
            if installed and backend and backend.package and importlib.util.find_spec(backend.package) is None:
                extra = f"[{backend.extra}]" if backend.extra else ""
                faults.append(
                    f"{where} needs the backend {holder.backend}, which is not installed:"
                    f" pip install 'mminstruct{extra}'"
                )
        faults += [f"{name}: {line}" for line in _misfits(stage)]
        try:
            stage.check()
        except ValueError as error:
            faults += [_keyed(name, stage, line) for line in str(error).split("\n")]
        written[name] = stage.writes
    try:
        recipe.check()
    except ValueError as error:
        faults.append(f"recipe.{error}")
    if faults:
        raise RecipeError("\n".join(faults))


def _misfits(stage: Stage) -> list[str]:
    """Differences between the whole tables that a stage reads and the arguments of its ``load``."""
    accepted = inspect.signature(stage.load).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in accepted):
        return []
    wholes = {name for name, read in stage.reads.items() if read.mode == "whole"}
    needed = {one.name for one in accepted if one.default is one.empty}
    known = {one.name for one in accepted}
    return [
        *(f"load() needs the whole table {name!r}, which is not among its inputs" for name in sorted(needed - wholes)),
        *(f"load() does not take the whole table {name!r}" for name in sorted(wholes - known)),
    ]


def _keyed(name: str, stage: Stage, complaint: str) -> str:
    """A stage's *complaint* with the full configuration key, as it is written on the command line."""
    if complaint.startswith(f"{name}."):
        return f"recipe.{complaint}"
    key = re.match(r"(\w+)(?=[=, ])", complaint)
    known = key is not None and key.group() in {field.name for field in dataclasses.fields(stage)}
    return f"recipe.{name}{'.' if known else ': '}{complaint}"


def holders(where: str, holder: Any) -> Iterator[tuple[str, Any]]:
    """*holder* and all dataclasses in its fields and mappings, each with its key: ``judge.judges.x``."""
    yield where, holder
    for field in dataclasses.fields(holder):
        value = getattr(holder, field.name)
        within = {f".{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {"": value}
        for key, item in within.items():
            if dataclasses.is_dataclass(item):
                yield from holders(f"{where}.{field.name}{key}", item)


def _prompt_faults(where: str, text: str, given: frozenset[str], needed: frozenset[str]) -> list[str]:
    try:
        used = prompts.variables(text)
    except ValueError as error:
        return [f"{where}: {error}"]
    there = ", ".join(sorted(given)) or "nothing"
    return [
        f"{where} uses {{{{ {name} }}}}, which this stage does not fill in; it fills in {there}"
        for name in sorted(used - given)
    ] + [
        f"{where} does not use {{{{ {name} }}}}, so the model would not see it: put it into the prompt, or the comment"
        f" {{# without {name} #}} if that is intended"
        for name in sorted(needed - used - prompts.left_out(text))
    ]


def _near(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there is {', '.join(known) or 'nothing yet'}"


def segments(recipe: Recipe) -> list[list[str]]:
    """Groups of tables that a unit passes through without waiting. All units of a group end before the next begins.

    A group ends before a stage that reads a whole table of the group, or whose units are not those of the group.
    """
    groups: list[list[str]] = []
    units = sources(recipe)
    for name, stage in recipe.stages().items():
        first = primary(stage)
        wholes = {table for table, read in inputs(stage).values() if read.mode == "whole"}
        streams = first is not None and bool(groups) and units[name] == units[groups[-1][-1]]
        if streams and not wholes & set(groups[-1]):
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def manifests(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Manifest of each table: its stage's configuration, its schema, and the fingerprints of its inputs.

    Not part of the fingerprint: ``paths`` (where a source's data was when the run began), ``arrow`` (the schema with
    its tags, base64 of Arrow's IPC format), ``renamed`` (fields that the configuration has by their old names).
    """
    found: dict[str, dict[str, Any]] = {}
    for name, stage in recipe.stages().items():
        facts: dict[str, Any] = {
            "stage": type(stage).__name__,
            "config": identity(stage),
            "schema": {field.name: str(field.type) for field in stage.writes},
            "inputs": {table: found[table]["fingerprint"] for table, _ in inputs(stage).values()},
            **({"version": stage.version} if stage.version > 1 else {}),
        }
        found[name] = {**facts, "fingerprint": fingerprint(facts), "order": len(found), "primary": primary(stage)}
        found[name]["row_key"] = _row_key(stage)
        found[name]["recipe"] = {**dataclasses.asdict(recipe.method), "tags": list(recipe.method.tags)}
        found[name]["arrow"] = base64.b64encode(stage.writes.serialize()).decode()
        found[name]["renamed"] = {
            item.metadata["was"]: item.name for item in dataclasses.fields(stage) if "was" in item.metadata
        }
        fields = [item.name for item in dataclasses.fields(stage) if item.metadata.get("where")]
        if fields:
            found[name]["paths"] = {field: getattr(stage, field) for field in fields}
    return found


def _row_key(stage: Stage) -> str:
    """The column that identifies rows, as the input table names it."""
    column, _ = keys(stage)
    names = next((read.names for read in stage.reads.values()), {})
    return next((theirs for theirs, ours in names.items() if ours == column), column)


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Differences between the configurations of two manifests: ``model.name: 'a' -> 'b'``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        lines: list[str] = []
        for key in sorted({*old, *new}):
            where = f"{path}.{key}" if path else str(key)
            lines += differences(old.get(key, _ABSENT), new.get(key, _ABSENT), where)
        return lines
    return [] if old == new else [f"{path}: {_short(old)} -> {_short(new)}"]


_ABSENT = "(absent)"


def _short(value: Any) -> str:
    text = value if value is _ABSENT else repr(value)
    if len(text) <= 120:
        return text
    return f"{text[:80]} ... {text[-30:]} ({len(text)} characters, {fingerprint(value)[:6]})"
