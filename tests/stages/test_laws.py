"""Rules that every stage of every recipe must follow."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mminstruct.engine.local import Local
from mminstruct.models.model import Reply
from mminstruct.prompts import Message
from mminstruct.recipe import inputs, stage_types
from mminstruct.recipes import RECIPES, MMInstruct
from mminstruct.run import Run, claim, execute
from mminstruct.schemas import tagged
from mminstruct.stage import Rows, StageOutput
from mminstruct.status.tables import table_statuses
from mminstruct.status.trace import trace
from mminstruct.text.rules import RULES, Context
from tests.stages.doubles import Scripted
from tests.text.replies import BUS, FOUND, REFUSALS
from tests.world import annotated, bench, coco, domains, draw, recipe

STAGES = [(kind, field.name) for kind, one in RECIPES.items() for field in dataclasses.fields(one)]
"""Every stage of every recipe, since the recipe decides what a stage reads."""
READING = [(kind, name) for kind, name in STAGES if name not in ("ingest", "annotate", "decide", "pick")]
TEXTS = {
    name: tagged(kind.writes, "text")[-1]
    for name, kind in stage_types(MMInstruct).items()
    if any("prompt" in field.metadata for field in dataclasses.fields(kind)) and tagged(kind.writes, "text")
}
"""Stages that keep a model's text, and the column that has it."""
FINISHES = ("error", "filtered", "length")
"""Finish reasons of incomplete replies; with stop, all that ``Reply`` accepts (tests/models/test_completion.py)."""
LOOPS = ["The bus is red. " * 12, "Once there was a red bus that loved and loved and loved and loved and loved it " * 5]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the whole recipe with scripted models."""
    folder = tmp_path_factory.mktemp("laws")
    run = Run(url=str(folder / "run"), recipe=recipe(draw(folder / "world")))
    claim(run)
    execute(run, Local())
    return run


@pytest.fixture(scope="module")
def runs(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run of each recipe; the benchmark uses the test split of the first run."""
    folder = tmp_path_factory.mktemp("laws")
    found = {"mm_instruct": run}
    dialogues = coco(annotated(folder / "world"))
    dialogues.rate = recipe("").rate  # enabled, with a scripted model
    about = domains(draw(folder / "images"))
    for name, made in (("domains", about), ("coco", dialogues), ("bench", bench(run.url))):
        found[name] = Run(url=str(folder / name), recipe=made)
        claim(found[name])
        execute(found[name], Local())
    return found


def wholes(run: Run, name: str, backwards: bool = False, empty: bool = False) -> dict[str, ds.Dataset]:
    found = {}
    for argument, (table, read) in inputs(run.stages[name]).items():
        if read.mode == "whole":
            schema = run.stages[table].writes
            data = run.table(table).dataset(schema)
            files = [] if empty else sorted((f.path for f in data.get_fragments()), reverse=backwards)
            found[argument] = ds.FileSystemDataset.from_paths(
                files, schema=schema, format=data.format, filesystem=data.filesystem
            )
    return found


def parts(run: Run, name: str, key: str) -> dict[str, pa.Table]:
    found = {}
    for argument, (table, read) in inputs(run.stages[name]).items():
        if read.mode == "part":
            source = run.table(table)
            part = source.find(key)
            assert part is not None
            found[argument] = read.rename(source.load(part, read.columns))
    return found


def made(out: StageOutput | Iterator[Any], key: str = "all") -> list[tuple[str, StageOutput]]:
    return [(key, out)] if isinstance(out, StageOutput) else list(out)


def written(pieces: list[tuple[str, StageOutput]]) -> list[tuple[str, bytes, list[Any]]]:
    out = []
    for key, one in pieces:
        buffer = io.BytesIO()
        pq.write_table(one.table, buffer)
        out.append((key, buffer.getvalue(), one.drops))
    return out


def units(run: Run, name: str) -> list[str]:
    return list(run.table(name).receipts())


@pytest.mark.parametrize(("kind", "name"), READING)
def test_the_same_work_twice_gives_the_same_bytes(runs: dict[str, Run], kind: str, name: str) -> None:
    run = runs[kind]
    for key in units(run, name)[:2]:
        first, second = (
            written(made(run.stages[name].load(**wholes(run, name))(**parts(run, name, key)), key)) for _ in range(2)
        )
        assert first == second


@pytest.mark.parametrize(("kind", "name"), READING)
def test_whole_reads_do_not_depend_on_the_order_of_parts(runs: dict[str, Run], kind: str, name: str) -> None:
    run = runs[kind]
    key = units(run, name)[0]
    there, back = (
        written(
            sorted(
                made(run.stages[name].load(**wholes(run, name, backwards))(**parts(run, name, key)), key),
                key=lambda p: p[0],
            )
        )
        for backwards in (False, True)
    )
    assert there == back


@pytest.mark.parametrize(("kind", "name"), READING)
def test_nothing_in_gives_nothing_out_with_the_right_schema(runs: dict[str, Run], kind: str, name: str) -> None:
    run = runs[kind]
    stage = run.stages[name]
    primary_is_whole = all(read.mode == "whole" for read in stage.reads.values())
    given = {argument: table.slice(0, 0) for argument, table in parts(run, name, units(run, name)[0]).items()}
    out = made(stage.load(**wholes(run, name, empty=primary_is_whole))(**given))
    for _, one in out:
        assert one.table.num_rows == 0
        assert one.drops == []
        assert one.table.schema.equals(stage.writes)


