"""The teachers: what they teach from, how they learn, and that what is shipped is what was examined."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lab.teach import album, captioner, llm, mixtral, pictures, plan, pupil, weights, words, workers
from lab.teach.learner import Clock, Learner, precision
from lab.teach.pictures import GRID, LOCAL, PATCH, SIDE, WHOLE, seen
from mminstruct.microworld.catalogue import KINDS, LEVELS
from mminstruct.microworld.language import caption
from mminstruct.microworld.scene import draw_scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tokenizer of few words."""
    made = tmp_path_factory.mktemp("words")
    stream = llm.training_lessons(random.Random(1))
    words.make_tokenizer((target for _, target in (next(stream) for _ in range(200))), made, plan.WEIGHTS / "llm")
    return made


@pytest.fixture(scope="module")
def tokenizer(folder):
    return words.load_tokenizer(folder)


@pytest.fixture(scope="module")
def shipped():
    """The tokenizer of the llm, without transformers."""
    return words.Words(plan.WEIGHTS / "llm")


def test_drawing_and_writing_need_neither_pytorch_nor_the_engine():
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "hydra", "omegaconf", "ray", "open_clip", "simplejpeg"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import lab.teach.conduct, lab.teach.__main__
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_tokens_without_transformers_are_those_of_transformers(shipped):
    theirs = words.load_tokenizer(plan.WEIGHTS / "llm")
    stream = llm.training_lessons(random.Random(2))
    some = [next(stream) for _ in range(30)]
    pairs = shipped.coded(some)
    assert pairs == [words.coded(theirs, messages, target) for messages, target in some]
    assert [shipped.text(said) for _, said in pairs] == [target.strip() for _, target in some]


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


def test_lessons_are_repeatable_and_of_the_taught_world():
    first, second = (llm.training_lessons(random.Random(5)) for _ in range(2))
    assert [next(first) for _ in range(20)] == [next(second) for _ in range(20)]


def test_only_answers_and_a_share_of_the_prompt_are_learned():
    batch = [([0, 7, 8, 9], [10, 11, 1]), ([0, 7], [10, 1])]
    ids, where, labels = workers.arrays(batch, np.random.default_rng(0), 0.0)
    assert ids.shape == (2, workers.STEP)
    assert ids[:, :7].tolist() == [[0, 7, 8, 9, 10, 11, 1], [0, 7, 10, 1, 2, 2, 2]]
    assert where.tolist() == [3, 4, 5, workers.STEP + 1, workers.STEP + 2]
    assert labels.tolist() == [10, 11, 1, 10, 1]
    said = [10] * (workers.LONG - 1) + [1]
    ids, where, labels = workers.arrays([([0, 7, 8, 9], said)], np.random.default_rng(0), 1.0)
    assert labels.tolist() == [7, 8, 9, *said]
    assert (ids.ravel()[where + 1] == labels).all()


