"""Who takes part in a benchmark: a model that is asked, or answers that it gave elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from mminstruct.bench import sets
from mminstruct.models.model import Model, weights
from mminstruct.stage import files


@dataclass(kw_only=True)
class Contestant(Model):
    """A model, or a file of its answers: one of ``name`` and ``answers`` is given.

    ``max_tokens`` is not its own: ``Respond`` caps all alike.
    """

    name: str = files("", read=weights)
    answers: str | None = files(None, read=lambda path, _: sets.answers_digest(path))
    """File of given answers (JSON lines with ``question_id`` and ``text``), or the folder of another
    benchmark, or of a build, whose pairs are then the questions."""
    model_id: str | None = None
    """Whose answers, where that holds those of several."""

    def faults(self) -> list[str]:
        """What is wrong with it, one line each."""
        if bool(self.name) == bool(self.answers):
            return ["give its name (a model), or answers (a file, or the folder of another benchmark or of a build)"]
        return []
