"""What ``import mminstruct`` gives: a run opened for reading, in notebooks and programs.

run = mminstruct.open("runs/demo")
run["caption"].to_pandas()
run.show(image_id)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mminstruct import report
from mminstruct.report.page import picture, render
from mminstruct.reviewing.write import write
from mminstruct.status.tables import TableStatus, table_statuses
from mminstruct.status.trace import Trace, family, trace
from mminstruct.store.reader import RunReader, encoded, picture_column

__all__ = ["OpenRun", "Shown", "open"]
_LONGEST = 384
"""Longest side of a shown picture, pixels."""


class OpenRun(RunReader):
    """A run: its tables by name, in the order of its recipe, and what can be asked about it.

    Example:
        >>> run = mminstruct.open("runs/demo")
        >>> list(run)
        ['ingest', 'caption', 'fuse', ...]
        >>> run["match"].to_arrow(columns=["image_id", "similarity"])
    """

    def trace(self, wanted: str) -> Trace:
        """Follow an id through every table; ``print(run.trace(id))`` shows it as text.

        Args:
            wanted: A full id, at least its first 4 hex digits, or the name of an image's file.

        Raises:
            LookupError: no table has it, or it fits several ids.
        """
        return trace(self, wanted)

    def show(self, wanted: str) -> Shown:
        """The rows of an id with its picture, for the last line of a notebook's cell; takes what ``trace`` takes.

        Raises:
            LookupError: no table has it, or it fits several ids.
        """
        found = self.trace(wanted)
        return Shown(found, _picture(self, found), {name: tuple(self[name].tagged("text")) for name in found.rows})

    def report(self, to: str | None = None) -> str:
        """Write the report as one HTML page; where it lies.

        Args:
            to: The file; by default ``report.html`` in the run's folder.
        """
        return report.write(self.url, to)

    def review(self, to: str, people: Sequence[str], **how: Any) -> str:
        """Write a page for each of *people*, on which they decide about rows; a summary.

        Args:
            to: A new folder.
            people: Short names.
            **how: As ``mminstruct review`` takes them: what, rows, overlap, where, order, disputed, seed, picture.

        Raises:
            ValueError: the run has too few rows, the folder has other files, or an argument is out of its range.
        """
        return write(self.url, to, people, **how)

    def status(self, *, verify: bool = False) -> list[TableStatus]:
        """Units, row counts and faults of every table.

        Args:
            verify: Compare every byte of every file with its digest, not only sizes.
        """
        return table_statuses(self.url, verify=verify)


@dataclass(frozen=True)
class Shown:
    """An id's rows with its picture: HTML in a notebook, text elsewhere."""

    trace: Trace
    picture: str | None
    """The image as a data URI; None where the rows belong to no image, or to several."""
    texts: dict[str, tuple[str, ...]]
    """Columns with texts, by table."""

    def _repr_html_(self) -> str:
        return render("row.html", trace=self.trace, picture=self.picture, texts=self.texts)

    def __repr__(self) -> str:
        return str(self.trace)


def open(url: str) -> OpenRun:
    """Open the run at *url* for reading: a folder, or any fsspec URL (``s3://bucket/run``).

    Raises:
        FileNotFoundError: there is no run.
    """
    return OpenRun(url)


def _picture(run: RunReader, found: Trace) -> str | None:
    """The picture of the first table in which the id has exactly one row with a picture."""
    relatives = family(run, found.kind, found.id)
    for table in run.values():
        column, selected = picture_column(table), relatives.filter(table)
        if column is not None and selected is not None:
            rows = table.dataset().scanner(columns=[column], filter=selected).head(2)
            if rows.num_rows == 1:
                return picture(encoded(rows[column][0].as_py()), longest=_LONGEST)
    return None
