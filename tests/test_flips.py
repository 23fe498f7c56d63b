"""Every flipped bit in a finished run is detected: 1,500 flips in benchmarks/flips.py, fewer here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.flips import flips
from mminstruct.checksum import seal_text
from mminstruct.engine.local import Local
from mminstruct.run import Run, claim, execute
from mminstruct.store import deletion, spending
from mminstruct.store.tables import Store
from tests.doing_nothing import Count, small
from tests.export.test_write import make as exported


def test_no_flipped_bit_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(url=str(tmp_path), recipe=small(Count(shard_count=2, parts=1), drop=3))
    claim(run)
    execute(run, Local())
    store = Store(run.url)
    store.write(seal_text("config:\n  seed: 0\nversion: 0.1.0\n"), "config.yaml")
    ledger = spending.Ledger(store)
    ledger.reserve(0.5, limit=None)
    ledger.release()
    assert flips(tmp_path, 150, 0) == 0
    found = capsys.readouterr().out
    assert "part, consumer" in found
    assert "receipt, status --verify" in found


def test_no_flipped_bit_of_a_deletion_is_silent(tmp_path: Path) -> None:
    run = exported(tmp_path / "run")
    deletion.delete(run, ["01ab", "p010"], "asked for")
    (file,) = (tmp_path / "run" / "_deleted").iterdir()
    data = file.read_bytes()
    before = deletion.deleted(Store(run))
    for bit in range(0, 8 * len(data), 7):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        with pytest.raises(OSError, match=r"_deleted/.* is not what was written"):
            deletion.deleted(Store(run))
    file.write_bytes(data)
    assert deletion.deleted(Store(run)) == before
