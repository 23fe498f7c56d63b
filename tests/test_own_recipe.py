"""A recipe, its stages and its roles from a package of the user's own, named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mminstruct import config, plugin
from mminstruct.cli import main
from mminstruct.config import files
from mminstruct.recipes import RECIPES
from mminstruct.store.tables import Store

RECIPE = '''
from dataclasses import dataclass

import pyarrow as pa

from mminstruct import schemas
from mminstruct.models.model import Model
from mminstruct.recipe import Recipe
from mminstruct.stage import Stage, StageOutput, Transform, output, part, role
from mminstruct.stages.caption import Caption
from mminstruct.stages.ingest import Ingest

TITLE = schemas.table(
    "A title for each image.",
    schemas.column("image_id", pa.string(), "of the image", tag="id"),
    schemas.column("title", pa.string(), "a few words", tag="text"),
)


@dataclass(kw_only=True)
class Title(Stage):
    """Gives each image a title."""

    model: Model = role("titler")
    checker: Model = role("checker", like="titler")
    seed: int = 0

    kind = "text"
    reads = {"ingest": part("image_id", "alt_text")}
    writes = TITLE
    row_key = "image_id"

    def load(self) -> Transform:
        def title(ingest: pa.Table) -> StageOutput:
            return output(TITLE, ({"image_id": key, "title": self.model.name} for key in ingest["image_id"].to_pylist()))

        return title


@dataclass(kw_only=True)
class Titles(Recipe):
    """Titles for images."""

    ingest: Ingest
    title: Title


@dataclass(kw_only=True)
class Captions(Recipe):
    """Captions by a stage whose input is connected here."""

    ingest: Ingest
    caption: Caption
    wires = {"caption": {"ingest": part("image_id", "image", of="ingest")}}


class NoRecipe:
    pass
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package that holds a recipe, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(RECIPES)
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package" / "__init__.py").touch()
    (tmp_path / "their_package" / "titles.py").write_text(RECIPE)
    (tmp_path / "their_package" / "broken.py").write_text("1 / 0")
    (tmp_path / "their_package" / "needy.py").write_text("import no_such_library")
    yield "their_package.titles"
    for name in set(RECIPES) - before:
        del RECIPES[name]
    for name in [name for name in sys.modules if name.startswith("their_package")]:
        del sys.modules[name]


def draw(folder: Path) -> Path:
    from mminstruct.microworld import shards

    shards.write("datacomp", folder, 8, seed=1000, per_shard=8)
    return folder


def test_a_recipe_of_ones_own_is_built_planned_and_read(
    package: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world = draw(tmp_path / "world")
    words = [f"recipe={package}:Titles", "engine=local", f"source={world}", "out=run", "seed=3"]
    role = "models.titler={name: someone, backend: openai, url: http://localhost:1}"
    assert main(["plan", *words]) == 2
    assert "models.titler.name= is missing" in capfd.readouterr().err
    assert main(["build", *words, role]) == 0
    table = Store("run").table("title")
    assert sum(part.rows for part in table.parts().values()) == 8
    manifest = table.manifest()
    assert manifest is not None
    assert manifest["config"]["seed"] == 3
    assert manifest["config"]["model"]["name"] == "someone"
    assert main(["status", "run"]) == 0
    assert "complete: all row counts add up" in capfd.readouterr().out


def test_a_stage_that_is_wired_has_its_prompt_and_its_model(package: str, tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir

    words = [f"recipe={package}:Captions", "out=run", f"source={draw(tmp_path / 'world')}"]
    config.register()
    with initialize_config_dir(str(files.conf()), version_base="1.3"):
        made, run = config.build(compose("build", config.opened("build", words)))
    assert run.stages["caption"].reads != made.recipe.caption.reads
    assert "## user" in run.stages["caption"].prompt  # type: ignore[attr-defined]
    assert run.stages["caption"].model.name == "micro:captioner"  # type: ignore[attr-defined]


def test_a_role_without_a_model_of_its_own_has_that_of_the_role_it_is_like(package: str, tmp_path: Path) -> None:
    words = [f"source={draw(tmp_path / 'world')}", f"recipe={package}:Titles", "engine=local"]
    titler = "models.titler={name: someone, backend: openai, url: http://localhost:1, max_tokens: 7}"
    own = ["models.checker.name=other", "models.checker.backend=openai"]
    found = {}
    for folder, more in (("own", own), ("alike", [])):
        assert main(["build", *more, *words, f"out={folder}", titler]) == 0
        config = (Store(folder).table("title").manifest() or {})["config"]
        found[folder] = [(config[key]["name"], config[key]["max_tokens"]) for key in ("model", "checker")]
    assert found == {"own": [("someone", 7), ("other", 512)], "alike": [("someone", 7), ("someone", 7)]}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "recipe=no_package_of_anyone:X",
            "there is no module no_package_of_anyone; install its package, or put its folder",
        ),
        ("recipe=their_package.titel:Titles", "there is no module their_package.titel"),
        ("recipe=their_package.titles:Titel", "their_package.titles has no Titel; it has"),
        (
            "recipe=their_package.titles:NoRecipe",
            "is no recipe: it must be a dataclass that inherits mminstruct.Recipe",
        ),
        ("recipe=their_package.titles:", "write my_package.my_module:MyClass"),
        ("recipe=their_package.broken:X", "importing their_package.broken failed: ZeroDivisionError: division by zero"),
        ("recipe=their_package.needy:X", "their_package.needy imports no_such_library, which is not installed"),
    ],
)
def test_a_recipe_that_cannot_be_loaded_is_refused_with_its_reason(
    package: str, capfd: pytest.CaptureFixture[str], word: str, said: str
) -> None:
    assert main(["plan", "out=run", "source=.", word]) == 2
    told = capfd.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_role_that_is_nearly_one_of_a_stage_is_refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["plan", f"out={tmp_path}/run", f"source={draw(tmp_path / 'world')}"]
    assert main([*words, "models.anwserer={name: someone}"]) == 2
    told = capfd.readouterr().err
    assert "there is no key 'models.anwserer'; did you mean 'models.answerer'?" in told


def test_names_of_ours_have_no_colon() -> None:
    assert not any(plugin.is_outside(name) for name in RECIPES)
