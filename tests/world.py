"""A small source and the whole recipe with scripted models, for tests that need tables but no quality."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from mminstruct import config
from mminstruct.holdout import Holdout
from mminstruct.microworld import shards
from mminstruct.models.model import Model
from mminstruct.prompts import Message
from mminstruct.recipe import stage_types
from mminstruct.recipes import Bench, Coco, MMInstruct
from mminstruct.stage import content_id
from mminstruct.stages.judge import Judge
from mminstruct.stages.pick import Pick
from mminstruct.stages.respond import Respond
from mminstruct.stages.score import Score
from tests.stages.doubles import Player, Referee, Scripted, prompt_text, said

_TASKS = ("Write a poem", "List the colours", "Describe the mood", "Tell a story", "Plan a visit", "Draft an email")
SEEDS = [f"{task} about {thing}." for task in _TASKS for thing in ("this image", "what you see", "the scene")]


def draw(folder: Path, images: int = 24) -> Path:
    """DataComp shards of a drawn world, 8 images each."""
    shards.write("datacomp", folder, images, seed=1000, per_shard=8)
    return folder


def annotated(folder: Path, images: int = 16) -> Path:
    """A drawn world in the layout coco: images and annotation sets of ten formats, with planted faults."""
    shards.write("coco", folder, images, seed=1000)
    return folder


def coco(source: Path | str, *words: str) -> Coco:
    """The recipe of ``experiment=demo_coco``, with 4 images in a part."""
    config.register()
    words = ("experiment=demo_coco", "out=x", f"source={source}", "recipe.ingest.rows=4", *words)
    with initialize_config_dir(str(config.conf()), version_base="1.3"):
        _, run = config.build(compose("build", config.opened("build", list(words))))
    assert isinstance(run.recipe, Coco)
    return run.recipe


def reply(messages: list[Message], seed: int) -> str:
    """A reply that depends on the request: an instruction if one is requested, else a sentence."""
    asked = said(messages)
    digest = content_id(asked)
    if asked.rstrip().endswith(("New instruction:", "Instruction:")):
        return f"{_TASKS[int(digest, 16) % len(_TASKS)]} about scene {digest[:4]}."
    words = " ".join(digest[i : i + 2] + "ed" for i in range(0, 16, 2))
    return f"Here one can see {words}, and nothing else at all."


def recipe(source: Path | str) -> MMInstruct:
    """All stages, with doubles for models."""

    def double() -> Model:
        return Scripted(script=reply)

    values: dict[str, dict[str, Any]] = {
        "ingest": {"path": str(source), "rows": 4},
        "instruct": {"seeds": SEEDS},
        "cluster": {"k": 12},
        "rate": {"enable": True},
        "match": {"sample_images": 8},
        "select": {"holdout": Holdout(count=1, images=1), "jaccard": None},
    }
    stages = {}
    for name, kind in stage_types(MMInstruct).items():
        given = values.get(name, {})
        for item in dataclasses.fields(kind):
            if "role" in item.metadata:
                given[item.name] = double()
            elif "prompt" in item.metadata:
                given[item.name] = prompt_text(str(item.default))
        stages[name] = kind(**given)
    return MMInstruct(**stages)


def bench(run: str) -> Bench:
    """A benchmark on a run's held-out pairs, with doubles for contestants and judge."""
    return Bench(
        pick=Pick(path=run, rows=2),
        respond=Respond(
            contestants={"one": Player(script=reply), "two": Player(script=lambda *asked: f"Not so: {reply(*asked)}")},
            prompt=prompt_text("respond"),
            rounds=[0, 1],
        ),
        judge=Judge(judges={"referee": Referee(asks=["pair", "grade"])}),
        score=Score(),
    )
