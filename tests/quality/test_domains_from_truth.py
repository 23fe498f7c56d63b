"""The recipe domains with models that know the world: what the recipe itself loses or gets wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mminstruct.engine.local import Local
from mminstruct.holdout import Holdout
from mminstruct.microworld import shards
from mminstruct.microworld.language import caption, facts_of
from mminstruct.microworld.questions.domains import DOMAINS, fitting
from mminstruct.microworld.questions.grammar import find, follows, forms
from mminstruct.microworld.questions.lessons import questions, tagged
from mminstruct.microworld.questions.sorts import SORTS
from mminstruct.microworld.questions.tell import false_claims, sentences
from mminstruct.microworld.questions.world import world_from
from mminstruct.prompts import Message
from mminstruct.quality.measure import Measure
from mminstruct.quality.measures import MEASURES
from mminstruct.quality.run import JudgedRun
from mminstruct.quality.truth import ImageTruth, read_truth
from mminstruct.readers.domains import read_domains
from mminstruct.recipe import stage_types
from mminstruct.recipes import Domains
from mminstruct.run import Run, claim, execute
from tests.stages.doubles import Scripted, image_of, prompt_text, said

FILE = Path(__file__).parents[2] / "conf" / "domains.yaml"
IMAGES = 32


class Knowing:
    """Models that answer from the truth of each image, or from the text in their prompt."""

    def __init__(self, known: dict[str, ImageTruth]) -> None:
        self.known = known

    def scene(self, image: bytes) -> Any:
        return self.known[hashlib.sha256(image).hexdigest()[:16]].scene

    def domain(self, image: bytes) -> str:
        scene = self.scene(image)
        return random.Random(scene.index).choice(
            [name for name in fitting(scene) if name != "landmark"] or ["image_scene"]
        )

    def reply(self, messages: list[Message], seed: int) -> str:
        text, picture = said(messages), next(filter(None, map(image_of, messages)), None)
        if picture is not None:
            scene = self.scene(picture)
            return "\n".join(facts_of(scene).words) or "none" if "Copy" in text else caption(scene)
        about = text.rpartition("Image: ")[2] if "\nImage: " in text else ""
        if "Topic: " in text:
            return self.ask(text, about, random.Random(seed))
        return self.converse(about, random.Random(seed)) if "more rounds" in text else verified(text, about)

    def ask(self, text: str, about: str, rng: random.Random) -> str:
        domain = re.search(r"Topic: ([a-z ]+) \(", text)
        assert domain is not None
        name = domain[1].replace(" ", "_")
        kinds = {
            "answer Yes or No": "judgement",
            "four choices": "choice",
            "one to five": "short",
            "two to five": "long",
        }
        kind = next(kind for words, kind in kinds.items() if words in text)
        shown = [form for form in forms(name, kind) if f"- {form.text}\n" in text]
        assert len(shown) == 3
        words = re.search(r"Words in the image: (.+)", text)
        world = world_from(about, words[1].split(", ") if words else ())
        return tagged(questions(name, kind, shown, world, rng)) or "Nothing can be asked."

    def converse(self, about: str, rng: random.Random) -> str:
        world = world_from(about)
        asked = [one for form in follows() if (one := form.ask(world, rng)) is not None]
        return tagged(asked[:3])


def verified(text: str, about: str) -> str:
    """What is true of the description and of the text that came with the image, or unknown."""
    prior = re.search(r"\nKnown about the image: (.+)", text)
    world = world_from(about, prior=prior[1] if prior else "")
    if "Text: " in text:
        statements = re.split(r"\n(?:Known about the image|Image): ", text.partition("Text: ")[2])[0]
        return next((one for one in sentences(statements) if false_claims(one, world.facts)), "supported")
    question = text.partition("Question: ")[2].split("\n")[0]
    kind = "judgement" if "with Yes or No" in text else "choice" if "letter of a choice" in text else "short"
    found = find(question, kind)
    if found is None:  # a question of a conversation is answered in sentences
        return "unknown"
    form, slots = found
    if form.query is None or not (true := form.query.answers(world, slots)):
        return "unknown"
    if kind == "judgement":
        return "Yes" if slots.get("value", "yes") in true else "No"
    sort = SORTS[form.query.sort]
    letters = [line[0] for line in text.splitlines() if line[1:3] == ". " and sort.read(line[3:]) in true]
    many = min(true) in world.things and world.things[min(true)].many
    return letters[0] if letters else sort.say(min(true), many=many)


@dataclasses.dataclass
class Eyes:
    """An encoder with one direction for each domain."""

    models: Knowing

    def _of(self, names: list[str]) -> np.ndarray:
        return np.eye(len(DOMAINS), dtype=np.float32)[[list(DOMAINS).index(name) for name in names]]

    def texts(self, texts: list[str]) -> np.ndarray:
        owner = {text: name for name, topic in DOMAINS.items() for text in topic.looks}
        return self._of([owner[text] for text in texts])

    def images(self, images: list[bytes]) -> np.ndarray:
        return self._of([self.models.domain(image) for image in images])


@pytest.fixture(scope="module")
def measures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measure]:
    folder = tmp_path_factory.mktemp("domains")
    world = shards.write("datacomp", folder / "world", IMAGES, seed=77)
    models = Knowing(read_truth([world]))
    topics = [topic for topic in read_domains(FILE.read_text("utf-8"), FILE.name) if topic.name in DOMAINS]
    values: dict[str, dict[str, Any]] = {
        "ingest": {"path": str(world), "rows": 8}, "retrieve": {"domains": topics}, "ask": {"domains": topics},
        "filter": {"min_words": 1, "rules": ["refusal", "language", "placeholder"]},
        "select": {"holdout": Holdout(by="image", count=1), "jaccard": None, "balance": ["judgement"]},
        "merge": {"turns": 16},
    }  # fmt: skip
    stages = {}
    for name, stage in stage_types(Domains).items():
        given = values.get(name, {})
        for item in dataclasses.fields(stage):
            if "role" in item.metadata:
                given[item.name] = Scripted(script=models.reply, encoder=Eyes(models))  # type: ignore[arg-type]
            elif "prompt" in item.metadata:
                given[item.name] = prompt_text(str(item.default))
        stages[name] = stage(**given)
    run = Run(url=str(folder / "run"), recipe=Domains(**stages))
    claim(run)
    execute(run, Local())
    judged = JudgedRun(run.url, models.known)
    titles = ("caption", "retrieve", "transcribe", "ask", "converse", "verify", "domains")
    found = [measure for title in titles for measure in MEASURES[title].measure(judged)]
    return {f"{measure.stage}: {measure.name}": measure for measure in found}


def test_the_recipe_meets_every_aim_if_its_models_make_no_mistake(measures: dict[str, Measure]) -> None:
    missed = {name: measure.value for name, measure in measures.items() if measure.met is False}
    assert not missed


def test_nothing_wrong_enters_and_little_is_lost(measures: dict[str, Measure]) -> None:
    whole = ("domains: rows right in every respect", "ask: judgement, choice, short: right by the scene",
             "converse: rounds right by the scene", "verify: rows right by the scene, after",
             "transcribe: words read that are there")  # fmt: skip
    assert {name: measures[name].value for name in whole} == dict.fromkeys(whole, 1.0)
    assert measures["verify: rows of the run right by the description: kept"].value > 0.95
    assert measures["ask: judgement, choice, short: right by the scene"].n > 200
