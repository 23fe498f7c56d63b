"""MM-Instruct's claim in small: a model tuned with a generated set follows instructions better, and loses no VQA.

    python -m lab.headline --sets DIR --out DIR --device cuda --minutes 4.5

A LLaVA with the embedded captioner's tower is taught captions and short answers about pictures, and instructions of
most families about descriptions in text. From this base all arms (``arms.ARMS``) are tuned side by side, with equal
steps, rows and learned tokens; then they are asked about scenes, families and wordings that no set has. All is by the
clock. ``lab.headline.sets`` writes what ``--sets`` names.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lab.headline import arms, page
from lab.headline.scenes import CHUNK, EXAM, SETS, Words, drawn, exam, studied

CAPTIONER = Path(__file__).parents[2] / "mminstruct" / "microworld" / "weights" / "captioner"


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes that depend on the device."""

    width: int
    layers: int
    batch: int
    """Rows of a step of the base."""
    arm: int
    """Rows of a step of an arm."""
    scenes: int
    """Most scenes that are drawn for the base."""
    exam: int
    """Scenes of the exam."""
    seeds: int = 3
    new: int = 128
    """Most tokens of an answer to an instruction."""
    steps: int = 400
    """Most steps of an arm."""
    base: float = 0.42
    """Share of the time at which the base ends."""
    ending: float = 0.06
    """Share of the time for judging."""


SCALES = {
    "cuda": Scale(384, 6, 256, 32, 48_000, 240),
    "cpu": Scale(256, 4, 32, 8, 12_000, 240),
    "smoke": Scale(64, 1, 8, 4, 2 * CHUNK, 6, seeds=2, new=12, steps=3, base=0.12),
}


