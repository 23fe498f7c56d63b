"""Training runs of two processes for ``test_loop``, in subprocesses because pytest's cannot leave a process group.

Called as ``python -m tests.training.two_workers RANK FOLDER MODEL``; worker 0 writes ``FOLDER/facts.json``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mminstruct.stage import Halt
from mminstruct.store.tables import Store
from mminstruct.training import checkpoint, deepspeed, loop, tracking
from mminstruct.training.config import Lora, Train, Zero
from mminstruct.training.prepare import prepare
from tests.training import sets

SPLIT = {
    "zero_optimization": {
        "stage3_param_persistence_threshold": 0,
        "stage3_max_live_parameters": 1,
        "stage3_max_reuse_distance": 1,
        "stage3_prefetch_bucket_size": 0,
    }
}
"""With these a small model is partitioned as a large one is: by default none of its weights would be released."""


class Killed(Exception):
    """Represents the end of the process after a step."""


def run(config: Train, rank: int, until: int | None = None) -> list[dict[str, Any]]:
    """Prepare as the driver does, and train; the metrics so far."""
    import torch.distributed as dist

    if rank == 0:
        prepare(config)
    dist.barrier()

    def stop(step: int) -> None:
        if step == until:
            raise Killed

    with contextlib.suppress(Killed):
        loop.fit(config, stop)
    dist.barrier()
    return tracking.read(Store(config.out + "/train"))


def flip(file: Path, place: int | None = None) -> None:
    """Flip one bit, by default in the middle of *file*."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 4
    file.write_bytes(data)


@contextlib.contextmanager
def gathered() -> Iterator[list[float]]:
    """How often ZeRO-3 gathers the parameters of the model for the probe questions of each evaluation."""
    import deepspeed.comm.comm as comm

    counts: list[float] = []
    answers = loop._Run._answers

    def answered(self: loop._Run) -> list[dict[str, str]]:
        gather = comm.cdb.all_gather_into_tensor
        counts.append(0.0)

        def counted(output_tensor: Any, input_tensor: Any, **rest: Any) -> Any:
            counts[-1] += output_tensor.numel()
            return gather(output_tensor, input_tensor, **rest)

        comm.cdb.all_gather_into_tensor = counted
        said = answers(self)
        comm.cdb.all_gather_into_tensor = gather
        counts[-1] /= sum(p.ds_numel for p in self.engine.module.parameters())
        return said

    loop._Run._answers = answered  # type: ignore[method-assign]
    yield counts
    loop._Run._answers = answers  # type: ignore[method-assign]


@contextlib.contextmanager
def per_token() -> Iterator[None]:
    """As if the weights did not fit into a worker's GPU: all workers answer together, and gather for each token."""
    whole = deepspeed.whole
    deepspeed.whole = lambda *_: contextlib.nullcontext(False)  # type: ignore[assignment]
    yield
    deepspeed.whole = whole


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def plant(folder: Path, mark: Path) -> None:
    """Put a file that runs a command into a checkpoint, with a correct receipt."""
    import torch

    one = checkpoint.Checkpoint.from_json((folder / checkpoint.COMPLETE).read_bytes())
    name = next(file for file in one.files if "model_states" in file)
    torch.save({"module": {}, "more": Command(mark)}, folder / name)
    one.files[name] = checkpoint.File.of(folder / name)
    (folder / checkpoint.COMPLETE).write_bytes(one.as_json())


