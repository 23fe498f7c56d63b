"""Clusters: cluster.yaml, rayjob.yaml, the engine's presets, and nodes that join and die."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from mminstruct import config as configuration
from mminstruct.engine.config import pools
from mminstruct.engine.local import Local
from mminstruct.run import Run, claim, execute
from tests.engine import nodes

ROOT = Path(__file__).parents[2]


def built(*words: str) -> configuration.Build:
    configuration.register()
    with initialize_config_dir(str(configuration.conf()), version_base="1.3"):
        composed = compose("build", ["out=run", "source=images", *words])
    made, _ = configuration.build(composed, folders=[Path(__file__).parents[1]])  # with a small domains.yaml
    return made


MACHINES = {"one_gpu": (1, 8), "node_8gpu": (8, 64), "nodes_4": (32, 256), "nodes_8": (64, 512)}
"""GPUs and cores of the machines that a preset is for."""
MODELS = sorted(file.stem for file in (configuration.conf() / "models").glob("*.yaml"))
TOO_LARGE = {("one_gpu", "paper"), ("one_gpu", "modern")}
PAIRS = [pair for pair in itertools.product(MACHINES, MODELS) if pair not in TOO_LARGE]


@pytest.mark.parametrize(("engine", "models"), PAIRS)
def test_a_presets_pools_fit_the_machines_it_is_for_with_every_choice_of_models(engine: str, models: str) -> None:
    gpus, cpus = MACHINES[engine]
    made = built(f"engine={engine}", f"models={models}")
    for segment in pools(made.engine, made.recipe):
        tables = [group for group, _ in segment]
        assert sum(pool.workers * pool.gpus for _, pool in segment) <= gpus + 1e-9, tables
        assert sum(pool.workers * pool.cpus for _, pool in segment) <= cpus, tables
    answer = next(pool for segment in pools(made.engine, made.recipe) for group, pool in segment if "answer" in group)
    if models != "api":
        assert answer.workers * answer.gpus == gpus  # the most expensive stage has all of them


@pytest.mark.parametrize(
    ("engine", "models"), [pair for pair in PAIRS if pair[1] != "micro" and pair != ("one_gpu", "gpu24")]
)
def test_a_presets_pools_fit_the_recipe_domains_whose_models_run_at_the_same_time(engine: str, models: str) -> None:
    gpus, cpus = MACHINES[engine]
    made = built(f"engine={engine}", f"models={models}", "recipe=domains")
    segments = pools(made.engine, made.recipe)
    assert any(
        {"retrieve", "transcribe", "ask", "verify"} <= {name for group, _ in one for name in group} for one in segments
    )
    for segment in segments:
        assert sum(pool.workers * pool.gpus for _, pool in segment) <= gpus + 1e-9, segment
        assert sum(pool.workers * pool.cpus for _, pool in segment) <= cpus, segment


def test_a_worker_has_as_many_gpus_as_its_model_is_spread_over_and_none_for_an_endpoint() -> None:
    made = built("engine=node_8gpu", "models=paper", "models.answerer.options.tensor_parallel_size=4")
    pooled = {group[0]: pool for segment in pools(made.engine, made.recipe) for group, pool in segment}
    assert (pooled["answer"].workers, pooled["answer"].gpus) == (2, 4)
    assert (pooled["instruct"].workers, pooled["instruct"].gpus) == (1, 0)


# What the presets gave each stage of MM-Instruct when every stage was named in them: workers, cores and GPUs of each.
NAMED = {
    ("node_8gpu", "modern"): {
        "ingest": (16, 1, 0), "caption": (3, 4, 1), "fuse": (2, 2, 1), "instruct": (2, 2, 1), "embed": (1, 2, 1),
        "cluster": (1, 4, 1), "summarize": (1, 2, 1), "match": (8, 6, 1), "exemplify": (1, 2, 1), "answer": (8, 4, 1),
        "filter": (8, 2, 0), "select": (1, 4, 0), "export": (4, 1, 0),
    },
    ("node_8gpu", "paper"): {
        "ingest": (16, 1, 0), "caption": (3, 4, 1), "fuse": (2, 2, 1), "instruct": (1, 2, 0), "embed": (1, 2, 1),
        "cluster": (1, 4, 1), "summarize": (1, 2, 0), "match": (8, 6, 1), "exemplify": (1, 2, 0), "answer": (4, 4, 2),
        "filter": (8, 2, 0), "select": (1, 4, 0), "export": (4, 1, 0),
    },
    ("nodes_4", "modern"): {
        "ingest": (64, 1, 0), "caption": (16, 4, 1), "fuse": (8, 2, 1), "instruct": (6, 2, 1), "embed": (2, 2, 1),
        "cluster": (1, 4, 1), "summarize": (1, 2, 1), "match": (32, 6, 1), "exemplify": (1, 2, 1), "answer": (32, 4, 1),
        "filter": (32, 2, 0), "select": (1, 4, 0), "export": (16, 1, 0),
    },
    ("one_gpu", "laptop"): {
        "ingest": (1, 0.5, 0), "caption": (1, 1, 0.4), "fuse": (1, 1, 0.25), "instruct": (1, 1, 0.25),
        "embed": (1, 0.5, 0.1), "cluster": (1, 1, 1), "summarize": (1, 1, 1), "match": (1, 4, 1), "exemplify": (1, 1, 1),
        "answer": (1, 2, 1), "filter": (1, 2, 0), "select": (1, 0.5, 0), "export": (1, 0.5, 0),
    },
}  # fmt: skip


@pytest.mark.parametrize(("engine", "models"), NAMED, ids=str)
def test_pools_by_kind_give_every_stage_what_it_had_by_name(engine: str, models: str) -> None:
    made = built(f"engine={engine}", f"models={models}")
    found = {group[0]: pool for segment in pools(made.engine, made.recipe) for group, pool in segment}
    wanted = NAMED[engine, models]
    assert {name: (found[name].workers, found[name].cpus, found[name].gpus) for name in wanted} == wanted


@pytest.mark.parametrize("words", [("engine=one_gpu",), ("engine=node_8gpu", "engine.pools.answer.gpus=1")], ids=str)
def test_a_worker_too_small_for_its_model_is_refused_before_any_gpu_is_rented(words: tuple[str, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"engine\.pools\.answer\.gpus is 1, and the model of answer \(mistralai/.*spread over 2"
    ):
        built("models=paper", *words)


def test_cluster_yaml_is_what_ray_up_takes() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    facts = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    ready = prepare_config(facts)
    validate_config(ready)
    types = ready["available_node_types"]
    assert {name for name, kind in types.items() if kind["node_config"].get("InstanceMarketOptions")} == {"cpu", "gpu"}
    assert types["gpu"]["max_workers"] * types["gpu"]["resources"]["GPU"] == 32
    starts = [line for key in ("head_start_ray_commands", "worker_start_ray_commands") for line in ready[key]]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)
    assert any("--dashboard-host=127.0.0.1" in line for line in ready["head_start_ray_commands"])


KUBERAY = {
    "spec": "entrypoint submissionMode backoffLimit shutdownAfterJobFinishes ttlSecondsAfterFinished rayClusterSpec"
    " activeDeadlineSeconds runtimeEnvYAML submitterPodTemplate metadata",
    "rayClusterSpec": "rayVersion authOptions enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs",
    "autoscalerOptions": "idleTimeoutSeconds upscalingMode image resources env",
    "headGroupSpec": "serviceType rayStartParams template",
    "workerGroupSpecs": "groupName replicas minReplicas maxReplicas idleTimeoutSeconds rayStartParams template numOfHosts",
}
"""Fields of ray.io/v1, from KubeRay's Go types: the API server drops a misspelt one without a message."""


