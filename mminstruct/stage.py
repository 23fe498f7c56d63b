"""A stage: a dataclass whose fields are its configuration, its inputs and output schema, and one pure function.

    @dataclass(kw_only=True)
    class Caption(Stage):
        model: Model                                        # identity: part of the fingerprint
        prompt: str = prompt("caption")                     # a prompt's text; the file's name in YAML
        reads = {"ingest": part("image_id", "image")}       # comes with every unit
        writes = schemas.CAPTION
        row_key = "image_id"

        def load(self) -> Transform:                        # on the worker, once
            captioner = self.model.chat()
            def caption(ingest: pa.Table) -> StageOutput: ...      # pure: one part in, one part out
            return caption

A stage gets its inputs as keyword arguments. A ``part`` input is a ``pa.Table`` that comes with every unit. A ``whole``
input is passed once, to ``load``, as a lazy ``pyarrow.dataset.Dataset`` whose fragments are ordered by part key.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self

import pyarrow as pa

from mminstruct import content
from mminstruct.errors import RunError

ALL = "all"
"""Key of the one unit of a stage that reads only whole tables."""


@dataclass(frozen=True, slots=True)
class Read:
    """One input of a stage: columns of an earlier table, read part by part or as a whole."""

    mode: Literal["part", "whole"]
    columns: tuple[str, ...]
    """Columns of the table."""
    of: str | None = None
    """The table, where the input has another name than its table."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Columns that the stage knows by another name: the table's name -> the stage's. Part reads only."""

    def rename(self, table: pa.Table) -> pa.Table:
        """*table* with the column names that the stage expects."""
        return table.rename_columns([self.names.get(name, name) for name in table.column_names])


def part(*columns: str, of: str | None = None, names: Mapping[str, str] | None = None) -> Read:
    """Read the part whose key is the unit's own key."""
    return Read("part", columns, of, names or {})


def whole(*columns: str, of: str | None = None) -> Read:
    """Read the whole table when it is complete: the stage waits for all of its units."""
    return Read("whole", columns, of)


def runtime(default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING) -> Any:
    """A field that decides how something runs, not what it produces; it is not part of the fingerprint."""
    return field(default=default, default_factory=factory, metadata={"runtime": True})


def prompt(name: str, *variables: str, optional: tuple[str, ...] = ()) -> Any:
    """A field with the text of a prompt; in YAML, the name of a file in ``conf/prompts``, or a path of a ``.md`` file.

    Args:
        variables: What the prompt must use, unless it says ``{# without NAME #}``.
        optional: What it may use.
    """
    return field(default=name, metadata={"prompt": frozenset({*variables, *optional}), "needed": frozenset(variables)})


def role(name: str, like: str | None = None) -> Any:
    """A field with a model. Recipes set it to ``models.NAME`` unless their YAML says otherwise.

    Args:
        like: Role whose model is used where a preset of models has none for this one.
    """
    return field(metadata={"role": name, "like": like})


def renamed(old: str, default: Any) -> Any:
    """A field that was called *old* in version 0.1; fingerprints still use that name, so that tables stay valid."""
    return field(default=default, metadata={"was": old})


def _look(value: Any, holder: Any) -> Any:
    return [str(content.look(path)) for path in value] if isinstance(value, list | tuple) else str(content.look(value))


def files(default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING, read: Any = _look) -> Any:
    """A field with a path or a list of paths. The fingerprint covers the files' contents, not the paths.

    Args:
        read: Called with the field's value and its dataclass. Returns what the fingerprint covers instead of the value,
            or None to leave the field out. By default the number of files and a digest of their names and bytes.
    """
    return field(default=default, default_factory=factory, metadata={"files": read})


def where(default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING) -> Any:
    """A field with the path of a source's data. It is not part of the fingerprint: ``shards`` describes the data, and
    each receipt keeps that description.
    """
    return field(default=default, default_factory=factory, metadata={"where": True})


