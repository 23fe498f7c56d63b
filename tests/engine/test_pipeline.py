"""Actors that go on from one segment to the next: which ones, what they keep, what they free."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import weakref
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from mminstruct.engine.config import Actors, EngineConfig, Pool, PoolConfig, actors, goes_on, sharers
from mminstruct.engine.data import Ray
from mminstruct.engine.feed import Feed
from mminstruct.engine.local import Local
from mminstruct.models.model import Model, Reply
from mminstruct.prompts import Message
from mminstruct.recipe import Recipe
from mminstruct.run import Engine, Run, claim, execute
from mminstruct.stage import Stage, StageOutput, Transform, runtime, whole
from mminstruct.unit import SHARERS
from tests.doing_nothing import TOTAL, After, Count, Last, Pass, Small, Sum, small
from tests.engine.test_engines import build, contents


class Counted:
    """A backend that records in a file when it is loaded and freed, and in which process."""

    def __init__(self, model: Model) -> None:
        self.file = model.options["file"]
        _note(self.file, f"load {model.name}")
        weakref.finalize(self, _note, self.file, f"free {model.name}")

    def chat(self, messages: list[list[Message]], *, seeds: list[int], **more: object) -> list[Reply]:
        return [Reply("yes", "stop") for _ in messages]


def _note(file: str, what: str) -> None:
    with open(file, "a") as log:
        log.write(f"{what} {os.getpid()}\n")


@dataclass(kw_only=True)
class Ask(Stage):
    """A barrier with a model; passes the totals on."""

    model: Model
    reads = {"sum": whole("id", "total")}
    writes = TOTAL
    row_key = "id"

    def load(self, sum: ds.Dataset) -> Transform:
        chat = self.model.chat()

        def ask() -> StageOutput:
            assert chat.chat([[{"role": "user", "content": "?"}]], seeds=[0])[0].text == "yes"
            return StageOutput(sum.to_table().combine_chunks(), [])

        return ask


@dataclass(kw_only=True)
class AskAgain(Ask):
    reads = {"one": whole("id", "total")}

    def load(self, one: ds.Dataset) -> Transform:
        return super().load(sum=one)


@dataclass(kw_only=True)
class AskAnother(Ask):
    reads = {"two": whole("id", "total")}

    def load(self, two: ds.Dataset) -> Transform:
        return super().load(sum=two)


@dataclass(kw_only=True)
class Asking(Recipe):
    count: Count
    first: Pass
    second: After
    sum: Sum
    one: Ask
    two: AskAgain
    three: AskAnother


def asking(log: Path) -> Asking:
    def model(name: str) -> Model:
        return Model(name=name, backend="tests.engine.test_pipeline:Counted", options={"file": str(log)})

    made = small()
    stages = {"one": Ask(model=model("a")), "two": AskAgain(model=model("a")), "three": AskAnother(model=model("b"))}
    return Asking(count=made.count, first=made.first, second=made.second, sum=made.sum, **stages)  # type: ignore[arg-type]


def run(folder: Path, recipe: Recipe, engine: Engine) -> None:
    bound = Run(url=str(folder), recipe=recipe)
    claim(bound)
    execute(bound, engine)


def test_a_model_is_kept_for_the_next_segment_and_freed_before_another_is_loaded(
    tmp_path: Path, ray_here: None
) -> None:
    engine = Ray(EngineConfig(fused=True, pool=PoolConfig(workers=1, cpus=0.25)))
    run(tmp_path / "run", asking(tmp_path / "log"), engine)
    steps = [line.rpartition(" ") for line in (tmp_path / "log").read_text().splitlines()]
    assert [what for what, _, _ in steps][:3] == ["load a", "free a", "load b"]
    assert len({process for _, _, process in steps}) == 1


@dataclass(kw_only=True)
class Signed(Last):
    """Writes down its process; the first one of all dies."""

    marks: str = runtime("")

    def load(self) -> Transform:
        through, marks = super().load(), Path(self.marks)

        def sign(sum: pa.Table) -> StageOutput:
            out = through(sum)
            first = not list(marks.glob("last-*"))
            (marks / f"last-{os.getpid()}").touch()
            if first:
                os._exit(9)
            assert isinstance(out, StageOutput)
            return out

        return sign


@dataclass(kw_only=True)
class Signing(Small):
    last: Signed


def test_an_actor_goes_on_in_the_next_segment_and_is_replaced_if_it_dies_there(tmp_path: Path, ray_here: None) -> None:
    (tmp_path / "marks").mkdir()
    counts = Count(shard_count=2, parts=8)
    build(tmp_path / "calm", small(counts), Local())
    recipe = Signing(
        count=counts, first=Pass(marks=str(tmp_path / "marks")), second=After(), sum=Sum(),
        last=Signed(marks=str(tmp_path / "marks")),
    )  # fmt: skip
    engine = Ray(EngineConfig(fused=True, pool=PoolConfig(workers=1, cpus=0.25)))
    run(tmp_path / "ray", recipe, engine)
    early = {file.name for file in (tmp_path / "marks").iterdir() if file.name.isdecimal()}
    late = {file.name.removeprefix("last-") for file in (tmp_path / "marks").glob("last-*")}
    assert len(early) == 1
    assert late > early, "it went on, died, and has a successor"
    assert len(late) == 2
    assert contents(tmp_path / "ray") == contents(tmp_path / "calm")


@dataclass(kw_only=True)
class Knowing(Pass):
    """Writes down how many workers it is told to ask an endpoint."""

    model: Model

    def load(self) -> Transform:
        def know(count: pa.Table) -> StageOutput:
            (Path(self.marks) / str(SHARERS.get().get((self.model.url, None)))).touch()
            return StageOutput(count, [])

        return know


@dataclass(kw_only=True)
class Known(Recipe):
    count: Count
    first: Knowing


@pytest.mark.slow
def test_actors_know_how_many_of_them_ask_an_endpoint(tmp_path: Path, ray_here: None) -> None:
    (tmp_path / "marks").mkdir()
    model = Model(name="m", backend="openai", url="http://127.0.0.1:9/v1")
    recipe = Known(count=Count(shard_count=2, parts=4), first=Knowing(model=model, marks=str(tmp_path / "marks")))
    run(tmp_path / "run", recipe, Ray(EngineConfig(pool=PoolConfig(workers=2, cpus=0.25))))
    assert {file.name for file in (tmp_path / "marks").iterdir()} == {"2"}


def test_all_actors_of_a_segment_that_use_one_url_and_key_share_it() -> None:
    def stage(**model: Any) -> Knowing:
        return Knowing(model=Model(**{"name": "m", "backend": "openai", "url": "http://x/v1", **model}))

    stages = {"a": stage(), "b": stage(name="other"), "c": stage(key_env="KEY"), "d": stage(backend="vllm")}
    three, two = like(CPU, workers=3), like(CPU, workers=2)
    url = "http://x/v1"
    assert sharers([["a"], ["b"], ["c"], ["d"]], [three, two, two, two], stages) == {(url, None): 5, (url, "KEY"): 2}
    assert sharers([["a", "b"], ["c", "d"]], [three], stages) == {(url, None): 3, (url, "KEY"): 3}, "one pool for both"


CPU = Actors(name="answer", pool=Pool(workers=2, cpus=1))
GPU = Actors(name="answer", pool=Pool(workers=2, gpus=1), models=("a",))


def like(one: Actors, workers: int = 2, **facts: object) -> Actors:
    return dataclasses.replace(one, pool=dataclasses.replace(one.pool, workers=workers), **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ([CPU], [CPU], True),
        ([CPU], [like(CPU, name="filter")], True),
        ([CPU], [like(CPU, workers=1)], True),
        ([CPU], [like(CPU, workers=3)], False),
        ([CPU], [like(CPU, workers=1, lend=True)], False),
        ([CPU], [Actors(name="x", pool=Pool(workers=2, cpus=2))], False),
        ([CPU], [Actors(name="x", pool=Pool(workers=2, env={"py_executable": "/other"}))], False),
        ([CPU], [CPU, CPU], False),
        ([CPU, CPU], [CPU, like(CPU, workers=1)], False),
        ([GPU], [GPU], True),
        ([GPU], [like(GPU, models=("b",))], False),
        ([GPU], [like(GPU, models=("a", "b"))], False),
        ([GPU], [like(GPU, models=())], False),
        ([GPU], [like(GPU, workers=1)], False),
        ([GPU], [CPU], False),
    ],
)
def test_actors_go_on_only_where_the_next_segment_can_use_them_and_their_gpus_hold_its_models(
    old: list[Actors], new: list[Actors], kept: bool
) -> None:
    assert goes_on(old, new) is kept


def test_a_fused_segment_that_fans_out_has_one_pool_unless_its_source_has_another() -> None:
    tables = ["count", "first", "second"]
    fused = EngineConfig(fused=True, pool=PoolConfig(workers=2))
    assert [(one.name, one.pool.workers) for one in actors(fused, small(), tables, 1)] == [("first", 2)]
    assert [(one.name, one.pool.workers) for one in actors(fused, small(), ["sum", "last"], 1)] == [("last", 2)]
    fused.pools = {"count": PoolConfig(cpus=2)}
    assert [one.name for one in actors(fused, small(), tables, 1)] == ["count", "first"]
    apart = actors(EngineConfig(pool=PoolConfig(workers=2)), small(), tables, 1)
    assert Counter(one.pool.workers for one in apart) == {1: 1, 2: 2}, "one shard needs one reader"


def test_the_feed_gives_a_reader_that_starts_again_as_many_rows_as_the_first_has_had() -> None:
    async def read() -> None:
        feed = Feed()
        waiting = asyncio.create_task(feed.read(0))
        await feed.send([{"share": "1", "keys": ["a"]}, {"share": "1", "keys": ["b"]}], 1, b"one")
        assert [row["keys"] for row in await waiting] == [["a"], ["b"]]
        await feed.send([{"share": "1", "keys": ["c"]}], 1, None)
        assert feed.segment(1) == b"one"
        assert [row["keys"] for row in await feed.read(2)] == [["c"]]
        assert [row["keys"] for row in await feed.read(0)] == [["a"], ["b"], ["c"]]
        await feed.send([{"share": "1", "keys": ["d"]}], 2, b"two")
        assert feed.segment(2) == b"two"
        gone = await feed.read(0)
        assert [(row["share"], row["keys"]) for row in gone] == [("0", [])] * 3
        assert [row["keys"] for row in await feed.read(3)] == [["d"]]

    asyncio.run(read())


def test_the_local_engine_keeps_a_model_for_the_next_segment_too(tmp_path: Path) -> None:
    engine = Local()
    run(tmp_path / "run", asking(tmp_path / "log"), engine)
    steps = [line.rpartition(" ")[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert steps == ["load a", "free a", "load b", "free b"]
