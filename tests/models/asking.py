"""Tools for tests of endpoints: a chatter with short timeouts, a current unit, a journal in memory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from mminstruct.models.model import Model, Reply
from mminstruct.models.openai import Chatter
from mminstruct.prompts import Message
from mminstruct.store.spending import Ledger
from mminstruct.unit import UNIT, Unit
from tests.models.server import Endpoint

QUICK = {"attempts": 3, "backoff": 0.02, "patience": 1.0}
PRICE = {"input": 1000.0, "output": 2000.0}  # 10 in, 5 out: 2 cents
COLOURS = {
    "type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"], "additionalProperties": False,
}  # fmt: skip


class MemoryJournal:
    """A journal in memory."""

    def __init__(self) -> None:
        self.replies: dict[str, dict[str, Any]] = {}

    def get(self, request: str) -> dict[str, Any] | None:
        return self.replies.get(request)

    def put(self, replies: Mapping[str, dict[str, Any]]) -> None:
        self.replies |= json.loads(json.dumps(replies))


@contextlib.contextmanager
def chatter(endpoint: Endpoint, ledger: Ledger | None = None, **options: Any) -> Iterator[Chatter]:
    options = {"retries": QUICK, "timeout": 5.0, **options}
    made = Chatter(Model(name="m", backend="openai", url=endpoint.url, options=options), budget=ledger)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def unit(journal: MemoryJournal | None = None) -> Iterator[Unit]:
    work = Unit(table="caption", key="p0", journal=journal)
    token = UNIT.set(work)
    try:
        yield work
    finally:
        UNIT.reset(token)


def rows(*texts: str) -> list[list[Message]]:
    return [[{"role": "user", "content": text}] for text in texts]


def ask(made: Chatter, *texts: str, **more: Any) -> list[Reply]:
    return made.chat(rows(*texts), seeds=list(range(len(texts))), **more)
