"""What a stage is: a dataclass whose fields are its configuration, what it reads and writes, and one pure function.

    @dataclass(kw_only=True)
    class Caption(Stage):
        model: Model                                        # identity: part of the fingerprint
        prompt: str = prompt("caption")                     # a prompt's text; the file's name in YAML
        reads = {"ingest": part("image_id", "image")}       # comes with every unit
        writes = schemas.CAPTION
        takes = "image_id"

        def load(self) -> Transform:                        # on the worker, once
            captioner = self.model.chat()
            def caption(ingest: pa.Table) -> Made: ...      # pure: one part in, one part out
            return caption

A stage is called with what it reads, under the names it reads it by: ``part`` inputs with every unit as a
``pa.Table``, ``whole`` inputs once, in ``load``, as a lazy ``pyarrow.dataset.Dataset`` whose fragments come in the
order of part keys.
"""

from __future__ import annotations

import contextvars
import dataclasses
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import pyarrow as pa

from mminstruct import content

ALL = "all"
"""Key of the one unit of a stage that reads only whole tables."""


@dataclass(frozen=True, slots=True)
class Read:
    """One input: some columns of an earlier table, part by part or whole."""

    mode: Literal["part", "whole"]
    columns: tuple[str, ...]
    of: str | None = None
    """The table, where the input goes by another name than its table."""


def part(*columns: str, of: str | None = None) -> Read:
    """The part with the unit's own key."""
    return Read("part", columns, of)


def whole(*columns: str, of: str | None = None) -> Read:
    """The whole table, once it is complete: a barrier."""
    return Read("whole", columns, of)


def runtime(default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING) -> Any:
    """A field that says how a thing runs, not what it makes: never part of a fingerprint."""
    return field(default=default, default_factory=factory, metadata={"runtime": True})


def prompt(name: str, *variables: str) -> Any:
    """A field that holds a prompt's text and needs *variables*; in YAML, the name of a file in ``conf/prompts``."""
    return field(default=name, metadata={"prompt": frozenset(variables)})


def _look(value: Any, holder: Any) -> Any:
    return [str(content.look(path)) for path in value] if isinstance(value, list | tuple) else str(content.look(value))


def files(default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING, read: Any = _look) -> Any:
    """A field that holds a path, or a list of them: identity is what lies there, never the path.

    Args:
        read: Called with the field's value and its holder; what identity holds instead of the value, None to leave the
            field out. By default the number of files and the digest of their names and bytes.
    """
    return field(default=default, default_factory=factory, metadata={"files": read})


def where(default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING) -> Any:
    """A field of a source that holds the path of its data: ``shards`` describes what lies there, and each receipt keeps
    that. So the path itself is no part of a fingerprint.
    """
    return field(default=default, default_factory=factory, metadata={"where": True})


@dataclass(frozen=True, slots=True)
class Drop:
    """A row that leaves here: *id* is a value of the stage's ``takes`` column."""

    id: str
    reason: str
    detail: str | None = None


@dataclass(slots=True)
class Made:
    """What a unit made: rows of the stage's schema, and the rows that left."""

    table: pa.Table
    drops: list[Drop]


def made(schema: pa.Schema, rows: Iterable[Mapping[str, Any] | Drop]) -> Made:
    """Sort *rows* into a table of *schema* and drops; columns that a row does not name are null."""
    kept: list[Mapping[str, Any]] = []
    drops: list[Drop] = []
    for row in rows:
        drops.append(row) if isinstance(row, Drop) else kept.append(row)
    return Made(pa.Table.from_pylist(kept, schema=schema), drops)


@dataclass(slots=True)
class Rows:
    """Output of a source: how many members were looked at for these rows, and one part's worth of rows."""

    taken: int
    made: Made


Transform = Callable[..., Made | Iterator[tuple[str, Made]] | Iterator[Rows]]
"""Called with one unit's part inputs by name; a stage of only whole reads may yield ``(part key, Made)``;
a source is called with its shard's name and yields ``Rows``, one for each part."""


@dataclass(kw_only=True)
class Stage:
    """Base of all stages: fields are configuration; class variables are the contract."""

    reads: ClassVar[dict[str, Read]]
    writes: ClassVar[pa.Schema]
    takes: ClassVar[str]
    """Column of the first input that is accounted for: each of its values is kept or dropped, none twice."""

    def load(self, *args: Any, **whole: Any) -> Transform:  # this form, and only this, may be overridden by any
        """Make the unit's function; called once on each worker with the whole inputs, by name."""
        raise TypeError(f"{type(self).__name__} has no load()")

    def listing(self) -> dict[str, Any] | None:
        """What became of every file that a source listed (``sources/layout.py``); None for a stage that lists none."""
        return None

    def check(self) -> None:
        """Raise ValueError where the configuration cannot work; called on the driver at composition."""

    def content(self, key: str) -> str | None:
        """Of a source: digest of the bytes that shard *key* is read from; None where ``shards`` gives ETags."""
        return None


