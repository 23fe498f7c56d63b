from __future__ import annotations

from pathlib import Path

import pytest

from lab.reviewers import reviewed
from mminstruct.quality.truth import read_truth
from tests.conftest import SMALL, mminstruct


@pytest.mark.slow
def test_after_two_planted_reviewers_fewer_rows_are_left_and_more_of_them_are_right(
    demo: Path, world: Path, tmp_path: Path
) -> None:
    truth = read_truth([world / "sa1b", world / "datacomp"])
    found = reviewed(
        str(demo), tmp_path, truth,
        lambda given: print(mminstruct("build", *SMALL, f"source={world}", "engine=local", *given)),
    )  # fmt: skip
    (before, _, all_rows), (after, _, left) = (found[name].split(" | ") for name in ("before", "after"))
    assert float(after) >= float(before)
    assert 0 < int(left) < int(all_rows)
