"""A small data set in LLaVA's JSON, and settings of a training run that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mminstruct.training.config import Base, Data, Optim, Train, Training, Workers, Zero
from tests.models import tiny

WORDS = ("red robot", "green trees", "yellow sun", "old house", "lantern glows", "short story", "describe the image")


def record(number: int, *, image: bool) -> dict[str, Any]:
    """A record with two turns if *number* is odd, else four; answers have one to thirty words."""
    talk = []
    for turn in range(1 if number % 2 else 2):
        asked = f"what of {WORDS[(number + turn) % 7]}?"
        talk.append({"from": "human", "value": f"<image>\n{asked}" if image and not turn else asked})
        talk.append({"from": "gpt", "value": " ".join(WORDS[(number * 3 + n) % 7] for n in range(1 + number % 5))})
    row: dict[str, Any] = {"id": f"row-{number}", "conversations": talk}
    return row | ({"image": f"{number % 4}.png"} if image else {})


def write(folder: Path, rows: int = 20, images: int = 12) -> Path:
    """Write *rows* conversations, the first *images* of them with an image, to ``folder/train.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(4):
        (folder / f"{seed}.png").write_bytes(tiny.picture(seed, width=40 + 9 * seed))
    made = [record(number, image=number < images) for number in range(rows)]
    (folder / "train.json").write_text(json.dumps(made))
    return folder / "train.json"


def settings(out: Path, model: Path, data: Path, **more: Any) -> Train:
    """ZeRO-3, batches of 4, the tiny LLaVA's own template; *more* is passed to ``Training``."""
    given: dict[str, Any] = {
        "template": "own",
        "max_length": 200,
        "optim": Optim(lr=2e-3, batch=4, steps=6, warmup=0.2),
        "zero": Zero(stage=3),
        "micro_batch": 1,
        "save_every": 2,
        "eval_every": 100,
        "loaders": 1,
        "gradient_checkpointing": True,
    }
    return Train(
        out=str(out),
        base=Base(model=str(model)),
        data=Data(path=str(data)),
        train=Training(**given | more),
        workers=Workers(kind="local", threads=1),
        trackers=[],
    )
