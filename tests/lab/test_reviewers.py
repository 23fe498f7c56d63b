from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.reviewers import reviewed
from mminstruct.quality.truth import read_truth
from mminstruct.store.reader import RunReader
from tests.conftest import DOMAINS, SMALL, mminstruct

pytestmark = pytest.mark.slow


def review(run: Path, folder: Path, sources: Sequence[Path], words: Sequence[str]) -> tuple[int, int]:
    """Rows before and after review."""
    found = reviewed(
        str(run), folder, read_truth(sources), lambda given: print(mminstruct("build", *words, "engine=local", *given))
    )
    (before, _, all_rows), (after, _, left) = (found[name].split(" | ") for name in ("before", "after"))
    assert float(after) >= float(before)
    assert 0 < int(left) < int(all_rows)
    return int(all_rows), int(left)


def test_after_two_planted_reviewers_fewer_rows_are_left_and_more_of_them_are_right(
    demo: Path, world: Path, tmp_path: Path
) -> None:
    review(demo, tmp_path, [world / "sa1b", world / "datacomp"], [*SMALL, f"source={world}"])


def test_of_questions_by_domain_two_reviewers_leave_about_four_in_five_right_ones(
    domains_run: Path, domains_source: Path, tmp_path: Path
) -> None:
    rows, left = review(domains_run, tmp_path, [domains_source], [*DOMAINS, f"source={domains_source}"])
    assert 0.6 < left / rows < 0.95  # both accept a right row with chance .81
    gone = RunReader(str(tmp_path / "reviewed"))["review"].dropped()
    assert {drop["reason"] for drop in gone} <= {"review_rejected", "review_disputed"}
