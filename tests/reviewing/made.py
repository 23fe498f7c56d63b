"""Small runs to review, written by the real store, and the browser that opens their pages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.report import runs

HOSTILE = (
    "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 2'> {{7*7}} ${7*7} &lt;b&gt; <!-- \u2028 ‮"
)
"""What a question, an answer or a choice may hold."""
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
"""Options of the browser: tests may run as root, and it makes no requests of its own."""
INGEST = {
    "width": 640, "height": 480, "original_width": 640, "original_height": 480, "format": "JPEG", "frames": 1,
    "phash": 0, "source": "s", "shard": "a.tar", "member": "m.jpg",
}  # fmt: skip


def turn(number: int, image: str, **more: Any) -> dict[str, Any]:
    """A row of the table review."""
    plain = {
        "pair_id": runs.digest(f"pair {number}"), "image_id": image, "instruction_id": runs.digest(f"q {number}"),
        "kind": "short", "domain": "", "question": f"What is number {number}?", "answer": f"It is {number}.",
        "origin": "answer", "decision": "unseen", "people": 0,
    }  # fmt: skip
    return plain | more


def run(url: str, turns: int = 40, special: Sequence[dict[str, Any]] = (), left_out: int = 0) -> list[dict[str, Any]]:
    """A run with so many turns about 8 images; *special* replaces columns of the first ones; its rows of review.

    The last *left_out* rows are not selected.
    """
    images = [runs.digest(f"image {number}") for number in range(8)]
    pixels = [runs.jpeg((20 * n, 90, 200 - 20 * n)) for n in range(8)]
    runs.put(
        url,
        "ingest",
        [INGEST | {"image_id": one, "image": data} for one, data in zip(images, pixels, strict=True)],
        order=0,
    )
    rows = [turn(number, images[number % 8]) for number in range(turns)]
    rows = [row | (special[number] if number < len(special) else {}) for number, row in enumerate(rows)]
    ids = ("pair_id", "image_id", "instruction_id")
    pairs = [{name: row[name] for name in ids} for row in rows]
    bank = [
        {
            "instruction_id": row["instruction_id"],
            "instruction": row["question"],
            "cluster": n,
            "size": 1,
            "members": [],
        }
        for n, row in enumerate(rows)
    ]
    seeds = {"seeds": [f"Write poem {n}." for n in range(30)]}
    runs.put(url, "summarize", bank, order=2, key="all", config=seeds)
    matched = [pair | {"similarity": n / turns, "probability": 0.5} for n, pair in enumerate(pairs)]
    runs.put(url, "match", matched, order=3)
    runs.put(url, "review", rows, order=6)
    chosen = [pair | {"split": "train", "kind": "short", "domain": ""} for pair in pairs[: turns - left_out]]
    runs.put(url, "select", chosen, order=7)
    return rows


def chromium() -> str:
    """Path of the browser; a test without one fails."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, f"none of {', '.join(names)} is on PATH: install Debian's package chromium (apt-get install chromium)"
    return found


def data(page: Path) -> Any:
    """The data of a page, as its script reads them."""
    text = page.read_text(encoding="utf-8")
    return json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
