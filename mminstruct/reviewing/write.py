"""`mminstruct review RUN --to DIR`: one page a person, and ``sheet.json``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from mminstruct.errors import ConfigurationError
from mminstruct.files import Files
from mminstruct.reviewing import choose, page
from mminstruct.reviewing import disputed as disputes
from mminstruct.reviewing import rows as source
from mminstruct.reviewing.pictures import pictures
from mminstruct.reviewing.sheet import DECISIONS, FILE, Row, Sheet, Sheets, dump, sheet_id
from mminstruct.reviewing.shown import shown
from mminstruct.store.reader import RunReader

MOST = 20_000_000
"""Bytes of a page that most mail servers accept as an attachment, before encoding about 15 MB."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


class OtherSheets(ConfigurationError):
    """The folder has other files; the message says which and what to do."""


def write(
    url: str, to: str, people: Sequence[str], *, what: str = "turns", rows: int = 300, overlap: float = 0.2,
    where: Sequence[str] = (), order: str = "chance", disputed: Sequence[str] = (), seed: int = 0, picture: int = 256,
) -> str:  # fmt: skip
    """Write a page for each of *people* into the folder *to*; returns a summary.

    Args:
        url: The run.
        to: A new folder, on a disk or at any fsspec URL. The same call again writes the same bytes.
        people: Short names.
        what: One of ``source.WHATS``.
        rows: Rows on each sheet, hidden repeats included.
        overlap: Share of a sheet's rows that all people see.
        where: ``COLUMN=VALUE``, see ``source.pool``.
        order: chance or doubt.
        disputed: Files or folders of decisions: only rows on which these disagree, as many as there are up to *rows*.
        seed: Another seed chooses other rows.
        picture: Longest side of a picture, pixels.

    Raises:
        FileNotFoundError: there is no run.
        MissingTable: it has no rows for *what*.
        TooFewRows: it has fewer than the sheets need.
        OtherSheets: *to* has other files.
        ValueError: an argument is out of its range.
    """
    _check(people, picture)
    run = RunReader(url)
    only, bad = _disputed(disputed)
    pool = source.pool(run, what, where=where, order=order, seed=seed, only=only, more=questions())
    plan = choose.Plan(people=tuple(people), rows=rows, overlap=overlap, seed=seed)
    if only is not None:
        if not any(pool.groups.values()):
            raise ValueError("--disputed: these files do not disagree on any row that can be shown")
        plan = choose.fitting(plan, pool.groups, pool.shares) or plan
    chosen = choose.sheets(plan, pool.groups, pool.shares, order == "doubt")
    items = pool.items(sorted({one for ids in chosen.values() for one in ids}))
    origin = {one: group for group, ids in pool.groups.items() for one in ids}
    images = source.root(run)
    fingerprint = str((images if images is not None else pool.table).manifest["fingerprint"])
    sheets = {}
    for person, ids in chosen.items():
        places = tuple(Row(one, _shown(items[one]), origin[one]) for one in ids)
        sheets[person] = Sheet(sheet_id(fingerprint, what, person, places), places)
    facts = Sheets(
        what=what, run=fingerprint, table=pool.table.name, digest=pool.table.table.digest(), seed=seed, rows=plan.rows,
        overlap=overlap, order=order, where=list(where), rank=int(only is not None), sheets=sheets,
    )  # fmt: skip
    files = Files(to)
    _claim(files, dump(facts))
    wanted = {item.image for item in items.values() if item.image is not None}
    seen = pictures(images, wanted, picture) if images is not None else {}
    sizes = {}
    for person, sheet in sheets.items():
        data = page.render(sheet, person, what, items, seen).encode()
        files.write(data, f"{person}.html")
        sizes[person] = len(data)
    return _summary(files, facts, sizes, sum(one is None for one in seen.values()), bad)


def _disputed(paths: Sequence[str]) -> tuple[frozenset[str] | None, int]:
    """As ``disputed.disputed``; None without files."""
    try:
        return disputes.disputed(paths) if paths else (None, 0)
    except ValueError as error:
        raise ValueError(f"--disputed {error}") from error  # the message begins with the path


def _shown(item: source.Item) -> str:
    return shown(item.question, item.choices, item.answer)


def _check(people: Sequence[str], longest: int) -> None:
    if not people:
        raise ValueError("--people: name at least one person, for example --people ana,bo")
    for person in people:
        if not _NAME.fullmatch(person):
            raise ValueError(f"--people {person!r}: take 1 to 32 letters, digits, - and _")
    if len({person.casefold() for person in people}) < len(people):
        raise ValueError(f"--people {','.join(people)}: two names are equal (capitals do not count)")
    if not 64 <= longest <= 1024:
        raise ValueError(f"--picture {longest}: take 64 to 1024 pixels")


def questions() -> list[str]:
    """Questions in the manner of visual question answering, which are mixed into sheets of instructions."""
    text = (Path(__file__).with_name("questions.yaml")).read_text(encoding="utf-8")
    return [str(one) for one in yaml.safe_load(text)]


def _claim(files: Files, facts: bytes) -> None:
    """Write ``sheet.json``, unless the folder has other files than those of the same sheets."""
    there = files.names()
    if there and files.read(FILE) != facts:
        lines = [name for name in there if name.endswith(".jsonl")] + files.names(DECISIONS)
        has = f"decisions of people ({lines[0]})" if lines else "other sheets" if FILE in there else "other files"
        raise OtherSheets(f"{files.url} has {has}: take a new folder, --to DIR")
    if not there:
        files.write(facts, FILE)


def _summary(files: Files, facts: Sheets, sizes: dict[str, int], missing: int, bad: int) -> str:
    lines = []
    for person, size in sizes.items():
        ids = [row.id for row in facts.sheets[person].rows]
        large = f" (above {MOST // 10**6} MB: take fewer --rows or a smaller --picture)" if size > MOST else ""
        repeats = len(ids) - len(set(ids))
        lines.append(
            f"{files.show(f'{person}.html')}: {len(ids)} rows, {repeats} of them repeats, {size / 1e6:.1f} MB{large}"
        )
    if missing:
        lines.append(f"{missing} pictures cannot be decoded: their rows say so")
    if bad:
        lines.append(f"Lines of --disputed that are no decisions, left out: {bad} (`mminstruct agree` says why)")
    lines.append(f"Put the files that people send back into {files.show(DECISIONS)}/")
    return "\n".join(lines)
