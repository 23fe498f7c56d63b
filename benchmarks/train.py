"""Compares tokens per second of our loop under Ray Train with plain transformers and DeepSpeed without Ray.

    python benchmarks/train.py --steps 20 --rounds 3

Same model (the microworld's captioner, 3.9 M parameters), same rows in the same micro-batches, ZeRO-2, one worker, one
thread; the first two steps of each round are not counted. Rounds alternate, since the load of the machine varies. The
result is in wall-clock time; the worker's CPU seconds, which other load hardly changes, are printed too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mminstruct.training.config import Base, Data, Optim, Train, Training, Workers, Zero

WARM = 2


def settings(out: Path, data: Path, steps: int) -> Train:
    training = Training(
        template="own", max_length=448, optim=Optim(lr=1e-4, batch=16, steps=steps), zero=Zero(stage=2), micro_batch=8,
        gradient_checkpointing=False, save_every=10**6, eval_every=10**6, loaders=1,
    )  # fmt: skip
    workers = Workers(count=1, cpus=1, threads=1)
    return Train(out=str(out), base=Base(model="micro:captioner"), data=Data(path=str(data)), train=training,
                 workers=workers)  # fmt: skip


class Clock:
    """Writes wall-clock and worker CPU seconds after each step to a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self, step: int) -> None:
        with self.file.open("a") as file:
            file.write(f"{time.monotonic()} {time.process_time()}\n")


def ours(out: Path, data: Path, steps: int) -> tuple[float, float]:
    """Tokens per second and CPU seconds per step of the loop under Ray Train."""
    from mminstruct.engine.train import train

    out.mkdir(parents=True)
    train(settings(out, data, steps), lambda _: None, after_step=Clock(out / "clock"))
    tokens = [json.loads(line)["tokens"] for line in (out / "train" / "metrics.jsonl").read_text().splitlines()]
    return _speeds(tokens, [tuple(map(float, line.split())) for line in (out / "clock").read_text().splitlines()])


def _speeds(tokens: list[int], clock: list[tuple[float, ...]]) -> tuple[float, float]:
    """Tokens per second and CPU seconds per step, without the first steps; measured between the ends of steps."""
    (wall, cpu), (wall_end, cpu_end) = clock[WARM - 1], clock[-1]
    return sum(tokens[WARM:]) / (wall_end - wall), (cpu_end - cpu) / (len(clock) - WARM)


def plain(out: Path, data: Path, steps: int) -> tuple[float, float]:
    """The same for a plain script in a separate process."""
    done = subprocess.run(
        [sys.executable, __file__, "--plain", str(out), "--data", str(data), "--steps", str(steps)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def script(out: Path, data: Path, steps: int) -> None:
    """Plain transformers and DeepSpeed: the model's own loss, one batch after the other."""
    import torch
    import torch.distributed as dist

    from mminstruct.training import deepspeed as ours
    from mminstruct.training.data import Collator, Records, read, save
    from mminstruct.training.llava import image_tokens
    from mminstruct.training.plan import Plan, shares

    torch.set_num_threads(1)
    out.mkdir(parents=True)
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    dist.init_process_group("gloo", init_method=f"file://{out}/meeting", rank=0, world_size=1)
    ours.setup(gpu=False)
    import deepspeed
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    from mminstruct.models.model import Model

    config = settings(out, data, steps)
    folder = Model(name="micro:captioner").location()
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.model.vision_tower.requires_grad_(False)
    learns = [p for p in model.parameters() if p.requires_grad]
    made = ours.settings(config, 2, gpu=False)
    engine, *_ = deepspeed.initialize(model=model, model_parameters=learns, config=made)
    table, facts = read(str(data), None)
    (out / "records").write_bytes(save(table))
    records = Records(out / "records")
    plan = Plan(records, config.train, 0)
    tokens_seen = image_tokens(model)
    collate = Collator(AutoProcessor.from_pretrained(folder), config.train, facts["images"], tokens_seen)
    tokens, clock = [], []
    for step in range(steps):
        count = 0
        for rows in shares(plan.step(step), 0, 1, 8, 16):
            batch = collate([records[row] for row in rows])
            loss = engine(input_ids=batch.ids, pixel_values=batch.pixels, labels=batch.labels, use_cache=False).loss
            engine.backward(loss)
            engine.step()
            count += batch.tokens
        tokens.append(count)
        clock.append((time.monotonic(), time.process_time()))
    print(json.dumps(_speeds(tokens, clock)))


def data(folder: Path) -> Path:
    """Conversations about drawn scenes: captions, short answers."""
    from lab import rounds

    return rounds.draw(folder / "data", 96)["split"] / "train.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain", type=Path)
    parser.add_argument("--data", type=Path)
    given: Any = parser.parse_args()
    if given.plain:
        script(given.plain, given.data, given.steps)
        return
    with tempfile.TemporaryDirectory() as scratch:
        made = data(Path(scratch))
        results: dict[str, list[tuple[float, float]]] = {"ours under Ray": [], "plain": []}
        for number in range(given.rounds):
            results["plain"].append(plain(Path(scratch) / f"plain-{number}", made, given.steps))
            results["ours under Ray"].append(ours(Path(scratch) / f"ours-{number}", made, given.steps))
        for name, rounds in results.items():
            speeds, costs = [round(speed) for speed, _ in rounds], [round(cost, 3) for _, cost in rounds]
            print(f"{name}: tokens/s {speeds}, CPU s/step {costs}")
        speed, cost = ([statistics.median(r[n] for r in some) for some in results.values()] for n in (0, 1))
        print(f"ours / plain: {speed[0] / speed[1]:.3f} in tokens/s, {cost[1] / cost[0]:.3f} in tokens per CPU second")


if __name__ == "__main__":
    main()
