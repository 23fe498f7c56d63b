"""The ``export`` table of a run as a collection, without deleted rows and questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from mminstruct.export import ExportError, hf
from mminstruct.export.card import CardFacts
from mminstruct.export.proof import Check
from mminstruct.export.row import Row
from mminstruct.readers import text
from mminstruct.readers.conversation import IMAGE, Turn
from mminstruct.readers.values import parse
from mminstruct.store import deletion
from mminstruct.store.reader import RunReader, manifests
from mminstruct.store.tables import Store


class Exported:
    """Rows of a run at *url*.

    Args:
        check: checks every row that is not deleted.

    Raises:
        ExportError: the run has no export table, or an earlier version made it, whose rows lack the ids of their pairs.
    """

    def __init__(self, url: str, check: Check) -> None:
        self.store, self.check = Store(url), check
        self.table = self.store.table("export")
        self.manifest = self.table.manifest() or {}
        if self.manifest and "turns" not in self.manifest["schema"]:
            raise ExportError(_outdated(self.store))
        run = RunReader(self.store)
        if "export" not in run:
            raise ExportError(f"{url} has no table export: it has {', '.join(run)}")
        self.dataset = run["export"].dataset()
        self.deleted = deletion.deleted(self.store)
        self.left_out: Counter[str] = Counter()
        """Counts of deleted rows, by reason."""
        self.cut: Counter[str] = Counter()
        """Counts of questions deleted from remaining rows, by reason."""
        self._decided = _decided(run)
        self._people = Counter[str]()
        self._questions = 0
        """Questions of remaining rows, before the deletion of some."""

    def splits(self) -> list[str]:
        """Train first."""
        names: set[str] = set()
        for batch in hf.batches(self.dataset, columns=["split"]):
            names.update(pc.unique(batch["split"]).to_pylist())
        return sorted(names, key=lambda name: (name != "train", name))

    def rows(self, split: str) -> Iterator[Row]:
        for row in self.kept(split, self.left_out, self.cut):
            self._questions += len(row.questions or ())
            if self._decided is not None:
                self._people.update(self._decided.get(one["pair_id"], "unseen") for one in row.questions or ())
            yield self.check(row)

    def kept(self, split: str, left_out: Counter[str], cut: Counter[str], *, pixels: bool = True) -> Iterator[Row]:
        """Rows without deleted questions, unchecked. Without *pixels*, images only have a name.

        Args:
            left_out: counts rows that are deleted completely, by reason.
            cut: counts questions that are deleted from remaining rows, by reason.
        """
        columns = [name for name in self.dataset.schema.names if pixels or name != "image"]
        for row in hf.rows(self.dataset, columns=columns, filter=pc.field("split") == split):
            found = self._rest(row, cut)
            if isinstance(found, Row):
                yield found
            else:
                left_out[found] += 1

    def _rest(self, row: Row, cut: Counter[str]) -> Row | str:
        """The row without deleted questions, or the reason of its deletion if nothing remains."""
        if (reason := self._reason(row.id, row.image_id)) is not None:
            return reason
        questions = row.questions or []
        reasons = [self._reason(one["pair_id"], one["instruction_id"]) for one in questions]
        gone = [reason for reason in reasons if reason is not None]
        if not gone:
            return row
        if len(gone) == len(questions):
            return gone[0]
        cut.update(gone)
        places = [place for place, reason in enumerate(reasons) if reason is None]
        turns: list[Turn] = [turn for place in places for turn in row.turns[2 * place : 2 * place + 2]]
        if places[0]:  # the image was in the first question, which is deleted
            turns[0] = {"from": turns[0]["from"], "value": f"{IMAGE}\n{turns[0]['value']}"}
        return replace(row, turns=turns, questions=[questions[place] for place in places])

    def _reason(self, *ids: str | None) -> str | None:
        return next((self.deleted[id_].reason for id_ in ids if id_ in self.deleted), None)

    def nothing(self) -> str:
        left = f"{sum(self.left_out.values())} rows are left out as deleted; " if self.left_out else ""
        return f"there are no rows: {left}`mminstruct status {self.store.url}` shows which stage dropped them, and why"

    def close(self, facts: CardFacts) -> None:
        """Add deletions to the funnel, and check the number of rows.

        Raises:
            ExportError: rows written and rows deleted do not add up to the rows of the table.
        """
        there = sum(part.rows for part in self.table.parts().values())
        written, left = sum(facts.rows.values()), sum(self.left_out.values())
        if there != written + left:
            raise ExportError(f"the table has {there} rows: {written} were written and {left} left out as deleted")
        if self._decided is not None:
            facts.people = {name: self._people[name] for name in ("accepted", "edited")} | {"all": self._people.total()}
        if left:
            _step(facts, "delete", written, self.left_out)
        if self.cut:
            _step(facts, "delete (questions of dialogues)", self._questions, self.cut)

    def about(self) -> dict[str, Any]:
        """The recipe's description of its method (``Recipe.about``)."""
        return dict(self.manifest.get("recipe") or {})

    def annotations(self) -> dict[str, dict[str, int]]:
        """Annotations by set and licence; empty if the recipe uses none."""
        run = RunReader(self.store)
        found: dict[str, dict[str, int]] = {}
        if "annotate" in run:
            table = run["annotate"].dataset().to_table(columns=["set", "licence"])
            for row in table.group_by(["set", "licence"]).aggregate([([], "count_all")]).to_pylist():
                found.setdefault(row["set"], {})[row["licence"] or "unknown"] = row["count_all"]
        return found

    def models(self) -> dict[str, str]:
        """Models by stage, or by stage and field if the field is not ``model``."""
        found = {}
        for name, manifest in manifests(self.store).items():
            for where, model in _models(name, manifest["config"]):
                revision = f"@{model['revision']}" if model.get("revision") else ""
                found[where.removesuffix(".model")] = f"{model['name']}{revision}"
        return found

    def fingerprint(self) -> dict[str, Any]:
        """Fingerprint of the table, digest of its parts, and number of deletions."""
        return {
            "fingerprint": self.manifest.get("fingerprint", ""),
            "parts": self.table.digest(),
            "deleted": len(self.deleted),
        }


