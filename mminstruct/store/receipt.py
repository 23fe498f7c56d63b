"""The commit of one unit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mminstruct.checksum import FIELD
from mminstruct.store.datafile import Part


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
    host: str = ""
    version: str = ""

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Receipt:
        """A receipt from its JSON; version 0.1 called ``rows_in`` ``taken``."""
        if "taken" in facts:
            facts = {"rows_in" if key == "taken" else key: value for key, value in facts.items()}
        return cls(**{**facts, "parts": [Part(**part) for part in facts["parts"]]})

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        facts = json.loads(text)
        facts.pop(FIELD, None)
        return cls.from_facts(facts)
