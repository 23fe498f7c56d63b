"""Train the microworld's embedded models, examine them, ship them.

``python -m lab.teach all --minutes 7 --device cuda --resume --work DIR`` trains all models on one GPU;
``--minutes 600 --device cpu`` does the same on two cores as far as hours allow. ``--resume`` goes on from the models in
``DIR``, or else from the shipped weights. ``--ship`` copies the models in ``DIR`` into the package, where ``micro:``
names resolve. ``--check`` compares the shipped files with their manifests and repeats the exams.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""There is a process for each core already."""


def main(words: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 where a model was not finished or a check fails."""
    if "--ship" not in (words or sys.argv) and "--check" not in (words or sys.argv):
        for name in _ONE_THREAD:
            os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from lab.teach.plan import CPU, GPU, MODELS, SMOKE  # numpy reads the number of threads once

    parser = argparse.ArgumentParser(prog="python -m lab.teach", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", choices=(*MODELS, "all", []), help="models to train")
    parser.add_argument("--minutes", type=float, default=20.0, help="from start to end, saving included")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--work", type=Path, default=Path("teach"), help="folder for models and the log")
    parser.add_argument("--out", type=Path, help="folder for archives of the models, written with every save")
    parser.add_argument("--images", type=int, help="pictures to train on; by default as many as suit the device")
    parser.add_argument("--resume", action="store_true", help="go on from --work, or from the shipped weights")
    parser.add_argument("--smoke", action="store_true", help="toy sizes: try the whole path in a minute")
    parser.add_argument("--ship", action="store_true", help="copy the models in --work into the package")
    parser.add_argument("--check", action="store_true", help="verify the shipped files and repeat the exams")
    given = parser.parse_args(words)
    failed: list[str] = []
    if given.models:
        from lab.teach.conduct import conduct
        from lab.teach.plan import Plan, prepare

        models = MODELS if "all" in given.models else tuple(dict.fromkeys(given.models))
        sizes = SMOKE if given.smoke else CPU if given.device == "cpu" else GPU
        sizes = replace(sizes, images=given.images) if given.images else sizes
        prepare(given.work, given.out, given.resume)
        failed = conduct(Plan(models, given.work, given.device, given.minutes, given.resume, sizes, given.out))
    problems: list[str] = []
    if given.ship or given.check:
        from lab.teach.weights import check, ship

        if given.ship:
            ship(given.work, device=given.device)
        problems = check(device=given.device) if given.check else []
    for problem in problems:
        print(f"teach --check: {problem}", file=sys.stderr)
    return bool(problems or failed)


if __name__ == "__main__":
    raise SystemExit(main())
