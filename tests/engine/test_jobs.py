"""`ray job submit` to a real cluster with token authentication."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from omegaconf import OmegaConf

from mminstruct.job import run
from mminstruct.status.tables import table_statuses
from tests.conftest import SMALL
from tests.engine.nodes import free_ports

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
SAID = 'CC BY 4.0, "a=b"; it\'s ${free}'
"""Characters that a shell, Ray's command line or Hydra could interpret."""

PORTS = (
    "dashboard-port", "port", "ray-client-server-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
    "runtime-env-agent-port", "metrics-export-port",
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, dict[str, str]]]:
    """The dashboard address of a head node, and an environment with its token."""
    folder = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))  # paths of sockets have 107 characters at most
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    env |= {"HOME": str(folder), "RAY_AUTH_MODE": "token", "OMP_NUM_THREADS": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    subprocess.run([RAY, "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
    head, address = _start(folder, env)
    try:
        yield address, env
    finally:
        _end(head)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, env: dict[str, str]) -> tuple[subprocess.Popen[bytes], str]:
    """Start a head node, in up to four attempts: Ray gives it 30 s, which is too short on a busy machine."""
    log = folder / "log"
    for _ in range(4):
        ports = free_ports(len(PORTS))
        words = ["--head", "--block", "--disable-usage-stats", "--num-cpus=2", "--object-store-memory=100000000"]
        words += ["--dashboard-host=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0"]
        words += [f"--temp-dir={folder}/ray", *(f"--{name}={port}" for name, port in zip(PORTS, ports, strict=True))]
        with log.open("wb") as file:
            head = subprocess.Popen([RAY, "start", *words], env=env, stdout=file, stderr=file, start_new_session=True)
        while head.poll() is None:
            if b"will now block" in log.read_bytes() and _answers(f"http://127.0.0.1:{ports[0]}"):
                return head, f"http://127.0.0.1:{ports[0]}"
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=5)
    except urllib.error.HTTPError:
        return True  # it answers, and requires the token
    except OSError:
        return False
    return True


def _end(head: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # it may have exited with its children
        for process in [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    head.wait()


def submit(cluster: tuple[str, dict[str, str]], *words: str) -> subprocess.CompletedProcess[str]:
    address, env = cluster
    command = [RAY, "job", "submit", "--address", address, "--working-dir", ".", "--", *words]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.slow
def test_a_submitted_job_builds_on_the_cluster_with_its_words_intact(
    cluster: tuple[str, dict[str, str]], world: Path, demo: Path, tmp_path: Path
) -> None:
    said = '"' + SAID.replace('"', '\\"').replace("${", "\\${") + '"'
    done = submit(
        cluster, "python", "jobs/build.py", *SMALL, f"out={tmp_path}/run", f"source={world}", f"base={demo}",
        "recipe.select.holdout.images=1",  # select and export are left to do
        "engine.pool={workers: 1, cpus: 0.5, in_flight: 1}",
        "+engine.pool.env.env_vars.WHO=${models.captioner.name}", f"+engine.pool.env.env_vars.SAID={said}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    status = {one.table: one for one in table_statuses(str(tmp_path / "run"))}
    assert status["export"].units == status["filter"].units
    assert not any(one.left or one.faults for one in status.values())
    composed = OmegaConf.create(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["config"])
    words = OmegaConf.to_container(composed.engine.pool.env, resolve=True)
    assert words == {"env_vars": {"WHO": "micro:captioner", "SAID": SAID}}


@pytest.mark.slow
def test_the_working_directory_that_is_sent_is_code_alone(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package

    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, tmp_path)
    code = [
        "mminstruct/a.py",
        "jobs/build.py",
        "conf/prompts/mine.md",
        "my_package/data/table.csv",
        "my_package/runs.py",
    ]
    left = [
        ".venv/bin/python", "runs/demo/x.parquet", "runs/tuned/model.safetensors", "data/photos/a.heic", "dataset/a.json",
        "photos/a.jpg", "shards/0.tar", "docs/page.md", "tests/test_a.py", "__pycache__/a.pyc", ".mypy_cache/a.json",
    ]  # fmt: skip
    for name in [*code, *left]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    create_package(str(tmp_path), tmp_path.parent / "sent.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path.parent / "sent.zip") as sent:
        names = {name for name in sent.namelist() if not name.endswith("/")}
    assert names - {".gitignore", ".rayignore"} == set(code)
    create_package(str(ROOT), tmp_path.parent / "ours.zip", include_gitignore=True)
    assert (tmp_path.parent / "ours.zip").stat().st_size < 45 << 20  # docs/cluster.md says 41


@pytest.mark.parametrize("command", ["build", "train"])
def test_a_folder_that_ray_would_delete_with_the_job_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_83816509666daa4b"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    words = ["source=images"] if command == "build" else ["data.path=data.json"]
    assert run(command, ["out=runs/one", *words]) == 2
    assert "out=runs/one is in the copy of the working directory that Ray made" in capsys.readouterr().err
    for out in (f"{tmp_path}/runs/one", "memory://runs/one"):
        assert run(command, [f"out={out}", *words, "seed=none"]) == 2
        assert "working directory" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_mistake_comes_back_as_a_failed_job_with_its_line(cluster: tuple[str, dict[str, str]]) -> None:
    done = submit(cluster, "python", "jobs/build.py", "out=nowhere", "source=nowhere", "recipe.ingest.row=3")
    assert done.returncode != 0
    assert "there is no key 'recipe.ingest.row'; did you mean 'recipe.ingest.rows'?" in done.stdout + done.stderr


@pytest.mark.slow
def test_nobody_submits_without_the_token(cluster: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, env = cluster
    stranger = {**env, "HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"}
    done = submit((address, stranger), "touch", str(tmp_path / "here"))
    assert done.returncode != 0
    assert not (tmp_path / "here").exists()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/api/jobs/", timeout=30)
    assert refused.value.code == 401
