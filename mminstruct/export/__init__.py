"""Converters of a run's ``export`` table to what trainers read; each proves what it wrote, or leaves nothing.

    write("runs/demo", "hf", "dataset")

A converter is a module of this package. It gets ``tables``, which gives a table of the run by name as a
``pyarrow.dataset.Dataset``, and streams it.
"""

from __future__ import annotations

import importlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.rules import SPECIAL_TOKENS
from mminstruct.status import standing
from mminstruct.store import Store

Tables = Callable[[str], ds.Dataset]
Funnel = Sequence[dict[str, Any]]
"""What each stage did, in order: ``table``, ``in``, ``kept`` and ``dropped`` (reason -> count)."""

FORMATS = ("hf", "llava")
"""Formats by name; each is a module of this package."""

_BATCH = 100


class ExportError(ValueError):
    """The target cannot be written, or what was written is not sound; names the row."""


class Converter(Protocol):
    """A module of this package; its rows by split, or ExportError."""

    def write(self, tables: Tables, to: Path, *, funnel: Funnel = (), overwrite: bool = False) -> dict[str, int]: ...


def write(run: str, format: str, to: str | Path, *, overwrite: bool = False) -> str:
    """Write the dataset of the run at *run* to the folder *to*; says in a line what was written.

    Raises:
        FileNotFoundError: there is no run.
        ExportError: an unknown format, no rows, a target in the way, or a row that is not sound. The target is then as
            it was.
    """
    if format not in FORMATS:
        raise ExportError(f"no format {format!r}; there is {', '.join(FORMATS)}")
    standings = standing(run)
    funnel = [{"table": s.table, "in": s.taken, "kept": s.kept, "dropped": s.dropped} for s in standings]
    undone = [f"{s.table} ({s.left} units left, {len(s.failed)} failed)" for s in standings if s.left or s.failed]
    store = Store(run)
    converter = cast(Converter, importlib.import_module(f"mminstruct.export.{format}"))
    counts = converter.write(
        lambda name: store.table(name).dataset(schemas.TABLES[name]), Path(to), funnel=funnel, overwrite=overwrite
    )
    said = " and ".join(f"{count} rows of {split}" for split, count in counts.items())
    unfinished = f"; the run is not finished: {', '.join(undone)}" if undone else ""
    return f"{said} in {to}, each read back and checked{unfinished}"


@contextmanager
def replacing(to: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside *to* to write in, which takes its place at the end; gone if anything fails."""
    to = to.absolute()
    if to.exists() and not to.is_dir():
        raise ExportError(f"{to} is a file: name a folder")
    if to.is_dir() and any(to.iterdir()) and not overwrite:
        raise ExportError(f"{to} is not empty: name another folder, or allow it to be replaced (overwrite)")
    to.parent.mkdir(parents=True, exist_ok=True)
    new, old = (to.with_name(f".{to.name}.{os.getpid()}.{what}") for what in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        if to.exists():
            to.rename(old)
        new.rename(to)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def rows(table: ds.Dataset, split: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows of an export table in order, of one split or all, a hundred in memory at a time."""
    for batch in table.to_batches(batch_size=_BATCH, batch_readahead=1, fragment_readahead=1):
        yield from (row for row in batch.to_pylist() if split is None or row["split"] == split)


def splits(table: ds.Dataset) -> dict[str, int]:
    """Rows by split, train first; splits without rows are left out.

    Raises:
        ExportError: the table is empty.
    """
    counted = table.to_table(columns=["split"])["split"].value_counts().to_pylist()
    counts = {entry["values"]: entry["counts"] for entry in counted}
    if not counts:
        raise ExportError("the table `export` has no rows: `mminstruct status` tells which stage dropped them, and why")
    return {name: counts[name] for name in sorted(counts, key=lambda name: (name != "train", name))}


def prove_turns(row: str, turns: list[dict[str, str]], images: int) -> None:
    """Check a conversation: human first and in turn with gpt, one ``<image>`` an image, nothing empty or stray.

    Raises:
        ExportError: with the row's id and the fault.
    """

    def fault(what: str) -> ExportError:
        return ExportError(f"row {row}: {what}")

    if not turns or len(turns) % 2:
        raise fault(f"{len(turns)} turns: need pairs of human and gpt")
    for place, turn in enumerate(turns):
        speaker = ("human", "gpt")[place % 2]
        if turn["from"] != speaker:
            raise fault(f"turn {place} is from {turn['from']!r}, should be {speaker!r}")
        text = turn["value"].replace("<image>", "") if speaker == "human" else turn["value"]
        if not text.strip():
            raise fault(f"turn {place} is empty")
        stray = SPECIAL_TOKENS.search(text)
        if stray:
            raise fault(f"turn {place} has the token {stray.group()!r}; the filter rule `leak` drops such pairs")
    found = sum(turn["value"].count("<image>") for turn in turns)
    if found != images:
        raise fault(f"{found} times <image> for {images} images")


def prove_image(row: str, data: bytes | None) -> None:
    """Check that an encoded image decodes to its end.

    Raises:
        ExportError: with the row's id and the decoder's words.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data or b""), formats=("JPEG", "PNG")) as image:
            image.draft("RGB", (image.width // 8, image.height // 8))  # JPEG: all of the stream, an eighth of the work
            image.load()
    except Exception as error:  # decoders raise all kinds of errors on broken bytes
        raise ExportError(f"row {row}: its image does not open: {type(error).__name__}: {error}") from error
