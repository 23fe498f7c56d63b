"""Measures the paths that use a GPU, each beside the best that the device could do.

    python -m benchmarks.gpu --out DIR                        # all sections, about 12 minutes of one GPU
    python -m benchmarks.gpu --out DIR --only clip,kmeans --minutes 3
    python -m benchmarks.gpu --out DIR --smoke                # tiny sizes on the CPU: tries the whole path

No model is downloaded: networks have published dimensions and random weights, which cost as much time as trained ones.
Sections run one after the other, each in its own process, and are ended when their share of the time is over; what they
had found is kept. DIR/results.json has everything, DIR/table.md the table, DIR/NAME.log the output of a section. What
did not run is in the table with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.section import NotRun, Section, table

SECTIONS = {
    "ceilings": (1.0, "benchmarks.gpu.ceilings:measure"),
    "step": (4.0, "benchmarks.gpu.training:step"),
    "agreement": (2.0, "benchmarks.gpu.training:agreement"),
    "cogvlm": (3.0, "benchmarks.gpu.captions:cogvlm"),
    "llava": (2.0, "benchmarks.gpu.captions:llava"),
    "clip": (1.5, "benchmarks.gpu.encoders:clip"),
    "pictures": (0.5, "benchmarks.gpu.encoders:pictures"),
    "kmeans": (2.0, "benchmarks.gpu.clusters:kmeans"),
    "embedded": (1.5, "benchmarks.gpu.encoders:embedded"),
    "vllm": (3.0, "benchmarks.gpu.serving:vllm"),
}
"""A section's share of the time, and its function."""
_CPU = ("pictures",)
"""Sections that say something on a machine without a GPU."""
_PACKAGES = ("torch", "transformers", "deepspeed", "open_clip_torch", "liger_kernel", "vllm", "numpy", "mminstruct")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {','.join(SECTIONS)}")
    parser.add_argument("--minutes", type=float, default=12.0, help="for all sections together")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--section", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.only.split(",")) - SECTIONS.keys():
        parser.error(f"--only: no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    if given.section:
        return _measure(given)
    names = [name for name in SECTIONS if name in {"ceilings", *given.only.split(",")}]
    shares = sum(SECTIONS[name][0] for name in names)
    results: dict[str, Any] = {"versions": _versions(), "sections": {}, "seconds": {}}
    for name in names:
        began = time.monotonic()
        results["sections"][name] = _run(name, given, 60 * given.minutes * SECTIONS[name][0] / shares)
        results["seconds"][name] = round(time.monotonic() - began, 1)
        (given.out / "results.json").write_text(json.dumps(results, indent=1))
        print(f"{name}: {results['seconds'][name]} s", file=sys.stderr, flush=True)
    (given.out / "table.md").write_text(table(results["sections"]))
    print(table(results["sections"]))
    bad = [row["what"] for rows in results["sections"].values() for row in rows if row["measured"] == "failed"]
    print(f"failed: {', '.join(bad)}" if bad else "nothing failed", file=sys.stderr)
    return 1 if bad else 0


def _run(name: str, given: argparse.Namespace, seconds: float) -> list[dict[str, Any]]:
    """Run a section in its own process; its rows, and one more if it did not end well."""
    words = [sys.executable, "-m", "benchmarks.gpu", "--out", str(given.out), "--section", name]
    words += ["--seconds", str(seconds), *(["--smoke"] if given.smoke else [])]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if given.smoke:
        environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    rows = given.out / f"{name}.json"
    rows.unlink(missing_ok=True)
    ended = ""
    with (given.out / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            # a section plans with *seconds*; this ends one that does not return
            if code := process.wait(seconds + 30):
                ended = f"its process ended with {code}: see {name}.log"
        except subprocess.TimeoutExpired:
            ended = f"ended after {seconds + 30:.0f} s; raise --minutes"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    found: list[dict[str, Any]] = json.loads(rows.read_text()) if rows.exists() else []
    return [*found, {"what": "the rest of the section", "measured": "failed", "note": ended}] if ended else found


def _measure(given: argparse.Namespace) -> int:
    """A section, in its process."""
    import torch

    device = "cuda" if torch.cuda.is_available() and not given.smoke else "cpu"
    known = given.out / "ceilings.json"
    ceilings = {}
    if given.section != "ceilings" and known.exists():
        ceilings = {row["what"]: row["measured"] for row in json.loads(known.read_text()) if row["unit"]}
    section = Section(given.section, given.out, device, given.smoke, given.seconds, ceilings)
    module, _, function = SECTIONS[given.section][1].partition(":")
    with section.part("the section"):
        if device == "cpu" and not given.smoke and given.section not in _CPU:
            raise NotRun("there is no GPU; --smoke tries the section on the CPU")
        getattr(importlib.import_module(module), function)(section)
    return 0


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


if __name__ == "__main__":
    sys.exit(main())