@dataclass
class Record:
    """The folder of results, and the clock."""

    out: Path
    seconds: float
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        (self.out / "answers").mkdir(parents=True, exist_ok=True)
        if any((self.out / "answers").iterdir()):
            raise SystemExit(f"{self.out} has answers of an earlier experiment: give another folder to --out")

    def clock(self, share: float) -> float:
        """Time at which *share* of the experiment's time has passed."""
        return self.begun + share * self.seconds

    def say(self, **facts: Any) -> None:
        line = json.dumps({"at": round(time.monotonic() - self.begun, 1)} | facts)
        print(line, flush=True)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def answers(self, arm: str, seed: int, scenes: int, said: Sequence[str]) -> None:
        made = {"arm": arm, "seed": seed, "scenes": scenes, "answers": said}
        self._write(f"answers/{arm}-{seed}.json", made)

    def facts(self, facts: dict[str, Any]) -> None:
        self._write("facts.json", facts)

    def _write(self, name: str, made: Any) -> None:
        (self.out / name).write_text(json.dumps(made, ensure_ascii=False, indent=1), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.headline", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=Path, required=True, help="folder that lab.headline.sets wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for answers and tables")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--minutes", type=float, default=4.5, help="of the whole experiment by the clock")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw and judge")
    parser.add_argument("--smoke", action="store_true", help="the same path in tiny sizes")
    given = parser.parse_args(argv)
    record = Record(given.out, 60 * given.minutes)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # forked before CUDA is up: all processes exist after the first task
    with ProcessPoolExecutor(given.workers, multiprocessing.get_context("fork")) as pool:
        try:
            run(given, record, SCALES["smoke" if given.smoke else given.device.partition(":")[0]], pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return 0


def run(given: argparse.Namespace, record: Record, scale: Scale, pool: ProcessPoolExecutor) -> None:
    vision = json.loads((CAPTIONER / "config.json").read_text(encoding="utf-8"))["vision_config"]
    side = vision["image_size"]
    words = Words(given.sets / "tokenizer.json", (side // vision["patch_size"]) ** 2 + 1)
    sets = arms.read(given.sets, words)
    if given.smoke:
        sets = {name: sorted(pairs, key=lambda pair: pair.scene)[:30] for name, pairs in sets.items()}
    last = 1 + max(pair.scene for pairs in sets.values() for pair in pairs)
    first = [pool.submit(drawn, world, at, min(count, at + CHUNK), side)
             for world, count in ((SETS, last), (EXAM, scale.exam)) for at in range(0, count, CHUNK)]  # fmt: skip
    chunks = [pool.submit(studied, at, side, words) for at in range(0, scale.scenes, CHUNK)]
    asked, share = exam(scale.exam), arms.due(sets, words)

    import torch

    from lab.headline import lessons
    from lab.headline.model import Size, fresh, repeated

    device, many = given.device, len(arms.ARMS)
    torch.manual_seed(0)
    inner = round(scale.width * 8 / 3 / 64) * 64
    size = Size(scale.width, scale.layers, inner, words.inner.get_vocab_size(), vision["hidden_size"])
    tower = lessons.Tower(CAPTIONER, device)
    pixels = np.concatenate([one.result() for one in first])
    shown, album = tower.states(pixels[last:]), lessons.Album(tower, pixels[:last], chunks, scale.scenes)
    start = fresh(size)
    facts: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else f"{os.cpu_count()} cores",
        "torch": torch.__version__, "parameters": sum(tensor.numel() for tensor in start.values()),
        "rows": len(sets["set"]), "learned_per_row": share, "base_batch": scale.batch, "arm_batch": scale.arm,
    }  # fmt: skip
    record.say(**facts)

    school = lessons.School(device, size, scale.batch, 4e-3, scale.new)
    start, now, steps = lessons.base(school, start, album, record.clock(scale.base), lambda row: record.say(base=row))
    torch.save({name: p.cpu() for name, p in now.items()}, record.out / "base.pt")
    facts |= {"base_steps": steps, "base_scenes": album.close(), "plans": {}}
    record.answers("told", 0, scale.exam, lessons.answers(school, now, asked, shown, words, told=True)[0])
    helps = lessons.gains(school, now, album, sets["set"], words)

    # what an exam and a step of all arms take; the exam's first model is the base itself
    began = time.monotonic()
    record.answers("base", 0, scale.exam, lessons.answers(school, repeated(now, many), asked, shown, words)[0])
    exam_takes = time.monotonic() - began
    school = lessons.School(device, size, scale.arm, 1e-3, scale.new)
    step_takes = lessons.timed(school, start, album, many)
    late = record.clock(1 - scale.ending) - exam_takes
    each = (late + exam_takes - time.monotonic()) / scale.seeds
    steps = max(1, min(scale.steps, int((0.9 * each - exam_takes) / step_takes)))
    facts |= {"arm_steps": steps, "exam_takes": exam_takes, "step_takes": step_takes}
    record.say(**facts)
    record.facts(facts)

    def planned(seed: int) -> list[Future[Any]]:
        rows = [arms.coded(arms.shown(arm, sets, helps, seed), words) for arm in arms.ARMS.values()]
        return [pool.submit(arms.plan, some, steps, scale.arm, share, album.scenes, words, seed) for some in rows]

    plans = [planned(seed) for seed in range(scale.seeds)]
    for seed, mine in enumerate(plans):
        made = [plan.result() for plan in mine]
        mine.clear()
        if time.monotonic() + 0.5 * steps * step_takes > late:
            record.say(left_out=f"seed {seed} and later: no time")
            break
        models, losses, done = lessons.taught(school, start, album, [plan[:3] for plan in made], late)
        for arm, said in zip(arms.ARMS, lessons.answers(school, models, asked, shown, words), strict=True):
            record.answers(arm, seed, scale.exam, said)
        facts["plans"][seed] = {arm: plan[3] | {"loss": loss, "steps": done}
                                for arm, plan, loss in zip(arms.ARMS, made, losses, strict=True)}  # fmt: skip
        record.facts(facts)
        record.say(seed=seed, steps=done, losses=dict(zip(arms.ARMS, losses, strict=True)))
        del models
    print(page.write(record.out, pool), flush=True)
    record.say(done=True)


if __name__ == "__main__":
    raise SystemExit(main())
