"""The teachers: what they teach from, how they learn, and that what is shipped is what was examined."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lab.teach import llm, loop, vision, weights, words
from lab.teach.loop import Learner, precision, share_of
from lab.teach.loop import teach as run
from lab.teach.pictures import GRID, LOCAL, PATCH, SIDE, WHOLE, drawn, drawn_once, seen
from mminstruct.microworld.catalogue import KINDS
from mminstruct.microworld.scene import draw_scene


@pytest.fixture(scope="module")
def tokenizer():
    rng = random.Random(1)
    lessons = llm.training_lessons(rng)
    return words.make_tokenizer(target for _, target in (next(lessons) for _ in range(200)))


def test_a_prompt_and_its_answer_are_tokenised_apart_as_they_are_together(tokenizer):
    for role in llm.ROLES:
        values, target = llm.lesson_values(role, draw_scene(3), random.Random(role), "train")
        messages = llm.render_prompt(role, values)
        prompt, answer = words.coded(tokenizer, messages, target)
        whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": target}], tokenize=False)
        assert prompt + answer == tokenizer(whole.rstrip("\n"), add_special_tokens=False)["input_ids"]


def test_a_chat_starts_with_the_first_token_once(tokenizer):
    prompt, _ = words.coded(tokenizer, [{"role": "user", "content": "Hello"}], "Yes.")
    assert prompt.count(tokenizer.bos_token_id) == 1
    assert prompt[0] == tokenizer.bos_token_id


def test_any_text_survives_the_tokenizer(tokenizer):
    text = 'Ein schöner Tag in Río — "STOP" 犬\n| a | b |'
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_only_answers_and_a_share_of_the_prompt_are_learned():
    batch = [([0, 7, 8, 9], [10, 11, 1]), ([0, 7], [10, 1])]
    ids, labels = llm.tensors(batch, random.Random(0), prompt_share=0.0)
    assert ids.tolist() == [[0, 7, 8, 9, 10, 11, 1], [0, 7, 10, 1, 2, 2, 2]]
    assert labels.tolist() == [[-100, -100, -100, 10, 11, 1, -100], [-100, 10, 1, -100, -100, -100, -100]]
    _, labels = llm.tensors(batch, random.Random(0), prompt_share=1.0)
    assert labels[0].tolist() == [7, 8, 9, 10, 11, 1, -100]


def test_batches_hold_every_lesson_and_no_more_tokens_than_allowed():
    pairs = [([0] * n, [1]) for n in range(1, 60)]
    batches = list(llm.packed(pairs, tokens=200))
    assert sorted(len(prompt) for batch in batches for prompt, _ in batch) == list(range(1, 60))
    assert all(len(batch) * max(len(p) + len(t) for p, t in batch) <= 200 for batch in batches)


def test_lessons_are_repeatable_and_of_the_taught_world():
    first, second = (llm.training_lessons(random.Random(5)) for _ in range(2))
    assert [next(first) for _ in range(20)] == [next(second) for _ in range(20)]


def test_the_learning_rate_rises_stays_and_falls_to_nothing():
    shares = [share_of(progress / 100) for progress in range(101)]
    assert shares[0] == 0
    assert max(shares) == 1
    assert shares[100] == 0
    assert shares[40:] == sorted(shares[40:], reverse=True)


def test_a_learner_learns_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 10))  # 300 steps a minute
    torch.manual_seed(0)
    inputs = torch.randn(256, 16)
    truth = (inputs[:, :4].sum(1) > 0).long()

    def model():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

    def cost(batch):
        scores = learner.model(inputs[batch].to(precision())).float()
        return {"loss": nn.functional.cross_entropy(scores, truth[batch])}

    learner = Learner(model(), rate=2e-2)
    before = float(cost(torch.arange(256))["loss"])
    begun = []

    def batches(steps):
        begun.append(steps)
        return iter(lambda: torch.randint(0, 256, (64,)), None)

    run(learner, batches, cost, minutes=0.4, name="toy", work=tmp_path)
    after = float(cost(torch.arange(256))["loss"])
    assert after < before / 2
    taught, steps = learner.full, learner.steps
    learner = Learner(model(), rate=2e-2)
    learner.load(tmp_path / "toy.pt")
    assert learner.steps == steps
    assert all(torch.equal(learner.full[name], full) for name, full in taught.items())
    assert float(cost(torch.arange(256))["loss"]) == pytest.approx(after, abs=0.02)
    learner = Learner(model(), rate=2e-2)
    run(learner, batches, cost, minutes=0.02, name="toy", work=tmp_path, resume=True)
    assert begun == [0, steps]  # batches that were learned before are not drawn again


def test_patches_show_the_groups_that_the_masks_hold():
    scene = draw_scene(5, 1000)
    pixels, owners, centres, groups, wholes = seen(scene)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert owners.shape == centres.shape == (GRID * GRID,)
    assert set(owners.tolist()) - {0} == {n + 1 for n in range(len(scene.groups))}
    assert centres.sum() <= sum(group.count for group in scene.groups)
    kinds = list(KINDS)
    assert [kinds[row[0]] for row in groups[: len(scene.groups)]] == [group.kind for group in scene.groups]
    assert groups.shape == (4, len(LOCAL))
    assert [values[at] for values, at in zip(WHOLE.values(), wholes, strict=True)] == [
        scene.setting,
        scene.time,
        scene.weather,
    ]


def test_pictures_in_files_are_the_pictures_drawn(tmp_path):
    filed, here = drawn_once(tmp_path, 3, seed=7, workers=1), drawn(3, 7)
    for name in ("pixels", "owners", "centres", "groups", "wholes"):
        assert np.array_equal(getattr(filed, name), getattr(here, name))


def test_what_is_shipped_is_what_was_examined():
    assert weights.check(weights.WEIGHTS, examine=False) == []
    size = sum(path.stat().st_size for path in weights.WEIGHTS.rglob("*") if path.is_file())
    assert size <= weights.LIMIT


def test_what_is_shipped_sees_pictures_of_the_size_that_is_taught():
    captioner, clip = (
        json.loads((weights.WEIGHTS / name).read_text())
        for name in ("captioner/config.json", "clip/open_clip_config.json")
    )
    for tower in (captioner["vision_config"], clip["model_cfg"]["vision_cfg"]):
        assert (tower["image_size"], tower["patch_size"]) == (SIDE, PATCH)


def test_a_changed_missing_or_added_file_is_found(tmp_path: Path):
    for model in weights.MODELS:
        folder = tmp_path / model
        folder.mkdir()
        (folder / "weights").write_bytes(model.encode())
        (folder / weights.MANIFEST).write_text(json.dumps({"files": weights.hashes(folder), "scores": {}}))
    assert weights.check(tmp_path, examine=False) == []
    (tmp_path / "llm" / "weights").write_bytes(b"other")
    (tmp_path / "clip" / "more").write_bytes(b"")
    (tmp_path / "captioner" / "weights").unlink()
    (tmp_path / "embedder" / weights.MANIFEST).unlink()
    problems = weights.check(tmp_path, examine=False)
    assert len(problems) == 4
    for word in ("llm/weights", "clip/more", "captioner/weights", "embedder/manifest.json"):
        assert any(word in problem for problem in problems)


def test_going_on_starts_from_what_is_shipped_and_keeps_what_is_there(tmp_path: Path):
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "mine").write_text("kept")
    weights.begin(tmp_path, weights.WEIGHTS)
    assert [path.name for path in (tmp_path / "llm").iterdir()] == ["mine"]
    for model in ("embedder", "captioner", "clip"):
        assert weights.hashes(tmp_path / model) == weights.hashes(weights.WEIGHTS / model)
        assert not (tmp_path / model / weights.MANIFEST).exists()
        shipped = json.loads((weights.WEIGHTS / model / weights.MANIFEST).read_text())
        assert json.loads((tmp_path / "settings.json").read_text()).items() >= shipped["lessons"].items()
        assert [json.loads(row) for row in (tmp_path / f"{model}.jsonl").open()] == shipped["curve"]
    tower = vision.build()
    tower.load_state_dict(type(tower).from_pretrained(tmp_path / "vision").state_dict())
    whole = load_file(tmp_path / "captioner" / "model.safetensors")
    assert torch.equal(
        tower.state_dict()["embeddings.patch_embedding.weight"],
        whole["vision_tower.vision_model.embeddings.patch_embedding.weight"].float(),
    )


def test_a_model_that_was_not_taught_again_is_neither_examined_nor_shipped_again(tmp_path: Path, monkeypatch):
    shutil.copytree(weights.WEIGHTS, tmp_path / "weights")
    before = {path: path.read_bytes() for path in (tmp_path / "weights").rglob("*.json")}
    weights.begin(tmp_path / "work", tmp_path / "weights")
    examined = []
    monkeypatch.setattr(weights, "scores", lambda model, *_: examined.append(model) or {"right": 0.5})
    weights.ship(tmp_path / "work", tmp_path / "weights")
    assert examined == []
    assert {path: path.read_bytes() for path in (tmp_path / "weights").rglob("*.json")} == before
    with (tmp_path / "work" / "clip" / "more").open("w") as file:
        file.write("changed")
    weights.ship(tmp_path / "work", tmp_path / "weights")
    assert examined == ["clip"]
    assert json.loads((tmp_path / "weights" / "clip" / weights.MANIFEST).read_text())["scores"] == {"right": 0.5}


def test_half_precision_is_for_processors_that_multiply_it(monkeypatch):
    for able, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda able=able: able)
        assert precision("cpu") == dtype
        assert precision("cuda") == torch.bfloat16
