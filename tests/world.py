"""A small source and the whole recipe with scripted models, for tests that need tables but no quality."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir

from mminstruct import config
from mminstruct.holdout import Holdout
from mminstruct.microworld import shards
from mminstruct.prompts import Message
from mminstruct.readers.domains import Domain, read_domains
from mminstruct.recipe import Recipe, stage_types
from mminstruct.recipes import Bench, Coco, Domains, MMInstruct
from mminstruct.stage import content_id
from mminstruct.stages.judge import Judge
from mminstruct.stages.pick import Pick
from mminstruct.stages.respond import Respond
from mminstruct.stages.score import Score
from tests.stages.doubles import Player, Referee, Script, Scripted, prompt_text, said

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
    return _made(MMInstruct, reply, {
        "ingest": {"path": str(source), "rows": 4},
        "instruct": {"seeds": SEEDS},
        "cluster": {"k": 12},
        "rate": {"enable": True},
        "match": {"sample_images": 8},
        "select": {"holdout": Holdout(count=1, images=1), "jaccard": None},
    })  # fmt: skip


def some_domains() -> list[Domain]:
    """The domains of tests/domains.yaml."""
    file = Path(__file__).parent / "domains.yaml"
    return read_domains(file.read_text(), file.name)


def domains(source: Path | str) -> Domains:
    """The recipe domains with doubles for models: the verifier knows what the asker wrote."""
    known = some_domains()
    return _made(Domains, asked_about, {
        "ingest": {"path": str(source), "rows": 4},
        "retrieve": {"domains": known, "sample_images": 8},
        "ask": {"domains": known},
        "rate": {"enable": True},
        "filter": {"min_words": 1, "rules": ["too_short", "refusal", "language"]},
        "select": {"holdout": Holdout(by="image", count=1), "jaccard": None},
        "merge": {"turns": 16},
    })  # fmt: skip


_Kind = TypeVar("_Kind", bound=Recipe)


def _made(kind: type[_Kind], script: Script, values: dict[str, dict[str, Any]]) -> _Kind:
    stages = {}
    for name, stage in stage_types(kind).items():
        given = values.get(name, {})
        for item in dataclasses.fields(stage):
            if "role" in item.metadata:
                given[item.name] = Scripted(script=script)
            elif "prompt" in item.metadata:
                given[item.name] = prompt_text(str(item.default))
        stages[name] = stage(**given)
    return kind(**stages)


COLOURS = ("red", "green", "blue", "yellow")


def asked_about(messages: list[Message], seed: int) -> str:
    """Questions about things whose names tell the answers, the answers to such questions, or a caption with a sign."""
    text = said(messages)
    digest = content_id(text)
    wanted = re.search(r"Write (\d) (questions with (?:the|an) answer|questions with four|more rounds)", text)
    if wanted is None:
        if thing := re.search(r"Question: .*? (thing\w+)", text):
            place = int(thing[1].removeprefix("thing"), 16) % 4
            letters = {colour: letter for letter, colour in re.findall(r"^([A-D])\. (\w+)$", text, re.MULTILINE)}
            if "with Yes or No" in text:
                return ("Yes", "No")[place % 2]
            return letters[COLOURS[place]] if letters else COLOURS[place]
        if "Text: " in text:
            return "supported"
        return (
            f'Here one can see a lamp and two books, and a sign that says "{digest[:6]}".'
            if "Copy" not in text
            else (f"{digest[:4]}\n{digest[4:8]}")
        )
    pairs = []
    for number in range(1, int(wanted[1]) + 1):
        thing, place = f"thing{digest[number : number + 6]}", int(digest[number : number + 6], 16) % 4
        answer = (
            f"The {thing} is {COLOURS[place]}, and it stands on a table beside a lamp that is much taller than it is, "
        )
        answer += "so that everybody who comes in can see it at once."
        question, choices = f"What can be told about {thing} here?", ""
        if "answer Yes or No" in text:
            question, answer = f"Is the {thing} there to be seen?", ("Yes", "No")[place % 2]
        elif "four choices" in text:
            question, answer = f"Which colour has {thing} in the room?", "ABCD"[place]
            choices = f" <C{number}> A. red B. green C. blue D. yellow </C{number}>"
        elif "one to five words" in text:
            question, answer = f"What colour is {thing}?", COLOURS[place]
        pairs.append(f"<Q{number}> {question} </Q{number}>{choices} <A{number}> {answer} </A{number}>")
    return "\n".join(pairs)


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
