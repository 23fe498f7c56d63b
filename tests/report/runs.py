"""Small runs with real tables, written by the real store: what a report is made of, without the models."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa
from PIL import Image

from mminstruct import schemas
from mminstruct.stage import Drop
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store

Row = Mapping[str, Any]
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>&\"'{{ 7 * 7 }}"
"""What a caption may hold."""


def jpeg(colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (640, 480)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def put(
    url: str, name: str, rows: Sequence[Row], *, order: int, key: str = "a-0000", drops: Sequence[Drop] = (),
    config: Row | None = None, **costs: Any,
) -> None:  # fmt: skip
    """Commit one part of table *name*; nulls for columns that a row does not name."""
    table = Store(url).table(name)
    facts = {
        "stage": name,
        "config": config or {"seed": 0},
        "schema": {},
        "inputs": {},
        "primary": None,
        "order": order,
    }
    table.store.create(json.dumps(facts | {"fingerprint": name}).encode(), name, "manifest.json")
    part = table.put(key, pa.Table.from_pylist([dict(row) for row in rows], schema=schemas.TABLES[name]))
    dropped: dict[str, int] = {}
    for drop in drops:
        dropped[drop.reason] = dropped.get(drop.reason, 0) + 1
    table.commit(
        Receipt(
            key=key, parts=[part], rows_in=len(rows) + len(drops), kept=len(rows), dropped=dropped,
            drops=table.put_drops(key, list(drops)), **costs,
        )
    )  # fmt: skip


def build(url: str, texts: Sequence[str]) -> list[str]:
    """A build with an image, a pair and an answer for each of *texts*, and one image dropped; the image ids."""
    images = [digest(f"image {number} {text}") for number, text in enumerate(texts)]
    ingest = {
        "width": 640, "height": 480, "original_width": 640, "original_height": 480, "format": "JPEG", "frames": 1,
        "phash": 0, "source": "s", "shard": "a.tar", "member": "m.jpg", "alt_text": "alt",
    }  # fmt: skip
    put(
        url, "ingest", [ingest | {"image_id": image, "image": jpeg()} for image in images], order=0,
        drops=[Drop("broken.jpg", "truncated", "image file is truncated")], seconds=2.0,
    )  # fmt: skip
    rows = [{"image_id": image, "caption": text, "tokens": 3} for image, text in zip(images, texts, strict=True)]
    put(url, "caption", rows, order=1, seconds=90.0, calls=len(rows), tokens_in=1000, tokens_out=200, cost=0.25)
    bank = [{"instruction_id": digest("i"), "instruction": "Write a poem.", "cluster": 0, "size": 1, "members": []}]
    put(url, "summarize", bank, order=2, key="all")
    pairs = [
        {"pair_id": digest(f"p{i}"), "image_id": image, "instruction_id": digest("i")} for i, image in enumerate(images)
    ]
    put(url, "match", [pair | {"similarity": 0.5, "probability": 0.5} for pair in pairs], order=3)
    answers = [pair | {"answer": text, "exemplars": 0, "tokens": 5} for pair, text in zip(pairs, texts, strict=True)]
    put(url, "answer", answers, order=4)
    put(url, "filter", [pair | {"words": 30} for pair in pairs], order=5)
    return images


def bench(url: str, verdicts: Mapping[str, Sequence[str]], *, text: str = "an answer", image: bool = True) -> None:
    """A benchmark of two contestants, ``new`` and ``old``: question to the verdicts in both orders, by one judge."""
    questions = [
        {
            "question_id": question, "image_id": digest(question), "instruction_id": digest(question), "question": f"Say {text}",
            "kind": "poetry" if number % 2 else "advice", "image": jpeg() if image else None, "caption": text, "reference": text,
        }
        for number, question in enumerate(verdicts)
    ]  # fmt: skip
    put(url, "pick", questions, order=0)
    answers = [
        {
            "question_id": question,
            "contestant": who,
            "answer": f"{who}: {text}",
            "finish": "stop",
            "tokens": 5,
            "words": words,
            "ends": True,
        }
        for question in verdicts
        for who, words in (("new", 40), ("old", 20))
    ]
    put(url, "respond", answers, order=1)
    judged = [
        {
            "question_id": question, "judge": "j", "a": "new", "b": "old", "order": order, "verdict": verdict,
            "reason": f"because {text}", "reply": "{}", "finish": "stop", "saw": "image",
        }
        for question, both in verdicts.items()
        for order, verdict in enumerate(both)
    ]  # fmt: skip
    put(url, "judge", judged, order=2, config={"judges": {"j": {"name": "the-judge", "revision": "r1"}}})
    put(url, "score", [], order=3, config={"cluster": "question_id", "level": 0.95})


def contest(url: str, contestants: Sequence[str], questions: int = 24) -> None:
    """A benchmark of several contestants: of each two, the later one wins three questions of four."""
    ids = [f"q{number}" for number in range(questions)]
    put(url, "pick", [
        {"question_id": one, "image_id": digest(one), "instruction_id": digest(one), "question": "Say it", "kind": "advice",
         "image": jpeg(), "caption": "", "reference": ""}
        for one in ids
    ], order=0)  # fmt: skip
    put(url, "respond", [
        {"question_id": one, "contestant": who, "answer": who, "finish": "stop", "tokens": 5, "words": 20, "ends": True}
        for one in ids for who in contestants
    ], order=1)  # fmt: skip
    put(url, "judge", [
        {"question_id": one, "judge": "j", "a": a, "b": b, "order": order, "verdict": "b" if number % 4 else "a",
         "reason": "", "reply": "{}", "finish": "stop", "saw": "image"}
        for number, one in enumerate(ids) for a, b in combinations(sorted(contestants), 2) for order in (0, 1)
    ], order=2, config={"judges": {"j": {"name": "the-judge", "revision": "r1"}}})  # fmt: skip
    put(url, "score", [], order=3, config={"cluster": "question_id", "level": 0.95})
