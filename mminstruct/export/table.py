"""The ``export`` table of a run as a collection, without what was deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc

from mminstruct import deletion, schemas
from mminstruct.export import ExportError, hf
from mminstruct.export.card import Facts
from mminstruct.export.proof import Check
from mminstruct.export.row import Row
from mminstruct.store import Store


class Exported:
    """Rows of a run at *url*.

    Args:
        check: looks at every row that is not left out.
    """

    def __init__(self, url: str, check: Check) -> None:
        self.store, self.check = Store(url), check
        self.table = self.store.table("export")
        self.dataset = self.table.dataset(schemas.EXPORT)
        self.deleted = deletion.deleted(self.store)
        self.left_out: Counter[str] = Counter()
        """Rows that were deleted, by reason."""

    def splits(self) -> list[str]:
        """Train first."""
        names: set[str] = set()
        for batch in hf.batches(self.dataset, columns=["split"]):
            names.update(pc.unique(batch["split"]).to_pylist())
        return sorted(names, key=lambda name: (name != "train", name))

    def rows(self, split: str) -> Iterator[Row]:
        for row in self.kept(split, self.left_out):
            yield self.check(row)

    def kept(self, split: str, left_out: Counter[str], *, pixels: bool = True) -> Iterator[Row]:
        """Rows that are not deleted, unchecked; the others are counted. Without *pixels* images have but a name."""
        columns = [name for name in schemas.EXPORT.names if pixels or name != "image"]
        for row in hf.rows(self.dataset, columns=columns, filter=pc.field("split") == split):
            ids = [id_ for id_ in (row.id, row.image_id, row.instruction_id) if id_ in self.deleted]
            if ids:
                left_out[self.deleted[ids[0]].reason] += 1
            else:
                yield row

    def nothing(self) -> str:
        left = f"{sum(self.left_out.values())} rows are left out as deleted; " if self.left_out else ""
        return f"there are no rows: {left}`mminstruct status {self.store.url}` shows which stage dropped them, and why"

    def close(self, facts: Facts) -> None:
        """Tell what was left out; what the table has must be what was written and what was left out.

        Raises:
            ExportError: it is not.
        """
        there = sum(part.rows for part in self.table.parts().values())
        written, left = sum(facts.rows.values()), sum(self.left_out.values())
        if there != written + left:
            raise ExportError(f"the table has {there} rows: {written} were written and {left} left out as deleted")
        if left:
            facts.funnel = [
                *facts.funnel,
                {"table": "delete", "in": there, "kept": written, "dropped": dict(self.left_out)},
            ]

    def models(self) -> dict[str, str]:
        """Stage to the model that it asked."""
        found = {}
        for name in schemas.TABLES:
            model = (self.store.table(name).manifest() or {}).get("config", {}).get("model") or {}
            if model.get("name"):
                found[name] = f"{model['name']}@{model['revision']}" if model.get("revision") else model["name"]
        return found

    def fingerprint(self) -> dict[str, Any]:
        """Of the table's recipe, its parts and what was deleted."""
        manifest = self.table.manifest() or {}
        return {
            "fingerprint": manifest.get("fingerprint", ""),
            "parts": self.table.digest(),
            "deleted": len(self.deleted),
        }
