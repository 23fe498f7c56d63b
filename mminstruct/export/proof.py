"""The proof of an export: each row is checked as it goes in, and what is read back must be what went in."""

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
"""Images remembered: rows about one image lie near each other."""


@dataclass(slots=True)
class Share:
    """What one source gave to a set."""

    rows: int = 0
    images: int = 0
    """References to images, not distinct ones."""
    characters: int = 0
    tokens: int = 0
    """As the tokenizer counts the whole conversation, images expanded; 0 without one."""
    truncated: int = 0
    """Rows longer than the limit."""
    longest: int = 0
    """Tokens of the longest row."""
    licences: dict[str, int] = field(default_factory=dict)
    """Rows by licence."""


@dataclass(slots=True, kw_only=True)
class Target:
    """A model to be trained: its tokenizer, chat template and limit, by which rows are measured."""

    tokenizer: str
    """Name or folder, as transformers loads it; gets the token ``<image>``, as training does, where it has none."""
    template: str | None = None
    """Chat template: v1, plain or Jinja text; the tokenizer's own by default."""
    max_length: int = 2048
    """Tokens; LLaVA-1.5's (scripts/v1_5/finetune.sh)."""
    image_tokens: int = 576
    """Tokens that one image becomes; LLaVA-1.5: (336 / 14)²."""
    _loaded: Any = None

    def facts(self) -> dict[str, Any]:
        """By what rows are measured."""
        return {name: getattr(self, name) for name in ("tokenizer", "template", "max_length", "image_tokens")}

    def measure(self, row: Row) -> int:
        """Tokens of the whole row, before it is cut.

        Raises:
            InvalidRow: the template refuses it, or nothing is left to learn within the limit.
        """
        from mminstruct.training.template import IMAGE, encode

        if self._loaded is None:
            from transformers import AutoTokenizer

            self._loaded = AutoTokenizer.from_pretrained(self.tokenizer)
            self._loaded.add_tokens([IMAGE], special_tokens=True)
        if len(row.images) > 1:
            raise InvalidRow(
                "images", f"{len(row.images)} images: `mminstruct train` takes one, and rows are measured as it does"
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
            raise InvalidRow("mask", f"{what}; raise the limit, or leave it out (mminstruct delete, or mix)")
        return tokens


class Check:
    """Looks at rows one by one, and keeps the tally by source.

    Args:
        target: measures tokens, and wants a label mask that is not empty; None does neither.
    """

    def __init__(self, target: Target | None = None) -> None:
        self.target = target
        self.shares: dict[str, Share] = {}
        self.kinds: dict[str, dict[str, int]] = {}
        """Questions by domain and kind."""
        self._endings: OrderedDict[bytes, str] = OrderedDict()

    def __call__(self, row: Row, times: int = 1) -> Row:
        """The row itself, which is *times* in the set.

        Raises:
            InvalidRow: why no trainer should see it.
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
        """How the image's file should end; decodes it unless it was seen lately.

        Raises:
            InvalidRow: it does not open.
        """
        key = hashlib.sha256(data).digest()
        return _recall(self._endings, key, lambda: check_image(data))


class Sum:
    """The sum of rows: count, ids and a digest of all that they hold, whatever their order. 8 bytes a row."""

    def __init__(self) -> None:
        self.last = ""
        """Id of the row that came last."""
        self._total = 0
        self._ids = array("Q")
        self._images: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def digest(self) -> str:
        """32 hex digits; the same rows have the same, in any order."""
        return f"{self._total:032x}"

    def through(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, added as they pass."""
        for row in rows:
            self.last = row.id
            turns = [[turn["from"], normal(turn["value"])] for turn in row.turns]
            facts = [row.id, turns, [self._image(image) for image in row.images], row.provenance()]
            digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()
            self._total = (self._total + int.from_bytes(digest[:16], "big")) % (1 << 128)
            self._ids.append(_mark(row))
            yield row

    def twice(self, rows: Iterable[Row]) -> str | None:
        """The first id of *rows* that is there twice.

        Ids are compared by 64-bit digests: a false alarm once in 300,000 sets of ten million rows.
        """
        more = doubles(self._ids)
        return next((row.id for row in rows if _mark(row) in more), None) if more else None

    def _image(self, image: Image) -> str:
        if image.path is None:
            return hashlib.sha256(image.read()).hexdigest()
        return _recall(self._images, str(image.path), lambda: hashlib.sha256(image.read()).hexdigest())


def _mark(row: Row) -> int:
    return int.from_bytes(hashlib.sha256(row.id.encode()).digest()[:8], "big")


def doubles(keys: array[int]) -> set[int]:
    """Those 64-bit *keys* that are there more than once."""
    ordered = np.sort(np.frombuffer(keys, np.uint64))
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _recall(seen: OrderedDict[Key, str], key: Key, make: Callable[[], str]) -> str:
    """A value from *seen*, made if it is not there; the oldest one leaves."""
    if key not in seen:
        seen[key] = make()
        if len(seen) > _SEEN:
            seen.popitem(last=False)
    return seen[key]