class Told(logging.Handler):
    """Collects log messages in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def damaged(rank: int, folder: Path, settings: Any) -> dict[str, Any]:
    """Runs of two workers with damaged checkpoints."""
    import torch.distributed as dist

    made: dict[str, Any] = {}
    told = Told()
    logging.getLogger("mminstruct.training").addHandler(told)
    for stage in (2, 3):
        bent = settings(f"bent-{stage}", zero=Zero(stage=stage))
        run(bent, rank, until=5)
        if rank == 0:
            flip(next((folder / bent.out / "train/checkpoints/step-00000004").glob("*optim_states.pt")))
        dist.barrier()
        made[f"bent {stage}"] = run(bent, rank)
    made["told"] = told.lines
    strange = settings("strange")
    run(strange, rank, until=3)
    if rank == 0:
        plant(folder / strange.out / "train/checkpoints/step-00000002", folder / "ran")
    dist.barrier()
    try:
        run(strange, rank)
    except Halt as halt:
        made["strange"] = str(halt)
    made["ran"] = (folder / "ran").exists()
    return made


def together(rank: int, folder: Path, model: Path) -> dict[str, Any]:
    """Runs of two workers."""
    data = sets.write(folder / "data")
    mixed = {"group": False, "micro_batch": 1}  # in a batch of four, one worker has an image and the other none
    made: dict[str, Any] = {}

    def settings(name: str, **more: Any) -> Train:
        return sets.settings(folder / name, model, data, **mixed | more)

    whole = settings("whole")
    whole.data.eval, whole.data.probe = str(data), 2
    made["whole"] = run(whole, rank)
    for name, way in (("once", contextlib.nullcontext()), ("per token", per_token())):
        probed = settings(name, eval_every=1, save_every=100, zero=Zero(stage=3, options=SPLIT))
        probed.data.eval, probed.data.probe = str(data), 2
        with way, gathered() as made[f"gathered {name}"]:
            made[name] = run(probed, rank, until=2)
    made["killed"] = run(settings("killed"), rank, until=5)
    made["gone on"] = run(settings("killed"), rank)
    for stage in (0, 2):
        made[f"zero {stage}"] = run(settings(f"zero-{stage}", zero=Zero(stage=stage), save_every=100), rank)
    made["packed"] = run(settings("packed", packing=True, micro_batch=2, save_every=100), rank, until=2)
    run(settings("fewer"), rank, until=4)
    run(settings("fewer-2", zero=Zero(stage=2)), rank, until=4)
    lora = settings("lora", lora=Lora(r=4, alpha=8, dropout=0.0), save_every=100)
    lora.data.eval, lora.data.probe, lora.train.optim.projector_lr = str(data), 0, 1e-3
    made["lora"] = run(lora, rank)
    made |= damaged(rank, folder, settings)
    try:
        run(sets.settings(folder / "poisoned", folder / "poison", data, **mixed), rank)
    except Halt as halt:
        made["poisoned"] = str(halt)
    return made


def alone(folder: Path, model: Path) -> dict[str, Any]:
    """Runs of one worker that continue those of two."""
    data = folder / "data" / "train.json"
    made: dict[str, Any] = {}
    mixed = {"group": False, "micro_batch": 1}
    made["fewer"] = run(sets.settings(folder / "fewer", model, data, **mixed), 0)
    made["fewer-2"] = run(sets.settings(folder / "fewer-2", model, data, zero=Zero(stage=2), **mixed), 0)
    full = sets.settings(folder / "full", model, data, **mixed)
    run(full, 0, until=2)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))  # like a full disk: EFBIG
    try:
        run(full, 0)
    except OSError as error:
        made["full"] = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    made["left"] = [one.name for one in checkpoint.completed(Store(str(folder / "full" / "train")))[0]]
    made["after full"] = run(full, 0)
    return made


def poisoned(model: Path, to: Path) -> None:
    """Copy the model, with NaN in the embedding of the word *sun*."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    shutil.copytree(model, to)
    weights = load_file(to / "model.safetensors")
    (bad,) = AutoTokenizer.from_pretrained(model)(" sun", add_special_tokens=False)["input_ids"][-1:]
    name = next(name for name in weights if name.endswith("embed_tokens.weight"))
    weights[name][bad] = float("nan")
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})


def main(rank: int, folder: Path, model: Path) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    loop._MAX_ANSWER = 12  # tokens
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    if rank == 0:
        poisoned(model, folder / "poison")
    made = together(rank, folder, model)
    dist.barrier()
    deepspeed.shutdown()
    if rank:
        return
    os.environ["WORLD_SIZE"] = "1"
    dist.init_process_group("gloo", init_method=f"file://{folder}/alone", rank=0, world_size=1)
    made |= alone(folder, model)
    (folder / "facts.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
