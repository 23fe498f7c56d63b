"""Rules of the architecture: allowed imports, one name per concept, heavy imports only where needed."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mminstruct import schemas
from mminstruct.recipes import RECIPES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mminstruct"
MODULES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "lab").rglob("*.py")])
OF_RECIPE = {name: [field.name for field in dataclasses.fields(kind)] for name, kind in RECIPES.items()}
"""The stages of each recipe, in order."""
STAGES = {stage: name for name, stages in reversed(OF_RECIPE.items()) for stage in stages}
"""Every stage, with the first recipe that has it."""
HEAVY = (
    "torch",
    "torchvision",
    "transformers",
    "open_clip",
    "vllm",
    "ray",
    "faiss",
    "sklearn",
    "cupy",
    "openai",
    "datasets",
)


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_imports_keep_their_contracts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " 0 broken" in done.stdout


def test_every_stage_is_under_the_contract_that_stages_do_not_know_each_other() -> None:
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = next(contract["modules"] for contract in contracts if contract["type"] == "independence")
    assert listed == ["mminstruct.stages.*"]


@pytest.mark.parametrize("word", STAGES)
def test_one_word_names_a_stage_everywhere(word: str) -> None:
    stage = importlib.import_module(f"mminstruct.stages.{word}")
    kind = getattr(stage, word.capitalize())
    assert RECIPES[STAGES[word]].__dataclass_fields__[word].type in (kind.__name__, kind)
    assert kind.writes.names == schemas.TABLES[word].names
    assert (ROOT / "tests" / "stages" / f"test_{word}.py").is_file()
    if any("prompt" in field.metadata for field in dataclasses.fields(kind)):
        assert (ROOT / "conf" / "prompts" / f"{word}.md").is_file()


def test_no_word_names_a_stage_that_is_none() -> None:
    assert set(schemas.TABLES) == set(STAGES)
    for name, stages in OF_RECIPE.items():
        assert [table for table in schemas.TABLES if table in stages] == stages
        words = yaml.safe_load((ROOT / "conf" / "recipe" / f"{name}.yaml").read_text()).keys() - {"defaults"}
        assert words <= set(stages)
    assert sorted(file.stem for file in (PACKAGE / "stages").glob("[a-z]*.py")) == sorted(STAGES)


@pytest.mark.parametrize(
    "module",
    [
        "mminstruct.cli",
        "mminstruct.config",
        "mminstruct.library",
        "mminstruct.status.trace",
        "mminstruct.export",
        "mminstruct.engine.data",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def training(file: Path) -> bool:
    """Whether *file* belongs to training, which may import torch anywhere."""
    return bool({"teach", "headline", "training"} & set(file.parts))


@pytest.mark.parametrize("file", [file for file in MODULES if not training(file)], ids=name_of)
def test_no_module_imports_heavy_libraries_at_its_top(file: Path) -> None:
    tops = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in tops if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in tops if isinstance(node, ast.ImportFrom)}
    assert not {name for name in names if name.split(".")[0] in HEAVY}


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_a_module_has_a_name_of_its_own_and_a_length_that_can_be_read(file: Path) -> None:
    assert file.stem not in ("utils", "util", "common", "helpers", "helper", "base", "misc")
    assert len(file.read_text().splitlines()) <= 400


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(file)
        for file in MODULES
        if file.read_text().strip() and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert silent == []


def test_every_job_enters_by_the_doors_of_the_command() -> None:
    for file in sorted((ROOT / "jobs").glob("*.py")):
        imported = [node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        assert imported == ["mminstruct.job"], file
