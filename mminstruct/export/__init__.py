"""Write a run's ``export`` table in the format of a trainer. An export that fails its checks leaves no files.

    write("runs/demo", "hf", "dataset")

A format is a module: ``write(rows, folder, split)`` streams rows to files, ``read(folder, split)`` streams them back.
All formats are verified in the same way: every row is checked before it is written (``proof.Check``), and the digest
of the rows that are read back must equal the digest of the rows that were written.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast

from mminstruct import plugin
from mminstruct.errors import ConfigurationError, Error
from mminstruct.export import card
from mminstruct.export.card import CardFacts
from mminstruct.export.proof import Check, ContentDigest, Target
from mminstruct.export.row import Row
from mminstruct.readers.conversation import InvalidRow

FORMATS = {
    name: f"mminstruct.export.{name.replace('-', '_')}"
    for name in ("hf", "llava", "sharegpt", "swift", "webdataset", "openai-batch")
}
"""Module of each built-in format; your own format is given by its module, as ``my_package.my_format``."""


class ExportError(Error, ValueError):
    """The target cannot be written, or a row is invalid; the message names the row."""


class Format(Protocol):
    """Interface of a format module.

    It may also have ``finish(folder, facts)``, which writes additional files; ``IMAGES``, the maximum number of images
    in a row; and ``NEEDS_MODEL = True`` if ``write`` takes ``model``.
    """

    FILES: str
    """Glob pattern of its files, with ``{split}``."""
    USE: str
    """How to read the files: Markdown for the card."""

    def write(self, rows: Iterator[Row], folder: Path, split: str, **more: Any) -> None: ...

    def read(self, folder: Path, split: str) -> Iterator[Row]: ...


class Collection(Protocol):
    """Checked rows by split."""

    def splits(self) -> list[str]: ...

    def rows(self, split: str) -> Iterator[Row]: ...

    def nothing(self) -> str:
        """Why there are no rows."""

    def close(self, facts: CardFacts) -> None:
        """Called after all rows are written: checks the counts and adds them to *facts*."""


def format_of(name: str) -> Format:
    """The module of a built-in format by the format's name, or of any other format by the module's name.

    Raises:
        ExportError: there is no such format, or its module lacks an attribute of ``Format``.
    """
    if name not in FORMATS and not re.fullmatch(r"\w+(\.\w+)+", name):
        raise ExportError(f"no format {name!r}; there is {', '.join(FORMATS)}, or your own as my_package.my_format")
    try:
        module = plugin.load_module(FORMATS.get(name, name), f"format {name}")
    except ConfigurationError as error:
        raise ExportError(str(error)) from error
    wanted: dict[str, Any] = {"FILES": str, "USE": str, "write": Callable, "read": Callable}
    if lacks := [one for one, kind in wanted.items() if not isinstance(getattr(module, one, None), kind)]:
        raise ExportError(
            f"format {name}: its module lacks {', '.join(lacks)}; a format has the strings FILES and USE, and the"
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
    """Write the dataset of the run at *run* to the folder *to*; returns a one-line summary.

    Args:
        target: the model to train; counts tokens and checks that each row has an unmasked token.
        model: for openai-batch: the model that the requests name.

    Raises:
        FileNotFoundError: there is no run.
        ExportError: an unknown format, no rows, a folder that cannot be replaced, or an invalid row. The folder is
            unchanged then.
    """
    from mminstruct.export.table import Exported
    from mminstruct.status.tables import all_faults, all_warnings, incomplete, table_statuses

    statuses = table_statuses(run)
    if faults := all_faults(statuses):
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise ExportError(f"the run is faulty: {faults[0]}{more}; `mminstruct status {run}` lists all faults")
    check = Check(target)
    exported = Exported(run, check)
    facts = CardFacts(name=Path(to).absolute().name, shares=check.shares, kinds=check.kinds, models=exported.models())
    facts.about, facts.annotations = exported.about(), exported.annotations()
    facts.target = target.facts() if target else {}
    facts.warnings = all_warnings(statuses)
    facts.funnel = [{"table": s.table, "in": s.rows_in, "kept": s.kept, "dropped": s.dropped} for s in statuses]
    facts.made_from = exported.fingerprint()
    save(exported, facts, format, to, overwrite=overwrite, model=model)
    gone = {"rows left out": exported.left_out, "questions cut out of dialogues": exported.cut}
    left = "".join(f"; {sum(some.values())} {what} as deleted" for what, some in gone.items() if some)
    undone = incomplete(statuses)
    unfinished = f"; the run is not finished: {', '.join(undone)}" if undone else ""
    return f"{said(facts)} in {to}, each read back and checked{left}{measured(facts)}{unfinished}"


def said(facts: CardFacts) -> str:
    return " and ".join(f"{count} rows of {split}" for split, count in facts.rows.items())


def measured(facts: CardFacts) -> str:
    """Summary of row lengths, if tokens were counted."""
    if not facts.target:
        return ""
    rows, cut = (sum(getattr(s, name) for s in facts.shares.values()) for name in ("rows", "truncated"))
    longest = max((share.longest for share in facts.shares.values()), default=0)
    return (
        f"; {cut} ({cut / max(rows, 1):.1%}) are longer than {facts.target['max_length']} tokens, the longest {longest}"
    )


def save(
    collection: Collection,
    facts: CardFacts,
    format: str,
    to: str | Path,
    *,
    overwrite: bool = False,
    model: str | None = None,
) -> None:
    """Write a collection, read it back and compare; adds counts and digests to *facts*.

    Raises:
        ExportError: as ``write`` does.
    """
    module = format_of(format)
    if (needs := getattr(module, "NEEDS_MODEL", False)) != (model is not None):
        what = "needs a model for the requests (--model NAME)" if needs else "takes no model (--model)"
        raise ExportError(f"format {format} {what}")
    more = {"model": model} if model else {}
    facts.format, facts.files, facts.use = format, module.FILES, module.USE
    with replacing(Path(to), overwrite) as folder:
        for split in collection.splits():
            went, came = ContentDigest(), ContentDigest()
            try:
                rows = went.through(collection.rows(split))
                if (first := next(rows, None)) is None:
                    continue
                module.write(chain((first,), rows), folder, split, **more)
                deque(came.through(module.read(folder, split)), maxlen=0)
            except InvalidRow as error:
                raise ExportError(f"row {error.row or came.last or went.last}: {error}") from error
            if (twice := went.first_duplicate(module.read(folder, split))) is not None:
                raise ExportError(f"row {twice} occurs more than once in split {split}")
            if (len(came), came.digest) != (len(went), went.digest):
                raise ExportError(f"split {split}: {len(came)} rows read back of {len(went)}, or their content differs")
            facts.rows[split], facts.digests[split] = len(went), went.digest
        if not facts.rows:
            raise ExportError(collection.nothing())
        collection.close(facts)
        facts.date = _today()
        facts.download = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if hasattr(module, "finish"):
            module.finish(folder, facts)
        (folder / "README.md").write_text(card.text(facts), encoding="utf-8")
        (folder / "export.json").write_text(facts.as_json(), encoding="utf-8")


def _today() -> str:
    """Today in UTC; the day of SOURCE_DATE_EPOCH (reproducible-builds.org) if it is set, for exports of equal bytes."""
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def free(to: Path, overwrite: bool) -> Path:
    """*to* as an absolute path; creates its parent.

    Raises:
        ExportError: *to* is a file, or a folder that must not be replaced.
    """
    to = to.absolute()
    if to.exists() and not to.is_dir():
        raise ExportError(f"{to} is a file: give a folder")
    if to.is_dir() and any(to.iterdir()):
        if not (to / "export.json").is_file():
            raise ExportError(f"{to} is not empty and is not an export: give another folder")
        if not overwrite:
            raise ExportError(f"{to} already holds an export: give another folder, or replace it with --overwrite")
    to.parent.mkdir(parents=True, exist_ok=True)
    return to


@contextmanager
def replacing(to: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside *to* that replaces *to* at the end; it is removed if anything fails."""
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
