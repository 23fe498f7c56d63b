"""A contestant of a benchmark: a model to ask, or its existing answers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mminstruct.bench import sets
from mminstruct.bench.histories import FRESH
from mminstruct.models.model import Model, weights
from mminstruct.stage import files

_HISTORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(kw_only=True)
class Contestant(Model):
    """A model, or files of its answers: set either ``name`` or ``answers``.

    ``max_tokens`` has no effect here: ``Respond`` sets one limit for all contestants.
    """

    name: str = files("", read=weights)
    answers: str | None = files(None, read=lambda path, _: sets.answers_digest(path))
    """File of existing answers (JSON lines with ``question_id`` and ``text``), or the folder of another benchmark,
    or the folder of a build, whose pairs are then the questions."""
    after: dict[str, str] = files(factory=dict, read=lambda paths, _: sets.digests(paths))
    """Existing answers after earlier turns: files like ``answers``, by name of the history or number of turns. They
    stand beside ``answers``, as NAME@HISTORY."""
    model_id: str | None = None
    """Which model's answers to use, if ``answers`` or ``after`` holds those of several models."""

    def faults(self) -> list[str]:
        """Configuration errors, one line each."""
        if bool(self.name) == bool(self.answers):
            return ["give its name (a model), or answers (a file, or the folder of another benchmark or of a build)"]
        if self.after and not self.answers:
            return ["after holds existing answers: give answers, too; histories of a model are respond.histories"]
        return [
            f"after.{history}: the name of a history has only letters, digits, _ and -, and is not {FRESH}"
            for history in self.after if not _HISTORY.fullmatch(history) or history == FRESH
        ]  # fmt: skip
