"""The commit of one unit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from mminstruct.checksum import FIELD
from mminstruct.store.datafile import Part

_ALARM = 0.2
"""Share of the inputs above which a warning is shown. A test of single inputs may be wrong about a few of them."""


@dataclass(slots=True, kw_only=True)
class Receipt:
    """The commit of one unit; ``rows_in == kept + sum(dropped.values())``."""

    key: str
    parts: list[Part]
    rows_in: int
    """Rows, or archive members, that were read."""
    kept: int
    """Number of them that have at least one output row."""
    dropped: dict[str, int]
    """Reason -> number of rows dropped."""
    drops: str | None = None
    """File in ``_dropped`` that lists them."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Digest of each input when the unit was processed."""
    seconds: float = 0.0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    notes: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, list[int]] = field(default_factory=dict)
    """What a model or stage warns of -> inputs for which it holds, and all inputs that were looked at."""
    host: str = ""
    version: str = ""

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def facts(self) -> dict[str, Any]:
        """As JSON, with all fields. ``dataclasses.asdict`` is ten times slower."""
        return {name: getattr(self, name) for name in _FIELDS} | {"parts": [part.facts() for part in self.parts]}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Receipt:
        """A receipt from its JSON; version 0.1 called ``rows_in`` ``taken``."""
        if "taken" in facts:
            facts = {"rows_in" if key == "taken" else key: value for key, value in facts.items()}
        made = cls(**facts)
        made.parts = [Part(**part) for part in facts["parts"]]
        return made

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        facts = json.loads(text)
        facts.pop(FIELD, None)
        return cls.from_facts(facts)


_FIELDS = tuple(one.name for one in fields(Receipt))


def add_warnings(total: dict[str, list[int]], receipt: Receipt) -> None:
    """Add the warnings of *receipt* to *total*, which has the same form."""
    for said, counts in receipt.warnings.items():
        total[said] = [a + b for a, b in zip(total.get(said, (0, 0)), counts, strict=True)]


def alarming(warnings: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """The warnings that hold for more than a fifth of the inputs: warning -> "COUNT of OF WARNING"."""
    return {said: f"{count:,} of {of:,} {said}" for said, (count, of) in warnings.items() if count > _ALARM * of}