def warnings(path: str) -> list[str]:
    """What the run or export at *path* warns of; a file tells nothing."""
    from mminstruct.status.tables import all_warnings, table_statuses

    if Path(path).is_file():
        return []
    about = Path(path) / "export.json"
    if about.is_file():
        return [str(line) for line in parse(text.read(about), str(about)).get("warnings", ())]
    return all_warnings(table_statuses(path))


def _step(facts: CardFacts, name: str, kept: int, dropped: Counter[str]) -> None:
    """Add a step to the funnel."""
    facts.funnel = [
        *facts.funnel,
        {"table": name, "in": kept + sum(dropped.values()), "kept": kept, "dropped": dict(dropped)},
    ]


def _decided(run: RunReader) -> dict[str, str] | None:
    """What people decided, by pair, where they accepted or edited it; None if the run has no decisions."""
    if "decide" not in run or not run["decide"].num_rows:
        return None
    seen = pc.field("decision").isin(["accepted", "edited"])
    found = run["review"].to_arrow(["pair_id", "decision"], seen)
    return dict(zip(found["pair_id"].to_pylist(), found["decision"].to_pylist(), strict=True))


def _models(where: str, config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every model in a stage's configuration, with its key."""
    if not isinstance(config, Mapping):
        return
    if {"name", "temperature"} <= config.keys():
        yield from [(where, config)] if config["name"] else []
    else:
        for name, item in config.items():
            yield from _models(f"{where}.{name}", item)


def _outdated(store: Store) -> str:
    url = store.url.rstrip("/")
    source = ((store.config() or {}).get("config") or {}).get("source") or "SOURCE"
    return (
        f"{store.url} was made by an earlier version, whose rows lack the ids of their pairs. Build it again in another"
        " folder, with the same arguments as before; unchanged results are reused, so models are not called"
        f" again:\n  mminstruct build out={url}-2 base={url} source={source}"
    )
