from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.headline import page
from lab.headline.arms import ARMS
from lab.headline.scenes import Asked, exam
from mminstruct.microworld.families import FAMILIES
from mminstruct.microworld.language import facts_of

SCENES = 24


def right(one: Asked) -> str:
    import random

    if one.expected is not None:
        return f" {one.expected.capitalize()}. "
    return FAMILIES[str(one.family)].write(facts_of(one.scene, place=True), random.Random(0), one.text)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``set`` is always right, ``vqa`` says only short answers rightly, ``base`` nothing; others are as ``set``."""
    folder = tmp_path_factory.mktemp("out")
    (folder / "answers").mkdir()
    asked = exam(SCENES)
    for arm, seeds in (("base", 1), ("vqa", 2), ("set", 2), ("rated", 2), ("thinned", 2)):
        for seed in range(seeds):
            said = [
                right(one) if arm not in ("base", "vqa") or (arm == "vqa" and one.expected) else "" for one in asked
            ]
            if arm == "thinned" and seed == 1:
                said[0] = "A purple elephant."
            made = {"arm": arm, "seed": seed, "scenes": SCENES, "answers": said}
            (folder / "answers" / f"{arm}-{seed}.json").write_text(json.dumps(made))
    (folder / "facts.json").write_text('{"parameters": 5}')
    return folder


def test_answers_are_judged_and_compared_by_scene(out: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        text = page.write(out, pool)
    made = json.loads((out / "result.json").read_text())
    assert made["facts"] == {"parameters": 5}
    value = {arm: {kind: one["ok"]["value"] for kind, one in kinds.items()} for arm, kinds in made["arms"].items()}
    assert value["set"] == {"seen": 1.0, "held": 1.0, "never": 1.0, "short": 1.0}
    assert value["vqa"] == {"seen": 0.0, "held": 0.0, "never": 0.0, "short": 1.0}
    assert value["base"]["short"] == 0.0
    assert made["arms"]["thinned"]["seen"]["ok"]["seeds"] == [1.0, pytest.approx(1 - 1 / SCENES)]
    against = made["against"]
    assert against["set against vqa"]["ok"]["instructions"]["value"] == 1.0
    assert against["set against vqa"]["ok"]["short"]["value"] == 0.0
    assert against["set against vqa"]["duel"]["win"] == 2 * 3 * SCENES
    assert against["vqa against set"]["duel"]["rate"]["value"] == 0.0
    assert against["vqa against set"]["duel"]["rate"]["high"] < 0.2
    assert against["rated against thinned"]["duel"]["win"] == 1
    assert against["rated against thinned"]["ok"]["seen"]["value"] == pytest.approx(0.5 / SCENES)
    assert (out / "headline.md").read_text() == text
    assert ARMS["vqa"].says in text


def test_a_file_with_too_few_answers_is_refused(out: Path, tmp_path: Path) -> None:
    made = json.loads((out / "answers" / "set-0.json").read_text())
    made["answers"].pop()
    (tmp_path / "set-0.json").write_text(json.dumps(made))
    with pytest.raises(ValueError, match="95 answers to 96 questions"):
        page.judged(tmp_path / "set-0.json")


def test_arms_are_compared_by_the_seeds_that_both_have() -> None:
    no, yes = page.Judged(False, False, 0, 1, 1), page.Judged(True, True, 1, 1, 1)
    found = {("set", 0, "held"): [no, no], ("set", 1, "held"): [yes, yes], ("vqa", 1, "held"): [yes, yes]}
    assert page.change(found, "set", "vqa", ["held"]).value == 0.0
    assert page.duel(found, "set", "vqa", ["held"])["tie"] == 2
