"""The training loop at published dimensions under ZeRO-3, and its agreement with itself and with the CPU in small."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.gpu import material
from benchmarks.gpu.section import NotRun, Section, need
from mminstruct.training.config import Base, Data, Lora, Optim, Train, Training, Workers, Zero


class _Enough(Exception):
    """Ends a training after a step."""


def step(section: Section) -> None:
    """Tokens a second of a LLaVA-7B (3B on less than 125 GiB) on one GPU; also a bare loop, Liger and the probe."""
    need("deepspeed")
    import torch
    import transformers

    os.environ["DS_ACCELERATOR"] = section.device
    size = "tiny"
    if section.cuda:
        size = "7b" if torch.cuda.get_device_properties(0).total_memory > 125 * 2**30 else "3b"
    base = material.llava_folder(section.work / "base", size)
    data = material.conversations(section.work / "data", 64 if section.smoke else 512, short=section.smoke)
    rows = 4 if section.smoke else 16
    training = Training(
        optim=Optim(batch=rows, steps=1000), zero=Zero(stage=3), micro_batch=rows, save_every=10**6, eval_every=10**6
    )
    config = _train(section.work / "run", str(base), data, section.device, training)
    config.data.eval = str(data)
    from mminstruct.training import deepspeed, llava, loop
    from mminstruct.training.prepare import prepare

    prepare(config)
    transformers.LlavaForConditionalGeneration.from_pretrained = material.random_llava(base, section.device)
    _join(section.work, section.device)
    run = loop._Run(config)
    warm, last = (1, 3) if section.smoke else (3, 9)
    peak = section.ceilings["bf16" if section.cuda else "fp32"]

    def speed(first: int, work: Callable[[int, Callable[[int], None]], None]) -> tuple[float, float]:
        """Tokens a second and TFLOP/s of *work* without its first steps."""
        clock: list[float] = []

        def hook(_: int) -> None:
            section.sync()
            clock.append(time.perf_counter())
            if len(clock) == last or section.left() < 15:
                raise _Enough

        with contextlib.suppress(_Enough):
            work(first, hook)
        if len(clock) <= warm:
            raise NotRun("the time was over before the first counted step")
        seconds = clock[-1] - clock[warm - 1]
        tokens = sum(sum(batch.tokens for batch in micros(first + n)) for n in range(warm, len(clock)))
        return tokens / seconds, tokens * run.flops / seconds / 1e12

    def micros(number: int) -> list[Any]:
        return [future.result() for future in run._prepare(number)]

    def ours(first: int, hook: Callable[[int], None]) -> None:
        run.step, run.pool = first, ThreadPoolExecutor(run.t.loaders)
        try:
            run.train(hook)
        finally:
            run.pool = ThreadPoolExecutor(run.t.loaders)  # the loop closes its own

    def bare(first: int, hook: Callable[[int], None]) -> None:
        """The model's own loss on the same engine, rows made beforehand."""
        made = [micros(first + n) for n in range(last)]
        kind = next(run.model.parameters()).dtype
        run.engine.train()
        for number, batches in enumerate(made):
            for batch in batches:
                pixels = batch.pixels.to(run.device, kind)
                loss = run.engine(input_ids=batch.ids.to(run.device), pixel_values=pixels,
                                  labels=batch.labels.to(run.device), use_cache=False).loss  # fmt: skip
                run.engine.backward(loss)
                run.engine.step()
            hook(number)

    before: float | None = None
    for what, work in (("the loop", ours), ("bare transformers and DeepSpeed", bare), ("the loop, again", ours)):
        with section.part(what):
            section.wants(30)
            tokens, flops = speed(0, work)
            section.add(f"{size}, {what}", flops, "TFLOP/s", ceiling=peak,
                        note=f"{tokens:.0f} tokens/s, only weights counted; {section.memory() or 'CPU'}")  # fmt: skip
            before = flops if work is ours else before
    with section.part("the probe"):
        section.wants(40)
        loop._MAX_ANSWER, config.data.probe = 8, 1
        took = {}
        for name, held in (("before", False), ("measured", True)):
            whole = deepspeed.whole
            if not held:
                deepspeed.whole = lambda *_: contextlib.nullcontext(False)  # type: ignore[assignment]
            run.engine.eval()
            with torch.no_grad():
                took[name] = section.seconds_of(run._answers, 1, 0)
            deepspeed.whole = whole
        section.add(f"{size}, an answer of 8 tokens", took["measured"], "s", before=took["before"],
                    note="before: weights gathered for each token")  # fmt: skip
    with section.part("liger"):
        section.wants(30)
        need("liger_kernel")
        llava.with_liger(run.model)
        tokens, flops = speed(0, ours)
        section.add(f"{size}, train.liger=true", flops, "TFLOP/s", before=before, ceiling=peak,
                    note=f"{tokens:.0f} tokens/s; before: without")  # fmt: skip
    deepspeed.shutdown()


