"""A recipe connects its stages: renamed inputs, removed inputs, several sources."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe, RecipeError, check, inputs, manifests
from mminstruct.run import Event, Run, claim, execute
from mminstruct.stage import Stage, StageOutput, Transform, output, part, whole
from mminstruct.state import states
from mminstruct.status.tables import table_statuses
from tests.doing_nothing import NUMBERS, TOTAL, Count, Last, Pass, Sum, small
from tests.test_run import Cut, PowerCut, build, contents


@dataclass(kw_only=True)
class Add(Stage):
    """Adds the total of another source's values, if it is given one, to each row."""

    reads = {"count": part("id", "value"), "other": whole("value")}
    writes = NUMBERS
    row_key = "id"

    def load(self, *, other: ds.Dataset | None = None) -> Transform:
        more = 0 if other is None else sum(other.to_table()["value"].to_pylist())

        def add(count: pa.Table) -> StageOutput:
            return output(NUMBERS, [{"id": row["id"], "value": row["value"] + more} for row in count.to_pylist()])

        return add


@dataclass(kw_only=True)
class Two(Recipe):
    """Two sources; ``units`` limits the first one."""

    count: Count
    other: Count
    add: Add


@dataclass(kw_only=True)
class Late(Recipe):
    """Two sources, the second one in the middle."""

    count: Count
    between: Pass
    other: Count
    add: Add
    wires = {"add": {"count": part("id", "value", of="between")}}


@dataclass(kw_only=True)
class Alone(Recipe):
    """The same stage without its second input."""

    count: Count
    add: Add
    wires = {"add": {"other": None}}


@dataclass(kw_only=True)
class Renamed(Recipe):
    """A stage that reads numbers gets totals instead."""

    count: Count
    first: Pass
    sum: Sum
    again: Pass
    wires = {
        "sum": {"second": whole("id", "value", of="first")},
        "again": {"count": part("id", "total", of="sum", names={"total": "value"})},
    }


@dataclass(kw_only=True)
class Entry(Stage):
    """Writes each row's id to a column with another name."""

    reads = {"count": part("id", "value")}
    writes: ClassVar[pa.Schema] = pa.schema([pa.field("entry_id", pa.string(), nullable=False)])
    row_key = ("id", "entry_id")
    loses: int = 0

    def load(self) -> Transform:
        def entry(count: pa.Table) -> StageOutput:
            return output(self.writes, [{"entry_id": row["id"]} for row in count.to_pylist()[self.loses :]])

        return entry


@dataclass(kw_only=True)
class Entries(Recipe):
    count: Count
    entry: Entry


def values(folder: Path, name: str, schema: pa.Schema = NUMBERS) -> list[int]:
    rows = Run(url=str(folder), recipe=small()).table(name).dataset(schema).to_table().to_pylist()
    return [row[schema.names[1]] for row in sorted(rows, key=lambda row: row["id"])]


def test_a_recipe_without_wires_reads_what_its_stages_say() -> None:
    recipe = small()
    assert recipe.stages()["second"] is recipe.second
    assert list(inputs(recipe.stages()["sum"])) == ["second"]


def test_a_wire_comes_first_and_leaves_the_stage_as_it_was() -> None:
    recipe = Late(count=Count(), between=Pass(), other=Count(), add=Add())
    assert {name: table for name, (table, _) in inputs(recipe.stages()["add"]).items()} == {
        "count": "between", "other": "other",
    }  # fmt: skip
    assert Add.reads["count"].of is None
    assert recipe.add.reads is Add.reads


def test_an_input_that_a_stage_can_do_without_is_left_out(tmp_path: Path) -> None:
    recipe = Alone(count=Count(), add=Add())
    check(recipe)
    build(tmp_path, recipe)
    assert values(tmp_path, "add") == values(tmp_path, "count")
    assert manifests(recipe)["add"]["inputs"].keys() == {"count"}