def test_a_prompt_is_learned_less_where_its_answer_is_short():
    prompt, chance = [0, *range(10, 310)], np.random.default_rng(0)
    learned = {n: len(workers.arrays([(prompt, [7] * n)], chance, 0.5)[2]) - n for n in (3, workers.LONG // 2, 60)}
    assert learned[3] < 30 < learned[workers.LONG // 2] < 110 < learned[60] < 180


def test_batches_hold_every_lesson_and_no_more_tokens_than_allowed():
    pairs = [([0] * n, [1]) for n in range(1, 60)]
    batches = list(workers.packed(pairs, tokens=200))
    assert sorted(len(prompt) for batch in batches for prompt, _ in batch) == list(range(1, 60))
    assert all(workers.arrays(batch, np.random.default_rng(0))[0].size <= 200 for batch in batches)


def test_the_learning_rate_rises_stays_and_falls_to_nothing():
    clock = Clock(time.monotonic() + 60, hold=0.4, report=1, save=1)
    shares = [clock.share(progress / 100) for progress in range(101)]
    assert shares[0] == 0
    assert max(shares) == 1
    assert shares[100] == 0
    assert shares[40:] == sorted(shares[40:], reverse=True)


def test_a_learner_learns_and_its_mean_follows():
    torch.manual_seed(0)
    inputs = torch.randn(256, 16)
    truth = (inputs[:, :4].sum(1) > 0).long()
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    one = Learner(dict(model.named_parameters()), rate=2e-2)

    def cost(rows):
        scores = torch.func.functional_call(model, one.p, (inputs[rows].to(precision()),))
        return F.cross_entropy(scores.float(), truth[rows])

    every = torch.arange(256)
    before = float(cost(every))
    for step in range(120):
        cost(torch.randint(0, 256, (64,))).backward()
        one.step(min(1.0, 2 - step / 60))
    assert float(cost(every)) < before / 3
    start, taught, mean = dict(model.named_parameters()), one.tensors(), one.tensors(mean=True)
    for name, leaf in one.p.items():
        assert torch.equal(taught[name].to(leaf.dtype), leaf)
        assert 0 < (mean[name] - start[name]).norm() < (taught[name] - start[name]).norm()


def test_a_gradient_that_is_not_finite_counts_as_none():
    one = Learner({"a": torch.ones(3, 3), "embed": torch.ones(4)}, rate=0.1, decay=0.0)
    (one.p["a"].sum() * float("nan") + one.p["embed"].sum() * float("inf")).backward()
    one.step(1.0)
    assert all(torch.equal(tensor, torch.ones_like(tensor)) for tensor in one.tensors().values())


@pytest.mark.parametrize("level", LEVELS)
def test_cells_show_the_groups_that_the_masks_hold(level):
    scene = draw_scene(5, 1000, level)
    row = seen(scene)
    assert row["pixels"].shape == (SIDE, SIDE, 3)
    assert {g for g in range(pictures.GROUPS) if row["cells"][..., g].any()} == set(range(len(scene.groups)))
    assert np.count_nonzero(row["centres"]) <= sum(group.count for group in scene.groups)
    kinds = list(KINDS)
    assert [kinds[one[0]] for one in row["groups"][: len(scene.groups)]] == [group.kind for group in scene.groups]
    said = [values[at] for values, at in zip(WHOLE.values(), row["wholes"], strict=True)]
    assert said == [scene.setting, scene.time, scene.weather]


@pytest.fixture(scope="module")
def drawn(shipped):
    """Eight scenes whose mirror images have another caption and four that have no mirror image, in an album."""
    able = [s for s in map(draw_scene, range(400)) if pictures.mirrorable(s) and pictures.mirrored(s) != s][:8]
    scenes = able + [s for s in map(draw_scene, range(400)) if not pictures.mirrorable(s)][:4]
    arrays = pictures.empty(len(scenes))
    for at, scene in enumerate(scenes):
        pictures.draw(arrays, at, scene, shipped)
    names = ("pixels", "cells", "centres", "groups", "wholes", "captions", "flips")
    book = album.Album(arrays, [(0, 0, len(scenes))], np.ones(1, np.uint8), "cpu", names)
    book.sync()
    return scenes, book


def test_a_mirror_image_has_its_own_caption_and_roles(drawn, shipped, monkeypatch):
    scenes, book = drawn
    rows = torch.arange(len(scenes))
    plain, labels, said = book.batch(rows, 0.0)
    monkeypatch.setattr(album, "REACH", 0)  # mirrored, not moved
    monkeypatch.setattr(torch, "rand", lambda *shape, **more: torch.zeros(*shape, **more))
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    turned, turned_labels, turned_said = book.batch(rows, 1e-6)
    left, right = (LOCAL["role"].index(f"left of {end}") for end in ("subject", "target"))
    for at, scene in enumerate(scenes):
        texts = [shipped.text(one[one >= 0].tolist()) for one in (said[at], turned_said[at])]
        grid = plain[at].view(GRID, GRID, PATCH, PATCH, 3)
        if pictures.mirrorable(scene):
            assert texts == [caption(scene), caption(pictures.mirrored(scene))]
            assert texts[0] != texts[1]
            grid = grid.flip(1, 3)
            before, after = (one["kind"][at].view(GRID, GRID) for one in (labels, turned_labels))
            assert (before.flip(1) == after).float().mean() > 0.9
            before, after = (one["role"][at].view(GRID, GRID) for one in (labels, turned_labels))
            assert ((before.flip(1) == left) & (after == right)).any()
            assert not ((before.flip(1) == left) & (after == left)).any()
        else:
            assert texts == [caption(scene)] * 2
        shown = turned[at].view(GRID, GRID, PATCH, PATCH, 3).float()
        assert (shown - grid.float()).abs().max() < 0.02


def test_a_moved_picture_has_its_labels_moved(drawn, monkeypatch):
    _, book = drawn
    rows = torch.arange(12)
    still = book.batch(rows, 0.0)[1]["kind"].view(-1, GRID, GRID)
    monkeypatch.setattr(torch, "rand", lambda *shape, **more: torch.ones(*shape, **more))  # never mirrored
    monkeypatch.setattr(torch, "randint", lambda low, high, shape, **more: torch.full(shape, PATCH, **more))
    moved = book.batch(rows, 1.0)[1]["kind"].view(-1, GRID, GRID)  # by one patch, up and to the left
    same = (moved[:, :-1, :-1] == still[:, 1:, 1:]).float().mean()
    assert same > 0.97  # patches are 21 or 22 pixels of the canvas wide
    assert (moved == still).float().mean() < 0.97


def test_every_picture_comes_once_before_any_comes_again(drawn):
    stream = drawn[1].rows(4, ahead=3)
    for _ in range(3):
        assert sorted(torch.cat([next(stream) for _ in range(3)]).tolist()) == list(range(12))


def test_a_model_with_other_words_starts_with_what_the_old_one_knows(folder, shipped):
    tensors, new = pupil.saved(plan.WEIGHTS / "llm"), words.Words(folder)
    look, was = mixtral.reworded(tensors, shipped, new)[mixtral.LOOK], tensors[mixtral.LOOK]
    assert look.shape == (new.inner.get_vocab_size(), was.shape[1])
    assert torch.equal(look[new.inner.token_to_id("Ġthe")], was[shipped.inner.token_to_id("Ġthe")])
    other = next(t for t in new.inner.get_vocab() if shipped.inner.token_to_id(t) is None)
    pieces = shipped.ids([new.inner.decode([new.inner.token_to_id(other)])])[0]
    assert torch.allclose(look[new.inner.token_to_id(other)], was[pieces].mean(0))


def test_what_is_shipped_is_what_was_examined():
    assert weights.check(examine=False) == []
    size = sum(path.stat().st_size for path in plan.WEIGHTS.rglob("*") if path.is_file())
    assert size <= weights.LIMIT


def test_what_is_shipped_sees_pictures_of_the_size_that_is_taught():
    captioner, clip = (
        json.loads((plan.WEIGHTS / name).read_text())
        for name in ("captioner/config.json", "clip/open_clip_config.json")
    )
    for tower in (captioner["vision_config"], clip["model_cfg"]["vision_cfg"]):
        assert (tower["image_size"], tower["patch_size"]) == (SIDE, PATCH)


def test_a_changed_missing_or_added_file_is_found(tmp_path: Path):
    for model in plan.MODELS:
        folder = tmp_path / model
        folder.mkdir()
        (folder / "weights").write_bytes(model.encode())
        (folder / plan.MANIFEST).write_text(json.dumps({"files": weights.hashes(folder), "scores": {}}))
    assert weights.check(tmp_path, examine=False) == []
    (tmp_path / "llm" / "weights").write_bytes(b"other")
    (tmp_path / "clip" / "more").write_bytes(b"")
    (tmp_path / "captioner" / "weights").unlink()
    (tmp_path / "embedder" / plan.MANIFEST).unlink()
    problems = weights.check(tmp_path, examine=False)
    assert len(problems) == 4
    for word in ("llm/weights", "clip/more", "captioner/weights", "embedder/manifest.json"):
        assert any(word in problem for problem in problems)


def test_going_on_starts_from_what_is_shipped_and_keeps_what_is_there(tmp_path: Path):
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "model.safetensors").write_text("kept")
    plan.prepare(tmp_path, None, resume=True)
    assert (tmp_path / "llm" / "model.safetensors").read_text() == "kept"
    for model in ("embedder", "captioner", "clip"):
        manifest = json.loads((plan.WEIGHTS / model / plan.MANIFEST).read_text())
        assert plan.history(tmp_path / model)["curve"] == manifest["curve"]
        (tmp_path / model / plan.LESSON).unlink()
        assert weights.hashes(tmp_path / model) == weights.hashes(plan.WEIGHTS / model)


def test_a_new_start_takes_only_the_tokenizer(tmp_path: Path):
    plan.prepare(tmp_path, None, resume=False)
    assert {path.name for path in tmp_path.rglob("*")} == {"llm", *words.TOKENIZER}


def test_a_model_that_was_not_taught_again_is_neither_examined_nor_shipped_again(tmp_path: Path, monkeypatch):
    shutil.copytree(plan.WEIGHTS, tmp_path / "weights")
    before = {path: path.read_bytes() for path in (tmp_path / "weights").rglob("*.json")}
    plan.prepare(tmp_path / "work", None, True, tmp_path / "weights")
    examined = []
    monkeypatch.setattr(weights, "scores", lambda model, *_: examined.append(model) or {"right": 0.5})
    weights.ship(tmp_path / "work", tmp_path / "weights")
    assert examined == []
    assert {path: path.read_bytes() for path in (tmp_path / "weights").rglob("*.json")} == before
    with (tmp_path / "work" / "clip" / "more").open("w") as file:
        file.write("changed")
    weights.ship(tmp_path / "work", tmp_path / "weights")
    assert examined == ["clip"]
    assert json.loads((tmp_path / "weights" / "clip" / plan.MANIFEST).read_text())["scores"] == {"right": 0.5}
    assert not (tmp_path / "weights" / "clip" / plan.LESSON).exists()


def test_a_save_that_is_not_whole_or_not_finite_leaves_the_folder_as_it_was(tmp_path: Path):
    plan.prepare(tmp_path, tmp_path / "out", resume=True)
    run = SimpleNamespace(work=tmp_path, out=tmp_path / "out")
    tensors = pupil.saved(tmp_path / "clip")
    before = weights.hashes(tmp_path / "clip")
    name = next(iter(tensors))
    for wrong in ({}, {name: tensors[name] * float("nan")}):
        with pytest.raises(ValueError, match="clip is not saved"):
            pupil.keep(run, "clip", {n: t for n, t in tensors.items() if n != name} | wrong, {})
        assert weights.hashes(tmp_path / "clip") == before
    pupil.keep(run, "clip", tensors | {name: tensors[name] + 1}, {"lessons": [1], "curve": []})
    shutil.unpack_archive(tmp_path / "out" / "clip.tar", tmp_path / "there", filter="data")
    assert weights.hashes(tmp_path / "there" / "clip") == weights.hashes(tmp_path / "clip") != before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["captioner", "captioner_small"])
def test_the_captioner_computes_what_transformers_computes(name, drawn, shipped, tmp_path):
    from transformers import LlavaForConditionalGeneration

    there = plan.WEIGHTS / name
    if name == "captioner_small":  # untaught
        there = tmp_path
        captioner.start(name, plan.WEIGHTS / "llm", there)
    model = LlavaForConditionalGeneration.from_pretrained(there, dtype=torch.float32).eval()
    scenes, book = drawn
    said = book.batch(torch.arange(2), 0.0)[2]
    pixels = torch.from_numpy(np.stack([seen(scene)["pixels"] for scene in scenes[:2]]))
    images, patches = pixels.permute(0, 3, 1, 2) / 127.5 - 1, album.patches_of(pixels).float() / 127.5 - 1
    frame = captioner.frame(shipped)
    before, behind = (torch.tensor(ids) for ids in frame)
    ids = torch.tensor([[*frame[0], *[3] * captioner.SEEN, *frame[1]]] * 2)
    labels = torch.cat([torch.full_like(ids, -100), said], 1)
    head, p = captioner.SIZES[name].head, pupil.saved(there)
    with torch.no_grad():
        theirs = model(input_ids=torch.cat([ids, said.clamp(min=0)], 1), pixel_values=images, labels=labels).loss
        scores = captioner.read(p, captioner.tower(p, patches), before, behind, said, head)
        made = model.generate(input_ids=ids, pixel_values=images, max_new_tokens=12, do_sample=False)
    mine = captioner.mean_loss(scores.flatten(0, 1), said.flatten())
    assert float(mine) == pytest.approx(float(theirs), rel=1e-3, abs=1e-5)
    assert captioner.captions(p, patches, before, behind, head, 12).tolist() == made[:, ids.shape[1] :].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llm", "llm_small"])
def test_the_language_model_computes_what_transformers_computes(name, shipped, tmp_path):
    from transformers import AutoModelForCausalLM

    there = plan.WEIGHTS / name
    if name == "llm_small":  # untaught
        there = tmp_path
        mixtral.start(name, plan.WEIGHTS / "llm", there)
    model = AutoModelForCausalLM.from_pretrained(there, dtype=torch.float32).eval()
    stream = llm.training_lessons(random.Random(3))
    pairs = shipped.coded([next(stream) for _ in range(3)])
    ids, where, targets = (torch.from_numpy(a).long() for a in workers.arrays(pairs, np.random.default_rng(0)))
    tensors = mixtral.stacked(pupil.saved(there))
    with torch.no_grad():
        out = model(input_ids=ids, output_router_logits=True)
        made = model.generate(input_ids=torch.tensor([pairs[0][0]]), max_new_tokens=12, do_sample=False)
        mine = mixtral.cost(tensors, ids, where, targets)
    theirs = F.cross_entropy(out.logits.flatten(0, 1)[where], targets)
    assert float(mine["cross_entropy"]) == pytest.approx(float(theirs), rel=1e-3, abs=1e-5)
    assert float(mine["balance"]) == pytest.approx(float(out.aux_loss), rel=1e-3)
    again = mixtral.unstacked(tensors)
    assert all(torch.equal(again[n], t) for n, t in pupil.saved(there).items())
    answer = made[0, len(pairs[0][0]) :].tolist()
    assert mixtral.replies(tensors, [pairs[0][0], pairs[1][0]], 12)[0][: len(answer)] == answer


@pytest.mark.slow
def test_clip_computes_what_open_clip_computes(drawn):
    import open_clip

    from lab.teach import clip

    there = plan.WEIGHTS / "clip"
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{there}")
    model.eval()
    asked = open_clip.get_tokenizer(f"local-dir:{there}")(["A red car.", "Write a poem about the dog."])
    pixels = torch.from_numpy(np.stack([seen(scene)["pixels"] for scene in drawn[0][:2]]))
    p = clip.split(pupil.saved(there))
    with torch.no_grad():
        theirs = model.encode_image(pixels.permute(0, 3, 1, 2) / 127.5 - 1, normalize=True)
        assert (clip.images(p, album.patches_of(pixels).float() / 127.5 - 1) - theirs).abs().max() < 1e-4
        assert (clip.texts(p, asked) - model.encode_text(asked, normalize=True)).abs().max() < 1e-4
    joined = clip.joined(p)
    assert all(torch.equal(t, joined[n]) for n, t in pupil.saved(there).items())


def test_half_precision_is_for_processors_that_multiply_it(monkeypatch):
    for able, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda able=able: able)
        assert precision("cpu") == dtype
        assert precision("cuda") == torch.bfloat16
