"""Who takes part in a benchmark: a model that is asked, or answers that it gave elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mminstruct.bench import sets
from mminstruct.models.model import Model

_ENDS = 1 << 20


@dataclass(kw_only=True)
class Contestant(Model):
    """A model, or a file of its answers: one of ``name`` and ``answers`` is given.

    ``max_tokens`` is not its own: ``Respond`` caps all alike.
    """

    name: str = ""
    answers: str | None = None
    """File of given answers (JSON lines with ``question_id`` and ``text``), or the folder of another benchmark."""
    model_id: str | None = None
    """Whose answers, where that holds those of several."""
    digest: str = ""
    """Of the given answers; filled in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name and self.revision is None:
            self.revision = weights(self.name)
        if self.answers and not self.digest:
            self.digest = sets.answers_digest(self.answers)

    def faults(self) -> list[str]:
        """What is wrong with it, one line each."""
        if bool(self.name) == bool(self.answers):
            return ["give its name (a model), or answers (a file, or another benchmark's folder)"]
        if self.answers and not self.digest:
            return [f"answers={self.answers}: no such file, and no benchmark's folder with answers in it"]
        return []


def weights(folder: str) -> str | None:
    """Digest of a local checkpoint, 16 hex digits: names, sizes, and the first and last MiB of every file; None where
    *folder* is none. A checkpoint that is trained on under its old name is so another one.
    """
    if not Path(folder).is_dir():
        return None
    found = hashlib.sha256()
    for file in sorted(path for path in Path(folder).iterdir() if path.is_file()):
        with open(file, "rb") as handle:
            size = file.stat().st_size
            found.update(f"{file.name} {size}\n".encode() + handle.read(_ENDS))
            handle.seek(max(0, size - _ENDS))
            found.update(handle.read())
    return found.hexdigest()[:16]
