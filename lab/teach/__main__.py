"""Train the microworld's embedded models, examine them, ship them.

``python -m lab.teach all --minutes 60 --work DIR`` trains all four from scratch. ``--resume`` continues from the
checkpoints in ``DIR``, or else from the shipped weights (CLIP from its tower only). ``--ship`` copies the models in
``DIR`` into the package, where ``micro:`` names resolve. ``--check`` compares the shipped files with their
manifests and repeats the exams.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lab.teach import captioner, clip, embedder, exam, llm, vision
from lab.teach.pictures import drawn_once
from lab.teach.weights import WEIGHTS, begin, check, held_out_pictures, ship

LESSONS = ("llm", "embedder", "vision", "captioner", "clip")
SHARES = {"llm": 0.4, "embedder": 0.05, "vision": 0.25, "captioner": 0.2, "clip": 0.1}
"""Share of ``--minutes`` that ``all`` gives to each lesson."""


def main(words: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 where a check fails."""
    parser = argparse.ArgumentParser(prog="python -m lab.teach", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("lesson", nargs="?", choices=(*LESSONS, "all"), help="model to train")
    parser.add_argument("--minutes", type=float, default=20.0, help="total training time")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--work", type=Path, default=Path("teach"), help="folder for checkpoints, pictures and curves")
    parser.add_argument("--images", type=int, default=20_000, help="pictures to train on")
    parser.add_argument("--resume", action="store_true", help="continue from --work, or from the shipped weights")
    parser.add_argument("--threads", type=int, default=0, help="threads of PyTorch; 0 for its default")
    parser.add_argument("--ship", action="store_true", help="copy the models in --work into the package")
    parser.add_argument("--check", action="store_true", help="verify the shipped files and repeat the exams")
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
    """Train one model for its share of the minutes, with fixed seeds for its initial weights and its data."""
    torch.manual_seed(0)
    random.seed(0)
    minutes = given.minutes * (SHARES[lesson] if given.lesson == "all" else 1)
    after: dict[str, Any] = {"device": given.device, "resume": given.resume}
    if given.resume:
        begin(given.work, WEIGHTS)
    llm.tokenizer_for(given.work / "llm")
    if lesson == "llm":
        llm.train(given.work, minutes, **after)
    elif lesson == "embedder":
        embedder.train(given.work / "llm", given.work, minutes, **after)
    else:
        seen = drawn_once(given.work / "pictures", given.images)
        train = {"vision": vision, "captioner": captioner, "clip": clip}[lesson].train
        train(given.work, minutes, seen, held_out_pictures(given.work, 100, exam.WATCHED), **after)
    how = {"minutes": minutes, "images": given.images, "device": given.device, "torch": torch.__version__}
    how |= {"resume": True} if given.resume else {}
    settings = given.work / "settings.json"
    known = json.loads(settings.read_text()) if settings.exists() else {}
    settings.write_text(json.dumps(known | {lesson: [*known.get(lesson, []), how]}, indent=2))


if __name__ == "__main__":
    raise SystemExit(main())
