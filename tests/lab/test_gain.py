from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lab import contest, gain
from lab.gain import Question
from mminstruct.microworld import shards
from mminstruct.microworld.families import FAMILIES, applicable, classify
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.scene import draw_scene

ALONE = ("workers.kind=local", "workers.count=1", "trackers=[]")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an export of a build looks like: a dozen images, an instruction and its answer for each."""
    folder = tmp_path_factory.mktemp("built")
    shards.write("coco", folder, 12, seed=1000)
    rows = []
    for index in range(12):
        scene, rng = draw_scene(index, 1000), random.Random(index)
        family = rng.choice(applicable(facts_of(scene)))
        text = family.instruction(facts_of(scene), rng, "train")
        talk = [("human", f"<image>\n{text}"), ("gpt", family.write(facts_of(scene), rng, text))]
        turns = [{"from": who, "value": said} for who, said in talk]
        rows.append({"id": f"pair-{index}", "image": f"images/{index:012d}.jpg", "conversations": turns})
    (folder / "train.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[Question]:
    return gain.exam(tmp_path_factory.mktemp("exam"), 40)


def test_both_trainings_share_their_questions_and_only_one_has_the_built_set(built: Path, tmp_path: Path) -> None:
    data = gain.write(tmp_path, built, 10)
    base, vqa, both = (json.loads((data / f"{name}.json").read_text()) for name in ("base", "vqa", "set"))
    assert len(vqa) == 10
    assert len(base) == 20
    assert both[:10] == vqa == base[10:]
    assert [row["conversations"] for row in both[10:]] == [
        row["conversations"] for row in json.loads((built / "train.json").read_text())
    ]
    assert all((data / row["image"]).is_file() for row in base + both)


def test_the_exam_is_about_scenes_and_in_wordings_that_nobody_learned(asked: list[Question]) -> None:
    told = [one for one in asked if one.expected is None]
    assert len(told) == len(asked) - len(told) == 40
    assert {one.scene.seed for one in asked} == {2500}
    for one in told:
        family = FAMILIES[str(classify(one.text))]
        for at in range(30):
            taught = family.instruction(facts_of(one.scene), random.Random(at), "train")
            assert one.text != taught


def test_a_model_that_is_right_wins_and_one_that_is_mute_loses(asked: list[Question]) -> None:
    right = [
        one.expected or FAMILIES[str(classify(one.text))].write(facts_of(one.scene), random.Random(0), one.text)
        for one in asked
    ]
    found = gain.measures(asked, {"base": right, "vqa": ["" for _ in asked], "set": right})
    value = {(one.stage, one.name): one.value for one in found}
    for name, share in (("set", 1.0), ("vqa", 0.0)):
        assert value[name, "instruction followed (form)"] == pytest.approx(share, abs=0.05)
        assert value[name, "form kept and nothing false"] == pytest.approx(share, abs=0.05)
        assert value[name, "short answers right"] == share
    assert value["set against vqa", "wins and half the ties"] > 0.97
    assert value["set against base", "wins and half the ties"] == 0.5
    assert ("set against base", "wins of those decided") not in value  # none was


def test_an_answer_of_the_right_form_that_is_false_beats_none_and_loses_to_a_true_one(
    asked: list[Question], tmp_path: Path
) -> None:
    contest.write(tmp_path, 40, {"false": 0.0, "true": 1.0}, seed=2500)
    said = {}
    for name in ("false", "true"):
        lines = map(json.loads, (tmp_path / "answers" / f"{name}.json").read_text().splitlines())
        said[name] = [text for line in lines for text in (line["text"].split("\n")[0], "")]
    mute = ["" for _ in asked]
    for vqa, better in ((mute, said["false"]), (said["false"], said["true"])):
        found = gain.measures(asked, {"vqa": vqa, "set": better})
        wins = next(one for one in found if (one.stage, one.name) == ("set against vqa", "wins of those decided"))
        assert wins.value > 0.8
        assert wins.n > 20


@pytest.mark.slow
def test_the_experiment_trains_twice_from_one_base_and_ends_in_a_table(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--set", str(built), "--work", str(tmp_path), "--scenes", "12", "--base-steps", "2", "--steps", "2",
             "--questions", "4", "train.optim.batch=8", *ALONE]  # fmt: skip
    assert gain.main(words) == 0
    table = capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    assert {row["stage"] for row in result} >= {"base", "vqa", "set", "set against vqa"}
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in result)
    assert table.count("\n| ") >= len(result)
    weights = {
        name: (tmp_path / name / "train/model/model.safetensors").read_bytes() for name in ("base", "vqa", "set")
    }
    assert len(set(weights.values())) == 3
    manifest = json.loads((tmp_path / "set/train/manifest.json").read_text())
    assert manifest["data"]["train"]["kept"] == 24
    (tmp_path / "result.json").unlink()
    assert gain.main(words) == 0  # what is trained is not trained again
    assert json.loads((tmp_path / "result.json").read_text()) == result
