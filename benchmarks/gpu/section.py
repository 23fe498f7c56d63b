"""What a section measures: rows that are saved as soon as they are known, and the time that it has."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOWER_IS_BETTER = ("s", "ms")


class NotRun(Exception):
    """A part cannot be measured here; the message says why."""


@dataclass
class Section:
    """One section in a process of its own.

    Args:
        name: Its name.
        folder: Receives ``NAME.json``; other files of the section are in ``folder/NAME``.
        device: ``cuda`` or ``cpu``.
        smoke: Tiny sizes, to try the whole path.
        seconds: Time until its end.
        ceilings: What the section ``ceilings`` found in this run, by name.
    """

    name: str
    folder: Path
    device: str
    smoke: bool
    seconds: float
    ceilings: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.work = self.folder / self.name
        self.work.mkdir(parents=True, exist_ok=True)
        self.end = time.monotonic() + self.seconds
        self.save()

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    def left(self) -> float:
        """Seconds until the section's end."""
        return self.end - time.monotonic()

    def save(self) -> None:
        new = self.folder / f"{self.name}.new"
        new.write_text(json.dumps(self.rows, indent=1))
        new.replace(self.folder / f"{self.name}.json")

    def add(self, what: str, measured: float | str, unit: str = "", **more: float | str | None) -> None:
        """A row of the table.

        Args:
            what: What was measured.
            measured: The result.
            unit: Of the result; with s and ms lower is better.
            more: ``ceiling`` (the best possible, in this unit), ``before`` (the side that it replaced), ``note``.
        """
        row: dict[str, Any] = {"what": what, "measured": measured, "unit": unit, **more}
        kept = {key: _rounded(value) for key, value in row.items() if value is not None}
        self.rows.append(kept)
        self.save()
        print(json.dumps(kept), flush=True)

    def wants(self, seconds: float) -> None:
        """Raise ``NotRun`` if less time is left; tiny sizes always go on."""
        if self.left() < seconds and not self.smoke:
            raise NotRun(f"{self.left():.0f} s were left, it needs {seconds:.0f}")

    @contextlib.contextmanager
    def part(self, what: str) -> Iterator[None]:
        """Go on with the next part if this one fails or cannot run; a row says why."""
        try:
            yield
        except NotRun as error:
            self.add(what, "not run", note=str(error))
        except Exception as error:
            traceback.print_exc()
            self.add(what, "failed", note=f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])

    def seconds_of(self, work: Callable[[], Any], repeats: int = 3, warm: int = 1) -> float:
        """Median seconds of *work*, finished on the device."""
        for _ in range(warm):
            work()
        took = []
        for _ in range(repeats):
            self.sync()
            began = time.perf_counter()
            work()
            self.sync()
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    def sync(self) -> None:
        if self.cuda:
            import torch

            torch.cuda.synchronize()

    def memory(self) -> str | None:
        """The most GPU memory so far, in words; None on the CPU."""
        if not self.cuda:
            return None
        import torch

        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"


def need(package: str) -> None:
    """Raise ``NotRun`` if *package* is not installed."""
    if importlib.util.find_spec(package) is None:
        raise NotRun(f"{package} is not installed")


def table(sections: dict[str, list[dict[str, Any]]]) -> str:
    """The rows of all sections as Markdown; *of ceiling* is 1 where nothing could be faster."""
    head = ["section", "what", "before", "measured", "unit", "ceiling", "of ceiling", "note"]
    lines = [head, ["---"] * len(head)]
    for name, rows in sections.items():
        for row in rows:
            shown = [row.get(key, "") for key in ("before", "measured", "unit", "ceiling")]
            lines.append([name, row["what"], *map(str, shown), _share(row), str(row.get("note", ""))])
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines) + "\n"


def _share(row: dict[str, Any]) -> str:
    measured, ceiling = row["measured"], row.get("ceiling")
    if isinstance(measured, str) or not measured or not ceiling:
        return ""
    return f"{ceiling / measured if row['unit'] in LOWER_IS_BETTER else measured / ceiling:.2f}"


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else str(value)
