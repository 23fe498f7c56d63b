"""Time and memory of ``annotate`` on one core: VQA-like questions with ten answers each.

    python -m benchmarks.annotations [COUNT]

The records have the lengths of VQA v2's; their words are drawn. The files are written to a temporary folder first.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mminstruct.annotations.sets import AnnotationSet
from mminstruct.stages.annotate import Annotate

_WORDS = ("yes", "no", "red", "blue", "2", "3", "dog", "cat", "frisbee", "man", "standing", "on the table", "white")


def _written(path: Path, name: str, records: Iterator[dict[str, Any]]) -> str:
    with path.open("w") as file:
        file.write(f'{{"info": {{"version": "2.0"}}, "{name}": [')
        for number, record in enumerate(records):
            file.write((", " if number else "") + json.dumps(record))
        file.write("]}")
    return str(path)


def _questions(count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(count):
        one, two = rng.choices(_WORDS, k=2)
        question = f"What {one} is the {two} doing near the {rng.choice(_WORDS)} {number % 977}?"
        yield {"image_id": number * 7919 % 580_000, "question": question, "question_id": 1000 + number}


def _annotations(count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(count):
        most = rng.choice(_WORDS)
        answers = [most if rng.random() < 0.7 else rng.choice(_WORDS) for _ in range(10)]
        yield {
            "question_type": "what is", "multiple_choice_answer": most, "answer_type": "other",
            "answers": [{"answer": one, "answer_confidence": "yes", "answer_id": n} for n, one in enumerate(answers)],
            "image_id": number * 7919 % 580_000, "question_id": 1000 + number,
        }  # fmt: skip


def main(count: int = 600_000) -> None:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        vqa = AnnotationSet(
            format="vqa",
            path=_written(Path(folder) / "annotations.json", "annotations", _annotations(count, rng)),
            questions=_written(Path(folder) / "questions.json", "questions", _questions(count, rng)),
        )
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        began, cpu = time.monotonic(), time.process_time()
        parts = list(Annotate(sets={"vqa": vqa}).load()("vqa"))
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    rows, kept = sum(part.rows_in for part in parts), sum(len(part.output.table) for part in parts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    took = f"{seconds:.1f} s, {cpu:.1f} s of CPU, {peak:.2f} GiB at most"
    print(f"{rows} records ({size / 1e6:.0f} MB), {kept} kept: {took}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
