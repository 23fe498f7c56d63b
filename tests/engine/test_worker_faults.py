from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mminstruct.engine.config import EngineConfig, PoolConfig
from mminstruct.engine.data import Ray
from mminstruct.engine.local import Local
from mminstruct.models.vllm import EngineDead
from mminstruct.stage import StageOutput, Transform
from tests.doing_nothing import Pass, small
from tests.engine.test_engines import build, contents


@dataclass(kw_only=True)
class Engined(Pass):
    """A stage whose engine dies once, at its third unit."""

    def load(self) -> Transform:
        through, marks = super().load(), Path(self.marks)

        def work(count: pa.Table) -> StageOutput:
            out = through(count)
            if sum(len(f.read_text().split()) for f in marks.iterdir()) == 3:
                raise EngineDead("the vLLM engine died: the device fell off the bus")
            assert isinstance(out, StageOutput)
            return out

        return work


def test_a_worker_whose_engine_died_is_replaced_and_only_its_unit_is_done_again(tmp_path: Path, ray_here: None) -> None:
    (tmp_path / "marks").mkdir()
    calm, recipe = small(), small()
    build(tmp_path / "calm", calm, Local())
    recipe.first = Engined(marks=str(tmp_path / "marks"))
    build(tmp_path / "ray", recipe, Ray(EngineConfig(pool=PoolConfig(cpus=0.25, in_flight=1))))
    done = Counter(line for file in (tmp_path / "marks").iterdir() for line in file.read_text().split())
    assert sorted(done.values()) == [1, 1, 1, 2], "four units, one of them twice"
    assert len(list((tmp_path / "marks").iterdir())) == 2, "by two processes"
    assert contents(tmp_path / "ray") == contents(tmp_path / "calm")
