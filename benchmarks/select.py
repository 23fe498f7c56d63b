"""Measures CPU time and memory of the stage ``select`` for three sizes of synthetic tables, and how they grow.

    python -m benchmarks.select [--pairs 100000 300000 1000000] [--before FOLDER] [--short]

The tables ``review`` and ``ingest`` have the form of a run: 7.5 pairs for each image, 3,000 instructions, answers of 40
words, 16-digit ids, 8,192 pairs a part. One pair in ten has the answer of another image to the same question with one
word changed, and one image in twenty has the hash of another with up to four bits changed. Each size runs in its own
process; the peak is the kernel's (VmHWM), less what it had before. The exponent compares the smallest with the largest
size.

``--before`` is a checkout of an older commit: its ``select`` reads the same tables, and at the smallest size both must
make the same choices. ``--short`` gives all answers two words, which are not compared: only the columns grow.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mminstruct import schemas

PER_IMAGE = 7.5
INSTRUCTIONS = 3000
WORDS = 40
PART = 8192


def make(folder: Path, count: int, short: bool) -> None:
    """Write ``review`` (*count* pairs) and ``ingest``."""
    rng = np.random.default_rng(count)
    vocabulary = np.array([f"{stem}{end}" for stem in ("riv", "ston", "lam", "clou", "pap") for end in range(600)])
    images = math.ceil(count / PER_IMAGE)
    hash_I = rng.integers(0, 2**64, images, np.uint64)
    near = rng.choice(images, images // 20, replace=False)
    other = hash_I[rng.integers(0, images, len(near))]
    for _ in range(4):
        other ^= np.uint64(1) << rng.integers(0, 64, len(near)).astype(np.uint64)
    hash_I[near] = other
    ids = digits(rng.permutation(images).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    (folder / "review").mkdir()
    (folder / "ingest").mkdir()
    pq.write_table(pa.table({"image_id": ids, "phash": hash_I}), folder / "ingest" / "all.0123.parquet")
    last: dict[int, list[str]] = {}
    for part, start in enumerate(range(0, count, PART)):
        rows = np.arange(start, min(start + PART, count))
        image_N, instruction_N = (rows / PER_IMAGE).astype(np.int64), rng.integers(0, INSTRUCTIONS, len(rows))
        answers = ["A boat."] * len(rows) if short else told(rng, vocabulary, instruction_N.tolist(), last)
        columns = {
            "pair_id": digits(rows.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)), "image_id": ids.take(image_N),
            "instruction_id": digits(instruction_N.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)),
            "kind": ["instruction"] * len(rows), "domain": [""] * len(rows), "question": ["What is it?"] * len(rows),
            "choices": pa.nulls(len(rows), pa.list_(pa.string())), "answer": answers,
            "decision": ["unseen"] * len(rows),
        }  # fmt: skip
        schema = pa.schema([schemas.REVIEW.field(name) for name in columns])
        pq.write_table(pa.table(columns, schema=schema), folder / "review" / f"p-{part:06d}.0123.parquet")


def told(rng: np.random.Generator, words: np.ndarray, instructions: list[int], last: dict[int, list[str]]) -> list[str]:
    """An answer to each of *instructions*; one in ten is like the last one to its instruction."""
    answers = []
    drawn = words[rng.integers(0, len(words), (len(instructions), WORDS))].tolist()
    for instruction, answer, copied in zip(instructions, drawn, (rng.random(len(drawn)) < 0.1).tolist(), strict=True):
        if copied and instruction in last:
            answer = [*last[instruction][:20], "otter", *last[instruction][21:]]
        last[instruction] = answer
        answers.append(" ".join(answer))
    return answers


def digits(numbers: np.ndarray) -> pa.Array:
    return pa.array([f"{number:016x}" for number in numbers.tolist()])


def one(folder: Path) -> dict[str, object]:
    """Run the stage once: CPU seconds, MiB and a digest of what it made. Older commits run this function, too."""
    from mminstruct.stages.select import Select

    data = {name: ds.dataset(sorted(map(str, (folder / name).iterdir()))) for name in ("review", "ingest")}
    before, began = peak(), time.process_time()
    made = hashlib.sha256()
    dropped = 0
    for key, output in Select().load(**data)():
        drops = "\n".join(f"{drop.id} {drop.reason} {drop.detail}" for drop in output.drops)
        made.update(f"{key} {output.table.to_pydict()} {drops}\n".encode())
        dropped += len(output.drops)
    return {"cpu": time.process_time() - began, "memory": peak() - before, "dropped": dropped, "made": made.hexdigest()}


def peak() -> float:
    """Highest resident memory of this process so far, MiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


def measured(folder: Path, checkout: str | None) -> dict[str, object]:
    """``one`` in a process of its own, with the package of *checkout*; None: of this one."""
    here = Path(__file__).resolve()
    env = {**os.environ, "PYTHONPATH": checkout or str(here.parent.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(here), "--one", str(folder)], env=env, cwd=folder, check=True,
                          stdout=subprocess.PIPE, text=True)  # fmt: skip
    return dict(json.loads(done.stdout.strip().split("\n")[-1]))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--pairs", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    asked.add_argument("--before", help="checkout of an older commit, which runs the smallest size, too")
    asked.add_argument("--short", action="store_true", help="answers of two words, which are not compared")
    asked.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.one:
        print(json.dumps(one(given.one)))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start\n")
    print(f"{'pairs':>11} {'commit':<8} {'CPU s':>8} {'us a pair':>10} {'MiB':>8} {'B a pair':>9} {'dropped':>9}")
    points = []
    for count in sorted(given.pairs):
        with tempfile.TemporaryDirectory() as name:
            make(Path(name), count, given.short)
            sides = {"this": None, "before": given.before} if given.before and not points else {"this": None}
            found = {side: measured(Path(name), checkout) for side, checkout in sides.items()}
        for side, row in found.items():
            cpu, memory = float(str(row["cpu"])), float(str(row["memory"]))
            print(f"{count:>11,} {side:<8} {cpu:>8.1f} {cpu / count * 1e6:>10.1f} {memory:>8.0f}"
                  f" {memory * 2**20 / count:>9.0f} {row['dropped']:>9,}", flush=True)  # fmt: skip
        if len({row["made"] for row in found.values()}) > 1:
            raise SystemExit("the two commits made other choices")
        points.append((count, float(str(found["this"]["cpu"])), float(str(found["this"]["memory"]))))
    (low, *first), (high, *last) = points[0], points[-1]
    if high > low:
        exponents = [math.log(b / a) / math.log(high / low) for a, b in zip(first, last, strict=True)]
        print(f"\nexponent of CPU time {exponents[0]:.2f}, of memory {exponents[1]:.2f}")


if __name__ == "__main__":
    main()
