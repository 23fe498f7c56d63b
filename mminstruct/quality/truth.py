"""What a report is made from: the tables of a run, and the truth of the scenes that its images were drawn from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mminstruct import schemas
from mminstruct.microworld.language import AltText
from mminstruct.microworld.scene import Scene
from mminstruct.microworld.shards import scene_from
from mminstruct.store import Store


@dataclass(frozen=True, slots=True)
class Known:
    """The truth of one image."""

    scene: Scene
    alt: AltText | None = None
    """What its alt-text says rightly and wrongly, where it came with one."""


Truth = Mapping[str, Known]
"""By image_id."""


class Tables:
    """What a run has made so far, as far as the report reads it; tables not made yet are empty."""

    def __init__(self, url: str) -> None:
        self.store = Store(url)

    def rows(self, name: str, *columns: str) -> list[dict[str, Any]]:
        table = self.store.table(name)
        if not table.parts():
            return []
        return list(table.dataset(schemas.TABLES[name]).to_table(columns=list(columns)).to_pylist())

    def pairs(self, name: str, key: str, value: str) -> dict[str, str]:
        return {row[key]: row[value] for row in self.rows(name, key, value)}

    def manifest(self, name: str) -> dict[str, Any]:
        """Configuration that a table was made with, and the paths of a source's data.

        Raises:
            FileNotFoundError: where the folder is no run.
        """
        found = self.store.table(name).manifest()
        if found is None:
            raise FileNotFoundError(f"{self.store.url} has no {name}/manifest.json: give the folder of a run")
        return {**found["config"], **found.get("paths", {})}

    @cached_property
    def captions(self) -> dict[str, str]:
        return self.pairs("caption", "image_id", "caption")

    @cached_property
    def descriptions(self) -> dict[str, str]:
        return self.pairs("fuse", "image_id", "description")

    @cached_property
    def bank(self) -> dict[str, str]:
        return self.pairs("summarize", "instruction_id", "instruction")

    @cached_property
    def answers(self) -> list[dict[str, Any]]:
        return self.rows("answer", "pair_id", "image_id", "instruction_id", "answer")


def truth(folders: Sequence[Path]) -> dict[str, Known]:
    """The truth of all images of *folders*, each written by ``mminstruct microworld``.

    Raises:
        FileNotFoundError: naming the first folder that has no ``_truth/scenes.jsonl``.
    """
    known: dict[str, Known] = {}
    for folder in folders:
        path = folder / "_truth" / "scenes.jsonl"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: only `mminstruct microworld` writes folders of known truth")
        for line in path.read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            alt = fields.get("alt")
            if alt is not None:
                alt = AltText(**{**alt, **{name: tuple(alt[name]) for name in ("true_facts", "false_facts")}})
            known[fields["image_id"]] = Known(scene_from(fields["scene"]), alt)
    return known


def truth_folders(tables: Tables) -> list[Path]:
    """Folders with a ``_truth`` in and below what the run was ingested from, or just above it.

    Raises:
        FileNotFoundError: where there is none.
    """
    path = Path(str(tables.manifest("ingest").get("path", "")))
    while not path.is_dir() and path != path.parent:  # a pattern, or a single shard
        path = path.parent
    for place in (path, path.absolute().parent):
        found = sorted(file.parent.parent for file in place.glob("**/_truth/scenes.jsonl"))
        if found:
            return found
    raise FileNotFoundError(
        f"no _truth/scenes.jsonl lies in or below {path}, where the run was ingested from: say where it is with --truth"
    )