@pytest.mark.parametrize(("kind", "name"), STAGES)
def test_rows_are_the_schemas_and_only_those(runs: dict[str, Run], kind: str, name: str) -> None:
    run = runs[kind]
    table = run.table(name).dataset(run.stages[name].writes).to_table()
    for field in run.stages[name].writes:
        assert field.nullable or table[field.name].null_count == 0
        assert field.metadata[b"meaning"]


def test_rows_in_are_rows_kept_and_dropped_in_every_table(runs: dict[str, Run]) -> None:
    for status in [status for run in runs.values() for status in table_statuses(run.url)]:
        assert status.faults == []
        assert status.rows_in == status.kept + sum(status.dropped.values())
        assert (status.rows_in > 0) == (status.table != "decide"), status.table  # no human decisions in this run


def test_what_a_table_takes_is_what_the_one_before_it_made(run: Run) -> None:
    sums = {status.table: status for status in table_statuses(run.url)}
    for name, before in (
        ("caption", "ingest"),
        ("fuse", "caption"),
        ("instruct", "fuse"),
        ("match", "fuse"),
        ("filter", "answer"),
    ):
        assert sums[name].rows_in == sums[before].kept, name
    assert sums["answer"].rows_in == sums["match"].rows
    assert sums["review"].rows_in == sums["filter"].rows
    assert sums["select"].rows_in == sums["review"].rows
    assert sums["merge"].rows_in == sums["merge"].rows == sums["select"].rows
    assert sums["export"].rows == sums["select"].rows > 0


def test_a_source_counts_every_member_once(run: Run) -> None:
    ingest = run.stages["ingest"]
    for key in run.keys("ingest"):
        rows: list[Rows] = list(ingest.load()(key))  # type: ignore[arg-type]
        assert sum(r.rows_in for r in rows) == sum(r.output.table.num_rows + len(r.output.drops) for r in rows) == 8


def test_final_images_and_instructions_come_from_inputs(run: Run) -> None:
    def ids(name: str, column: str) -> set[str]:
        return set(run.table(name).dataset(run.stages[name].writes).to_table()[column].to_pylist())

    assert ids("export", "image_id") <= ids("ingest", "image_id")
    assert ids("export", "instruction_id") <= ids("summarize", "instruction_id")
    assert ids("cluster", "instruction_id") == ids("embed", "instruction_id") <= ids("instruct", "instruction_id")


def test_every_stage_that_has_a_prompt_is_under_the_law_of_replies(runs: dict[str, Run]) -> None:
    asking = {name for one in runs.values() for name, stage in one.stages.items() if hasattr(stage, "prompt")}
    graded = {"respond", "rate"}  # which keep every reply, however bad, for the judge and as null
    parsed = {"transcribe", "ask", "converse", "verify"}  # whose replies are no texts: tests/stages/test_withheld.py
    assert asking == TEXTS.keys() | graded | parsed


@pytest.mark.parametrize("name", TEXTS)
def test_a_reply_that_is_not_known_to_be_good_never_becomes_a_row(run: Run, name: str) -> None:
    faulty = [Reply(reply.replace("{}", BUS), "stop") for replies in FOUND.values() for reply in replies]
    faulty += [Reply(reply, "stop") for reply in REFUSALS + LOOPS]
    faulty += [Reply(BUS, finish, error="said so") for finish in FINISHES]
    faulty += [Reply("", "stop"), Reply(" \n<|im_end|>", "stop"), Reply("?!", "stop")]
    left, sent = list(reversed(faulty)), 0

    def script(messages: list[Message], seed: int) -> Reply:
        nonlocal sent
        sent += 1
        return left.pop() if left else Reply("", "error", error="there are no more")

    stage = dataclasses.replace(run.stages[name], model=Scripted(script=script))  # type: ignore[type-var]
    while left:
        for key in units(run, name):
            pieces = made(stage.load(**wholes(run, name))(**parts(run, name, key)), key)
            kept = [row for _, one in pieces for row in one.table.to_pylist() if row.get("fused", True)]
            assert [row[TEXTS[name]] for row in kept if not _leaves_by_a_rule(name, row)] == []
            assert all(drop.reason for _, one in pieces for drop in one.drops)
    assert sent >= len(faulty)


def _leaves_by_a_rule(name: str, row: dict[str, Any]) -> bool:
    """Whether the filter, which has the quality rules for answers, drops *row*."""
    return name == "answer" and any(RULES[rule](row["answer"], Context()) for rule in ("refusal", "repetition"))


def test_every_exported_pair_can_be_traced_to_its_image_and_back(run: Run) -> None:
    pairs = (
        run.table("export").dataset(run.stages["export"].writes).to_table(columns=["pair_id", "image_id"]).to_pylist()
    )
    apart = {name for name, stage in run.stages.items() if tagged(stage.writes, "member")} | {"exemplify", "decide"}
    on_the_way = set(run.stages) - apart  # raw instructions, and what not every pair has
    for pair in pairs[:3]:
        found = trace(run.url, pair["pair_id"])
        assert found.kind == "pair_id"
        assert set(found.rows) >= on_the_way
        assert [row["image_id"] for row in found.rows["ingest"]] == [pair["image_id"]]
        assert pair["pair_id"] in {row["pair_id"] for row in trace(run.url, pair["image_id"]).rows["export"]}
