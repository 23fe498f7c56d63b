"""A backend from outside of the package, on Ray's workers: only its import path gets there."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from mminstruct.engine.config import EngineConfig, PoolConfig
from mminstruct.engine.data import Ray
from mminstruct.engine.local import Local
from mminstruct.models.model import Model
from mminstruct.recipe import Recipe, check
from mminstruct.run import Engine, Run, claim, execute
from mminstruct.stage import Stage, StageOutput, Transform, output, part
from tests.doing_nothing import Count

SAID = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])


@dataclass(kw_only=True)
class Say(Stage):
    """Asks a model once for each row."""

    model: Model = field(default_factory=lambda: Model(name="any", backend="backend_of_mine:Echo"))
    reads = {"count": part("id", "value")}
    writes = SAID
    row_key = "id"

    def load(self) -> Transform:
        model = self.model.chat()

        def say(count: pa.Table) -> StageOutput:
            rows = count.to_pylist()
            replies = model.chat(
                [[{"role": "user", "content": str(row["value"])}] for row in rows], seeds=[0] * len(rows)
            )
            return output(
                SAID, [{"id": row["id"], "text": reply.text} for row, reply in zip(rows, replies, strict=True)]
            )

        return say


@dataclass(kw_only=True)
class Saying(Recipe):
    count: Count = field(default_factory=Count)
    say: Say = field(default_factory=Say)


def texts(folder: Path, engine: Engine) -> list[str]:
    run = Run(url=str(folder), recipe=Saying())
    check(run.recipe)
    claim(run)
    execute(run, engine)
    return run.table("say").dataset(SAID).to_table()["text"].to_pylist()


@pytest.mark.slow
def test_a_backend_from_outside_of_the_package_answers_on_every_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_here: None
) -> None:
    (tmp_path / "backend_of_mine.py").write_text(
        textwrap.dedent("""
            from mminstruct.models.model import Reply

            class Echo:
                def __init__(self, model):
                    self.name = model.name

                def chat(self, messages, *, seeds, schema=None, sampling=None):
                    return [Reply(f"{self.name} says {turns[-1]['content']}", "stop") for turns in messages]
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    local = texts(tmp_path / "local", Local())
    assert sorted(set(local)) == [f"any says {number}" for number in range(8)]
    root = str(Path(__file__).parents[2])
    environment = {"env_vars": {"PYTHONPATH": f"{tmp_path}:{root}"}}
    pool = PoolConfig(workers=2, cpus=0.25, env=environment)
    assert texts(tmp_path / "ray", Ray(EngineConfig(pool=pool))) == local
    del sys.modules["backend_of_mine"]
