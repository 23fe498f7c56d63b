"""Measures by section of the report. A section is printed where the run has every column that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mminstruct.quality.measure import Measure
from mminstruct.quality.measures import (
    annotated,
    answers,
    captions,
    conversations,
    domains,
    instructions,
    origins,
    ratings,
)
from mminstruct.quality.run import JudgedRun

__all__ = ["MEASURES", "Section", "measured"]

_ANSWERS = {
    "answer": ("pair_id", "image_id", "instruction_id", "answer"),
    "summarize": ("instruction_id", "instruction"),
}
_ANNOTATE = {
    "annotate": ("annotation_id", "set", "image_key", "coco_key", "question", "answer", "place"),
    "ingest": ("image_id",),
}
_TURN = ("pair_id", "image_id", "kind", "question", "choices", "right", "answer", "phrase", "origin")
_TEMPLATE = {"template": (*_TURN, "annotation_id"), **_ANNOTATE}
"""First in the sections of conversations: a recipe without this table has no annotations to compare them with."""


@dataclass(frozen=True, slots=True)
class Section:
    """Measures of one table."""

    measure: Callable[[JudgedRun], list[Measure]]
    needs: Mapping[str, tuple[str, ...]]
    """Columns by table. The first table is the one that is measured."""

    @property
    def table(self) -> str:
        return next(iter(self.needs))

    def missing(self, run: JudgedRun) -> list[str]:
        """``table.column`` of what the section needs and *run* does not have."""
        schemas = {name: schema.names for name, schema in run.schemas.items()}
        return [f"{t}.{c}" for t, columns in self.needs.items() for c in columns if c not in schemas.get(t, ())]


MEASURES: dict[str, Section] = {
    "caption": Section(captions.caption, {"caption": ("image_id", "caption"), "ingest": ("image_id",)}),
    "fuse": Section(captions.fuse, {"fuse": ("image_id", "description"), "caption": ("image_id", "caption")}),
    "instruct": Section(
        instructions.instruct,
        {"instruct": ("image_id", "instruction", "examples"), "fuse": ("image_id", "description")},
    ),
    "cluster": Section(
        instructions.cluster,
        {"cluster": ("instruction_id", "cluster"), "instruct": ("instruction_id", "instruction")},
    ),
    "summarize": Section(
        instructions.summarize,
        {
            "summarize": ("instruction", "members"),
            "cluster": ("instruction_id", "cluster"),
            "instruct": ("instruction_id", "instruction"),
        },
    ),
    "match": Section(
        instructions.match,
        {
            "match": ("image_id", "instruction_id"),
            "summarize": ("instruction_id", "instruction"),
            "ingest": ("image_id", "image"),
        },
    ),
    "answer": Section(answers.answer, {**_ANSWERS, "fuse": ("image_id", "description")}),
    "origin": Section(
        origins.origin,
        {**_ANSWERS, "fuse": ("image_id", "description"), "caption": ("image_id", "caption")},
    ),
    "filter": Section(answers.filtering, {"filter": ("pair_id",), **_ANSWERS, "fuse": ("image_id", "description")}),
    "rate": Section(
        ratings.rate,
        {
            "rate": ("pair_id", "image_correspondence"),
            "review": ("pair_id", "image_id", "kind", "question", "answer"),
        },
    ),
    "whole": Section(answers.whole, {"select": ("pair_id", "image_id", "instruction_id"), **_ANSWERS}),
    "by kind": Section(answers.by_kind, _ANSWERS),
    "annotate": Section(annotated.annotate, _ANNOTATE),
    "template": Section(annotated.template, _TEMPLATE),
    "merge": Section(
        conversations.merge, {**_TEMPLATE, "merge": ("pair_id", "talk_id", "place"), "select": ("pair_id",)}
    ),
    "export": Section(
        conversations.export,
        {
            **_TEMPLATE,
            "export": ("conversations", "turns"),
            "merge": ("pair_id", "phrased"),
            "review": ("pair_id", "kind", "question", "phrase", "origin"),
        },
    ),
    **{title: Section(measure, needs) for title, (measure, needs) in domains.SECTIONS.items()},
}
"""In the order of the report. A stage of another recipe is measured by adding its section here."""


def measured(run: JudgedRun) -> tuple[list[Measure], list[str]]:
    """All measures of *run*; and what of it could not be measured: its other tables, and sections that lack columns."""
    found: list[Measure] = []
    of_run = {title: section.table for title, section in MEASURES.items() if section.table in run.schemas}
    known = {*of_run, *of_run.values()}
    unmeasured = [name for name in run.schemas if name not in known]
    for title, section in MEASURES.items():
        if section.table not in run.schemas:
            continue
        if missing := section.missing(run):
            unmeasured.append(f"{title} (needs {', '.join(missing)})")
        else:
            found += section.measure(run)
    return found, unmeasured
