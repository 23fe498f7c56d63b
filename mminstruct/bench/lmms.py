"""lmms-eval: exports our questions as an lmms-eval task, and runs its standard benchmarks on a served model.

lmms-eval needs its own environment, because it pins other library versions. We call its interpreter, read the files
that it writes, and commit them to the table ``standard`` of a run, one unit per task.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import string
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mminstruct import schemas
from mminstruct.readers import text
from mminstruct.readers.records import records
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store

BENCHMARKS = {
    "vqav2": "vqav2_val", "gqa": "gqa", "vizwiz": "vizwiz_vqa_val", "sqa": "scienceqa_img", "textvqa": "textvqa_val",
    "pope": "pope", "mme": "mme", "mmbench": "mmbench_en_dev", "seed": "seedbench", "llava_w": "llava_in_the_wild",
    "mmvet": "mmvet",
}  # fmt: skip
"""LLaVA's benchmarks by short name, and the lmms-eval task (0.7.3) for the split whose answers are public."""
JUDGED = ("llava_w", "mmvet", "mmbench")
"""Benchmarks for which lmms-eval calls an OpenAI model (OPENAI_API_URL): to grade, or for mmbench to parse an answer
that is not a letter."""
TABLE = "standard"
_FAILED = "[LMMS_EVAL_REQUEST_FAILED"
_TASK = Path(__file__).parent / "task"
_FEATURES = {
    "info": {"features": {
        name: {"dtype": "string", "_type": "Value"} if name != "image" else {"_type": "Image"}
        for name in ("question_id", "image", "question", "kind", "caption", "reference")
    }}
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Launch:
    """How lmms-eval is run."""

    python: str
    """Python interpreter of lmms-eval's environment."""
    url: str
    """Base URL of an OpenAI-compatible endpoint, ending in ``/v1``."""
    model: str
    """Name of the model at the endpoint."""
    key_env: str | None = None
    """Name of the environment variable with the endpoint's key. lmms-eval's own judges are sent the same key."""
    include: str | None = None
    """Folder with additional tasks."""
    limit: int | None = None
    """Evaluates only this many first samples of each task. The table records it: do not compare such a score with one
    of the whole task."""
    keep: str | None = None
    """Folder to keep the files that lmms-eval writes: results and every sample."""
    concurrent: int = 32
    timeout: int = 600
    """Timeout of one request, in seconds. With lmms-eval's default of 10, long answers time out and count as wrong."""


def task(url: str, to: str, prompt: str, *, max_tokens: int = 1024) -> Path:
    """Write a task folder for ``lmms-eval --include_path`` from the questions of the benchmark at *url*.

    Args:
        url: A run with a table ``pick``.
        to: A new or empty folder.
        prompt: The judge's prompt, a transcript (conf/prompts/judge.md).
        max_tokens: Token limit of every answer.

    Raises:
        FileExistsError: *to* is not empty.
        FileNotFoundError: the run has no questions.
    """
    folder = Path(to)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: give another folder")
    table = Store(url).table("pick")
    parts = list(table.parts().values())
    if not parts:
        raise FileNotFoundError(f"{url} has no questions: make them with `mminstruct bench out={url} ...`")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.resolve() / "questions.parquet"
    fields = [(name, pa.string()) for name in _FEATURES["info"]["features"]]
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([(name, image if name == "image" else kind) for name, kind in fields])
    schema = schema.with_metadata({"huggingface": json.dumps(_FEATURES)})
    with pq.ParquetWriter(file, schema) as writer:
        for part in parts:
            rows = table.load(part, tuple(schema.names)).to_pylist()
            for row in rows:
                row["image"] = None if row["image"] is None else {"bytes": row["image"], "path": None}
            writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=100)
    for name in ("mminstruct.yaml", "mminstruct_judged.yaml"):
        template = string.Template((_TASK / name).read_text(encoding="utf-8"))
        (folder / name).write_text(template.substitute(questions=file, max_tokens=max_tokens), encoding="utf-8")
    shutil.copy(_TASK / "questions.py", folder)
    (folder / "judge.md").write_text(prompt, encoding="utf-8")
    return folder


def run(url: str, tasks: Sequence[str], launch: Launch) -> list[str]:
    """Run those of *tasks* (short names, or lmms-eval's own) that have no result yet; returns their names.

    Raises:
        OSError: lmms-eval wrote no result.
        ValueError: requests failed, so lmms-eval scored their answers as wrong.
    """
    table = Store(url).table(TABLE)
    facts = {"stage": "standard", "config": {}, "schema": {f.name: str(f.type) for f in schemas.STANDARD},
             "inputs": {}, "fingerprint": TABLE, "order": 99, "primary": None}  # fmt: skip
    table.begin(facts)
    done = table.receipts()
    todo = [name for name in tasks if _key(name, launch) not in done]
    library = version(launch.python) if todo else ""
    for name in todo:
        with tempfile.TemporaryDirectory() as folder:
            _call(name, launch, folder)
            if launch.keep:
                shutil.copytree(folder, Path(launch.keep, _key(name, launch)), dirs_exist_ok=True)
            _commit(url, name, launch, Path(folder), library)
    return todo


