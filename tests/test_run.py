"""A run loses nothing, executes nothing twice, and never mixes configurations."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import s3fs

from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.run import DriftError, Event, FailedUnits, Run, claim, execute
from mminstruct.stage import Drop, Stage, StageOutput, Transform, output, part, whole
from mminstruct.status.tables import table_statuses
from mminstruct.store.journal import Calls
from mminstruct.store.tables import Store
from mminstruct.work import Worker
from tests.doing_nothing import NUMBERS, Count, Pass, Small, small


def build(
    folder: Path | str, recipe: Recipe, base: Path | None = None, units: int | None = None, **options: object
) -> list[Event]:
    run = Run(url=str(folder), recipe=recipe)
    claim(run, base and str(base), units)
    events: list[Event] = []
    execute(run, Local(), watch=events.append, units=units, **options)  # type: ignore[arg-type]
    return events


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


class PowerCut(BaseException):
    pass


class Cut(Local):
    """Executes units in random order, and aborts after some of them."""

    def __init__(self, units: int, order: int) -> None:
        self.units, self.order = units, order

    def run(self, run: Run, tables: list[str], keys: list[str]) -> Iterator[Event]:
        random.Random(self.order).shuffle(keys)
        for event in super().run(run, tables, keys):
            if self.units <= 0:
                raise PowerCut
            self.units -= event.fresh
            yield event


@pytest.mark.parametrize("seed", range(8))
def test_power_cuts_change_no_byte_and_nothing_is_done_twice(tmp_path: Path, seed: int) -> None:
    recipe = small(Count(shard_count=3, parts=3, rows=7), drop=4)
    build(tmp_path / "calm", recipe)
    marks = tmp_path / "marks"
    marks.mkdir()
    recipe.first.marks = str(marks)  # a runtime field, not part of the fingerprint
    run = Run(url=str(tmp_path / "cut"), recipe=recipe)
    cuts = 0
    for attempt in range(40):
        claim(run)
        try:
            execute(run, Cut(4, seed * 100 + attempt))
            break
        except PowerCut:
            cuts += 1
    assert cuts > 2
    assert contents(tmp_path / "cut") == contents(tmp_path / "calm")
    units = [line for file in marks.iterdir() for line in file.read_text().split()]
    assert len(units) == len(set(units)) == 9


def test_a_second_build_does_nothing(tmp_path: Path) -> None:
    build(tmp_path, small())
    before = contents(tmp_path)
    assert not any(event.fresh for event in build(tmp_path, small()))
    assert contents(tmp_path) == before


def test_a_changed_recipe_is_refused_by_name(tmp_path: Path) -> None:
    build(tmp_path, small())
    with pytest.raises(DriftError, match=r"first\.drop: 0 -> 3\n.*out=NEW base="):
        build(tmp_path, small(drop=3))


def test_a_stage_that_gives_other_rows_than_before_is_refused_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, small())
    monkeypatch.setattr(Pass, "version", 2)
    with pytest.raises(
        DriftError, match=r"(?s)first: stage Pass: version 1 -> 2, which gives other rows\n.*out=NEW base="
    ):
        build(tmp_path, small())


def test_runtime_knobs_are_no_drift(tmp_path: Path) -> None:
    build(tmp_path, small())
    (tmp_path / "marks").mkdir()
    build(tmp_path, small(marks=str(tmp_path / "marks")))


def test_base_reuses_exactly_what_did_not_change(tmp_path: Path) -> None:
    build(tmp_path / "old", small())
    events = build(tmp_path / "new", small(drop=3), base=tmp_path / "old")
    assert {event.table for event in events if not event.fresh} == {"count"}
    assert {event.table for event in events if event.fresh} == {"first", "second", "sum", "last"}
    build(tmp_path / "plain", small(drop=3))
    assert contents(tmp_path / "new") == contents(tmp_path / "plain")


def test_base_with_the_same_recipe_reuses_everything(tmp_path: Path) -> None:
    build(tmp_path / "old", small(drop=2))
    assert not any(event.fresh for event in build(tmp_path / "new", small(drop=2), base=tmp_path / "old"))
    assert contents(tmp_path / "new") == contents(tmp_path / "old")


@dataclass(kw_only=True)
class Sized(Count):
    """A source whose shard may change while its name stays."""

    def shards(self) -> dict[str, dict[str, object]]:
        return {key: {"size": SIZE.get(key, 0)} for key in super().shards()}


SIZE: dict[str, int] = {}


def test_a_shard_that_changed_under_its_name_is_refused(tmp_path: Path) -> None:
    SIZE.clear()
    build(tmp_path, small(Sized()))
    SIZE["shard-00001"] = 5
    with pytest.raises(DriftError, match=r"count/shard-00001: size: '0' -> '5'"):
        build(tmp_path, small(Sized()))


def test_units_takes_the_first_parts_all_the_way(tmp_path: Path) -> None:
    events = build(tmp_path, small(Count(shard_count=4, parts=2)), units=3)
    by_table = {name: [e.key for e in events if e.table == name] for name in ("count", "first", "second", "sum")}
    assert by_table["count"] == ["shard-00000", "shard-00001"]
    assert by_table["first"] == by_table["second"] == ["shard-00000-0000", "shard-00000-0001", "shard-00001-0000"]
    assert Store(str(tmp_path)).table("sum").receipts()["all"].rows_in == 24


def test_more_parts_than_a_barrier_has_seen_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    old = tmp_path / "old"
    build(old, small(Count(shard_count=1, parts=3)), units=1)
    before = contents(old)
    said = rf"sum was made from second, which has 1 part of 3\n.*out=NEW base={old}$"
    with pytest.raises(DriftError, match=said):
        build(old, small(Count(shard_count=1, parts=3)))
    assert contents(old) == before


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("units", [(1, None), (1, 2), (3, 1), (None, 1), (2, None)])
def test_a_run_of_some_units_is_the_base_of_one_of_others(
    tmp_path: Path, shards: int, units: tuple[int | None, int | None]
) -> None:
    recipe = small(Count(shard_count=shards, parts=4))
    build(tmp_path / "old", recipe, units=units[0])
    events = build(tmp_path / "new", recipe, base=tmp_path / "old", units=units[1])
    again = build(tmp_path / "new", recipe, units=units[1])
    assert not any(event.fresh for event in again), "what a build leaves, the next one does not refuse"
    old = Store(str(tmp_path / "old"))
    for name in ("count", "first", "second"):
        fresh = {event.key for event in events if event.table == name and event.fresh}
        assert not fresh & old.table(name).receipts().keys(), "parts are reused"
    build(tmp_path / "plain", recipe, units=units[1])
    plain = Store(str(tmp_path / "plain"))
    for name in ("sum", "last"):
        assert Store(str(tmp_path / "new")).table(name).digest() == plain.table(name).digest()


def test_paid_replies_of_a_unit_that_base_did_not_finish_come_along(tmp_path: Path) -> None:
    recipe = small()
    build(tmp_path / "old", recipe)
    old = Run(url=str(tmp_path / "old"), recipe=recipe)
    (tmp_path / "old" / "first" / "_receipts" / "shard-00000-0001.json").unlink()
    Calls(old.table("first"), "shard-00000-0001").put({"asked": {"text": "paid for"}})
    new = Run(url=str(tmp_path / "new"), recipe=recipe)
    claim(new, old.url)
    assert Calls(new.table("first"), "shard-00000-0001").get("asked") == {"text": "paid for"}
    Calls(new.table("first"), "shard-00000-0001").put({"more": {"text": "of the new run alone"}})
    assert Calls(old.table("first"), "shard-00000-0001").get("more") is None


def test_units_that_were_passed_over_at_a_barrier_are_not_tried_again_behind_it(tmp_path: Path) -> None:
    bad = first_id(small())
    build(tmp_path / "old", small(poison=bad), fail_on_error=False)
    before = contents(tmp_path / "old")
    marks = tmp_path / "marks"
    marks.mkdir()
    events = build(tmp_path / "old", small(poison=bad, marks=str(marks)), fail_on_error=False)
    assert not any(event.fresh for event in events)
    assert [(event.table, event.key) for event in events if event.error] == [("first", "shard-00000-0000")]
    assert contents(tmp_path / "old") == before
    with pytest.raises(FailedUnits, match=r"try them again in another folder, .* out=NEW base="):
        build(tmp_path / "old", small(poison=bad))
    with pytest.raises(FailedUnits, match="run the same command again"):
        build(tmp_path / "new", small(poison=bad), base=tmp_path / "old")
    assert len(Store(str(tmp_path / "new")).table("second").receipts()) == 3


@dataclass(kw_only=True)
class Peek(Stage):
    """Reads a table by part, and the same table as a whole."""

    reads = {"count": part("id", "value"), "sample": whole("id", of="count")}
    writes = NUMBERS
    row_key = "id"

    def load(self, sample: ds.Dataset) -> Transform:
        return lambda count: StageOutput(count, [])


@dataclass(kw_only=True)
class Peeking(Recipe):
    count: Count
    peek: Peek


def test_the_same_units_again_are_no_drift_where_their_last_shard_has_more(tmp_path: Path) -> None:
    recipe = Peeking(count=Count(shard_count=2, parts=2), peek=Peek())
    build(tmp_path, recipe, units=3)
    assert len(Store(str(tmp_path)).table("peek").receipts()) == 3
    assert not any(event.fresh for event in build(tmp_path, recipe, units=3))
    with pytest.raises(
        DriftError, match=r"peek/shard-00000-0000 \(and 2 more\): whole count: '3 parts, .*' -> '4 parts, "
    ):
        build(tmp_path, recipe)


def first_id(recipe: Small) -> str:
    rows = next(iter(recipe.count.load()("shard-00000")))
    return rows.output.table["id"][0].as_py()


def test_a_bad_unit_stops_the_run_at_the_barrier_and_not_before(tmp_path: Path) -> None:
    recipe = small(poison=first_id(small()))
    with pytest.raises(FailedUnits, match=r"1 of 4 units of first failed:\nfirst/shard-00000-0000: ValueError: poison"):
        build(tmp_path, recipe)
    store = Store(str(tmp_path))
    assert len(store.table("second").receipts()) == 3
    assert "Traceback" in store.table("first").failures()["shard-00000-0000"]["traceback"]
    assert store.table("sum").receipts() == {}


def test_a_failure_goes_when_its_unit_succeeds(tmp_path: Path) -> None:
    recipe = small()
    run = Run(url=str(tmp_path), recipe=recipe)
    claim(run)
    run.table("first").fail("shard-00000-0000", "x", "")
    execute(run, Local())
    assert run.table("first").failures() == {}


@pytest.mark.parametrize(
    ("rule", "passes"), [(True, False), (False, True), (0.2, False), (0.3, True), (1, True), (0, False)]
)
def test_fail_on_error_is_a_share_or_a_count(tmp_path: Path, rule: bool | float, passes: bool) -> None:
    recipe = small(poison=first_id(small()))
    if passes:
        build(tmp_path, recipe, fail_on_error=rule)
        assert Store(str(tmp_path)).table("sum").receipts()["all"].rows_in == 24
    else:
        with pytest.raises(FailedUnits):
            build(tmp_path, recipe, fail_on_error=rule)


@dataclass(kw_only=True)
class Bad(Stage):
    how: str = ""
    reads = {"count": part("id", "value")}
    writes = NUMBERS
    row_key = "id"

    def load(self) -> Transform:
        def bad(count: pa.Table) -> StageOutput:
            rows = count.to_pylist()
            if self.how == "loses":
                return output(NUMBERS, rows[1:])
            if self.how == "invents":
                return output(NUMBERS, [*rows, {"id": "new", "value": 1}])
            if self.how == "both":
                return output(NUMBERS, [*rows, Drop(rows[0]["id"], "why")])
            if self.how == "null":
                return output(NUMBERS, [{**rows[0], "value": None}, *rows[1:]])
            return output(NUMBERS, rows)

        return bad


@dataclass(kw_only=True)
class WithBad(Recipe):
    count: Count
    bad: Bad


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("loses", "1 id were lost"),
        ("invents", "1 id came from nowhere"),
        ("both", "both kept and dropped"),
        ("null", "value is null"),
    ],
)
def test_a_stage_that_breaks_its_contract_fails_the_unit(tmp_path: Path, how: str, said: str) -> None:
    run = Run(url=str(tmp_path), recipe=WithBad(count=Count(shard_count=1, parts=1), bad=Bad(how=how)))
    claim(run)
    with pytest.raises(FailedUnits, match=said):
        execute(run, Local())
    assert run.table("bad").parts() == {}


def test_a_worker_travels_without_what_it_loaded(tmp_path: Path) -> None:
    run = Run(url=str(tmp_path), recipe=small())
    claim(run)
    worker = Worker(run, "count")
    worker.work("shard-00000")
    again = pickle.loads(pickle.dumps(worker))
    assert not again.work("shard-00000").fresh
    assert isinstance(again.stage, Count)


def test_a_run_keeps_its_tables_and_sends_none_to_its_workers(tmp_path: Path) -> None:
    build(tmp_path, small())
    run = Run(url=str(tmp_path), recipe=small())
    alone = len(pickle.dumps(run))
    assert len(run.table("first").receipts()) == 4
    assert run.table("first") is run.table("first")
    assert len(pickle.dumps(run)) == alone
    assert pickle.loads(pickle.dumps(run)).table("first").receipts() == run.table("first").receipts()


@pytest.mark.parametrize("packed", [True, False])
def test_a_build_with_nothing_to_do_reads_no_receipt_twice_and_no_dropped_rows(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, small(drop=3))
    for file in tmp_path.glob("*/_receipts.packed") if not packed else ():
        file.unlink()
    read: Counter[str] = Counter()
    real = Store.read

    def counted(store: Store, *pieces: str, **where: int | None) -> bytes | None:
        read["/".join(pieces)] += 1
        return real(store, *pieces, **where)

    monkeypatch.setattr(Store, "read", counted)
    run = Run(url=str(tmp_path), recipe=small(drop=3))
    claim(run)
    execute(run, Local())
    statuses = table_statuses(str(tmp_path), recount=False, tables=run.table)
    assert {status.state for status in statuses} == {"complete"}
    receipts = [count for name, count in read.items() if "/_receipts/" in name]
    assert receipts == ([] if packed else [1] * sum(status.units for status in statuses))
    assert not [name for name in read if "_dropped" in name]


def test_a_run_on_an_object_store_makes_the_bytes_of_a_run_on_disk(bucket: str, tmp_path: Path) -> None:
    recipe = small(Count(shard_count=2), drop=3)
    build(tmp_path / "disk", recipe)
    build(f"{bucket}/whole", recipe)
    remote = Store(f"{bucket}/whole")
    found = {
        path.removeprefix("runs/whole/"): remote.fs.cat_file(path)
        for path in remote.fs.find("runs/whole")
        if path.endswith(".parquet")
    }
    assert found == contents(tmp_path / "disk")
    assert not any(event.fresh for event in build(f"{bucket}/whole", recipe))
    with pytest.raises(DriftError, match=r"first\.drop: 3 -> 2"):
        build(f"{bucket}/whole", small(Count(shard_count=2), drop=2))
    assert not any(event.fresh for event in build(f"{bucket}/again", recipe, base=f"{bucket}/whole"))  # type: ignore[arg-type]


def test_a_unit_on_an_object_store_needs_few_requests(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()
    real = s3fs.S3FileSystem._call_s3

    async def counted(fs: s3fs.S3FileSystem, method: str, *args: object, **facts: object) -> object:
        asked[method] += 1
        return await real(fs, method, *args, **facts)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    recipe = small(Count(shard_count=2, parts=10, rows=9), drop=3)
    units = len(build(f"{bucket}/requests", recipe))
    assert asked["head_object"] < 3, "only the bucket and the folder are looked for"
    assert asked["list_objects_v2"] < 1.5 * units
    assert asked.total() < 12 * units
    asked.clear()
    assert not any(event.fresh for event in build(f"{bucket}/requests", recipe))
    assert asked["get_object"] < 40, "a table's receipts are one object"
    assert asked.total() < 2 * units
