"""Executed by ``test_lease`` in separate processes: captions microworld images with a paid endpoint."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from mminstruct.engine.config import EngineConfig, PoolConfig
from mminstruct.engine.local import Local
from mminstruct.job import EXIT_HALTED, exit_process
from mminstruct.models.model import Model
from mminstruct.recipe import Recipe
from mminstruct.run import Run, claim, execute
from mminstruct.stages.caption import Caption
from mminstruct.stages.ingest import Ingest
from mminstruct.store.lease import Held
from tests.stages.doubles import prompt_text

AT_ONCE = 4


@dataclass(kw_only=True)
class Captions(Recipe):
    ingest: Ingest
    caption: Caption


def captions(url: str, source: str, endpoint: str) -> Run:
    options = {"price": {"input": 0, "output": 1}, "concurrency": {"start": AT_ONCE, "max": AT_ONCE}}
    model = Model(name="m", backend="openai", url=endpoint, max_tokens=5, options=options)
    recipe = Captions(ingest=Ingest(path=source, rows=8), caption=Caption(model=model, prompt=prompt_text("caption")))
    return Run(url=url, recipe=recipe)


def main(url: str, source: str, endpoint: str, engine: str = "local") -> int:
    run = captions(url, source, endpoint)
    try:
        claim(run)
        if engine == "ray":
            from mminstruct.engine.data import Ray

            pool = PoolConfig(workers=1, in_flight=2)
            execute(run, Ray(EngineConfig(cpus=4, pool=pool)))
        else:
            execute(run, Local())
    except Held as held:
        print(held, file=sys.stderr)
        return EXIT_HALTED
    return 0


if __name__ == "__main__":
    exit_process(main(*sys.argv[1:]))
