"""``status`` and ``plan`` of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from mminstruct.checksum import seal, unseal
from mminstruct.cli import main
from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.run import FailedUnits, Run, claim, execute
from mminstruct.stage import StageOutput, Transform, part
from mminstruct.state import states as as_found
from mminstruct.status.plan import Step, plan, plan_text
from mminstruct.status.tables import as_text, table_statuses
from tests.doing_nothing import After, Count, Pass, Small, small
from tests.test_run import Peek, Peeking


@dataclass(kw_only=True)
class Twice(Pass):
    """Every row twice."""

    def load(self) -> Transform:
        return lambda count: StageOutput(pa.concat_tables([count, count]), [])


@dataclass(kw_only=True)
class After2(Pass):
    reads = {"twice": part("id", "value")}

    def load(self) -> Transform:
        return lambda twice: StageOutput(twice, [])


@dataclass(kw_only=True)
class Doubled(Recipe):
    count: Count
    twice: Twice
    sum: After2


def build(folder: Path, recipe: Recipe, base: Path | None = None, units: int | None = None) -> None:
    run = Run(url=str(folder), recipe=recipe)
    claim(run, base and str(base), units)
    execute(run, Local(), units=units)


def steps(folder: Path, recipe: Recipe, base: str | None = None, units: int | None = None) -> dict[str, Step]:
    run = Run(url=str(folder), recipe=recipe)
    return {step.table: step for step in plan(run, as_found(run, base, units), base)}


def states(found: dict[str, Step]) -> dict[str, tuple[str, int, int, int | None]]:
    return {name: (step.state, step.done, step.reused, step.left) for name, step in found.items()}


def first_id(recipe: Small) -> str:
    return next(iter(recipe.count.load()("shard-00000"))).output.table["id"][0].as_py()


def test_the_sums_of_a_whole_run_close(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, small(drop=3))
    found = {status.table: status for status in table_statuses(str(tmp_path))}
    assert list(found) == ["count", "first", "second", "sum", "last"]
    assert (found["first"].rows_in, found["first"].kept, found["first"].dropped) == (32, 20, {"divides": 12})
    assert found["second"].rows_in == 20
    assert all(status.left == 0 and not status.faults for status in found.values())
    assert main(["status", str(tmp_path)]) == 0
    assert "first: 12 x divides" in capsys.readouterr().out


def test_status_as_json_holds_what_status_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, small(drop=3))
    assert main(["status", str(tmp_path), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[1]
    assert (first["table"], first["units"], first["dropped"]) == ("first", 4, {"divides": 12})


def test_failed_units_are_named_and_what_waits_for_them_is_left(tmp_path: Path) -> None:
    recipe = small(poison=first_id(small()))
    with pytest.raises(FailedUnits):
        build(tmp_path, recipe)
    found = {status.table: status for status in table_statuses(str(tmp_path))}
    assert found["first"].failed == {"shard-00000-0000": "ValueError: poison"}
    assert found["first"].left == 0
    assert found["sum"].left == 1
    assert "first/shard-00000-0000 FAILED: ValueError: poison" in as_text(list(found.values()))
    assert [status.state for status in found.values()] == [
        "complete",
        "failed",
        "waits for first",
        "left",
        "waits for sum",
    ]
    assert main(["status", str(tmp_path)]) == 3


def test_a_run_that_was_stopped_does_not_look_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, small(Count(shard_count=3, parts=1)), units=1)
    assert main(["status", str(tmp_path)]) == 3
    told = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in told[1:6]] == [
        "left",
        "waits for count",
        "waits for first",
        "waits for second",
        "waits for sum",
    ]
    assert told[-1] == "incomplete: count (2 units left, 0 failed); the same build command continues from here"


def test_fewer_rows_in_than_the_table_before_has_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Doubled(count=Count(), twice=Twice(), sum=After2())
    build(tmp_path, recipe)
    assert main(["status", str(tmp_path), "--verify"]) == 0
    assert "sum: 32 in, of 64 rows of twice: rows with the same id in each part count once" in capsys.readouterr().out
    for file in (tmp_path / "sum" / "_receipts").iterdir():
        rewrite(file, rows_in=7, kept=7)
    assert main(["status", str(tmp_path)]) == 0
    assert main(["status", str(tmp_path), "--verify"]) == 1
    assert "sum: 28 in, but twice has 32 distinct id in each part" in capsys.readouterr().out


def test_a_flipped_bit_and_swapped_parts_are_found_when_everything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path, small())
    files = sorted((tmp_path / "second").glob("*.parquet"))
    one, two = next((a, b) for a in files for b in files if a < b and a.stat().st_size == b.stat().st_size)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert main(["status", str(tmp_path)]) == 0
    assert main(["status", str(tmp_path), "--verify"]) == 1
    told = capsys.readouterr().out
    assert told.count("is not what was written") == 2
    assert f"(its receipt: {tmp_path}/second/_receipts/{one.name.split('.')[0]}.json)" in told


def rewrite(file: Path, **facts: object) -> None:
    """Change facts of a receipt and seal it again."""
    file.write_bytes(seal({**unseal(file.read_bytes(), "", ""), **facts}))


def receipt_says(**facts: object) -> Callable[[Path], None]:
    def lie(run: Path) -> None:
        rewrite(run / "first" / "_receipts" / "shard-00000-0000.json", **facts)

    return lie


def a_part_is_gone(run: Path) -> None:
    next((run / "first").glob("shard-00001-0001.*.parquet")).unlink()


def the_drops_are_gone(run: Path) -> None:
    for file in (run / "first" / "_dropped").iterdir():
        file.unlink()


def the_drops_are_those_of_another_unit(run: Path) -> None:
    one, other = sorted((run / "first" / "_dropped").glob("shard-0000[01]-0000.*"))[:2]
    one.write_bytes(other.read_bytes())


def a_part_is_empty(run: Path) -> None:
    next((run / "first").glob("shard-00001-0001.*.parquet")).write_bytes(b"")


def a_receipt_is_torn(run: Path) -> None:
    file = run / "first" / "_receipts" / "shard-00001-0001.json"
    file.write_bytes(file.read_bytes()[:100])


def a_receipt_has_another_name(run: Path) -> None:
    file = run / "first" / "_receipts" / "shard-00001-0001.json"
    file.rename(file.with_name("shard-00001-0009.json"))


def an_input_was_made_anew(run: Path) -> None:
    file = run / "count" / "_receipts" / "shard-00000.json"
    parts = json.loads(file.read_text())["parts"]
    parts[0]["sha256"] = "0" * 64
    rewrite(file, parts=parts)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (receipt_says(kept=6), "first/shard-00000-0000: 8 in, but 1 more came out"),
        (receipt_says(kept=4), "first/shard-00000-0000: 8 in, but 1 neither kept nor dropped"),
        (receipt_says(kept=4, dropped={"divides": 4}), "it dropped {'divides': 4}, in _dropped there is {'divides': 3}"),
        (receipt_says(dropped={"looks bad": 3}), "it dropped {'looks bad': 3}, in _dropped there is {'divides': 3}"),
        (receipt_says(rows_in=9, kept=6), "first/shard-00000-0000: 9 in, but count has 8 rows"),
        (a_part_is_gone, "first/shard-00001-0001: shard-00001-0001."),
        (the_drops_are_gone, "parquet is gone: restore it, or"),
        (the_drops_are_those_of_another_unit, "is not what was written (its SHA-256 is not that of its name)"),
        (a_part_is_empty, "has 0 bytes, its receipt says "),
        (a_receipt_is_torn, "shard-00001-0001.json is torn (100 bytes"),
        (a_receipt_has_another_name, "shard-00001-0009.json is the receipt of unit shard-00001-0001"),
        (an_input_was_made_anew, "made from a part of count that has changed since"),
    ],
)  # fmt: skip
def test_a_planted_lie_is_found_and_ends_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lie: Callable[[Path], None], said: str
) -> None:
    build(tmp_path, small(drop=3))
    lie(tmp_path)
    assert main(["status", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert said in told
    assert [line.split()[0] for line in told.splitlines() if line.endswith("  FAULTY")] == ["first"]
    assert told.splitlines()[-1].startswith("faulty: ")


def test_a_folder_without_a_run_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"mminstruct status: {tmp_path}: no run here")


def test_tables_come_in_the_order_in_which_they_read_each_other_not_of_their_names(tmp_path: Path) -> None:
    @dataclass(kw_only=True)
    class Backwards(Recipe):
        count: Count
        first: Pass
        a_second: After

    build(tmp_path, Backwards(count=Count(), first=Pass(), a_second=After()))
    assert [status.table for status in table_statuses(str(tmp_path))] == ["count", "first", "a_second"]


def test_plan_of_an_empty_folder_knows_the_shards_and_leaves_open_what_it_cannot_know(tmp_path: Path) -> None:
    found = steps(tmp_path, small())
    assert states(found) == {
        "count": ("to do", 0, 0, 2),
        "first": ("to do", 0, 0, None),
        "second": ("to do", 0, 0, None),
        "sum": ("to do", 0, 0, 1),
        "last": ("to do", 0, 0, None),
    }
    assert not list(tmp_path.iterdir())


def test_plan_of_a_finished_run_has_nothing_left_and_costs_nothing(tmp_path: Path) -> None:
    build(tmp_path, small())
    found = steps(tmp_path, small())
    assert {step.state for step in found.values()} == {"done"}
    assert {step.left for step in found.values()} == {0}
    assert "left, as measured so far: 0.00 worker hours, 0 tokens, 0.00 US$" in plan_text(list(found.values()))


def test_plan_tells_drift_with_both_values_and_what_follows_from_it(tmp_path: Path) -> None:
    build(tmp_path, small())
    found = steps(tmp_path, small(drop=3))
    assert found["count"].state == "done"
    assert (found["first"].state, found["first"].why) == ("refused", ["drop: 0 -> 3"])
    assert (found["second"].state, found["second"].why) == ("refused", ["it reads first, which would be made again"])
    assert found["first"].left == 4


def test_plan_with_base_tells_what_is_taken_over_and_why_the_rest_is_not(tmp_path: Path) -> None:
    build(tmp_path / "old", small())
    found = steps(tmp_path / "new", small(drop=3), base=str(tmp_path / "old"))
    assert states(found)["count"] == ("done", 0, 2, 0)
    assert states(found)["first"] == ("to do", 0, 0, 4)
    assert found["first"].why == [f"not reused from {tmp_path / 'old'}: drop: 0 -> 3"]
    assert found["second"].why == [f"not reused from {tmp_path / 'old'}: it reads first, which would be made again"]


def test_plan_with_base_foretells_what_build_takes_over(tmp_path: Path) -> None:
    build(tmp_path / "old", small(Count(shard_count=2)))
    recipe = small(Count(shard_count=2))
    (tmp_path / "old" / "first" / "_receipts" / "shard-00000-0001.json").unlink()
    foretold = {name: step.reused for name, step in steps(tmp_path / "new", recipe, base=str(tmp_path / "old")).items()}
    taken = claim(Run(url=str(tmp_path / "new"), recipe=recipe), str(tmp_path / "old"))
    assert foretold == {name: len(keys) for name, keys in taken.items()}
    assert foretold["first"] == 3


def test_plan_estimates_from_the_rates_of_this_run_or_of_base(tmp_path: Path) -> None:
    build(tmp_path / "old", small())
    for file in (tmp_path / "old" / "first" / "_receipts").iterdir():
        rewrite(file, seconds=1800, tokens_in=40, tokens_out=2, cost=0.5)
    found = steps(tmp_path / "new", small(drop=3), base=str(tmp_path / "old"))
    assert (found["first"].seconds, found["first"].tokens, found["first"].cost) == (7200, 168, 2.0)
    assert "2.00 worker hours, 168 tokens, 2.00 US$" in plan_text(list(found.values()))
    (tmp_path / "old" / "first" / "_receipts" / "shard-00000-0001.json").unlink()
    assert steps(tmp_path / "old", small())["first"].seconds == 1800


def test_plan_of_what_was_never_measured_says_so(tmp_path: Path) -> None:
    assert "not measured" in plan_text(list(steps(tmp_path, small()).values()))


@dataclass(kw_only=True)
class Sized(Count):
    size: int = 0

    def shards(self) -> dict[str, dict[str, object]]:
        return {key: {"size": SIZE} for key in super().shards()}


SIZE = 0


def test_plan_names_units_whose_shard_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, small(Sized()))
    monkeypatch.setattr("tests.status.test_tables.SIZE", 5)
    found = steps(tmp_path, small(Sized()))["count"]
    assert found.state == "stale"
    assert found.why == ["count/shard-00000 (and 1 more): size: '0' -> '5'"]


def test_plan_with_units_counts_only_the_first_parts(tmp_path: Path) -> None:
    recipe = small(Count(shard_count=4))
    assert steps(tmp_path, recipe, units=3)["second"].left == 3
    build(tmp_path, recipe, units=3)
    found = states(steps(tmp_path, recipe, units=3))
    assert found["count"] == ("done", 2, 0, 0)
    assert found["first"] == ("done", 3, 0, 0)
    assert found["last"][0] == "done"


def test_plan_of_the_same_units_again_has_nothing_left(tmp_path: Path) -> None:
    recipe = Peeking(count=Count(shard_count=2, parts=2), peek=Peek())
    build(tmp_path, recipe, units=3)
    assert states(steps(tmp_path, recipe, units=3))["peek"] == ("done", 3, 0, 0)
    assert states(steps(tmp_path, recipe))["peek"][0] == "stale"


def test_plan_of_more_than_a_barrier_has_seen_calls_what_came_of_it_stale(tmp_path: Path) -> None:
    recipe = small(Count(shard_count=4))
    build(tmp_path, recipe, units=3)
    found = steps(tmp_path, recipe)
    assert states(found)["count"] == ("to continue", 2, 0, 2)
    assert states(found)["first"] == ("to continue", 3, 0, None)
    assert (found["sum"].state, found["sum"].why) == (
        "stale",
        ["sum was made from second, which has 3 parts, and 2 of 4 shards are not read yet"],
    )


def test_long_reasons_are_cut_after_five(tmp_path: Path) -> None:
    step = Step("count", "stale", [f"reason {i}" for i in range(8)], 0, 0)
    told = plan_text([step])
    assert "reason 4" in told
    assert "reason 5" not in told
    assert "... and 3 more" in told