def version(python: str) -> str:
    """Version of lmms-eval in *python*'s environment; its results lack the version if it was installed from a wheel.

    Raises:
        OSError: the interpreter does not exist, or has no lmms-eval.
    """
    words = [python, "-c", "from importlib.metadata import version; print(version('lmms_eval'))"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{python} has no lmms-eval: {python} -m pip install lmms-eval==0.7.3")
    return done.stdout.strip()


def command(name: str, launch: Launch, folder: str) -> list[str]:
    """Command line for one task. The key is passed in the environment instead."""
    arguments = {
        "model_version": launch.model, "base_url": launch.url, "num_concurrent": launch.concurrent,
        "timeout": launch.timeout, "max_retries": 5,
    }  # fmt: skip
    for value in arguments.values():
        if "," in str(value):
            raise ValueError(f"{value}: lmms-eval separates its arguments by commas, so no argument can contain one")
    words = [launch.python, "-m", "lmms_eval", "--model", "openai", "--tasks", BENCHMARKS.get(name, name)]
    words += ["--model_args", ",".join(f"{key}={value}" for key, value in arguments.items())]
    words += ["--batch_size", "1", "--log_samples", "--output_path", folder]
    words += ["--include_path", launch.include] if launch.include else []
    return words + (["--limit", str(launch.limit)] if launch.limit else [])


def _call(name: str, launch: Launch, folder: str) -> None:
    key = os.environ.get(launch.key_env) if launch.key_env else "none"
    if not key:
        raise ValueError(f"environment variable {launch.key_env} is not set: set it to the key of {launch.url}")
    if name in JUDGED and not launch.key_env:
        raise ValueError(
            f"{name} needs an OpenAI judge, and lmms-eval uses one key for the judge and the model: set key_env"
        )
    words = command(name, launch, folder)
    environment = {**os.environ, "OPENAI_API_KEY": key}  # so that no other key of the user is sent to this endpoint
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not list(Path(folder).rglob("*results.json")):  # it also exits with 0 after some errors
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise OSError(f"lmms-eval exited with {done.returncode} and wrote no result of {name}:\n{last}")


def _commit(url: str, name: str, launch: Launch, folder: Path, library: str) -> None:
    (results,) = folder.rglob("*results.json")
    found = json.loads(text.read(results))  # a metric may be NaN
    asked, failed = 0, []
    for file in sorted(folder.rglob("*samples*.jsonl")):
        with open(file, "rb") as opened:
            for sample in text.good(records(opened, str(file)), str(file)):
                asked += 1
                if _FAILED in json.dumps(sample.get("filtered_resps", sample.get("resps"))):
                    failed.append(sample["doc_id"])
    if failed:
        raise ValueError(
            f"{name}: {len(failed)} of {asked} requests to {launch.url} failed (first: document {failed[0]}); lmms-eval"
            " scores them as wrong, so nothing is recorded: fix the endpoint and run the same command again"
        )
    rows = [row | {"limit": launch.limit, "model": launch.model, "lmms_eval": library} for row in metrics(found)]
    if not rows:
        raise OSError(f"lmms-eval's results of {name} contain no metric")
    table = Store(url).table(TABLE)
    part = table.put(_key(name, launch), pa.Table.from_pylist(rows, schema=schemas.STANDARD))
    table.commit(Receipt(key=part.part, parts=[part], rows_in=asked, kept=asked, dropped={}, calls=asked))


def metrics(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of the table ``standard`` from lmms-eval's results: every numeric metric."""
    for task_name, measured in found["results"].items():
        counts = found.get("n-samples", {}).get(task_name, {})
        version = found.get("versions", {}).get(task_name)
        for metric, value in measured.items():
            name, _, how = metric.partition(",")
            if "_stderr" in name or not isinstance(value, int | float) or isinstance(value, bool) or not how:
                continue
            yield {
                "task": task_name,
                "version": None if version in (None, "Yaml") else str(version),
                "metric": name if how == "none" else metric,
                "score": _number(value),
                "error": _number(measured.get(f"{name}_stderr,{how}")),
                "samples": counts.get("effective", 0),
            }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _key(name: str, launch: Launch) -> str:
    """Unit key of a task; it depends on task, model and limit, but not on where the model is served."""
    digest = hashlib.sha256(json.dumps([name, launch.model, launch.limit]).encode()).hexdigest()[:8]
    return f"{re.sub('[^A-Za-z0-9_]', '_', name)}-{digest}"


def rows(url: str) -> list[dict[str, Any]]:
    """Rows of the table ``standard`` of the run at *url*; empty if there is no table."""
    table = Store(url).table(TABLE)
    return list(table.dataset(schemas.STANDARD).to_table().to_pylist()) if table.parts() else []


def as_text(found: Sequence[dict[str, Any]]) -> str:
    """The table for a terminal; an empty string for no rows."""
    lines = []
    for row in found:
        score = "none" if row["score"] is None else f"{row['score']:.4g}"
        error = "" if row["error"] is None else f" +- {row['error']:.2g}"
        limit = "" if row["limit"] is None else f", the first {row['limit']} only"
        lines.append(
            f"{row['task']:<24} {row['metric']:<28} {row['model']:<28} {score}{error}  ({row['samples']}{limit})"
        )
    return "\n".join(lines)
