"""Workers lent to one unit, in their own environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.engine.config import EngineConfig, PoolConfig
from mminstruct.engine.data import Ray
from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.run import Engine, FailedUnits, Run, claim, execute
from mminstruct.stage import Rows, Stage, StageOutput, Transform, content_id, part, runtime
from mminstruct.stages.cluster import Cluster
from mminstruct.unit import WorkerGroup

POINTS = 400


@dataclass(kw_only=True)
class Written(Stage):
    """A source of instructions."""

    reads = {}
    writes = schemas.INSTRUCT
    row_key = "instruction_id"

    def shards(self) -> dict[str, dict[str, Any]]:
        return {"shard-00000": {}}

    def load(self) -> Transform:
        def write(shard: str) -> Iterator[Rows]:
            ids = [content_id(str(n)) for n in range(POINTS)]
            columns = {"instruction_id": ids, "image_id": ids, "instruction": ids, "examples": [[]] * POINTS}
            yield Rows(POINTS, StageOutput(pa.table(columns, schema=self.writes), []))

        return write


@dataclass(kw_only=True)
class Near(Stage):
    """Embeddings near a few centres."""

    reads = {"instruct": part("instruction_id")}
    writes = schemas.EMBED
    row_key = "instruction_id"

    def load(self) -> Transform:
        def embed(instruct: pa.Table) -> StageOutput:
            random = np.random.default_rng(0)
            points = random.normal(size=(8, 16))[random.integers(0, 8, POINTS)] + random.normal(0, 0.3, (POINTS, 16))
            units = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
            columns = {"instruction_id": instruct["instruction_id"], "embedding": list(units)}
            return StageOutput(pa.table(columns, schema=self.writes), [])

        return embed


def whereabouts(error: str) -> tuple[int, str]:
    if error:
        raise ArithmeticError(error)
    return os.getpid(), sys.prefix


@dataclass(kw_only=True)
class Told(Cluster):
    """Records process and environment of its worker group, or makes each worker raise its own error."""

    file: str = runtime("")
    errors: list[str] = runtime(factory=lambda: ["", ""])

    @contextmanager
    def _group(self) -> Iterator[WorkerGroup | None]:
        with super()._group() as group:
            if group:
                Path(self.file).write_text(json.dumps(group(whereabouts, [(error,) for error in self.errors])))
            yield group


@dataclass(kw_only=True)
class Clustering(Recipe):
    instruct: Written
    embed: Near
    cluster: Told


def clusters(folder: Path, engine: Engine, **fields: Any) -> pa.Table:
    recipe = Clustering(instruct=Written(), embed=Near(), cluster=Told(k=8, restarts=2, backend="torch", **fields))
    run = Run(url=str(folder), recipe=recipe)
    claim(run)
    execute(run, engine)
    return run.table("cluster").dataset(schemas.CLUSTER).to_table()


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """A virtual environment that uses the packages installed in this one."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    inside = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (inside / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.mark.slow
def test_two_workers_in_another_environment_find_the_same_clusters_as_one(
    tmp_path: Path, other_python: Path, ray_here: None
) -> None:
    alone = clusters(tmp_path / "alone", Local())
    environment = {"py_executable": str(other_python / "bin" / "python")}
    engine = Ray(EngineConfig(pool=PoolConfig(cpus=0.25), pools={"cluster": PoolConfig(cpus=0.5, env=environment)}))
    together = clusters(tmp_path / "together", engine, ranks=2, file=str(tmp_path / "who"))
    assert together.drop(["distance"]).equals(alone.drop(["distance"]))
    assert together["distance"].to_numpy() == pytest.approx(alone["distance"].to_numpy(), abs=1e-5)
    (one, there), (other, there_too) = json.loads((tmp_path / "who").read_text())
    assert one != other
    assert there == there_too == str(other_python)


@pytest.mark.slow
def test_what_went_wrong_in_another_worker_is_told_in_its_words(tmp_path: Path, ray_here: None) -> None:
    engine = Ray(EngineConfig(pool=PoolConfig(cpus=0.25)))
    with pytest.raises(FailedUnits, match=r"cluster/all: ArithmeticError: no room for this\nFix"):
        clusters(
            tmp_path, engine, ranks=2, file=str(tmp_path / "who"), errors=["the other is gone", "no room for this"]
        )


def test_an_engine_with_one_process_cannot_lend_workers(tmp_path: Path) -> None:
    with pytest.raises(FailedUnits, match=r"cluster\.ranks=2: this engine has one process"):
        clusters(tmp_path, Local(), ranks=2)
