"""Checkpoints: written by all workers, complete when the receipt says so, checked before anything of them is loaded.

    OUT/train/checkpoints/step-00000500/     DeepSpeed's files of every worker
                                        complete.json: bytes and SHA-256 of each of them, written last

What has no ``complete.json`` does not count: a worker that dies and a disk that fills up while one is written leave the
one before it as it was. One that has it, and a file that is not as it was written, is named and passed over.

DeepSpeed's files are pickles, and a pickle can run a command. So they are read by PyTorch's loader of tensors
(``weights_only``), which builds tensors, plain values and the few classes of ``_CLASSES``, and nothing else.
The digests find damage; they are no signature: everybody who can write to a run's folder can put other weights there.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import shlex
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mminstruct.stage import Halt
from mminstruct.store import Store

FOLDER = "checkpoints"
COMPLETE = "complete.json"
_CLASSES = (
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
)
"""What DeepSpeed's files hold besides tensors and plain values: data without code of its own."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a checkpoint, as it was written."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> File:
        with path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One that is complete."""

    name: str
    step: int
    """Steps done."""
    world: int
    """Workers that wrote it."""
    files: dict[str, File]
    """By path within it."""

    def as_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Checkpoint:
        """The checkpoint of a receipt.

        Raises:
            ValueError: the receipt is torn, or of a version without digests.
        """
        try:
            facts = json.loads(data)
            files = {str(path): File(int(file["bytes"]), str(file["sha256"])) for path, file in facts["files"].items()}
            return cls(str(facts["name"]), int(facts["step"]), int(facts["world"]), files)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{COMPLETE} is torn, or has no digests") from error


def found(store: Store) -> tuple[list[Checkpoint], dict[str, str]]:
    """Complete checkpoints, the newest first; and those whose receipts cannot be read, with the reason."""
    whole: list[Checkpoint] = []
    torn: dict[str, str] = {}
    for name in reversed([name for name in store.names(FOLDER) if name.startswith("step-")]):
        data = store.read(FOLDER, name, COMPLETE)
        if data is None:
            continue  # its writer died
        try:
            whole.append(Checkpoint.from_json(data))
        except ValueError as error:
            torn[name] = str(error)
    return whole, torn


@dataclass(frozen=True, slots=True)
class Resumed:
    """A checkpoint each byte of which is as it was written, on this node's disk."""

    checkpoint: Checkpoint
    folder: Path
    """The folder that holds the checkpoint's own folder."""
    lost: dict[str, str]
    """Newer ones that are damaged, and how."""
    fetched: bool
    """Whether *folder* is a copy that is removed once it is loaded."""

    def needs_conversion(self, world: int) -> bool:
        """Whether it holds states that are split over another number of workers than *world*."""
        split = any(file.endswith("optim_states.pt") for file in self.checkpoint.files)
        return self.checkpoint.world != world and split


def newest(store: Store, place: Place) -> Resumed | None:
    """The newest checkpoint that is whole; None where none was completed yet. Every worker calls it.

    Raises:
        Halt: there are checkpoints, and none is whole.
    """
    whole, lost = found(store)
    for one in whole:
        folder = Path(store.path(FOLDER)) if store.local else _fetch(store, one, place)
        faults = _faults(one, folder / one.name, place, everyone=store.local)
        if not faults:
            return Resumed(one, folder, lost, fetched=not store.local)
        lost[one.name] = "; ".join(faults)
        _drop(folder, place, fetched=not store.local)
    if lost:
        said = "\n".join(f"{name}: {why}" for name, why in sorted(lost.items(), reverse=True))
        raise Halt(
            f"no checkpoint in {store.path(FOLDER)} is whole, so nothing of them is loaded:\n{said}\nBring back the"
            f" files named, or begin again without them: rm -r {shlex.quote(store.path(FOLDER))}"
        )
    return None


def _fetch(store: Store, one: Checkpoint, place: Place) -> Path:
    """Copy a checkpoint from an object store to each node's disk; the folder that it is in."""
    folder = Path(place.agree(tempfile.mkdtemp(prefix="mminstruct-") if place.local == 0 else "", on_node=True))
    if place.local == 0:

        def get(file: str) -> None:
            to = folder / one.name / file
            to.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # reported as missing by ``_fault``
                store.fs.get_file(store.path(FOLDER, one.name, file), str(to))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(get, one.files))
    place.barrier()
    return folder


def _drop(folder: Path, place: Place, *, fetched: bool) -> None:
    if fetched:
        place.barrier()
        if place.local == 0:
            shutil.rmtree(folder, ignore_errors=True)


