"""What a reply costs, what was spent, and when to stop."""

from __future__ import annotations

import fnmatch
import functools
import importlib.resources
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mminstruct.stage import Halt

MILLION = 1_000_000
TOKENS_PER_IMAGE = 1_500
"""Guess for one image part before it is sent: the most that common endpoints charge for a megapixel."""
CHARACTERS_PER_TOKEN = 3
"""Low for English (4) on purpose: a reservation should rather be too large."""


class BudgetExceeded(Halt):
    """The next request might cost more than is left."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens."""

    input: float
    output: float
    cached: float | None = None
    """Input tokens that the endpoint had in its cache; None: as ``input``."""
    batch: float = 0.5
    """Factor on everything in batch mode."""

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached", "batch"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise ValueError(f"price.{name} is US dollars for a million tokens, 0 or more, and is {value!r}")

    @property
    def free(self) -> bool:
        return not (self.input or self.output)

    def cost(self, tokens_in: int, tokens_out: int, *, cached: int = 0, batch: bool = False) -> float:
        """US dollars; *cached* tokens are part of *tokens_in*."""
        cached = min(max(cached, 0), tokens_in)
        at_cached = self.input if self.cached is None else self.cached
        total = (tokens_in - cached) * self.input + cached * at_cached + tokens_out * self.output
        return total / MILLION * (self.batch if batch else 1.0)


@functools.cache
def price_file() -> dict[str, Any]:
    """``conf/prices.yaml``: inside the installed package, or beside it in a checkout."""
    package = Path(str(importlib.resources.files("mminstruct")))
    places = (package / "conf" / "prices.yaml", package.parent / "conf" / "prices.yaml")
    return dict(yaml.safe_load(next(place for place in places if place.is_file()).read_text(encoding="utf-8")))


def price_of(name: str, host: str, override: Mapping[str, Any] | None = None) -> Price | None:
    """Price of model *name* at *host*; None where nobody said.

    Args:
        override: ``options.price``: ``{input, output, cached, batch}``; wins over the file.

    A dated name (``gpt-4.1-2025-04-14``) costs what its undated one does, unless it is listed itself.
    """
    if override is not None:
        try:
            return Price(**override)
        except TypeError as error:
            raise ValueError(f"{name}: options.price takes input, output, cached and batch ({error})") from None
    for pattern, models in price_file()["endpoints"].items():
        if fnmatch.fnmatch(host, pattern):
            found = models.get(name) or models.get(re.sub(r"-20\d\d-?\d\d-?\d\d$", "", name))
            return Price(**found) if found else None
    return None


def most_tokens_in(messages: list[Any]) -> int:
    """Upper guess of the tokens in *messages*, before anybody counted them."""
    characters = images = 0
    for message in messages:
        content = message["content"]
        for item in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            if item["type"] == "text":
                characters += len(item["text"].encode("utf-8", "replace"))
            else:
                images += 1
    return characters // CHARACTERS_PER_TOKEN + images * TOKENS_PER_IMAGE + 8 * len(messages) + 8


class Ledger:
    """Money of one process: spent, and reserved for requests in flight. Safe from all threads.

    A reservation is the most a request can cost as far as one can tell before; what was really spent replaces it
    when the reply is there. So the budget can only be exceeded by what the guesses for requests in flight fell short.
    """

    def __init__(self) -> None:
        self.spent = 0.0
        self.reserved = 0.0
        self._seen: set[int] = set()
        self._lock = threading.Lock()

    def reserve(self, cost: float, *, budget: float | None, before: float = 0.0) -> bool:
        """Reserve *cost*; False if it does not fit now but may when requests in flight turn out cheaper.

        Args:
            budget: US dollars, None for no limit.
            before: US dollars that other processes spent of it.

        Raises:
            BudgetExceeded: if nothing is in flight and it does not fit.
        """
        with self._lock:
            used = before + self.spent
            if budget is not None and used + self.reserved + cost > budget:
                if self.reserved > 1e-12:
                    return False
                raise BudgetExceeded(
                    f"budget of ${budget:.2f}: ${used:.4f} is spent and the next request may cost ${cost:.4f}; "
                    "raise budget.usd and run the same command again"
                )
            self.reserved += cost
            return True

    def settle(self, reserved: float, cost: float, request: str | None = None) -> None:
        """Replace a reservation by the true *cost*; *request* marks it as counted."""
        with self._lock:
            self.reserved = max(0.0, self.reserved - reserved)
            self.spent += cost
            if request is not None and cost:
                self._seen.add(int(request, 16))

    def recall(self, request: str, cost: float) -> None:
        """Count what an earlier process paid for *request*, once: its unit has no receipt yet that would tell."""
        with self._lock:
            key = int(request, 16)
            if cost and key not in self._seen:
                self._seen.add(key)
                self.spent += cost


LEDGER = Ledger()
"""This process's."""
