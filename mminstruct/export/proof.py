"""Checks of an export: each row before it is written, and all rows after they are read back."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from mminstruct.export.row import Image, Row, check_image, check_turns, normal
from mminstruct.readers.conversation import InvalidRow

Key = TypeVar("Key", bound=Hashable)

_SEEN = 4096
"""Images in the cache; rows about one image are close to each other."""


@dataclass(slots=True)
class Share:
    """Counts of the rows of one source."""

    rows: int = 0
    images: int = 0
    """References to images, not distinct ones."""
    characters: int = 0
    tokens: int = 0
    """Tokens of whole conversations, with images expanded; 0 without a tokenizer."""
    truncated: int = 0
    """Rows longer than the limit."""
    longest: int = 0
    """Tokens of the longest row."""
    licences: dict[str, int] = field(default_factory=dict)
    """Rows by licence."""


@dataclass(slots=True, kw_only=True)
class Target:
    """Tokenizer, chat template and length limit of the model to train, used to measure rows."""

    tokenizer: str
    """Name or folder for transformers. The token ``<image>`` is added if it is missing, as in training."""
    template: str | None = None
    """Chat template: v1, plain or Jinja text; by default that of the tokenizer."""
    max_length: int = 2048
    """Length limit in tokens; default from LLaVA-1.5 (scripts/v1_5/finetune.sh)."""
    image_tokens: int = 576
    """Tokens per image; LLaVA-1.5 has (336 / 14)²."""
    _loaded: Any = None

    def facts(self) -> dict[str, Any]:
        """How rows are measured, for the card."""
        return {name: getattr(self, name) for name in ("tokenizer", "template", "max_length", "image_tokens")}

    def measure(self, row: Row) -> int:
        """Tokens of the whole row, before truncation.

        Raises:
            InvalidRow: the template rejects it, or all tokens within the limit are masked.
        """
        from mminstruct.training.template import IMAGE, encode

        if self._loaded is None:
            from transformers import AutoTokenizer

            self._loaded = AutoTokenizer.from_pretrained(self.tokenizer)
            self._loaded.add_tokens([IMAGE], special_tokens=True)
        if len(row.images) > 1:
            raise InvalidRow(
                "images", f"{len(row.images)} images: `mminstruct train` takes one, and rows are measured for it"
            )
        try:
            coded = encode(
                row.turns,
                self._loaded,
                image=bool(row.images),
                image_tokens=self.image_tokens,
                template=self.template,
                max_length=self.max_length,
            )
        except ValueError as error:
            raise InvalidRow("template", str(error)) from error
        tokens = len(coded.ids) + coded.cut
        if not coded.learned:
            what = f"no answer within the first {self.max_length} of its {tokens} tokens: nothing to learn"
            raise InvalidRow("mask", f"{what}; increase the limit, or remove the row (mminstruct delete, or mix)")
        return tokens


class Check:
    """Checks rows one by one and counts them by source.

    Args:
        target: counts tokens and rejects rows whose tokens are all masked; None skips both.
    """

    def __init__(self, target: Target | None = None) -> None:
        self.target = target
        self.shares: dict[str, Share] = {}
        self.kinds: dict[str, dict[str, int]] = {}
        """Questions by domain and kind."""
        self._endings: OrderedDict[bytes, str] = OrderedDict()

    def __call__(self, row: Row, times: int = 1) -> Row:
        """Checks the row and returns it unchanged; counts it *times* times.

        Raises:
            InvalidRow: the row cannot be used for training.
        """
        try:
            check_turns(row.turns, len(row.images))
            for image in row.images:
                self.ending(image.read())
            tokens = self.target.measure(row) if self.target is not None else 0
        except InvalidRow as error:
            raise InvalidRow(error.reason, str(error), row.id) from error
        share = self.shares.setdefault(row.source or "unknown", Share())
        share.rows += times
        share.images += times * len(row.images)
        share.characters += times * sum(len(turn["value"]) for turn in row.turns)
        share.tokens += times * tokens
        share.longest = max(share.longest, tokens)
        share.truncated += times * (self.target is not None and tokens > self.target.max_length)
        for one in row.questions or ():
            cell = self.kinds.setdefault(one["domain"] or "", {})
            cell[one["kind"] or ""] = cell.get(one["kind"] or "", 0) + times
        licence = row.licence or "unknown"
        share.licences[licence] = share.licences.get(licence, 0) + times
        return row

    def ending(self, data: bytes) -> str:
        """File extension for an image; decodes the image unless it is in the cache.

        Raises:
            InvalidRow: it cannot be decoded.
        """
        key = hashlib.sha256(data).digest()
        return _recall(self._endings, key, lambda: check_image(data))


class ContentDigest:
    """Count, ids and order-independent digest of rows. Needs 8 bytes of memory per row."""

    def __init__(self) -> None:
        self.last = ""
        """Id of the last row."""
        self._total = 0
        self._ids = array("Q")
        self._images: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def digest(self) -> str:
        """32 hex digits, equal for equal rows in any order."""
        return f"{self._total:032x}"

    def through(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yields the rows and adds each to the digest."""
        for row in rows:
            self.last = row.id
            turns = [[turn["from"], normal(turn["value"])] for turn in row.turns]
            facts = [row.id, turns, [self._image(image) for image in row.images], row.provenance()]
            digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()
            self._total = (self._total + int.from_bytes(digest[:16], "big")) % (1 << 128)
            self._ids.append(_mark(row))
            yield row

    def first_duplicate(self, rows: Iterable[Row]) -> str | None:
        """The first id that occurs twice in *rows*.

        Ids are compared by 64-bit digests: one false alarm in 300,000 sets of ten million rows.
        """
        more = repeated(self._ids)
        return next((row.id for row in rows if _mark(row) in more), None) if more else None

    def _image(self, image: Image) -> str:
        if image.path is None:
            return hashlib.sha256(image.read()).hexdigest()
        return _recall(self._images, str(image.path), lambda: hashlib.sha256(image.read()).hexdigest())


def _mark(row: Row) -> int:
    return int.from_bytes(hashlib.sha256(row.id.encode()).digest()[:8], "big")


def repeated(keys: array[int]) -> set[int]:
    """The 64-bit *keys* that occur more than once."""
    ordered = np.sort(np.frombuffer(keys, np.uint64))
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _recall(seen: OrderedDict[Key, str], key: Key, make: Callable[[], str]) -> str:
    """A value from the cache *seen*; a missing one is computed, and the oldest one is evicted if the cache is full."""
    if key not in seen:
        seen[key] = make()
        if len(seen) > _SEEN:
            seen.popitem(last=False)
    return seen[key]