def strangers(node: Any, where: str = "spec") -> list[str]:
    """Fields that KubeRay does not know, outside of pod templates."""
    found = []
    for item in node if isinstance(node, list) else [node]:
        for key, value in item.items():
            found += [f"{where}.{key}"] if key not in KUBERAY[where].split() else []
            found += strangers(value, key) if key in KUBERAY else []
    return found


def test_rayjob_yaml_has_only_fields_that_kuberay_knows_and_asks_for_a_token() -> None:
    job = yaml.safe_load((ROOT / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert not strangers(job["spec"])
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        (container,) = group["template"]["spec"]["containers"]
        volumes = {volume["name"] for volume in group["template"]["spec"].get("volumes", ())}
        assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


POD = {"containers", "volumes", "serviceAccountName", "tolerations", "nodeSelector"}
CONTAINER = {"name", "image", "resources", "ports", "env", "volumeMounts"}
"""Fields of core/v1 that rayjob.yaml may use; the API server refuses or drops a misspelt one."""


def test_the_values_of_rayjob_yaml_are_of_kuberays_kinds() -> None:
    spec = yaml.safe_load((ROOT / "rayjob.yaml").read_text())["spec"]
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
    assert all(type(spec[name]) is int for name in ("backoffLimit", "ttlSecondsAfterFinished"))
    assert spec["shutdownAfterJobFinishes"] is True  # ttlSecondsAfterFinished has no effect without it
    cluster = spec["rayClusterSpec"]
    assert cluster["autoscalerOptions"]["upscalingMode"] in ("Default", "Aggressive", "Conservative")
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        assert pod.keys() <= POD
        assert pod["containers"][0].keys() <= CONTAINER
        assert group.get("minReplicas", 0) <= group.get("replicas", 0) <= group.get("maxReplicas", 1)


def test_rays_autoscaler_reads_rayjob_yaml_as_the_machines_that_it_asks_for() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    spec = yaml.safe_load((ROOT / "rayjob.yaml").read_text())["spec"]["rayClusterSpec"]
    named = {"metadata": {"name": "mminstruct", "namespace": "default"}, "spec": spec}
    facts = _derive_autoscaling_config_from_ray_cr(named)  # it is checked against Ray's schema, too
    types = facts["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert (types["gpu"]["resources"]["GPU"], types["gpu"]["resources"]["CPU"]) == MACHINES["node_8gpu"]
    assert types["gpu"]["max_workers"] * types["gpu"]["resources"]["GPU"] == MACHINES["nodes_4"][0]
    assert facts["idle_timeout_minutes"] == 10


def test_the_job_of_rayjob_yaml_composes_as_a_shell_reads_it(tmp_path: Path) -> None:
    line = yaml.safe_load((ROOT / "rayjob.yaml").read_text())["spec"]["entrypoint"]
    shown = subprocess.run(
        ["/bin/sh", "-c", line.replace("python -m mminstruct.cli", f"'{sys.executable}' -m mminstruct.cli") + " --cfg job --resolve"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    facts = yaml.safe_load(shown.stdout)
    assert facts["recipe"]["ingest"]["licence"] == "SA-1B research licence"
    assert facts["engine"]["autoscale"] is True
    assert facts["engine"]["pools"]["answer"]["total_gpus"] == 8


@pytest.mark.slow
def test_a_node_taken_away_half_way_changes_no_byte(tmp_path: Path) -> None:
    calm = Run(url=str(tmp_path / "calm"), recipe=nodes.recipe())
    claim(calm)
    execute(calm, Local())
    scratch = tempfile.mkdtemp(prefix="mm-", dir="/tmp")  # separate sockets and address for this cluster
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    env |= {"RAY_TMPDIR": scratch, "OMP_NUM_THREADS": "1", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.engine.nodes", str(tmp_path / "stormy")],
            cwd=ROOT, env=env, capture_output=True, text=True, timeout=560, check=False,
        )  # fmt: skip
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-3000:]
    saw = json.loads((tmp_path / "stormy" / "saw.json").read_text())
    assert saw["at first"] == 2  # and its pools wanted 3

    def tables(folder: Path) -> dict[str, bytes]:
        return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.parquet"))}

    assert tables(tmp_path / "stormy" / "run") == tables(tmp_path / "calm"), done.stderr[-3000:]
