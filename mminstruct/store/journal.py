"""The journal of a unit: paid replies that are not committed yet."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from mminstruct.checksum import Damaged, seal, unseal
from mminstruct.files import sync_folder
from mminstruct.store.tables import Table
from mminstruct.unit import note

log = logging.getLogger(__name__)


class Calls:
    """Journal of a unit's paid replies. It survives a crash, and the unit's commit clears it.

    Each line holds one reply and its checksum. Replies are written in groups. On a local disk a group is appended to a
    file with one fsync; elsewhere it is one object, because object stores cannot append. A damaged line (power cut,
    flipped bit) is logged and counted in the unit's notes, and its request is sent again.
    """

    def __init__(self, table: Table, key: str) -> None:
        self.table, self.key = table, key
        self._replies: dict[str, dict[str, Any]] | None = None
        self._lock = threading.Lock()
        self.used = False

    @property
    def _folder(self) -> tuple[str, str]:
        return self.table.name, f"_calls/{self.key}"

    def _load(self) -> dict[str, dict[str, Any]]:
        if self._replies is None:
            found: dict[str, dict[str, Any]] = {}
            names = self.table.store.names(*self._folder)
            for name, data in self.table.store.read_many("/".join(self._folder), names).items():
                place = self.table.store.path(*self._folder, name)
                for number, line in enumerate(data.split(b"\n"), 1):
                    try:
                        entry = unseal(line, f"{place}, line {number}", "its request is sent again") if line else None
                    except Damaged as error:
                        log.warning("%s", error)
                        note("journal_lines_damaged")
                    else:
                        found |= {entry["request"]: entry["reply"]} if entry else {}
            self._replies = found
        return self._replies

    def get(self, request: str) -> dict[str, Any] | None:
        with self._lock:
            self.used = True
            return self._load().get(request)

    def put(self, replies: Mapping[str, dict[str, Any]]) -> None:
        """Store *replies* by request; they are durable when this returns."""
        lines = b"".join(seal({"request": key, "reply": reply}) + b"\n" for key, reply in replies.items())
        store = self.table.store
        with self._lock:
            self.used = True
            known = self._load()
            if not store.local:
                store.write(lines, *self._folder, f"{hashlib.sha256(lines).hexdigest()[:32]}.jsonl")
            else:
                _append(store.path(*self._folder, "replies.jsonl"), lines)
            known.update(replies)

    def clear(self) -> None:
        names = self.table.store.names(*self._folder)
        for name in names:
            self.table.store.remove(*self._folder, name)
        if names and self.table.store.local:
            os.rmdir(self.table.store.path(*self._folder))


def _append(path: str, lines: bytes) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    with open(path, "ab") as file:
        new = not file.tell()
        if not new and not _ends_whole(path):
            file.write(b"\n")  # ends a truncated line, so that it does not damage the next one
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    if new:
        for place in (folder, os.path.dirname(folder)):  # or a power cut may lose the file's directory entry
            sync_folder(place)


def _ends_whole(path: str) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