def agreement(section: Section) -> None:
    """Losses of the embedded captioner's training in fp32: all ways on this device, and the CPU."""
    need("deepspeed")
    os.environ["DS_ACCELERATOR"] = section.device
    data = material.conversations(section.work / "data", 24, short=True)
    there = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu.training", str(section.work / "cpu"), str(data)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
    )
    _join(section.work, section.device)

    def differ(some: list[float], other: list[float]) -> float:
        return max(abs(a - b) / b for a, b in zip(some, other, strict=True))

    whole = losses(section.work / "whole", data, section.device)
    section.add("last loss / first", whole[-1] / whole[0], note="below 1: it learns")
    losses(section.work / "resumed", data, section.device, until=3)
    resumed = losses(section.work / "resumed", data, section.device)
    section.add("resumed against uninterrupted", differ(resumed, whole), note="largest relative difference of a loss")
    for what, more in (
        ("ZeRO-0", {"zero": Zero(stage=0)}), ("ZeRO-2", {"zero": Zero(stage=2)}),
        ("gradient checkpointing", {"gradient_checkpointing": True}), ("packing", {"packing": True}),
    ):  # fmt: skip
        with section.part(what):
            section.wants(10)
            some = losses(section.work / what, data, section.device, **more)
            section.add(f"{what} against ZeRO-3", differ(some, whole))
    with section.part("LoRA"):
        section.wants(10)
        need("peft")
        some = losses(section.work / "lora", data, section.device, lora=Lora(r=8, alpha=16))
        section.add("LoRA: last loss / first", some[-1] / some[0])
    with section.part("CPU"):
        if there.wait(max(1.0, section.left())):
            raise RuntimeError("the process on the CPU failed")
        cpu = json.loads((section.work / "cpu" / "losses.json").read_text())
        section.add(f"{section.device} against cpu", differ(whole, cpu))
    from mminstruct.training import deepspeed

    deepspeed.shutdown()


def losses(out: Path, data: Path, device: str, until: int | None = None, **more: Any) -> list[float]:
    """Losses of six steps in the process group of this process."""
    from mminstruct.store.tables import Store
    from mminstruct.training import loop, tracking
    from mminstruct.training.prepare import prepare

    given: dict[str, Any] = {
        "template": "own", "max_length": 448, "optim": Optim(batch=4, steps=6, warmup=0.2), "zero": Zero(stage=3),
        "micro_batch": 2, "gradient_checkpointing": False, "save_every": 3, "eval_every": 100, "loaders": 1,
        "precision": "fp32",
    }  # fmt: skip
    config = _train(out, "micro:captioner", data, device, Training(**given | more))
    prepare(config)

    def hook(step: int) -> None:
        if step == until:
            raise _Enough

    with contextlib.suppress(_Enough):
        loop.fit(config, hook)
    return [row["loss"] for row in tracking.read(Store(f"{out}/train")) if "loss" in row]


def _train(out: Path, base: str, data: Path, device: str, training: Training) -> Train:
    workers = Workers(kind="local", gpu=device == "cuda", threads=None if device == "cuda" else 1)
    return Train(
        out=str(out), base=Base(model=base), data=Data(path=str(data)), train=training, workers=workers, trackers=[]
    )


def _join(scratch: Path, device: str) -> None:
    """A process group of this process alone."""
    import torch
    import torch.distributed as dist

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    if device == "cuda":
        torch.cuda.set_device(0)
    meeting = f"file://{scratch.resolve()}/meeting-{os.getpid()}"
    dist.init_process_group("nccl" if device == "cuda" else "gloo", init_method=meeting, rank=0, world_size=1)


def main(out: Path, data: Path) -> None:
    """Write the losses on the CPU to ``OUT/losses.json``."""
    out.mkdir(parents=True, exist_ok=True)
    _join(out, "cpu")
    (out / "losses.json").write_text(json.dumps(losses(out, data, "cpu")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
