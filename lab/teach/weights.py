"""The weights that the package ships: copying them in, and checking them against their manifests."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from lab.teach import captioner, clip, embedder, exam, pictures
from lab.teach.pictures import Pictures

WEIGHTS = Path(__file__).parents[2] / "mminstruct" / "microworld" / "weights"
MODELS = ("llm", "embedder", "captioner", "clip")
MANIFEST = "manifest.json"
LIMIT = 25_000_000
"""Most bytes of all shipped files together."""


def begin(work: Path, weights: Path) -> None:
    """Copy the models of *weights* that *work* lacks into it, with the training history in their manifests."""
    settings = work / "settings.json"
    known = json.loads(settings.read_text()) if settings.exists() else {}
    for model in MODELS:
        if (work / model).exists():
            continue
        shutil.copytree(weights / model, work / model, ignore=shutil.ignore_patterns(MANIFEST))
        manifest = json.loads((weights / model / MANIFEST).read_text())
        known = manifest["lessons"] | known
        (work / f"{model}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in manifest["curve"]))
    if not (work / "vision").exists():
        captioner.tower_of(work / "captioner").save_pretrained(work / "vision")
    settings.write_text(json.dumps(known, indent=2))


def held_out_pictures(work: Path, count: int = 300, world: int = exam.WORLD) -> Pictures:
    """Pictures of a world that no model is trained on."""
    return pictures.drawn_once(work / "pictures", count, world)


def scores(model: str, folder: Path, held_out: Callable[[], Pictures], device: str = "cpu") -> dict[str, float]:
    """Exam scores of *model* in *folder*; *held_out* draws the pictures if the exam needs them."""
    if model == "llm":
        found = exam.exam(folder, device=device)
    elif model == "embedder":
        found = embedder.examined(folder, device)
    elif model == "captioner":
        found = captioner.examined(folder, held_out(), device)
    else:
        found = clip.examined(folder, held_out(), device)
    return {name: round(value, 4) for name, value in found.items()}


def ship(work: Path, weights: Path, device: str = "cpu") -> None:
    """Examine every model of *work* that differs from the one in *weights*, and copy it there with a manifest.

    Raises:
        ValueError: where all files together are larger than ``LIMIT``. The copies stay.
    """
    settings = work / "settings.json"
    known = json.loads(settings.read_text()) if settings.exists() else {}
    for model in MODELS:
        source, target = work / model, weights / model
        if not list(source.glob("*.safetensors")):
            continue
        new = weights / f".{model}"
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(source, new)
        for path in new.iterdir():
            path.chmod(0o644)
        if target.exists() and hashes(new) == hashes(target):
            shutil.rmtree(new)
            continue
        manifest = {
            "files": hashes(new),
            "scores": scores(model, new, lambda: held_out_pictures(work), device),
            "scenes": "taught on scenes 0 to 99,999 of world 0, examined on world 1000",
            "lessons": {name: known[name] for name in (model, "vision") if name in known and _built_on(model, name)},
            "curve": _curve(work, model),
        }
        (new / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        new.rename(target)
        print(model, json.dumps(manifest["scores"]), flush=True)
    size = sum(path.stat().st_size for path in weights.rglob("*") if path.is_file())
    if size > LIMIT:
        raise ValueError(f"{weights} has {size:,} bytes, more than {LIMIT:,}: make a model smaller in its build()")


def _built_on(model: str, lesson: str) -> bool:
    return lesson == model or model in ("captioner", "clip")


def _curve(work: Path, model: str) -> list[dict[str, float]]:
    """At most twelve rows of the training curve, including the last one."""
    path = work / f"{model}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return rows[:: max(1, -(-len(rows) // 11))] + rows[-1:]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in *folder* except the manifest, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }


def check(weights: Path, device: str = "cpu", slack: float = 0.1, examine: bool = True) -> list[str]:
    """Problems of the shipped models: files that differ from the manifest, and scores below it by more than *slack*.

    Scores vary between machines, since rounding differs and exams are small.
    """
    problems = []
    drawn: list[Pictures] = []

    def held_out() -> Pictures:
        if not drawn:
            drawn.append(pictures.drawn(100, exam.WORLD))
        return drawn[0]

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
        now = scores(model, path.parent, held_out, device)
        print(model, json.dumps(now), flush=True)
        problems += [
            f"{model}: {name} is {now.get(name)}; it was {was} when shipped"
            for name, was in manifest["scores"].items()
            if now.get(name, 0.0) < was - slack
        ]
    return problems
