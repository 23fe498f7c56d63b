"""Chooses the questions of a benchmark evenly over kinds of task, without those in training data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from mminstruct import schemas
from mminstruct.bench.kinds import KINDS, evenly, kind_of
from mminstruct.bench.pairs import SPLITS, TURNS, Question, RunSet, Seen
from mminstruct.bench.sets import FileSet, open_set
from mminstruct.bench.trained import Trained, texts
from mminstruct.stage import Drop, Read, Rows, Stage, Transform, content_id, output, where
from mminstruct.store.tables import Store
from mminstruct.unit import note

QUESTIONS = "questions"
"""Key of the only unit: the choice needs all questions."""


@dataclass(kw_only=True)
class Pick(Stage):
    """Takes a run's held-out pairs, or a file of questions. MM-Instruct's benchmark has 33 instructions x 3 images.

    From a run it takes the split ``test`` and checks it against the split ``train`` (images only, if whole domains,
    kinds or images are held out).
    """

    path: str = where()
    """Folder of a run, or a file of questions: JSON lines or a JSON list (see ``mminstruct.bench.sets``)."""
    images: str | None = where(None)
    """Folder of the images of a file of questions; without it, judges are shown captions."""
    captions: str | None = where(None)
    """File of captions by image, used if the questions have none; for example LLaVA-Bench's contexts."""
    turns: str = "first"
    """Which questions of each dialogue of a run: first, last or all. With all, ``Respond`` asks each of them alone, and
    again after the ones before it."""
    split: str = "test"
    """Which split of a run: test, train or any. Only test is checked against the run's own train split."""
    questions: int | None = None
    """Maximum number of questions, chosen evenly over kinds of task and instructions; null: all."""
    kinds: dict[str, str] = field(default_factory=lambda: dict(KINDS))
    """Regular expressions by kind of task, for sets with fewer than two categories."""
    trained: list[str] = where(factory=list)
    """Runs that contestants were trained on; questions whose image or words occur in them are dropped."""
    near: int = 6
    """Images whose perceptual hashes differ in at most this many bits count as equal."""
    ngram: int = 8
    """A question must not share this many consecutive words with an instruction of ``trained``; in shorter ones, all
    words."""
    rows: int = 32
    """Questions per part; answers and verdicts are committed part by part."""
    seed: int = 0

    reads: ClassVar[dict[str, Read]] = {}
    writes: ClassVar[pa.Schema] = schemas.PICK
    row_key: ClassVar[str] = "question_id"
    core_seconds = 0.005  # measured: 300 questions with JPEGs of 640 x 480

    def check(self) -> None:
        faults = [
            f"{name}={getattr(self, name)}: take 1 or more" for name in ("rows", "ngram") if getattr(self, name) < 1
        ]
        if self.questions is not None and self.questions < 1:
            faults.append(f"questions={self.questions}: take 1 or more, or null for all")
        faults += [
            f"{name}={getattr(self, name)}: take {', '.join(known)}"
            for name, known in (("turns", TURNS), ("split", SPLITS)) if getattr(self, name) not in known
        ]  # fmt: skip
        if not 0 <= self.near <= 16:
            faults.append(f"near={self.near}: bits from 0 to 16; with more, different images count as equal")
        for kind, words in self.kinds.items():
            try:
                re.compile(words)
            except re.error as error:
                faults.append(f"kinds.{kind}: {error}")
        if faults:
            raise ValueError("\n".join(faults))

    def shards(self) -> dict[str, dict[str, Any]]:
        """The only unit, with digests of the question set.

        Raises:
            FileNotFoundError: there is no run and no file at ``path``.
        """
        facts = self._set().facts()
        if self.trained:
            facts["trained"] = " ".join(sorted(self._trained(run) for run in self.trained))
        return {QUESTIONS: facts}

    @staticmethod
    def _trained(run: str) -> str:
        tables = (Store(run).table(name) for name in ("select", "ingest", texts(run)))
        return content_id(*(table.digest() for table in tables))

    def load(self, **whole: Any) -> Transform:
        source = self._set()

        def pick(key: str) -> Iterator[Rows]:
            found = list(source.questions())
            questions = [one for one in found if isinstance(one, Question)]
            kinds = self._kinds(questions)
            trained = self._contaminated(source, questions)
            free = [one for one in questions if one.question_id not in trained]
            drops = [*(one for one in found if isinstance(one, Drop)), *trained.values()]
            chosen = self._chosen(free, kinds)
            taken = {one.question_id for one in chosen}
            drops += [
                Drop(one.question_id, "not_chosen", f"{self.questions} are asked")
                for one in free
                if one.question_id not in taken
            ]
            for start in range(0, max(1, len(chosen)), self.rows):  # the first part records all drops
                rows = self._rows(source, chosen[start : start + self.rows], kinds) + (drops if start == 0 else [])
                yield Rows(len(rows), output(self.writes, rows))

        return pick

    def _set(self) -> RunSet | FileSet:
        return open_set(self.path, self.images, self.captions, self.turns, self.split)

    def _kinds(self, questions: list[Question]) -> dict[str, str]:
        """Kind of task by question_id: the set's own categories if there are several, else guessed."""
        own = len({one.kind for one in questions}) > 1
        return {one.question_id: (own and one.kind) or kind_of(one.question, self.kinds) for one in questions}

    def _contaminated(self, source: RunSet | FileSet, questions: list[Question]) -> dict[str, Drop]:
        """Drops, by question_id, for questions that are in or too similar to training data."""
        runs = [Trained(run, self.near, self.ngram) for run in self.trained]
        for run in runs:
            if not run.images:
                raise ValueError(f"trained: {run.run} has no pairs in the split train; give the folder of a run")
        if isinstance(source, RunSet) and self.path not in self.trained and self.split == "test":
            runs.append(Trained(self.path, self.near, None, questions=source.by == "instruction"))
        found: dict[str, Drop] = {}
        for start in range(0, len(questions) if runs else 0, self.rows):
            some = questions[start : start + self.rows]
            seen = source.pictures(some)
            for one in some:
                picture = seen.get(one.image or "")
                for run in runs:
                    drop = run.asked(one) or (run.shown(one, picture) if isinstance(picture, Seen) else None)
                    if drop is not None:
                        found.setdefault(one.question_id, drop)
        return found

    def _chosen(self, questions: list[Question], kinds: dict[str, str]) -> list[Question]:
        if self.questions is None or len(questions) <= self.questions:
            return questions
        chosen = evenly(
            questions,
            self.questions,
            [lambda one: kinds[one.question_id], lambda one: one.instruction_id],
            lambda one: content_id(str(self.seed), "pick", one.question_id),
        )
        names = {one.question_id for one in chosen}
        return [one for one in questions if one.question_id in names]

    def _rows(
        self, source: RunSet | FileSet, questions: list[Question], kinds: dict[str, str]
    ) -> list[dict[str, Any] | Drop]:
        seen = source.pictures(questions)
        rows: list[dict[str, Any] | Drop] = []
        for one in questions:
            picture = seen.get(one.image or "")
            if isinstance(picture, str):
                note("images_missing")
                if one.caption is None:
                    rows.append(Drop(one.question_id, "image_unreadable", picture))
                    continue
            known = picture if isinstance(picture, Seen) else None
            rows.append(
                {
                    "question_id": one.question_id,
                    "image_id": known.image_id if known else "",
                    "instruction_id": one.instruction_id,
                    "question": one.question,
                    "kind": kinds[one.question_id],
                    "image": known.image if known else None,
                    "caption": one.caption,
                    "reference": one.reference,
                    "earlier": json.dumps(one.earlier, ensure_ascii=False) if one.earlier else None,
                }
            )
        return rows
