from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from mminstruct.run import Run

settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")  # no deadline, since the machine may be busy


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """One local Ray for all tests that need it."""
    import ray

    from tests.engine.nodes import patiently

    some = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 200 * 2**20}
    patiently(lambda: ray.init(num_cpus=4, logging_level="warning", **some))
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """A bucket on moto's S3 server, over loopback HTTP."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": f"http://{host}:{port}"}}
    fsspec.config.conf["s3"] = options
    fsspec.filesystem("s3").mkdir("runs")
    yield "s3://runs"
    server.stop()
    fsspec.config.conf.pop("s3")


def mminstruct(*words: str | Path, code: int = 0) -> str:
    """Run a command in a separate process, as a user would; returns its output."""
    done = subprocess.run(
        [sys.executable, "-m", "mminstruct.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done.stdout + done.stderr


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that the processes of a test run share: the first one builds it. No test may change it."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    done = root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.exists():
            build(root / name)
            done.touch()
    return root / name


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 microworld images in both layouts of the paper's sources."""

    def draw(folder: Path) -> None:
        mminstruct("microworld", "--images", "24", "--layout", "sa1b", "--to", folder / "sa1b")
        mminstruct("microworld", "--images", "24", "--start", "24", "--layout", "datacomp", "--to", folder / "datacomp")

    return built_once(tmp_path_factory, "world", draw)


SMALL = ("experiment=demo", "recipe.ingest.rows=12", "recipe.cluster.k=12", "recipe.match.sample_images=24")


@pytest.fixture(scope="session")
def demo(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo run: the real recipe, the real models, the Ray engine."""
    return built_once(
        tmp_path_factory, "demo", lambda folder: mminstruct("build", *SMALL, f"out={folder}", f"source={world}")
    )


COCO = ("recipe.ingest.rows=8", "recipe.select.holdout.count=3", "engine=local")


@pytest.fixture(scope="session")
def coco_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 drawn images and annotation sets of ten formats, with planted faults."""
    from tests.world import annotated

    return annotated(tmp_path_factory.mktemp("coco") / "world", images=32)


@pytest.fixture(scope="session")
def coco_run(coco_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the recipe coco; tests only read it."""
    from mminstruct.engine.local import Local
    from mminstruct.run import Run, claim, execute
    from tests.world import coco

    made = Run(url=str(tmp_path_factory.mktemp("coco") / "run"), recipe=coco(coco_source, *COCO))
    claim(made)
    execute(made, Local())
    return made


DOMAINS = ("experiment=demo_domains", "recipe.ingest.rows=4", "recipe.retrieve.sample_images=8", "units=null",
           "recipe.select.holdout.count=1", "engine=local")  # fmt: skip


@pytest.fixture(scope="session")
def domains_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 drawn images in two shards."""

    def draw(folder: Path) -> None:
        mminstruct("microworld", "--images", "8", "--per-shard", "4", "--layout", "datacomp", "--to", folder)

    return built_once(tmp_path_factory, "domains_world", draw)


@pytest.fixture(scope="session")
def domains_run(domains_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the recipe domains with the embedded models; tests only read it."""
    return built_once(
        tmp_path_factory, "domains", lambda folder: mminstruct("build", *DOMAINS, f"out={folder}", f"source={domains_source}")
    )  # fmt: skip
