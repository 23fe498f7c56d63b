"""The weights that the package ships: copying them in, and checking them against their manifests."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from lab.teach.plan import LANGUAGE, LESSON, MANIFEST, MODELS, WEIGHTS, history
from mminstruct.microworld.catalogue import LEVELS

LIMIT = 40_000_000
"""Most bytes of all shipped files together."""
SCENES = "taught on scenes 0 to 99,999 of world 0, easy and hard, examined on world 1000"


def scores(model: str, folder: Path, device: str = "cpu") -> dict[str, float]:
    """Exam scores of *model* in *folder*, by level except for the embedder."""
    from lab.teach import embedder, exam

    if model == "embedder":
        return _rounded(embedder.examined(folder, device))
    found: dict[str, float] = {}
    for level in LEVELS:
        if model in LANGUAGE:
            its = exam.language(folder, level, device=device, asker=model == "asker")
        elif model == "clip":
            its = exam.matches(folder, level, device=device)
        else:
            its = exam.captions(folder, level, device=device)
        found |= {f"{level}_{name}": value for name, value in its.items()}
    return _rounded(found)


def _rounded(found: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in found.items()}


def ship(work: Path, weights: Path = WEIGHTS, device: str = "cpu") -> None:
    """Examine every model of *work* that differs from the one in *weights*, and copy it there with a manifest.

    Raises:
        ValueError: where all files together are larger than ``LIMIT``. The copies stay.
    """
    for model in MODELS:
        source, target = work / model, weights / model
        if not list(source.glob("*.safetensors")):
            continue
        new = weights / f".{model}"
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(source, new, ignore=shutil.ignore_patterns(LESSON))
        for path in new.iterdir():
            path.chmod(0o644)
        if target.exists() and hashes(new) == hashes(target):
            shutil.rmtree(new)
            continue
        known = history(source)
        manifest: dict[str, Any] = {
            "files": hashes(new),
            "scores": scores(model, new, device),
            "scenes": SCENES,
            "lessons": known["lessons"],
            "curve": _thinned(known["curve"]),
        }
        (new / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        new.rename(target)
        print(model, json.dumps(manifest["scores"]), flush=True)
    size = sum(path.stat().st_size for path in weights.rglob("*") if path.is_file())
    if size > LIMIT:
        raise ValueError(f"{weights} has {size:,} bytes, more than {LIMIT:,}: make a model smaller in its SIZES")


def _thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most twelve rows of the training curve, including the last one."""
    return rows[:: max(1, -(-len(rows) // 11))] + rows[-1:]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in *folder* except the manifest, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }


def check(weights: Path = WEIGHTS, device: str = "cpu", slack: float = 0.1, examine: bool = True) -> list[str]:
    """Problems of the shipped models: files that differ from the manifest, and scores below it by more than *slack*.

    Scores vary between machines, since rounding differs and exams are small.
    """
    problems = []
    for model in MODELS:
        path = weights / model / MANIFEST
        if not path.exists():
            problems.append(f"{path} is missing: run `python -m lab.teach {model} --ship`")
            continue
        manifest = json.loads(path.read_text())
        found = hashes(path.parent)
        problems += [
            f"{path.parent / name} differs from the manifest: restore it, or run --ship again"
            for name in sorted(manifest["files"].keys() | found.keys())
            if manifest["files"].get(name) != found.get(name)
        ]
        if not examine:
            continue
        now = scores(model, path.parent, device)
        print(model, json.dumps(now), flush=True)
        problems += [
            f"{model}: {name} is {now.get(name)}; it was {was} when shipped"
            for name, was in manifest["scores"].items()
            if now.get(name, 0.0) < was - slack
        ]
    return problems
