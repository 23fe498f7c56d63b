from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from mminstruct import prompts
from mminstruct.microworld.claims import contradictions
from mminstruct.microworld.families import FAMILIES, Split, applicable, classify, lessons
from mminstruct.microworld.families.writing import syllables
from mminstruct.microworld.language import Facts, Mention, facts_of, read_facts
from mminstruct.microworld.scene import Scene, draw_scene

ROOT = Path(__file__).parents[3]
KINDS_OF_TASK = yaml.safe_load((ROOT / "conf" / "seeds.yaml").read_text("utf-8"))
SEEDS = [text for texts in KINDS_OF_TASK.values() for text in texts]
SCENES = [draw_scene(index, seed=23) for index in range(400)]


def _first_that_fits(name: str) -> Scene:
    return next(scene for scene in SCENES if FAMILIES[name].applies(facts_of(scene)))


def test_there_are_enough_families_kinds_of_task_and_topics() -> None:
    assert len(FAMILIES) >= 26
    assert len({family.kind for family in FAMILIES.values()}) >= 12
    assert sum(family.topic != "any" for family in FAMILIES.values()) >= 14


@pytest.mark.parametrize("name", FAMILIES)
def test_every_wording_is_recognised_and_train_and_test_share_none(name: str) -> None:
    family = FAMILIES[name]
    assert len(set(family.wordings_train)) >= 8
    assert len(set(family.wordings_test)) >= 3
    assert not set(family.wordings_train) & set(family.wordings_test)
    assert family.general in family.wordings_train
    for wording in (*family.wordings_train, *family.wordings_test):
        assert classify(wording) == name, wording
        if family.topic != "any":
            assert family.topic in wording


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_in_every_style_are_correct_in_form_and_facts_and_of_plausible_length(name: str) -> None:
    family = FAMILIES[name]
    rng = random.Random(name)
    met = 0
    for scene in SCENES:
        facts = facts_of(scene, place=rng.random() < 0.5)
        if not family.applies(facts):
            continue
        met += 1
        for style in range(len(family.styles)):
            answer = family.write(facts, rng, style=style)
            verdict = family.verify(answer, facts)
            assert verdict.ok, (answer, verdict.problems)
            assert 3 <= len(answer.split()) <= 75, answer
    assert met


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_specific_instructions_name_only_what_is_there_and_are_recognised(name: str, split: Split) -> None:
    family = FAMILIES[name]
    rng = random.Random(f"{name} {split}")
    for scene in SCENES[:200]:
        facts = facts_of(scene, place=True)
        if family.applies(facts):
            text = family.instruction(facts, rng, split, specific=True)
            assert classify(text) == name, text
            assert not contradictions(read_facts(text), facts), text


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.topic != "any"])
def test_families_with_a_topic_do_not_apply_to_every_scene(name: str) -> None:
    fits = [FAMILIES[name].applies(facts_of(scene)) for scene in SCENES]
    assert any(fits)
    assert not all(fits)


def test_an_answer_is_about_the_thing_that_the_instruction_names() -> None:
    facts = Facts(("park",), mentions=(Mention("dog", 1, "small", "brown"), Mention("duck", 2, "small", "white")))
    for style in (0, 1):
        answer = FAMILIES["pet_care"].write(
            facts, random.Random(0), "Explain how to look after the two white ducks.", style
        )
        assert "two white ducks" in answer
        assert "dog" not in answer


def test_a_family_refuses_facts_that_lack_its_topic() -> None:
    with pytest.raises(ValueError, match="recipe does not apply"):
        FAMILIES["recipe"].write(Facts(mentions=(Mention("dog"),)), random.Random(0))


@pytest.mark.parametrize(
    ("name", "answer", "problem"),
    [
        ("haiku", "One line about a tree.", "3 lines|lines, not 3"),
        ("tweet", "dog " * 60, "characters"),
        ("json_objects", "{'things': []}", "no JSON"),
        ("quiz", "Question: What colour is the dog?\nAnswer: b", "choices"),
        ("title_tags", "Title: dog", "tags"),
        ("pet_care", "1. Feed the dog. 3. Walk the dog.", "numbered"),
        ("count_report", "Count: two dogs and one ball. Total: four.", "total is 3"),
        ("recipe", "1. Mix. 2. Bake. 3. Enjoy this with a group of good and merry friends of yours.", "names nothing"),
    ],
)
def test_a_wrong_form_is_reported(name: str, answer: str, problem: str) -> None:
    verdict = FAMILIES[name].verify(answer, Facts(mentions=(Mention("dog", 2), Mention("ball", 1), Mention("tree", 1))))
    assert not verdict.format_ok
    assert any(part in " ".join(verdict.problems) for part in problem.split("|")), verdict.problems


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("Just saw a cat in a park.", "no cat"),
        ("Just saw three brown dogs in a park.", "count of dog"),
        ("Just saw two red dogs in a park.", "colour of dog"),
        ("Just saw two brown dogs on a beach.", "beach is not there"),
        ("Just saw two brown dogs on a rainy day in a park.", "rainy is not there"),
        ("Just saw two brown dogs at Maple Park today.", "Maple Park is not there"),
        ('Just saw two brown dogs and a sign "OPEN".', "OPEN is not there"),
        ("I purr and chase mice, said two brown dogs in a park.", "cat gives that clue"),
        ("What a wet morning for two brown dogs in a park!", "no wet time"),
    ],
)
def test_a_false_claim_is_reported(answer: str, problem: str) -> None:
    facts = Facts(("park",), ("morning",), ("sunny",), mentions=(Mention("dog", 2, "small", "brown"),))
    verdict = FAMILIES["tweet"].verify(answer, facts)
    assert not verdict.facts_ok
    assert problem in " ".join(verdict.problems)


