"""`mminstruct report RUN`: a build or a benchmark as a self-contained HTML page, as JSON and as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mminstruct.bench import lmms, result
from mminstruct.report import bench, build
from mminstruct.status import tables as status
from mminstruct.store.reader import RunReader
from mminstruct.store.tables import Store

FILE = "report.html"


def benchmark(url: str) -> bool:
    """Whether the run at *url* is a benchmark.

    Raises:
        FileNotFoundError: there is no run.
    """
    return "pick" in RunReader(url)


def write(url: str, to: str | None = None) -> str:
    """Write the page of the run at *url* to the file *to*, by default into the run's folder; returns its path.

    Raises:
        FileNotFoundError: there is no run.
    """
    page = (bench.page(url, lmms.rows(url)) if benchmark(url) else build.page(url)).encode()
    store = Store(url)
    if to is None:
        store.write(page, FILE)
        return store.path(FILE)
    Path(to).write_bytes(page)
    return to


def facts(url: str) -> dict[str, Any]:
    """All data of the page except pictures and samples."""
    return result.result(url) | {"standard": lmms.rows(url)} if benchmark(url) else build.facts(url)


def as_json(url: str) -> str:
    return json.dumps(facts(url), indent=1, ensure_ascii=False, allow_nan=False)


def as_text(url: str) -> str:
    """The tables of the page, for a terminal."""
    found = facts(url)
    if benchmark(url):
        return "\n\n".join(part for part in (result.as_text(found), lmms.as_text(found["standard"])) if part)
    return f"{status.as_text(status.table_statuses(url))}\n\n{build.as_text(found)}"
