"""An installed wheel works outside the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mminstruct.reviewing.page import SCRIPT

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-w", str(folder)], check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_conf_and_weights_travel_in_the_wheel(installed: Path) -> None:
    there = {str(path.relative_to(installed / "mminstruct")) for path in (installed / "mminstruct").rglob("*.*")}
    ours = {f"conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.*")}
    assert ours <= there
    assert {"py.typed", "report/row.html", "report/build.html"} <= there
    assert {f"reviewing/{name}" for name in ("page.html", "page.css", *SCRIPT, "questions.yaml")} <= there
    assert {f"microworld/weights/{name}/model.safetensors" for name in ("llm", "captioner", "embedder")} <= there
    assert sorted(path.name for path in installed.iterdir() if path.suffix != ".dist-info") == ["mminstruct"]  # no lab


def test_the_installed_package_draws_and_plans_far_from_the_repository(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "mminstruct.cli"]

    def run(*words: str) -> str:
        done = subprocess.run(
            [*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [sys.executable, "-c", "import mminstruct; print(mminstruct.__file__)"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(installed))
    run("microworld", "--images", "4", "--to", "world")
    assert "to do" in run("plan", "out=run", "source=world")
