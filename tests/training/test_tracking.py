from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings

from mminstruct.store.tables import Store
from mminstruct.training.tracking import SAMPLES, Curve, read
from tests.readers import hostile


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=hostile.texts, said=hostile.texts)
def test_what_a_run_says_of_itself_it_reads_back(tmp_path: Path, asked: str, said: str) -> None:
    rows: list[dict[str, Any]] = [{"id": "a", "step": step, "question": asked, "answer": said} for step in range(3)]
    Curve(Store(str(tmp_path)), [], 10, {}).add_samples(rows)
    assert read(Store(str(tmp_path)), SAMPLES) == rows
    (tmp_path / SAMPLES).unlink()
