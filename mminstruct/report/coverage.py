"""Rows by domain and kind of question: what a run has, what it should have, and the commands that fill the gaps."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from mminstruct.store.reader import RunReader

MORE = "MORE_IMAGES"
"""In a command: the source of images that the run has not seen."""
_OWN = (
    *("out", "source", "base", "units", "images"),
    *("recipe.decide.path", "recipe.retrieve.only", "recipe.retrieve.per_domain"),
)
"""Overrides of a build that are not repeated for other images."""


@dataclass
class Gap:
    """A cell with fewer rows than wanted."""

    kind: str
    rows: int
    """Rows that are missing."""
    images: int
    """Images of the domain from which as many rows can be expected, by what an image gave in this run."""
    command: str
    """Builds them as a run of its own; MORE_IMAGES is to be replaced."""


@dataclass
class Coverage:
    """``rows`` has a list for each of *domains*, with a number for each of *kinds*; *gaps* likewise."""

    table: str
    domains: list[str]
    kinds: list[str]
    rows: list[list[int]]
    images: list[int] | None = None
    """Images of each domain; None where the recipe does not choose images for domains. So are the next three."""
    wanted: int | None = None
    """Rows that each cell should have."""
    rule: str | None = None
    """Where *wanted* comes from."""
    gaps: list[list[Gap | None]] | None = None


def coverage(run: RunReader) -> dict[str, Any] | None:
    """Coverage of the last table with the columns domain and kind, as plain JSON; None if all rows are in one cell.

    If the recipe chooses images for domains, all of its domains and kinds are listed, whether they have rows or not.
    """
    named = [table for table in run.values() if {"domain", "kind"} <= set(table.schema.names)]
    if not named:
        return None
    table = next((one for one in reversed(named) if one.num_rows), named[-1])
    counts: Counter[tuple[str, str]] = Counter()
    for batch in table.dataset().to_batches(columns=["domain", "kind"]):
        pairs = zip(batch["domain"].to_pylist(), batch["kind"].to_pylist(), strict=True)
        counts.update((domain or "none", kind or "none") for domain, kind in pairs)
    chosen = "retrieve" in run and "ask" in run
    asked, kinds = _recipe(run) if chosen else ([], [])
    if len(counts) < 2 and not chosen:
        return None
    domains = [*asked, *sorted({domain for domain, _ in counts} - set(asked))]
    others = [*kinds, *sorted({kind for _, kind in counts} - set(kinds))]
    found = Coverage(table.name, domains, others, [[counts[domain, kind] for kind in others] for domain in domains])
    if chosen:
        images = _images(run)
        found.images = [images[domain] for domain in domains]
        found.wanted, found.rule = _quota(run, counts.total(), len(asked), len(kinds))
        found.gaps = _gaps(run, found, asked, kinds)
    return asdict(found)


def _recipe(run: RunReader) -> tuple[list[str], list[str]]:
    """Domains and kinds about which the recipe asks."""
    retrieve, number = run["retrieve"].manifest["config"], run["ask"].manifest["config"]["number"]
    only = retrieve["only"]
    domains = [name for name, _ in retrieve["domains"] if not only or name in only]
    return domains, [kind for kind, count in number.items() if count]


def _images(run: RunReader) -> Counter[str]:
    images: Counter[str] = Counter()
    for batch in run["retrieve"].dataset().to_batches(columns=["domain"]):
        images.update(batch["domain"].to_pylist())
    return images


def _quota(run: RunReader, rows: int, domains: int, kinds: int) -> tuple[int, str]:
    """Rows that each cell should have, and why."""
    pairs = run["select"].manifest["config"]["per_domain"] if "select" in run else None
    if pairs is not None:
        return pairs // kinds, f"recipe.select.per_domain={pairs}, shared by {kinds} kinds"
    images = run["retrieve"].manifest["config"]["per_domain"]
    if images is not None:
        return images, f"one row for each image of recipe.retrieve.per_domain={images}"
    return max(1, rows // (2 * domains * kinds)), "half of an equal share, since no quota is set"


def _gaps(run: RunReader, found: Coverage, domains: list[str], kinds: list[str]) -> list[list[Gap | None]]:
    """What is missing in each cell of *found* about which the recipe asks: of *domains* and *kinds*."""
    given = (run.store.config() or {}).get("command") or ["recipe=domains"]
    given = [word for word in given if word.lstrip("+").partition("=")[0] not in _OWN]

    def gap(row: int, column: int) -> Gap | None:
        assert found.images is not None
        assert found.wanted is not None
        domain, kind, count = found.domains[row], found.kinds[column], found.rows[row][column]
        if domain not in domains or kind not in kinds or count >= found.wanted:
            return None
        of_kind = sum(one[column] for one in found.rows) / max(1, sum(found.images))
        each = count / found.images[row] if count and found.images[row] else of_kind
        images = math.ceil((found.wanted - count) / (each or 1.0))
        words = [f"out={run.url}-{domain}-{kind}", f"source={MORE}", f"recipe.retrieve.only=[{domain}]"]
        words += [f"recipe.retrieve.per_domain={images}"]
        words += [f"recipe.ask.number.{other}=0" for other in kinds if other != kind]
        words += [] if kind == "long" else ["recipe.converse.rounds=0"]  # rounds of a conversation are long
        return Gap(kind, found.wanted - count, images, shlex.join(["mminstruct", "build", *given, *words]))

    return [[gap(row, column) for column in range(len(found.kinds))] for row in range(len(found.domains))]