@dataclass(frozen=True, slots=True)
class Drop:
    """A row that the stage does not keep. *id* is a value of the stage's ``row_key`` column."""

    id: str
    reason: str
    detail: str | None = None


@dataclass(slots=True)
class StageOutput:
    """The output of one unit: rows of the stage's schema, and the rows that were dropped."""

    table: pa.Table
    drops: list[Drop]


def output(schema: pa.Schema, rows: Iterable[Mapping[str, Any] | Drop]) -> StageOutput:
    """Split *rows* into a table of *schema* and drops. Columns that a row does not have are null."""
    kept: list[Mapping[str, Any]] = []
    drops: list[Drop] = []
    for row in rows:
        drops.append(row) if isinstance(row, Drop) else kept.append(row)
    return StageOutput(pa.Table.from_pylist(kept, schema=schema), drops)


@dataclass(slots=True)
class Rows:
    """One part of a source's output, and the number of members that were read for it."""

    rows_in: int
    output: StageOutput


Transform = Callable[..., StageOutput | Iterator[tuple[str, StageOutput]] | Iterator[Rows]]
"""Called with the part inputs of one unit. A stage that reads only whole tables may yield ``(part key, StageOutput)``.
A source is called with the name of a shard and yields ``Rows``, one for each part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Typical tokens of one call to a model. Tokens of an image depend on the model and are not included."""

    input: int
    output: int = 0
    cached: int = 0
    """Of the input, tokens that the server finds in its prefix cache."""


@dataclass(kw_only=True)
class Stage:
    """Base class of all stages. Fields are configuration; class variables are the contract.

    ``call_tokens``, ``core_seconds``, ``fan``, ``asks`` and ``most`` serve only estimates (``plan images=N``, the share
    of a unit that is done); no fingerprint covers them.
    """

    kind: ClassVar[str] = "cpu"
    """What its workers need: vision, text or encoder (a model of that kind), or cpu. Engine presets have a pool for
    each kind, so a new stage needs no change in a preset."""
    reads: ClassVar[dict[str, Read]]
    writes: ClassVar[pa.Schema]
    row_key: ClassVar[str | tuple[str, str]]
    """Column of the first input that identifies its rows: each value must be kept or dropped exactly once. A pair
    (column of the input, column of the output) if their names differ."""
    version: ClassVar[int] = 1
    """Raised when the same configuration and inputs give other rows than before, so that tables of both do not mix."""
    call_tokens: ClassVar[Tokens | None] = None
    """Of a stage with a model; None: not declared."""
    counts_images: ClassVar[bool] = False
    """Whether it is a source of images that ends a shard after ``Unit.images`` of them, as ``images=N`` needs."""
    core_seconds: ClassVar[float | None] = None
    """Of a stage without a model: seconds of one CPU core for a row; None: not declared."""

    def enabled(self) -> bool:
        """Whether a recipe runs it."""
        return True

    def fan(self) -> float:
        """Output rows per input row, if none is dropped; for a source, its rows for each image."""
        return 1.0

    def asks(self) -> float:
        """Calls to each of its models per input row."""
        return self.fan()

    def most(self) -> int | None:
        """Upper limit of output rows, independent of the input; None: no limit."""
        return None

    def wired(self, wires: Mapping[str, Read | None]) -> Self:
        """A copy of this stage whose inputs are *wires*, followed by the class's inputs that *wires* does not name.

        Args:
            wires: Input name -> what is read for it; None removes an input that ``load`` can do without.
        """
        made = copy.copy(self)
        reads = {**wires, **{name: read for name, read in self.reads.items() if name not in wires}}
        vars(made)["reads"] = {name: read for name, read in reads.items() if read is not None}
        return made

    def load(self, *args: Any, **whole: Any) -> Transform:  # this form, and only this, may be overridden by any
        """Return the function that processes a unit. Called once on each worker, with the whole inputs."""
        raise TypeError(f"{type(self).__name__} has no load()")

    def listing(self, taken: Collection[str] | None = None) -> dict[str, Any] | None:
        """For a source, what happened to every file that it listed (``sources/layout.py``); None for other stages.

        Args:
            taken: Shards that the run reads, where ``images=N`` limits it; None: all.
        """
        return None

    def check(self) -> None:
        """Raise ValueError if the configuration cannot work. Called on the driver before anything runs."""

    def content(self, key: str) -> str | None:
        """For a source, a digest of the bytes of shard *key*; None where ``shards`` gives ETags."""
        return None


