from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.models import tiny


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llava(tmp_path_factory.mktemp("llava") / "model")


@pytest.fixture(scope="session")
def trained(llava: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Output folder and facts of ``two_workers``: what two processes do together, and then one alone."""
    folder = tmp_path_factory.mktemp("trained")
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.two_workers", str(rank), str(folder), str(llava)],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [worker.communicate(timeout=560)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(text[-4000:] for text in said)
    return folder, json.loads((folder / "facts.json").read_text())
