"""What all processes of a run share: sizes by device, times, pictures, queues, the log. Needs no PyTorch."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from lab.teach.pictures import empty, shared
from lab.teach.words import TOKENIZER, copy_files

WEIGHTS = Path(__file__).parents[2] / "mminstruct" / "microworld" / "weights"
MODELS = ("llm", "embedder", "captioner", "clip", "asker", "captioner_small", "llm_small")
SEEING = ("captioner", "clip", "captioner_small")
LANGUAGE = ("llm", "asker", "llm_small")
WEAK = {"captioner_small": ("objects_recall", 0.75), "llm_small": ("ok", 0.6)}
"""Scores, over both levels, at which the weak models stop: with them a recipe has faults to catch."""
WORLD, WATCHED = 1000, 2000
"""Seeds of the world of the exams, and of the world that is watched during training."""
FORK = get_context("fork")
MANIFEST = "manifest.json"
LESSON = "lesson.json"
"""Beside a model that is not shipped: how it was taught, and its curve."""


@dataclass(frozen=True)
class Sizes:
    """What depends on the device."""

    images: int
    """Pictures to train on."""
    held: int
    """Pictures to watch."""
    batch: int
    """Pictures of a step."""
    tokens: int
    """Tokens of a step of a language model, padding included."""
    windows: dict[str, tuple[float, float]]
    """When each model learns, as shares of the time."""
    report: float = 60.0
    """Seconds between reports."""
    save: float = 90.0
    """Seconds between saves."""
    chunk: int = 200
    """Pictures that one process draws at a time."""
    pool: int = 512
    """Lessons from which batches of similar length are made, at first."""
    asked: int = 60
    """Pictures or prompts whose greedy replies are watched, and unseen lessons of a sort."""


GPU = Sizes(100_000, 400, 256, 32_768, {
    "captioner": (0, 1), "llm": (0, 1), "asker": (0, 1), "embedder": (0.02, 0.12), "captioner_small": (0.12, 0.5),
    "llm_small": (0.15, 0.5), "clip": (0.6, 0.85),
})  # fmt: skip
"""All share one GPU. The small models learn for a part of the time; CLIP starts from the captioner's tower."""
CPU = Sizes(20_000, 100, 24, 4096, {
    "llm": (0, 0.42), "asker": (0.42, 0.86), "llm_small": (0.86, 1), "captioner": (0, 0.68), "clip": (0.68, 0.85),
    "captioner_small": (0.85, 0.96), "embedder": (0.96, 1),
}, pool=256, asked=12)  # fmt: skip
"""Two at a time, for two cores."""
SMOKE = Sizes(48, 8, 4, 1024, CPU.windows, report=6, save=8, chunk=4, pool=16, asked=4)


@dataclass
class Plan:
    """One run. Made before processes are forked; all of them see it."""

    models: tuple[str, ...]
    work: Path
    device: str
    minutes: float
    resume: bool
    sizes: Sizes
    out: Path | None = None
    begun: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.end = self.begun + 60 * self.minutes
        self.taught = self.end - max(8.0, min(60.0, 3 * self.minutes))  # the rest is for the last scores and saves
        size, held, images = self.sizes.chunk, self.sizes.held, self.sizes.images
        self.arrays = {"train": empty(images), "held": empty(held)}
        if not set(self.models) & set(SEEING):
            held = images = 0
        self.chunks = [("held", at, min(at + size // 4, held)) for at in range(0, held, size // 4)]
        self.chunks += [("train", at, min(at + size, images)) for at in range(0, images, size)]
        self.ready = shared(len(self.chunks))
        self.next = FORK.Value("i", 0)
        self.queues = {name: FORK.Queue(48) for name in LANGUAGE if name in self.models}

    def window(self, model: str) -> tuple[float, float]:
        """When *model* starts and ends, by the monotonic clock. The models of this run have all of the time."""
        known = [self.sizes.windows[one] for one in self.models]
        first, last = min(start for start, _ in known), max(end for _, end in known)
        pace = (self.taught - self.begun) / (last - first)
        start, end = (self.begun + pace * (at - first) for at in self.sizes.windows[model])
        return start, end

    def say(self, text: str) -> None:
        """One line to the terminal and to the log."""
        line = f"[{time.monotonic() - self.begun:5.0f}s] {text}\n"
        sys.stdout.write(line)
        sys.stdout.flush()
        with (self.work / "log.txt").open("a") as file:
            file.write(line)

    def tokens_of(self, model: str) -> Path | None:
        """The folder of the tokenizer of *model*; None while the asker's is not made."""
        folder = self.work / "asker" if model == "asker" else self.work / "llm"
        return folder if (folder / "tokenizer.json").exists() else None

    def drawn(self) -> int:
        """Training pictures that are there."""
        sizes = [stop - start if name == "train" else 0 for name, start, stop in self.chunks]
        return int(np.dot(sizes, self.ready))


def history(folder: Path) -> dict[str, Any]:
    """Earlier lessons and curve of the model in *folder*."""
    path = folder / LESSON
    return dict(json.loads(path.read_text())) if path.exists() else {"lessons": [], "curve": []}


def prepare(work: Path, out: Path | None, resume: bool, weights: Path = WEIGHTS) -> None:
    """Make the folders, and copy what *work* lacks: the tokenizer, and with *resume* the shipped models."""
    for folder in filter(None, (work, out, Path("/dev/shm"))):  # the last holds the locks of multiprocessing
        folder.mkdir(parents=True, exist_ok=True)
    for model in MODELS if resume else ():
        if (weights / model / MANIFEST).exists() and not list((work / model).glob("*.safetensors")):
            ignored = shutil.ignore_patterns(MANIFEST)
            shutil.copytree(weights / model, work / model, ignore=ignored, dirs_exist_ok=True)
            manifest = json.loads((weights / model / MANIFEST).read_text())
            lessons = manifest["lessons"]
            known = {"lessons": lessons if isinstance(lessons, list) else [lessons], "curve": manifest["curve"]}
            (work / model / LESSON).write_text(json.dumps(known))
    if not (work / "llm" / TOKENIZER[0]).exists():
        copy_files(weights / "llm", work / "llm", TOKENIZER)
