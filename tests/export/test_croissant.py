from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlcroissant
import pytest

from tests.export.conftest import row, saved

RAI = (
    "dataCollection", "dataLimitations", "dataBiases", "dataUseCases", "dataSocialImpact", "personalSensitiveInformation",
    "dataReleaseMaintenancePlan", "annotationsPerItem",
)  # fmt: skip


def test_mlcroissant_validates_it_and_reads_every_row_by_it(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    saved([*sound, row(230, licence=None)], "hf", tmp_path / "out")
    read = mlcroissant.Dataset(str(tmp_path / "out" / "croissant.json"))
    assert read.metadata.ctx.issues.errors == set()
    assert read.metadata.ctx.issues.warnings == set()
    rows = {bytes(found["rows/pair_id"]).decode(): found for found in read.records("rows")}
    assert sorted(rows) == sorted(f"p{n:03d}" for n in range(231))
    assert rows["p000"]["rows/image"].size == (64, 48)
    said = rows["p008"]["rows/conversations"]["rows/conversations/value"]
    assert [value.decode() for value in said] == ["<image>\nHow many?", "Two.", "Of what?", "Ducks."]
    assert rows["p000"]["rows/licence"] == b"CC BY 4.0"


def test_it_says_what_responsible_use_needs_and_whose_licences_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1770120000")
    saved([row(0), row(2, licence="MIT")], "hf", tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "croissant.json").read_text(encoding="utf-8"))
    assert all(facts[f"rai:{name}"] for name in RAI)
    assert facts["license"] == ["CC BY 4.0", "MIT"]
    assert (facts["version"], facts["datePublished"]) == ("1.0.0", "2026-02-03")
    assert "http://mlcommons.org/croissant/RAI/1.0" in facts["conformsTo"]
