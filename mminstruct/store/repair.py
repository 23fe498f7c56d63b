"""First step of a build: restores damaged receipts and manifests from their copies.

A receipt that is truncated, changed or of another unit is moved to ``_aside/``. If its copy and every file that the
copy names are intact, the copy replaces it and nothing is executed, or paid for, again. Otherwise its unit is executed
again. Each case is logged as a warning.
"""

from __future__ import annotations

import logging

from mminstruct.checksum import Damaged, unseal
from mminstruct.store.tables import Table

_LOG = logging.getLogger(__name__)


def restore(table: Table) -> None:
    """Restore the manifest and the receipts of one table.

    Raises:
        Damaged: the manifest and its copy are damaged and the table has receipts, so its configuration is unknown.
    """
    _restore_manifest(table)
    table.forget()
    damaged: dict[str, str] = {}
    table.receipts(damaged)
    for key, why in damaged.items():
        copy = _copy(table, key)
        aside = table.store.set_aside(table.name, "_receipts", f"{key}.json", instead=copy)
        if copy is not None:
            _LOG.warning("%s. It was moved to %s and replaced by its copy; nothing is executed again", why, aside)
        else:
            _LOG.warning("%s. It was moved to %s; there is no intact copy, so the unit is executed again", why, aside)
    table.kept.consolidate()


def _restore_manifest(table: Table) -> None:
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
                f"{why}. Its copy is damaged too, so the configuration that made {table.name} is unknown: restore one"
                f" of them, or move {table.store.show(table.name)} away and build again"
            ) from None
        whole = False
    aside = table.store.set_aside(table.name, "manifest.json", instead=data if whole else None)
    _LOG.warning("%s. It was moved to %s%s", why, aside, " and replaced by its copy" if whole else "")


def _copy(table: Table, key: str) -> bytes | None:
    """The copy of a unit's receipt, if it and all files that it names are intact."""
    data = table.store.read(table.name, "_copies", "_receipts", f"{key}.json")
    if data is None:
        return None
    try:
        receipt = table.kept.parse(data, key)
        table.drops(receipt)
        for part in receipt.parts:
            table.verify(part)
    except Damaged:
        return None
    return data