def test_a_false_row_in_json_or_in_a_table_is_reported() -> None:
    facts = Facts(("park",), mentions=(Mention("dog", 2, "small", "brown"),))
    row = '{"setting": "park", "things": [{"thing": "dog", "colour": "%s", "number": 2}]}'
    assert FAMILIES["json_objects"].verify(row % "brown", facts).ok
    assert not FAMILIES["json_objects"].verify(row % "white", facts).facts_ok
    table = "| thing | colour | number |\n| --- | --- | --- |\n| dog | brown | %d |"
    assert FAMILIES["table"].verify(table % 2, facts).ok
    assert not FAMILIES["table"].verify(table % 3, facts).facts_ok


def test_a_wrong_answer_of_a_quiz_and_a_wrong_comparison_are_reported() -> None:
    facts = Facts(("park",), mentions=(Mention("dog", 2, None, "brown"), Mention("ball", 1, None, "red")))
    quiz = "Question: How many dogs can you find? a) 1, b) 2, c) 3\nAnswer: %s"
    assert FAMILIES["quiz"].verify(quiz % "b", facts).ok
    assert not FAMILIES["quiz"].verify(quiz % "c", facts).facts_ok
    compared = "The brown dogs and the red ball differ in colour. Also, there are %s dogs than balls here."
    assert FAMILIES["comparison"].verify(compared % "more", facts).ok
    assert not FAMILIES["comparison"].verify(compared % "fewer", facts).facts_ok


@pytest.mark.parametrize(
    ("line", "count"), [("Green cactus alone", 5), ("very still in a forest", 7), ("Soft rain all around", 5)]
)
def test_syllables_are_counted(line: str, count: int) -> None:
    assert syllables(line) == count


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Please write me a nice haiku for this cactus.", "haiku"),
        ("Could you give me a JSON list of what is here?", "json_objects"),
        ("Come up with a quick recipe.", "recipe"),
        ("What does the sign say?", "sign_explanation"),
        ("Describe this picture of two blue signs in one sentence.", "summary"),
        ("Sing.", None),
    ],
)
def test_light_paraphrases_are_recognised(text: str, name: str | None) -> None:
    assert classify(text) == name


def test_the_seeds_cover_many_kinds_of_task_and_nearly_all_belong_to_a_family() -> None:
    assert len(KINDS_OF_TASK) >= 12
    assert len(SEEDS) == len(set(SEEDS)) >= 52
    assert sum(classify(seed) is not None for seed in SEEDS) >= 0.9 * len(SEEDS)


def test_lessons_fit_their_prompts_and_depend_only_on_the_generator() -> None:
    for index, scene in enumerate(SCENES[:60]):
        made = []
        for _ in range(2):
            rng = random.Random(index)
            fuse = lessons.fuse_example(scene, rng)
            instruct = lessons.instruct_example(scene, rng, "train", SEEDS)
            answer = lessons.answer_example(scene, rng, "test", index % 4)
            made.append((fuse, instruct, answer, lessons.summarize_example(rng, "train")))
        assert made[0] == made[1]
        variables, instruction = instruct
        assert len(variables["examples"]) == 5
        assert classify(instruction) not in {classify(example) for example in variables["examples"]}
        name = classify(answer[0]["instruction"])
        assert name is not None
        assert FAMILIES[name].verify(answer[1], facts_of(scene, place=True)).ok
        assert len(answer[0]["examples"]) == index % 4
        members, general = made[0][3]
        assert {classify(member) for member in members} == {classify(general)}
        for file, values in (
            ("fuse", fuse),
            ("instruct", variables),
            ("answer", answer[0]),
            ("summarize", {"members": members}),
        ):
            text = (ROOT / "conf" / "prompts" / f"{file}.md").read_text("utf-8")
            values = {key: value for key, value in values.items() if key != "target"}
            assert prompts.variables(text) == set(values)
            assert prompts.render(text, **values)


def test_many_families_apply_to_every_scene() -> None:
    assert min(len(applicable(facts_of(scene))) for scene in SCENES) >= 12


def test_every_family_applies_to_some_scene() -> None:
    for name in FAMILIES:
        assert _first_that_fits(name)
