"""The model presets: each composes with the recipe, and its header says what it needs."""

from __future__ import annotations

import functools

import pytest
import yaml
from hydra import compose, initialize_config_dir

from mminstruct import config
from mminstruct.models.backends import BACKENDS
from mminstruct.models.openai import Settings
from mminstruct.models.prices import price_of
from mminstruct.recipes import MMInstruct

FOLDER = config.conf() / "models"
CHOICES = sorted(file.stem for file in FOLDER.glob("*.yaml"))
ROLES = {"caption": "captioner", "fuse": "fuser", "instruct": "instructor", "embed": "embedder", "match": "clip",
         "summarize": "summarizer", "exemplify": "exemplar", "answer": "answerer"}  # fmt: skip


@functools.cache
def made(choice: str, *words: str) -> MMInstruct:
    config.register()
    with initialize_config_dir(str(config.conf()), version_base="1.3"):
        composed = compose("build", [f"models={choice}", "out=run", "source=images", "engine=node_8gpu", *words])
    recipe = config.build(composed)[0].recipe
    assert isinstance(recipe, MMInstruct)
    return recipe


def test_there_is_a_choice_for_a_demo_a_laptop_a_small_gpu_an_endpoint_the_paper_and_today() -> None:
    assert CHOICES == ["api", "gpu24", "laptop", "micro", "modern", "paper"]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_of_models_composes_with_the_recipe_and_plays_every_role(choice: str) -> None:
    stages = made(choice).stages()
    for stage, role in ROLES.items():
        model = stages[stage].model  # type: ignore[attr-defined]
        assert model.backend in BACKENDS, role
        assert (model.backend == "open_clip") == (role == "clip"), role
        assert model.backend != "cogvlm" or role == "captioner"
        if role not in ("embedder", "clip"):
            assert 32 <= model.max_tokens <= 1024, role
        if model.backend == "openai":
            assert Settings.of(model).budget, f"{role} could spend without end"
            assert price_of(model.name, "api.openai.com"), f"{role} has no price, so no budget could hold"


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice != "micro"])
def test_a_choice_of_models_says_for_each_what_it_needs_and_under_which_licence(choice: str) -> None:
    head = (FOLDER / f"{choice}.yaml").read_text().partition("defaults:")[0]
    for role in ROLES.values():
        assert role in head
    assert all(word in head for word in (" GB", "licence", "GPU", "revision"))


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice != "micro"])
def test_open_clip_knows_the_named_weights(choice: str) -> None:
    import open_clip

    architecture, tag = yaml.safe_load((FOLDER / f"{choice}.yaml").read_text())["clip"]["name"].split("/")
    assert (architecture, tag) in open_clip.list_pretrained()
    quick = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu"))
    assert quick == architecture.endswith("-quickgelu")  # else the activation function is not that of the weights


def test_capsfusion_is_asked_in_its_own_words_and_only_where_it_is_the_fuser() -> None:
    theirs, ours = ((config.conf() / "prompts" / f"{name}.md").read_text() for name in ("fuse_capsfusion", "fuse"))
    assert made("paper").fuse.prompt == theirs
    assert made("modern").fuse.prompt == ours
    assert made("paper", "recipe.fuse.prompt=fuse").fuse.prompt == ours
    assert made("modern", "+models.fuser.prompts.fuse=fuse_capsfusion").fuse.prompt == theirs