def test_a_part_read_renames_columns(tmp_path: Path) -> None:
    recipe = Renamed(count=Count(), first=Pass(), sum=Sum(), again=Pass(drop=5))
    check(recipe)
    build(tmp_path, recipe)
    totals = values(tmp_path, "sum", TOTAL)
    assert values(tmp_path, "again") == [total for total in totals if total % 5]
    assert [status.faults for status in table_statuses(str(tmp_path), verify=True)] == [[]] * 4


@dataclass(kw_only=True)
class Missing(Recipe):
    count: Count
    other: Count
    sum: Sum
    add: Add
    last: Last
    wires = {
        "sum": {"second": None},
        "add": {"third": whole("value", of="other"), "other": None},
        "last": {"sum": part("id", "total", of="count")},
    }


def test_wires_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(RecipeError) as refused:
        check(Missing(count=Count(), other=Count(), sum=Sum(), add=Add(), last=Last()))
    assert str(refused.value).split("\n") == [
        "sum: load() needs the whole table 'second', which is not among its inputs",
        "add: load() does not take the whole table 'third'",
        "last reads column count.total, which count does not write; there is id, value",
    ]


@pytest.mark.parametrize("late", [False, True])
def test_units_limits_the_first_source_and_reads_every_other_one_whole(tmp_path: Path, late: bool) -> None:
    sources = {"count": Count(rows=5), "other": Count(shard_count=3, rows=3)}
    recipe: Recipe = Late(**sources, between=Pass(), add=Add()) if late else Two(**sources, add=Add())
    build(tmp_path / "all", recipe)
    build(tmp_path / "some", recipe, units=1)
    every = Run(url=str(tmp_path / "all"), recipe=recipe).table("add").dataset(NUMBERS).to_table().to_pylist()
    some = Run(url=str(tmp_path / "some"), recipe=recipe).table("add").dataset(NUMBERS).to_table().to_pylist()
    assert len(some) == 5
    assert all(row in every for row in some)
    assert len(values(tmp_path / "some", "other")) == 3 * 2 * 3
    found = states(Run(url=str(tmp_path / "some"), recipe=recipe), units=1)
    assert all(state.settled and not state.refused for state in found.values())
    assert not [event for event in build(tmp_path / "some", recipe, units=1) if event.fresh]


@pytest.mark.parametrize("seed", range(4))
def test_power_cuts_between_two_sources_change_no_byte(tmp_path: Path, seed: int) -> None:
    recipe = Late(count=Count(shard_count=3, parts=3, rows=7), between=Pass(drop=4), other=Count(rows=3), add=Add())
    build(tmp_path / "calm", recipe)
    dice = random.Random(seed)
    for _ in range(40):
        run = Run(url=str(tmp_path / "cut"), recipe=recipe)
        claim(run)
        try:
            execute(run, Cut(dice.randrange(8), dice.randrange(100)))
            break
        except PowerCut:
            pass
    assert contents(tmp_path / "cut") == contents(tmp_path / "calm")


def test_a_row_may_have_another_name_for_its_id_in_the_output(tmp_path: Path) -> None:
    run = Run(url=str(tmp_path / "whole"), recipe=Entries(count=Count(), entry=Entry()))
    claim(run)
    events: list[Event] = []
    execute(run, Local(), watch=events.append)
    assert all(event.receipt is not None and event.receipt.rows_in == event.receipt.kept for event in events)
    broken = Run(url=str(tmp_path / "less"), recipe=Entries(count=Count(), entry=Entry(loses=1)))
    claim(broken)
    with pytest.raises(Exception, match="1 id were lost"):
        execute(broken, Local())


def test_a_run_travels_with_its_wires() -> None:
    import pickle

    run = Run(url="x", recipe=Late(count=Count(), between=Pass(), other=Count(), add=Add()))
    again = pickle.loads(pickle.dumps(run))
    assert inputs(again.stages["add"]) == inputs(run.stages["add"])