def _faults(one: Checkpoint, folder: Path, place: Place, *, everyone: bool) -> list[str]:
    """What of a checkpoint is not as it was written; workers share the files (*everyone*), or each node looks."""
    mine = list(one.files)[place.rank :: place.world] if everyone else list(one.files) if place.local == 0 else []
    said = [fault for file in mine if (fault := _fault(folder / file, file, one.files[file]))]
    return sorted({fault for some in place.gather(said) for fault in some})


def _fault(path: Path, name: str, written: File) -> str | None:
    import torch

    if not path.is_file():
        return f"{name} is missing"
    if path.stat().st_size != written.bytes:
        return f"{name} has {path.stat().st_size} bytes, {written.bytes} were written"
    if File.of(path) != written:
        return f"{name} is not what was written: its SHA-256 is another"
    if path.suffix == ".pt":
        with _tensors_only():
            try:
                strange = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            except ValueError as error:
                return f"{name} is no file of PyTorch's: {error}"
        if strange:
            return f"{name} holds more than tensors and is not loaded: {', '.join(sorted(strange))}"
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
        raise OSError(f"checkpoint {name} could not be written, the one before it is kept: {error}") from error
    place.barrier()
    here = sorted(str(path.relative_to(target / name)) for path in (target / name).rglob("*") if path.is_file())
    mine = here[place.rank :: place.world] if store.local else here if place.local == 0 else []
    digests = {file: File.of(target / name / file) for file in mine}
    files = {file: one for some in place.gather(digests) for file, one in some.items()}
    if not store.local:
        if place.local == 0:
            store.fs.put(f"{target / name}/", store.path(FOLDER, name) + "/", recursive=True)
            shutil.rmtree(target, ignore_errors=True)
        place.barrier()
    if place.rank == 0:
        store.write(Checkpoint(name, step, place.world, files).as_json(), FOLDER, name, COMPLETE)
        for old in [one.name for one in found(store)[0]][keep:]:
            _remove(store, old)
    place.barrier()


def _remove(store: Store, name: str) -> None:
    """Remove a checkpoint, its completeness first."""
    store.remove(FOLDER, name, COMPLETE)
    if store.exists(FOLDER, name):
        store.fs.rm(store.path(FOLDER, name), recursive=True)


def load(engine: Any, resumed: Resumed, place: Place) -> int:
    """Bring *engine* to where a checkpoint was; the number of steps done. Every worker calls it.

    Where it was written by another number of workers, the first worker of each node makes DeepSpeed's universal
    checkpoint of it, in the node's own temporary folder.

    Raises:
        Halt: it is whole, and DeepSpeed does not load it all the same.
    """
    name, folder = resumed.checkpoint.name, resumed.folder
    scratch = None
    try:
        with _tensors_only():
            if resumed.needs_conversion(place.world):
                scratch = place.agree(tempfile.mkdtemp(prefix="mminstruct-") if place.local == 0 else "", on_node=True)
                if place.local == 0:
                    _universal(folder / name, Path(scratch) / f"{name}_universal")
                place.barrier()
                name, folder = f"{name}_universal", Path(scratch)
            return _load(engine, folder, name)
    finally:
        _drop(resumed.folder, place, fetched=resumed.fetched)
        if scratch:
            _drop(Path(scratch), place, fetched=True)


def _load(engine: Any, folder: Path, tag: str) -> int:
    import pickle

    try:
        path, client = engine.load_checkpoint(str(folder), tag=tag)
    except (pickle.UnpicklingError, KeyError, EOFError) as error:
        versions = "load it with the versions that wrote it, which train/manifest.json names"
        raise Halt(f"{folder / tag} is not loaded: {error}; {versions}") from error
    if path is None:
        raise Halt(f"{folder / tag} is not loaded: DeepSpeed found no checkpoint in it")
    return int(client["step"])


@contextlib.contextmanager
def _tensors_only() -> Iterator[None]:
    """Every call of ``torch.load`` gives tensors, plain values and ``_CLASSES``, or an error."""
    import torch

    switch = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # wins over weights_only=False, with which DeepSpeed calls it
    before = os.environ.get(switch)
    os.environ[switch] = "1"
    try:
        with torch.serialization.safe_globals([_named(name) for name in _CLASSES]):
            yield
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


def _named(name: str) -> Any:
    module, _, of = name.rpartition(".")
    return getattr(importlib.import_module(module), of)


def _universal(source: Path, target: Path) -> None:
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
