"""A build's first step: damaged receipts and manifests are set aside, and restored from their copies.

A receipt that is cut, changed or of another unit is moved to ``_aside/``. Where its copy is whole and every file that
the copy names is what was written, the copy takes its place, so nothing is made, or paid for, again. Otherwise its
unit is made again. Every case is logged as a warning.
"""

from __future__ import annotations

import logging

from mminstruct.checksum import Damaged, unseal
from mminstruct.store import Table

_LOG = logging.getLogger(__name__)


def mend(table: Table) -> None:
    """Mend the manifest and the receipts of one table.

    Raises:
        Damaged: its manifest and the copy are both damaged, and it has parts: it is unknown what they were made by.
    """
    _mend_manifest(table)
    damaged: dict[str, str] = {}
    table.receipts(damaged)
    for key, why in damaged.items():
        copy = _copy(table, key)
        aside = table.store.set_aside(table.name, "_receipts", f"{key}.json", instead=copy)
        if copy is not None:
            _LOG.warning("%s. It lies in %s now; its copy took its place, nothing is made again", why, aside)
        else:
            _LOG.warning("%s. It lies in %s now; there is no whole copy, so the unit is made again", why, aside)


def _mend_manifest(table: Table) -> None:
    try:
        table.manifest()
        return
    except Damaged as error:
        why = str(error)
    data = table.store.read(table.name, "_copies", "manifest.json")
    whole = True
    try:
        unseal(data or b"", table.store.show(table.name, "_copies", "manifest.json"), "")
    except Damaged:
        if table.store.names(table.name, "_receipts"):
            raise Damaged(
                f"{why}. Its copy is damaged, too, so it is unknown what {table.name} was made by: restore one of"
                f" them, or move {table.store.show(table.name)} away and build again"
            ) from None
        whole = False
    aside = table.store.set_aside(table.name, "manifest.json", instead=data if whole else None)
    _LOG.warning("%s. It lies in %s now%s", why, aside, "; its copy took its place" if whole else "")


def _copy(table: Table, key: str) -> bytes | None:
    """The copy of a unit's receipt, if it and all that it names are what was written."""
    data = table.store.read(table.name, "_copies", "_receipts", f"{key}.json")
    if data is None:
        return None
    try:
        receipt = table.parse(data, key)
        table.drops(receipt)
        for part in receipt.parts:
            table.verify(part)
    except Damaged:
        return None
    return data