def keys(stage: Stage) -> tuple[str, str]:
    """Names of the column that identifies rows: in the first input, and in the output."""
    return (stage.row_key, stage.row_key) if isinstance(stage.row_key, str) else stage.row_key


CHANGED = "changed"
"""Fact of a shard: the time when its files were last modified. If nothing else differs, the contents are compared."""


class Source(Protocol):
    """A stage without inputs: lists its shards on the driver; a unit reads one shard."""

    def shards(self) -> dict[str, dict[str, Any]]:
        """Unit key -> facts that show whether a shard changed: sizes, ETags, ``CHANGED``."""

    def content(self, key: str) -> str | None: ...


def identity(value: Any) -> Any:
    """*value* as plain JSON for a fingerprint: without runtime fields, and with digests of files instead of paths.

    Raises:
        TypeError: A value has no stable JSON form.
        OSError: A path does not exist or cannot be read.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {}
        for item in dataclasses.fields(value):
            if item.metadata.get("runtime") or item.metadata.get("where"):
                continue
            held, read = getattr(value, item.name), item.metadata.get("files")
            if read is not None and held is not None and (held := read(held, value)) is None:
                continue
            found[item.metadata.get("was", item.name)] = identity(held)
        return found
    if isinstance(value, Mapping):
        return {str(key): identity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{value!r} has no stable JSON form: use plain values in a stage's fields, or mark it runtime()")


def fingerprint(facts: Any) -> str:
    """First 16 hex digits of the SHA-256 of *facts* as canonical JSON."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def part_key(file: str) -> str:
    """Key of the part in a data file, ``KEY.DIGEST.parquet``. A key may have dots: the shard data.v1.tar gives some."""
    return file.rsplit("/", 1)[-1].rsplit(".", 2)[0]


def content_id(*pieces: str | bytes) -> str:
    """First 16 hex digits of the SHA-256 of *pieces*, joined by a zero byte."""
    try:  # one call for all-text pieces: a third of the time, and an id is made for each pair
        joined = "\0".join(pieces).encode("utf-8", "surrogatepass")  # type: ignore[arg-type]
    except TypeError:
        joined = b"\0".join([p.encode("utf-8", "surrogatepass") if isinstance(p, str) else p for p in pieces])
    return hashlib.sha256(joined).hexdigest()[:16]


def instruction_id(instruction: str) -> str:
    """Content id of *instruction*, without regard to case, white space and final punctuation."""
    text = unicodedata.normalize("NFKC", instruction).casefold()
    return content_id(" ".join(text.split()).rstrip(".!?:; "))


def pair_id(image_id: str, instruction_id: str) -> str:
    """Content id of a pair."""
    return content_id(image_id, instruction_id)


def seed(run_seed: int, stage: str, *ids: str) -> int:
    """Seed of one row, 0 to 2**31 - 1. It depends on content only, never on workers, ranks, time or order."""
    return int(content_id(str(run_seed), stage, *ids), 16) & 0x7FFFFFFF


class WorkerFault(RunError):
    """The worker is broken, not the unit (a dead engine, for example). It is replaced and its unit is tried again."""


class Halt(RunError):
    """The run cannot continue (a refused key, a spent budget). It stops at once; the same command resumes it."""
