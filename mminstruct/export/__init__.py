"""A run's ``export`` table in the formats that trainers read; each export proves itself, or leaves nothing.

    write("runs/demo", "hf", "dataset")

A format is a module: ``write(rows, folder, split)`` streams rows to files, ``read(folder, split)`` streams them back.
The proof is the same for all: every row is checked as it goes in (``proof.Check``), and the sum of what is read back
must be the sum of what went in.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast

from mminstruct.export import card
from mminstruct.export.card import Facts
from mminstruct.export.proof import Check, Sum, Target
from mminstruct.export.row import Row
from mminstruct.readers.conversation import InvalidRow

FORMATS = {
    name: f"mminstruct.export.{name.replace('-', '_')}"
    for name in ("hf", "llava", "sharegpt", "swift", "webdataset", "openai-batch")
}
"""Module of each format; any other module is named whole, as ``my_package.my_format``."""


class ExportError(ValueError):
    """The target cannot be written, or what was written is not sound; names the row."""


class Format(Protocol):
    """A module that is a format.

    It may also have ``finish(folder, facts)``, which writes what its readers need beside the rows; ``IMAGES``, the most
    images that a row may have; ``NEEDS_MODEL = True`` where ``write`` takes ``model``.
    """

    FILES: str
    """Pattern of its files, with ``{split}``."""
    USE: str
    """How its reader is told of it."""

    def write(self, rows: Iterator[Row], folder: Path, split: str, **more: Any) -> None: ...

    def read(self, folder: Path, split: str) -> Iterator[Row]: ...


class Collection(Protocol):
    """What is written: rows by split, already checked."""

    def splits(self) -> list[str]: ...

    def rows(self, split: str) -> Iterator[Row]: ...

    def nothing(self) -> str:
        """Why there are no rows."""

    def close(self, facts: Facts) -> None:
        """When all is written: see that the sums close, and tell them."""


def format_of(name: str) -> Format:
    """The module of a format of ours by its name, or of another by its module's name.

    Raises:
        ExportError: there is none of that name, or it lacks what a format has.
    """
    if name not in FORMATS and not re.fullmatch(r"\w+(\.\w+)+", name):
        raise ExportError(f"no format {name!r}; there is {', '.join(FORMATS)}, or your own as my_package.my_format")
    try:
        module = importlib.import_module(FORMATS.get(name, name))
    except ImportError as error:
        raise ExportError(f"format {name}: {error}; install its package, or put its folder on PYTHONPATH") from error
    wanted: dict[str, Any] = {"FILES": str, "USE": str, "write": Callable, "read": Callable}
    if lacks := [one for one, kind in wanted.items() if not isinstance(getattr(module, one, None), kind)]:
        raise ExportError(
            f"format {name}: its module lacks {', '.join(lacks)}; a format has the texts FILES and USE, and the"
            " functions write(rows, folder, split) and read(folder, split) (mminstruct.export.Format)"
        )
    return cast(Format, module)


def write(
    run: str,
    format: str,
    to: str | Path,
    *,
    overwrite: bool = False,
    target: Target | None = None,
    model: str | None = None,
) -> str:
    """Write the dataset of the run at *run* to the folder *to*; says in a line what was written.

    Args:
        target: the model to be trained; measures the rows and proves that each has something to learn.
        model: for openai-batch: who the requests are for.

    Raises:
        FileNotFoundError: there is no run.
        ExportError: an unknown format, no rows, a target in the way, or a row that is not sound. The target is then as
            it was.
    """
    from mminstruct.export.table import Exported
    from mminstruct.status.tables import all_faults, incomplete, table_statuses

    statuses = table_statuses(run)
    if faults := all_faults(statuses):
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise ExportError(f"the run is faulty: {faults[0]}{more}; `mminstruct status {run}` lists all of them")
    check = Check(target)
    exported = Exported(run, check)
    facts = Facts(name=Path(to).absolute().name, shares=check.shares, kinds=check.kinds, models=exported.models())
    facts.about = exported.about()
    facts.target = target.facts() if target else {}
    facts.funnel = [{"table": s.table, "in": s.rows_in, "kept": s.kept, "dropped": s.dropped} for s in statuses]
    facts.made_from = exported.fingerprint()
    save(exported, facts, format, to, overwrite=overwrite, model=model)
    gone = {"rows left out": exported.left_out, "questions cut out of dialogues": exported.cut}
    left = "".join(f"; {sum(some.values())} {what} as deleted" for what, some in gone.items() if some)
    undone = incomplete(statuses)
    unfinished = f"; the run is not finished: {', '.join(undone)}" if undone else ""
    return f"{said(facts)} in {to}, each read back and checked{left}{measured(facts)}{unfinished}"


def said(facts: Facts) -> str:
    return " and ".join(f"{count} rows of {split}" for split, count in facts.rows.items())


def measured(facts: Facts) -> str:
    """How long the rows are, where they were measured."""
    if not facts.target:
        return ""
    rows, cut = (sum(getattr(s, name) for s in facts.shares.values()) for name in ("rows", "truncated"))
    longest = max((share.longest for share in facts.shares.values()), default=0)
    return (
        f"; {cut} ({cut / max(rows, 1):.1%}) are longer than {facts.target['max_length']} tokens, the longest {longest}"
    )


def save(
    collection: Collection,
    facts: Facts,
    format: str,
    to: str | Path,
    *,
    overwrite: bool = False,
    model: str | None = None,
) -> None:
    """Write a collection, read it back and compare; tells *facts* what was written.

    Raises:
        ExportError: as ``write`` does.
    """
    module = format_of(format)
    if (needs := getattr(module, "NEEDS_MODEL", False)) != (model is not None):
        what = "needs a model: whom the requests are for (--model NAME)" if needs else "takes no model (--model)"
        raise ExportError(f"format {format} {what}")
    more = {"model": model} if model else {}
    facts.format, facts.files, facts.use = format, module.FILES, module.USE
    with replacing(Path(to), overwrite) as folder:
        for split in collection.splits():
            went, came = Sum(), Sum()
            try:
                rows = went.through(collection.rows(split))
                if (first := next(rows, None)) is None:
                    continue
                module.write(chain((first,), rows), folder, split, **more)
                deque(came.through(module.read(folder, split)), maxlen=0)
            except InvalidRow as error:
                raise ExportError(f"row {error.row or came.last or went.last}: {error}") from error
            if (twice := went.twice(module.read(folder, split))) is not None:
                raise ExportError(f"row {twice} is there twice in split {split}")
            if (len(came), came.digest) != (len(went), went.digest):
                raise ExportError(f"split {split}: {len(came)} rows read back of {len(went)}, or other ones")
            facts.rows[split], facts.digests[split] = len(went), went.digest
        if not facts.rows:
            raise ExportError(collection.nothing())
        collection.close(facts)
        facts.download = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if hasattr(module, "finish"):
            module.finish(folder, facts)
        (folder / "README.md").write_text(card.text(facts), encoding="utf-8")
        (folder / "export.json").write_text(facts.as_json(), encoding="utf-8")


def free(to: Path, overwrite: bool) -> Path:
    """*to*, absolute, when it may be written; its parent is made.

    Raises:
        ExportError: it may not.
    """
    to = to.absolute()
    if to.exists() and not to.is_dir():
        raise ExportError(f"{to} is a file: name a folder")
    if to.is_dir() and any(to.iterdir()):
        if not (to / "export.json").is_file():
            raise ExportError(f"{to} is not empty and no export: name another folder")
        if not overwrite:
            raise ExportError(f"{to} is an export: name another folder, or allow it to be replaced (--overwrite)")
    to.parent.mkdir(parents=True, exist_ok=True)
    return to


@contextmanager
def replacing(to: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside *to* to write in, which takes its place at the end; gone if anything fails."""
    to = free(to, overwrite)
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
