"""Prices of endpoints, and the cost of a reply."""

from __future__ import annotations

import fnmatch
import functools
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MILLION = 1_000_000
TOKENS_PER_IMAGE = 1_500
"""Estimate for one image: the most that common endpoints charge for a megapixel."""
CHARACTERS_PER_TOKEN = 3
"""Below the 4 of English on purpose: a reservation should rather be too large."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens."""

    input: float
    output: float
    cached: float | None = None
    """For input tokens in the endpoint's cache; None: the same as ``input``."""
    batch: float = 0.5
    """Factor for all prices in batch mode."""

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached", "batch"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise ValueError(f"price.{name} must be 0 or more US dollars for a million tokens, not {value!r}")

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
    """Price of model *name* at *host*; None if unknown.

    Args:
        override: ``options.price``: ``{input, output, cached, batch}``; replaces the file's.

    A dated name (``gpt-4.1-2025-04-14``) has the price of the undated one, unless it is listed itself.
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


def max_tokens_in(messages: list[Any]) -> int:
    """Upper estimate of the tokens in *messages*."""
    characters = images = 0
    for message in messages:
        content = message["content"]
        for item in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            if item["type"] == "text":
                characters += len(item["text"].encode("utf-8", "replace"))
            else:
                images += 1
    return characters // CHARACTERS_PER_TOKEN + images * TOKENS_PER_IMAGE + 8 * len(messages) + 8
