"""A contestant of a benchmark: a model to ask, or its existing answers."""

from __future__ import annotations

from dataclasses import dataclass

from mminstruct.bench import sets
from mminstruct.models.model import Model, weights
from mminstruct.stage import files


@dataclass(kw_only=True)
class Contestant(Model):
    """A model, or a file of its answers: set either ``name`` or ``answers``.

    ``max_tokens`` has no effect here: ``Respond`` sets one limit for all contestants.
    """

    name: str = files("", read=weights)
    answers: str | None = files(None, read=lambda path, _: sets.answers_digest(path))
    """File of existing answers (JSON lines with ``question_id`` and ``text``), or the folder of another benchmark,
    or the folder of a build, whose pairs are then the questions."""
    model_id: str | None = None
    """Which model's answers to use, if ``answers`` holds those of several models."""

    def faults(self) -> list[str]:
        """Configuration errors, one line each."""
        if bool(self.name) == bool(self.answers):
            return ["give its name (a model), or answers (a file, or the folder of another benchmark or of a build)"]
        return []