CHANGED = "changed"
"""Fact of a shard that is only a hint: when its files were last changed. Where it alone differs, contents decide."""


class Source(Protocol):
    """A stage without reads: names its shards on the driver, reads one as a unit."""

    def shards(self) -> dict[str, dict[str, Any]]:
        """Unit key -> facts that tell whether a shard changed under its name: sizes, ETags, ``CHANGED``."""

    def content(self, key: str) -> str | None: ...


def identity(value: Any) -> Any:
    """*value* as plain JSON without its runtime fields, paths as what lies there: what a fingerprint is taken of.

    Raises:
        TypeError: for a value that has no stable JSON form.
        OSError: nothing lies at a path, or it cannot be read.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {}
        for item in dataclasses.fields(value):
            if item.metadata.get("runtime") or item.metadata.get("where"):
                continue
            held, read = getattr(value, item.name), item.metadata.get("files")
            if read is not None and held is not None and (held := read(held, value)) is None:
                continue
            found[item.name] = identity(held)
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


def content_id(*pieces: str | bytes) -> str:
    """First 16 hex digits of the SHA-256 of *pieces*, joined by a zero byte."""
    joined = b"\0".join(piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece for piece in pieces)
    return hashlib.sha256(joined).hexdigest()[:16]


def instruction_id(instruction: str) -> str:
    """Content id of *instruction*, blind to case, white space and final punctuation."""
    text = unicodedata.normalize("NFKC", instruction).casefold()
    return content_id(re.sub(r"\s+", " ", text).strip().rstrip(".!?:; "))


def pair_id(image_id: str, instruction_id: str) -> str:
    """Content id of a pair."""
    return content_id(image_id, instruction_id)


def seed(run_seed: int, stage: str, *ids: str) -> int:
    """Seed of one row, 0 to 2**31 - 1: from content, never from workers, ranks, time or order."""
    return int(content_id(str(run_seed), stage, *ids), 16) & 0x7FFFFFFF


class WorkerFault(RuntimeError):
    """The worker, not the unit, is broken (a dead engine): it is replaced and its unit done again."""


class Halt(RuntimeError):
    """Nothing can go on (a refused key, a spent budget): the run stops at once, and the same command resumes it."""


class Journal(Protocol):
    """Replies of a unit under way, so that none is paid for twice."""

    def get(self, request: str) -> dict[str, Any] | None: ...

    def put(self, replies: Mapping[str, dict[str, Any]]) -> None:
        """Keep *replies* by their requests; they are safe from a crash when this returns."""
        ...


class Purse(Protocol):
    """Money of a run, shared by all its processes; see ``spending.Ledger``."""

    def reserve(self, cost: float, *, budget: float | None) -> bool: ...

    def settle(self, reserved: float, cost: float) -> None: ...


class WorkerGroup(Protocol):
    """This worker and extra ones, configured like it, that the engine lends for one unit."""

    size: int
    address: str
    """This worker's host, as the other workers reach it."""

    def __call__(self, work: Callable[..., Any], shares: list[tuple[Any, ...]]) -> list[Any]:
        """Results of ``work(*share)`` for ``size`` shares in parallel; the first runs in this process."""
        ...


@dataclass(slots=True)
class Unit:
    """The unit that this thread works on: what it used, its journal of paid replies, and who pays."""

    table: str
    key: str
    journal: Journal | None = None
    purse: Purse | None = None
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    """US dollars."""
    notes: dict[str, int] = field(default_factory=dict)
    """Counts worth a line in the receipt (texts cut to the context, repaired replies...)."""


UNIT: contextvars.ContextVar[Unit | None] = contextvars.ContextVar("unit", default=None)
"""Set by whoever runs a unit, in the thread that runs it; None in notebooks and tests."""

Lend = Callable[[int], AbstractContextManager[WorkerGroup]]

WORKER_GROUP: contextvars.ContextVar[Lend | None] = contextvars.ContextVar("worker_group", default=None)
"""Lends a group of the given size; set by engines with several processes."""


def note(name: str, count: int = 1) -> None:
    """Add *count* to a note of the unit under way."""
    unit = UNIT.get()
    if unit is not None and count:
        unit.notes[name] = unit.notes.get(name, 0) + count
