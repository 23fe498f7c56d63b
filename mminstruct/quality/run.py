"""A run as its measures read it: tables, models, and the truth of its images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.models.model import Model
from mminstruct.quality.truth import AnnotationTruth, Truth
from mminstruct.store.reader import RunReader


class RunTables:
    """Tables of the run at *url*.

    Raises:
        FileNotFoundError: where the folder is no run.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.reader = RunReader(url)

    @cached_property
    def manifests(self) -> dict[str, dict[str, Any]]:
        """By table, in the order of the recipe."""
        return {name: table.manifest for name, table in self.reader.items()}

    @cached_property
    def schemas(self) -> dict[str, pa.Schema]:
        """Schemas of the tables that have at least one part, in the order of the recipe."""
        return {name: table.schema for name, table in self.reader.items() if table.table.parts()}

    def parts(self, name: str) -> list[str]:
        """Keys of the parts of a table, in order."""
        return list(self.reader[name].table.parts())

    def rows(
        self, name: str, *columns: str, only: frozenset[str] | None = None, where: pc.Expression | None = None
    ) -> list[dict[str, Any]]:
        """Rows of a table, in memory; none where it has no parts yet."""
        if name not in self.schemas:
            return []
        return list(self.reader[name].dataset(only).to_table(columns=list(columns), filter=where).to_pylist())

    def dropped(self, name: str) -> list[dict[str, Any]]:
        """Rows that left at a stage: id, reason, detail."""
        return list(self.reader[name].dropped())

    def sources(self) -> list[str]:
        """Paths that the run's source tables were read from."""
        places = [facts.get("paths", facts["config"]).get("path") for facts in self.manifests.values()]
        return [str(path) for path in places if path]

    def model(self, table: str) -> Model | None:
        """The model that *table* was made with; None where the run names none."""
        from omegaconf import OmegaConf

        facts = self.reader.store.config()
        if facts is None:
            return None
        fields = OmegaConf.select(OmegaConf.create(facts["config"]), f"recipe.{table}.model")
        return None if fields is None else Model(**OmegaConf.to_container(fields, resolve=True))  # type: ignore[arg-type]

    def image_ids(self, only: frozenset[str] | None = None) -> list[str]:
        """Images of the run: those of the first table that has an ``image_id``."""
        first = next((name for name, schema in self.schemas.items() if "image_id" in schema.names), None)
        return [row["image_id"] for row in self.rows(first, "image_id", only=only)] if first else []


class JudgedRun(RunTables):
    """A run whose images have a known truth.

    Args:
        url: Folder of the run.
        truth: Of its images, by image_id; other images are left out of every measure.
        models: Whether measures may load the run's models.
        annotations: Truth of the annotation sets that it was made from.
    """

    def __init__(
        self, url: str, truth: Truth, *, models: bool = False, annotations: Sequence[AnnotationTruth] = ()
    ) -> None:
        super().__init__(url)
        self.truth = truth
        self.annotations = annotations
        self.models = models

    def model(self, table: str) -> Model | None:
        """The model that *table* was made with; None where models are not to be loaded, or the run names none."""
        return super().model(table) if self.models else None

    @cached_property
    def captions(self) -> dict[str, str]:
        """By image_id."""
        return {row["image_id"]: row["caption"] for row in self.rows("caption", "image_id", "caption")}

    @cached_property
    def descriptions(self) -> dict[str, str]:
        """By image_id."""
        return {row["image_id"]: row["description"] for row in self.rows("fuse", "image_id", "description")}

    @cached_property
    def bank(self) -> dict[str, str]:
        """Instructions that images are matched with, by instruction_id."""
        rows = self.rows("summarize", "instruction_id", "instruction")
        return {row["instruction_id"]: row["instruction"] for row in rows}

    @cached_property
    def answers(self) -> list[dict[str, Any]]:
        """Rows of ``answer`` about images of known truth: pair_id, image_id, instruction_id, answer."""
        rows = self.rows("answer", "pair_id", "image_id", "instruction_id", "answer")
        return [row for row in rows if row["image_id"] in self.truth]
