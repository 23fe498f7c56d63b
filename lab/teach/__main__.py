"""Teach the microworld's tiny real models, examine them, ship them.

``python -m lab.teach all --minutes 60 --work DIR`` teaches all four anew, with ``--resume`` from the
checkpoints in ``DIR`` or else from the shipped weights (CLIP from its tower alone). ``--ship`` puts what ``DIR`` holds
where ``micro:`` names are looked up, ``--check`` holds the shipped files against their manifests and examines them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lab.teach import captioner as teach_captioner
from lab.teach import clip as teach_clip
from lab.teach import embedder as teach_embedder
from lab.teach import exam as teach_exam
from lab.teach import llm as teach_llm
from lab.teach import pictures as teach_pictures
from lab.teach import vision as teach_vision
from lab.teach.pictures import Pictures, pictures

WEIGHTS = Path(__file__).parents[2] / "mminstruct" / "microworld" / "weights"
MODELS = ("llm", "embedder", "captioner", "clip")
LESSONS = ("llm", "embedder", "vision", "captioner", "clip")
SHARES = {"llm": 0.4, "embedder": 0.05, "vision": 0.25, "captioner": 0.2, "clip": 0.1}
"""Share of the minutes that each lesson of ``all`` gets."""
MANIFEST = "manifest.json"
LIMIT = 25_000_000
"""Bytes that all shipped files together may have."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; the exit code, 1 where a check fails."""
    parser = argparse.ArgumentParser(prog="lab.teach", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("lesson", nargs="?", choices=(*LESSONS, "all"), help="what to teach")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long, in all")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--work", type=Path, default=Path("teach"), help="folder for checkpoints, pictures and curves")
    parser.add_argument("--images", type=int, default=20_000, help="pictures to teach from")
    parser.add_argument("--resume", action="store_true", help="go on from --work, or from what is shipped")
    parser.add_argument("--threads", type=int, default=0, help="threads of PyTorch; 0 leaves it as it is")
    parser.add_argument("--ship", action="store_true", help="copy what --work holds into the package, with manifests")
    parser.add_argument("--check", action="store_true", help="verify what is shipped, and examine it again")
    given = parser.parse_args(words)
    if given.threads:
        torch.set_num_threads(given.threads)
    given.work.mkdir(parents=True, exist_ok=True) if given.lesson else None
    for lesson in LESSONS if given.lesson == "all" else filter(None, [given.lesson]):
        teach(lesson, given)
    if given.ship:
        ship(given.work, WEIGHTS, given.device)
    problems = check(WEIGHTS, given.device) if given.check else []
    for problem in problems:
        print(f"teach --check: {problem}", file=sys.stderr)
    return bool(problems)


def teach(lesson: str, given: argparse.Namespace) -> None:
    """Teach one model for its share of the minutes; a seed makes its start and its lessons repeatable."""
    torch.manual_seed(0)
    random.seed(0)
    minutes = given.minutes * (SHARES[lesson] if given.lesson == "all" else 1)
    after: dict[str, Any] = {"device": given.device, "resume": given.resume}
    if given.resume:
        begin(given.work, WEIGHTS)
    teach_llm.tokenizer_for(given.work / "llm")
    if lesson == "llm":
        teach_llm.train(given.work, minutes, **after)
    elif lesson == "embedder":
        teach_embedder.train(given.work / "llm", given.work, minutes, **after)
    else:
        seen = pictures(given.work / "pictures", given.images)
        train = {"vision": teach_vision, "captioner": teach_captioner, "clip": teach_clip}[lesson].train
        train(given.work, minutes, seen, unseen(given.work, 100, teach_exam.WATCHED), **after)
    how = {"minutes": minutes, "images": given.images, "device": given.device, "torch": torch.__version__}
    how |= {"resume": True} if given.resume else {}
    settings = given.work / "settings.json"
    known = json.loads(settings.read_text()) if settings.exists() else {}
    settings.write_text(json.dumps(known | {lesson: [*known.get(lesson, []), how]}, indent=2))


def begin(work: Path, weights: Path) -> None:
    """Put the models of *weights* that *work* lacks into it, with what their manifests tell of earlier lessons."""
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
        teach_captioner.tower_of(work / "captioner").save_pretrained(work / "vision")
    settings.write_text(json.dumps(known, indent=2))


def unseen(work: Path, count: int = 300, world: int = teach_exam.WORLD) -> Pictures:
    """Pictures of a world that nobody is taught on."""
    return pictures(work / "pictures", count, world)


def scores(model: str, folder: Path, held_out: Callable[[], Pictures], device: str = "cpu") -> dict[str, float]:
    """Examine what *folder* holds as *model*; *held_out* draws the pictures where they are needed."""
    if model == "llm":
        found = teach_exam.exam(folder, device=device)
    elif model == "embedder":
        found = teach_embedder.examined(folder, device)
    elif model == "captioner":
        found = teach_captioner.examined(folder, held_out(), device)
    else:
        found = teach_clip.examined(folder, held_out(), device)
    return {name: round(value, 4) for name, value in found.items()}


def ship(work: Path, weights: Path, device: str = "cpu") -> None:
    """Copy every model of *work* that *weights* does not hold yet into it, examined, with the hash of each file.

    Raises:
        ValueError: where all files together are larger than ``LIMIT``; nothing is removed then.
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
            "scores": scores(model, new, lambda: unseen(work), device),
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
        raise ValueError(f"{weights} holds {size:,} bytes, more than {LIMIT:,}: make a model smaller in its build()")


def _built_on(model: str, lesson: str) -> bool:
    return lesson == model or model in ("captioner", "clip")


def _curve(work: Path, model: str) -> list[dict[str, float]]:
    """At most twelve rows of what ``teach_loop.teach`` recorded, the last one included."""
    path = work / f"{model}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return rows[:: max(1, -(-len(rows) // 11))] + rows[-1:]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in *folder* but the manifest, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }


def check(weights: Path, device: str = "cpu", slack: float = 0.1, examine: bool = True) -> list[str]:
    """What is wrong with the shipped models: files that are not those of the manifest, or scores that fell.

    A score may fall by *slack*: other machines round otherwise, and exams are small.
    """
    problems = []
    drawn: list[Pictures] = []

    def held_out() -> Pictures:
        if not drawn:
            drawn.append(teach_pictures.drawn(100, teach_exam.WORLD))
        return drawn[0]

    for model in MODELS:
        path = weights / model / MANIFEST
        if not path.exists():
            problems.append(f"{path} is missing: teach {model}, then --ship")
            continue
        manifest = json.loads(path.read_text())
        found = hashes(path.parent)
        problems += [
            f"{path.parent / name} is not what was shipped: restore it, or --ship again"
            for name in sorted(manifest["files"].keys() | found.keys())
            if manifest["files"].get(name) != found.get(name)
        ]
        if not examine:
            continue
        now = scores(model, path.parent, held_out, device)
        print(model, json.dumps(now), flush=True)
        problems += [
            f"{model}: {name} is {now.get(name)}, was {was} when shipped"
            for name, was in manifest["scores"].items()
            if now.get(name, 0.0) < was - slack
        ]
    return problems


if __name__ == "__main__":
    raise SystemExit(main())
