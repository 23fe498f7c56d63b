"""Checkpoints: written by all workers, complete when the last file says so, loaded on any number of workers.

    OUT/train/checkpoints/step-00000500/     DeepSpeed's files of every worker
                                        complete.json: names and sizes of all of them, written last

What has no ``complete.json``, or not every file it names, does not count: a worker that dies and a disk that fills up
while one is written leave the one before it as it was.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mminstruct.store import Store

FOLDER = "checkpoints"
COMPLETE = "complete.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One that is complete."""

    name: str
    step: int
    """Steps done."""
    world: int
    """Workers that wrote it."""
    files: dict[str, int]
    """Path and bytes of each."""


def found(store: Store) -> list[Checkpoint]:
    """Complete checkpoints, the newest first."""
    made = []
    for name in reversed([name for name in store.names(FOLDER) if name.startswith("step-")]):
        data = store.read(FOLDER, name, COMPLETE)
        try:
            one = Checkpoint(**json.loads(data)) if data else None
        except (ValueError, TypeError):
            one = None
        if one and all(_size(store, name, file) == size for file, size in one.files.items()):
            made.append(one)
    return made


def _size(store: Store, name: str, file: str) -> int | None:
    try:
        return int(store.fs.size(store.path(FOLDER, name, file)))
    except FileNotFoundError:
        return None


def save(engine: Any, store: Store, step: int, *, keep: int, place: Place) -> None:
    """Write a checkpoint after *step* steps; every worker calls it. Older ones than *keep* go once it is complete.

    Raises:
        OSError: a file could not be written; the checkpoint does not count then.
    """
    name = f"step-{step:08d}"
    place.barrier()
    if place.rank == 0:
        _remove(store, name)  # of a run that died while writing it
    place.barrier()
    target = Path(store.path(FOLDER)) if store.local else Path(tempfile.gettempdir()) / f"mminstruct-{os.getpid()}"
    if not store.local:
        target = Path(place.agree(str(target), on_node=True))
    target.mkdir(parents=True, exist_ok=True)
    try:
        engine.save_checkpoint(str(target), tag=name, client_state={"step": step}, save_latest=False)
    except (OSError, RuntimeError) as error:  # PyTorch's writer says RuntimeError of a disk that is full
        raise OSError(f"checkpoint {name} could not be written, the one before it stands: {error}") from error
    place.barrier()
    if not store.local:
        if place.local == 0:
            store.fs.put(f"{target / name}/", store.path(FOLDER, name) + "/", recursive=True)
            shutil.rmtree(target, ignore_errors=True)
        place.barrier()
    if place.rank == 0:
        root = store.path(FOLDER, name)
        sizes = {path[len(root) + 1 :]: int(info["size"]) for path, info in store.fs.find(root, detail=True).items()}
        whole = Checkpoint(name, step, place.world, sizes)
        store.write(json.dumps(asdict(whole)).encode(), FOLDER, name, COMPLETE)
        for old in [one.name for one in found(store)][keep:]:
            _remove(store, old)
    place.barrier()


def _remove(store: Store, name: str) -> None:
    """Remove a checkpoint, its completeness first."""
    store.remove(FOLDER, name, COMPLETE)
    if store.exists(FOLDER, name):
        store.fs.rm(store.path(FOLDER, name), recursive=True)


def needs_conversion(checkpoint: Checkpoint, world: int) -> bool:
    """Whether it holds states that are split over another number of workers than *world*."""
    return checkpoint.world != world and any(file.endswith("optim_states.pt") for file in checkpoint.files)


def load(engine: Any, store: Store, checkpoint: Checkpoint, place: Place) -> int:
    """Bring *engine* to where *checkpoint* was; the number of steps done. Every worker calls it.

    Where it was written by another number of workers, the first worker of each node makes DeepSpeed's universal
    checkpoint of it, in the node's own temporary folder.
    """
    converts = needs_conversion(checkpoint, place.world)
    if store.local and not converts:
        return _load(engine, Path(store.path(FOLDER)), checkpoint.name)
    scratch = Path(place.agree(tempfile.mkdtemp(prefix="mminstruct-") if place.local == 0 else "", on_node=True))
    try:
        if place.local == 0:
            source = scratch / checkpoint.name
            if store.local:
                source.symlink_to(Path(store.path(FOLDER, checkpoint.name)).absolute(), target_is_directory=True)
            else:
                source.mkdir()
                for file in checkpoint.files:
                    (source / file).parent.mkdir(parents=True, exist_ok=True)
                    store.fs.get_file(store.path(FOLDER, checkpoint.name, file), str(source / file))
            if converts:
                _universal(source, scratch / f"{checkpoint.name}_universal")
        place.barrier()
        return _load(engine, scratch, checkpoint.name + ("_universal" if converts else ""))
    finally:
        place.barrier()
        if place.local == 0:
            shutil.rmtree(scratch, ignore_errors=True)


def _load(engine: Any, folder: Path, tag: str) -> int:
    path, client = engine.load_checkpoint(str(folder), tag=tag)
    if path is None:
        raise OSError(f"{folder}/{tag}: DeepSpeed found no checkpoint in it")
    return int(client["step"])


def _universal(source: Path, target: Path) -> None:
    import contextlib
    import io

    from deepspeed.checkpoint.ds_to_universal import main

    settings = Namespace(
        input_folder=str(source), output_folder=str(target), num_extract_workers=1, num_merge_workers=1,
        keep_temp_folder=False, strict=True, inject_missing_state=True,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(settings)


@dataclass(frozen=True, slots=True)
class Place:
    """Which worker of how many this is."""

    rank: int
    world: int
    local: int
    """Rank among the workers of its node."""

    @classmethod
    def here(cls) -> Place:
        import torch.distributed as dist

        return cls(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))

    def barrier(self) -> None:
        import torch.distributed as dist

        dist.barrier()

    def gather(self, thing: Any) -> list[Any]:
        """Everyone's *thing*, by rank, on everyone."""
        import torch.distributed as dist

        things: list[Any] = [None] * self.world
        dist.all_gather_object(things, thing)
        return things

    def agree(self, text: str, *, on_node: bool) -> str:
        """What worker 0 (*on_node*: of this node) says."""
        import socket

        said = self.gather((socket.gethostname(), self.local, text))
        host = socket.gethostname() if on_node else said[0][0]
        return next(str(words) for where, local, words in said if where == host and (local == 0 or not on_node))
