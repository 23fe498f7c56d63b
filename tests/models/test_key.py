"""A key in the environment of a run is in none of the files and logs that the run leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import SMALL
from tests.models.server import Answer, Endpoint, Request, error, say

ROOT = Path(__file__).parents[2]
CANARY = "sk-canary-8f14e45fceea167a5a36dedd4bea2543"
SHORT = f"{CANARY[:7]}***{CANARY[-4:]}"
"""As endpoints echo a key."""
ROLES = ("captioner", "fuser", "instructor", "summarizer", "exemplar", "answerer")


def looks(request: Request) -> bool:
    return not isinstance(request.json["messages"][-1]["content"], str)


def fails_in_every_way(request: Request) -> Answer:
    """Answers with captions and with errors that contain the key; later refuses the key."""
    assert request.headers["authorization"] == f"Bearer {CANARY}", "the key did arrive"
    if not looks(request):
        return error(401, f"Incorrect API key provided: {CANARY}, or {SHORT}")
    failing = [
        error(400, f"bad header: Bearer {CANARY}"),
        error(400, f"flagged {CANARY}", "content_filter"),
        error(500, CANARY),
        Answer(body=f"<html>{CANARY}</html>".encode()),
        Answer(body={"error": {"code": 400, "message": SHORT}}),
    ]
    kind = len(request.raw) % (len(failing) + 2)  # by content, so it fails at every attempt
    return failing[kind] if kind < len(failing) else Answer(body=say("A red robot waves beside two green trees."))


def told(folder: Path) -> str:
    """The content of all files of a folder, with tables decoded."""
    found = []
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            found.append(f"{file}\n{file.read_bytes().decode('latin-1')}")
            if file.suffix == ".parquet":
                table = pq.read_table(file)
                found.append(str([table[name].to_pylist() for name in table.schema.names if name != "image"]))
    return "\n".join(found)


def ended(scratch: Path) -> str:
    """The logs of Ray's processes."""
    names = ("python-core-driver*.log", "raylet.*", "gcs_server.*")
    files = sorted(file for name in names for file in scratch.rglob(name))
    return "\n".join(f"{file.name}\n{file.read_text(errors='replace')[-2500:]}" for file in files)


@pytest.mark.slow
def test_a_key_is_in_nothing_that_a_run_leaves_behind(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    scratch = Path(tempfile.mkdtemp(prefix="key", dir="/tmp"))  # Ray's sockets need a short path
    environment = os.environ | {
        "CANARY_API_KEY": CANARY, "RAY_TMPDIR": str(scratch), "TMPDIR": str(scratch), "RAY_BACKEND_LOG_LEVEL": "info",
    }  # fmt: skip

    def command(*words: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "mminstruct.cli", *map(str, words)],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    try:
        with Endpoint(fails_in_every_way) as endpoint:
            roles = [
                word
                for role in ROLES
                for word in (
                    f"models.{role}.backend=openai",
                    f"models.{role}.url={endpoint.url}",
                    f"models.{role}.key_env=CANARY_API_KEY",
                    f"+models.{role}.options.retries={{attempts:2,backoff:0.02,patience:5}}",
                )
            ]
            words = (*SMALL, f"out={run}", f"source={world}", *roles)
            code, said = command("build", *words)
            assert code == 4, f"{said[-3000:]}\n{ended(scratch)}"
            assert "key is refused" in said
            assert "Bearer" not in said
            _, plan = command("plan", *words)
        _, status = command("status", run)
        left = "\n".join([said, plan, status, told(run), told(scratch)])
        assert (run / "config.yaml").is_file()
        assert "bad header: Bearer ***" in left, "the endpoint's own words are kept, without the key"
        assert any(scratch.rglob("*.log")), "Ray's logs were looked into"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    assert CANARY not in left
    assert SHORT not in left
