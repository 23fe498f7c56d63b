from __future__ import annotations

from pathlib import Path

import pytest

from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe, RecipeError, check
from mminstruct.run import Run, claim, execute
from mminstruct.stages.decide import Decide
from mminstruct.status.tables import table_statuses


def alone(**fields: object) -> Recipe:
    from dataclasses import dataclass

    @dataclass(kw_only=True)
    class Alone(Recipe):
        decide: Decide

    return Alone(decide=Decide(**fields))  # type: ignore[arg-type]


def test_without_files_the_table_is_there_and_its_sums_close(tmp_path: Path) -> None:
    run = Run(url=str(tmp_path), recipe=alone())
    claim(run)
    execute(run, Local())
    (stands,) = table_statuses(str(tmp_path), verify=True)
    assert (stands.units, stands.rows_in, stands.kept, stands.rows, stands.state) == (0, 0, 0, 0, "complete")
    assert stands.faults == []


def test_files_of_decisions_are_refused_by_the_key_that_names_them() -> None:
    with pytest.raises(RecipeError, match=r"recipe\.decide\.path=\['ana.jsonl'\]: this version cannot read decisions"):
        check(alone(path=["ana.jsonl"]))
