"""Measures of the recipe domains: full marks for a run written from the truth, and each fault lowers its own."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mminstruct.microworld import shards
from mminstruct.microworld.language import caption, facts_of
from mminstruct.microworld.questions.domains import fitting
from mminstruct.microworld.questions.grammar import KINDS_ASKED, find, forms
from mminstruct.microworld.questions.lessons import questions
from mminstruct.microworld.questions.queries import guess
from mminstruct.microworld.questions.sorts import SORTS
from mminstruct.microworld.questions.tell import false_claims, sentences
from mminstruct.microworld.questions.world import world_from
from mminstruct.models.model import Model
from mminstruct.prompts import Message
from mminstruct.quality.measure import Measure
from mminstruct.quality.measures import MEASURES
from mminstruct.quality.planted_questions import measures as planted_measures
from mminstruct.quality.run import JudgedRun
from mminstruct.quality.truth import read_truth
from mminstruct.recipes import Domains
from mminstruct.stage import Drop, instruction_id, pair_id
from tests.quality.perfect import PerfectRun, Row
from tests.stages.doubles import Scripted, prompt_text, said

SECTIONS = ("retrieve", "transcribe", "ask", "converse", "verify", "domains")


class PerfectDomains(PerfectRun):
    """Tables of the recipe domains, as an asker writes them that makes no mistake."""

    def __post_init__(self) -> None:
        rng = random.Random(0)
        tables: dict[str, list[Row]] = {field.name: [] for field in fields(Domains)}
        for key, known in self.known.items():
            text = caption(known.scene)
            name = rng.choice([name for name in fitting(known.scene) if name != "landmark"] or ["image_description"])
            words = list(facts_of(known.scene).words)
            tables["ingest"].append({"image_id": key, "image": b"x", "alt_text": None})
            tables["retrieve"].append({"image_id": key, "domain": name, "similarity": 0.3, "nearest": "a picture"})
            tables["transcribe"].append({"image_id": key, "words": words, "origin": "model"})
            tables["caption"].append({"image_id": key, "caption": text, "tokens": 1})
            world = world_from(text, words)
            for kind in KINDS_ASKED:
                for one in questions(name, kind, forms(name, kind)[:3], world, rng):
                    right = rng.randrange(4) if one.choices else None
                    choices = list(one.choices)
                    if right:
                        choices[0], choices[right] = choices[right], choices[0]
                    tables["ask"].append({
                        "pair_id": pair_id(key, instruction_id(one.question + kind)), "image_id": key, "kind": kind,
                        "instruction_id": instruction_id(one.question), "domain": name, "question": one.question,
                        "choices": choices or None, "right": right, "origin": "ask",
                        "answer": one.answer if right is None else "ABCD"[right],
                    })  # fmt: skip
            talk = {"pair_id": pair_id(key, "0" * 16), "image_id": key, "instruction_id": "0" * 16, "kind": "long",
                    "domain": name, "question": "And what can be read there?", "origin": "converse", "talk": "t",
                    "turn": 0}  # fmt: skip
            thing = next(iter(world.things.values()))
            talk |= {"question": f"How many {thing.noun} are there?", "answer": f"There are {thing.named()}."}
            tables["converse"].append(talk)
        tables["converse"] = [*tables["ask"], *tables["converse"]]
        for table in ("verify", "review", "select"):
            tables[table] = [{name: row.get(name) for name in ("pair_id", "image_id", "instruction_id", "kind", "domain",
                              "question", "choices", "right", "answer", "origin")} for row in tables["converse"]]  # fmt: skip
        self.rows = {name: rows for name, rows in tables.items() if rows}
        self.configs = {"verify": {"prompt": prompt_text("verify")}, "ask": {"number": dict.fromkeys(KINDS_ASKED, 3)}}


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> PerfectDomains:
    world = shards.write("datacomp", tmp_path_factory.mktemp("world"), images=24, seed=4242)
    return PerfectDomains(world, read_truth([world]))


def measures_of(run: PerfectRun, folder: Path) -> dict[str, Measure]:
    judged = JudgedRun(run.write(folder / "run"), run.known)
    found = [measure for title in SECTIONS for measure in MEASURES[title].measure(judged)]
    return {f"{measure.stage}: {measure.name}": measure for measure in found}


OPEN = ("random one", "letter", "Yes", "template above", "longest")
"""Measures that are no share of what is right."""


@pytest.fixture(scope="module")
def faultless(perfect: PerfectDomains, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measure]:
    return measures_of(perfect, tmp_path_factory.mktemp("faultless"))


def test_a_run_from_the_truth_has_full_marks(faultless: dict[str, Measure]) -> None:
    for name, measure in faultless.items():
        if not any(word in name for word in OPEN):
            assert measure.value == 1.0, name
    assert {measure.stage for measure in faultless.values()} == set(SECTIONS)
    assert faultless["ask: judgements that are answered by Yes"].value == 0.5
    assert faultless["domains: letters of right choices, p-value of equal shares"].value > 0.001


def spoil(table: str, column: str, change: Callable[[Row], Any]) -> Callable[[PerfectRun], None]:
    def spoiled(run: PerfectRun) -> None:
        for row in run.rows[table]:
            new = change(row)
            if new is not None:
                row[column] = new
                return
        raise AssertionError("nothing to spoil")

    return spoiled


def _other(row: Row) -> str | None:
    return {"Yes": "No", "No": "Yes"}.get(row["answer"]) if row["kind"] == "judgement" else None


FAULTS: dict[str, tuple[Callable[[PerfectRun], None], set[str]]] = {
    "domain": (
        spoil("retrieve", "domain", lambda row: "landmark"),
        {"retrieve: domains that suit the scene"},
    ),
    "word": (
        spoil("transcribe", "words", lambda row: ["WRONG"] if row["words"] else None),
        {"transcribe: words on signs that were read", "transcribe: words read that are there"},
    ),
    "fault": (
        spoil("ask", "fault", lambda row: "question_long"),
        {"ask: questions without a fault"},
    ),
    "unknown question": (
        spoil("ask", "question", lambda row: "Who painted this, and when?"),
        {"ask: questions that the grammar knows; others are not judged"},
    ),
    "wrong answer": (
        spoil("ask", "answer", _other),
        {f"ask: {name}: right by the {what}" for name in ("judgement, choice, short", "judgement")
         for what in ("description", "scene")},
    ),
    "wrong caption": (
        spoil("caption", "caption", lambda row: "The scene is in a kitchen. It shows one brown table."),
        {"ask: judgement, choice, short: right by the description"},
    ),
    "two right choices": (
        spoil("ask", "choices", lambda row: [row["choices"][row["right"]]] * 4 if row["choices"] else None),
        {"ask: choices with three false distractors, by the description", "ask: ... by the scene"},
    ),
    "round": (
        spoil("converse", "answer", lambda row: "There are nine clocks." if row["origin"] == "converse" else None),
        {"converse: rounds right by the description", "converse: rounds right by the scene"},
    ),
    "final row": (
        spoil("review", "answer", _other),
        {"domains: rows right in every respect"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_lowers_its_own_measure(
    name: str, perfect: PerfectDomains, faultless: dict[str, Measure], tmp_path: Path
) -> None:
    run = copy.deepcopy(perfect)
    damage, lowered = FAULTS[name]
    damage(run)
    found = measures_of(run, tmp_path)
    fallen = {key for key, measure in found.items() if key in faultless and measure.value < faultless[key].value}
    assert lowered <= fallen
    if name in ("domain", "word", "fault", "unknown question", "wrong answer", "two right choices"):
        assert {key for key in fallen - lowered if key.split(":")[0] == next(iter(lowered)).split(":")[0]} <= {
            key for key in faultless if any(word in key for word in (*OPEN, "right by", "three false"))
        }


def test_an_image_without_a_reply_and_one_that_lacks_what_it_needs_are_told_apart(
    perfect: PerfectDomains, tmp_path: Path
) -> None:
    for reason, value in (("ask_unparsed", 23 / 24), ("needs_words", 1.0)):
        run = copy.deepcopy(perfect)
        image = run.rows["caption"][0]["image_id"]
        run.rows["ask"] = [row for row in run.rows["ask"] if row["image_id"] != image]
        run.drops["ask"] = [Drop(image, reason)]
        found = measures_of(run, tmp_path / reason)
        assert found["ask: replies that give a question"].value == pytest.approx(value)


def _knowing(*, blind: bool, careful: bool) -> Callable[[list[Message], int], str]:
    """A verifier that reads the description with the grammar; a careless one says what is most common."""

    def reply(messages: list[Message], seed: int) -> str:
        text = said(messages)
        description = text.partition("Image: ")[2]
        if not careful:
            return "supported" if "Text: " in text else "Yes" if "Yes or No" in text else "A"
        world = world_from(description)
        if "Text: " in text:
            wrong = [one for one in sentences(text.partition("Text: ")[2].split("\nImage: ")[0])
                     if false_claims(one, world.facts)]  # fmt: skip
            return wrong[0] if wrong else "supported"
        question = text.partition("Question: ")[2].split("\n")[0]
        kind = "judgement" if "Yes or No" in text else "choice" if "letter" in text else "short"
        found = find(question, kind)
        assert found is not None
        form, slots = found
        assert form.query is not None
        best = guess(form.query, slots) if not description and blind else None
        true = form.query.answers(world, slots) if description else frozenset([best] if best else [])
        if not true:
            return "unknown"
        if kind == "judgement":
            return "Yes" if slots.get("value", "yes") in true else "No"
        sort = SORTS[form.query.sort]
        letters = [line[0] for line in text.splitlines() if line[1:3] == ". " and sort.read(line[3:]) in true]
        many = min(true) in world.things and world.things[min(true)].many
        return letters[0] if letters else sort.say(min(true), many=many) if kind == "short" else "unknown"

    return reply


def _planted(perfect: PerfectDomains, folder: Path, model: Model) -> dict[str, float]:
    run = JudgedRun(perfect.write(folder / "run"), perfect.known)
    worlds = {key: world_from(text) for key, text in run.captions.items()}
    rows = [row for row in perfect.rows["ask"] if row["domain"] != "ocr"]
    return {measure.name: measure.value for measure in planted_measures(run, model, rows, worlds)}


def test_a_careful_verifier_finds_every_planted_fault(perfect: PerfectDomains, tmp_path: Path) -> None:
    found = _planted(perfect, tmp_path, Scripted(script=_knowing(blind=True, careful=True)))
    assert found["planted wrong answers found"] == 1.0
    assert found["right rows kept"] == 1.0
    assert found["planted questions that need no image: marked"] == 1.0
    assert found["other choices: not marked"] == 1.0


def test_a_careless_verifier_finds_few(perfect: PerfectDomains, tmp_path: Path) -> None:
    found = _planted(perfect, tmp_path, Scripted(script=_knowing(blind=False, careful=False)))
    assert found["... long"] == 0.0
    assert 0.3 < found["... judgement"] < 0.7
    assert found["right rows kept"] < 0.7
    blind = _planted(perfect, tmp_path / "b", Scripted(script=_knowing(blind=False, careful=True)))
    assert blind["planted questions that need no image: marked"] == 0.0
