"""Sums over the receipts of a table, from their columns."""

from __future__ import annotations

from dataclasses import dataclass, field

from mminstruct.store.columns import Columns
from mminstruct.store.packed import Packed
from mminstruct.store.receipt import Receipt


@dataclass
class Totals:
    """Sums of the fields of receipts; mappings by their keys, in the order in which these first occur."""

    units: int = 0
    rows_in: int = 0
    kept: int = 0
    parts: int = 0
    rows: int = 0
    """In these parts."""
    seconds: float = 0.0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    dropped: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, list[int]] = field(default_factory=dict)

    def add(self, receipts: Columns) -> None:
        """Add receipts one after the other: rounding depends on their order, not on how many are added at once."""
        self.units += receipts.count
        for name in ("rows_in", "kept", "seconds", "calls", "tokens_in", "tokens_out", "cost"):
            setattr(self, name, sum(receipts[name], getattr(self, name)))
        parts = receipts.lists("parts")[1]["rows"]
        self.parts += len(parts)
        self.rows += sum(parts)
        for name in ("dropped", "notes"):
            _add(getattr(self, name), receipts.maps(name))
        warnings = receipts.maps("warnings")
        for one in warnings.rows() if warnings.names != [] else ():
            for said, counts in one.items():
                before = self.warnings.get(said, (0, 0))
                self.warnings[said] = [a + b for a, b in zip(before, counts, strict=True)]


def totals(receipts: Packed[Receipt]) -> Totals:
    """The sums over all *receipts*."""
    found = Totals()
    for chunk in receipts.chunks():
        found.add(chunk.columns)
    return found


def _add(total: dict[str, int], counts: Columns) -> None:
    if counts.names is not None:
        for name in counts.names:
            total[name] = sum(counts[name], total.get(name, 0))
        return
    for one in counts.rows():
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
