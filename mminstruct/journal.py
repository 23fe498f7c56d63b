"""The journal of a unit's paid replies."""

from __future__ import annotations

import os
import threading
from typing import Any

from mminstruct.checksum import Damaged, seal, unseal
from mminstruct.store import Table


class Calls:
    """Journal of a unit's paid replies: survives a crash, is cleared by the unit's commit.

    On a local disk one appended file, flushed to the disk line by line; elsewhere one object a reply, since object
    stores cannot append. Replies without a price need no journal and never come here.
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
            self._replies = {}
            names = self.table.store.names(*self._folder)
            for data in self.table.store.read_many("/".join(self._folder), names).values():
                for line in data.split(b"\n") if data else ():
                    try:
                        entry = unseal(line, self.key, "its request is sent again")
                    except Damaged:  # the last line of a file that a power cut tore, or one that a disk changed
                        continue
                    self._replies[entry["request"]] = entry["reply"]
        return self._replies

    def get(self, request: str) -> dict[str, Any] | None:
        with self._lock:
            self.used = True
            return self._load().get(request)

    def put(self, request: str, reply: dict[str, Any]) -> None:
        line = seal({"request": request, "reply": reply}) + b"\n"
        store = self.table.store
        with self._lock:
            self.used = True
            self._load()[request] = reply
            if not store.local:
                store.write(line, *self._folder, f"{request}.jsonl")
                return
            path = store.path(*self._folder, "replies.jsonl")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "ab") as file:
                if file.tell() and not _ends_whole(path):
                    file.write(b"\n")  # a torn line must not swallow this one
                file.write(line)
                file.flush()
                os.fsync(file.fileno())

    def clear(self) -> None:
        names = self.table.store.names(*self._folder)
        for name in names:
            self.table.store.remove(*self._folder, name)
        if names and self.table.store.local:
            os.rmdir(self.table.store.path(*self._folder))


def _ends_whole(path: str) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
