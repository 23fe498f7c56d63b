"""Checkpoints: written by all workers, complete once their receipt exists, verified before they are loaded.

    OUT/train/checkpoints/step-00000500/     DeepSpeed's files of every worker
                                        complete.json: bytes and SHA-256 of each file, written last

A checkpoint without ``complete.json`` is ignored: a worker died or a disk was full while it was written. One with a
file that differs from ``complete.json`` is reported and skipped.

DeepSpeed's files are pickles, and a pickle can run a command. So PyTorch reads them with ``weights_only``, which allows
tensors, plain values and the classes in ``_CLASSES``. The digests detect damage. They are not a signature: anyone who
can write to a run's folder can replace the weights.
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
from mminstruct.store.tables import Store
from mminstruct.training.rank import Rank

FOLDER = "checkpoints"
COMPLETE = "complete.json"
_CLASSES = (
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
)
"""What DeepSpeed's files contain besides tensors and plain values; none of these runs code when it is loaded."""


@dataclass(frozen=True, slots=True)
class File:
    """Size and digest of one file of a checkpoint when it was written."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> File:
        with path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The receipt of a complete checkpoint."""

    name: str
    step: int
    """Number of completed steps."""
    world: int
    """Number of workers that wrote it."""
    files: dict[str, File]
    """By path within the checkpoint."""

    def as_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Checkpoint:
        """Parse a receipt.

        Raises:
            ValueError: the receipt is truncated, or of a version without digests.
        """
        try:
            facts = json.loads(data)
            files = {str(path): File(int(file["bytes"]), str(file["sha256"])) for path, file in facts["files"].items()}
            return cls(str(facts["name"]), int(facts["step"]), int(facts["world"]), files)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{COMPLETE} is truncated, or has no digests") from error


def completed(store: Store) -> tuple[list[Checkpoint], dict[str, str]]:
    """Complete checkpoints, newest first; and the reason for each whose receipt cannot be read."""
    complete: list[Checkpoint] = []
    unreadable: dict[str, str] = {}
    for name in reversed([name for name in store.names(FOLDER) if name.startswith("step-")]):
        data = store.read(FOLDER, name, COMPLETE)
        if data is None:
            continue  # its workers died
        try:
            complete.append(Checkpoint.from_json(data))
        except ValueError as error:
            unreadable[name] = str(error)
    return complete, unreadable


@dataclass(frozen=True, slots=True)
class Resumed:
    """A verified checkpoint on this node's disk."""

    checkpoint: Checkpoint
    folder: Path
    """Parent of the checkpoint's own folder."""
    lost: dict[str, str]
    """Why each newer checkpoint is damaged, by name."""
    fetched: bool
    """Whether *folder* is a copy that must be removed after loading."""

    def needs_conversion(self, world: int) -> bool:
        """Whether its states are partitioned over a number of workers other than *world*."""
        split = any(file.endswith("optim_states.pt") for file in self.checkpoint.files)
        return self.checkpoint.world != world and split


def newest(store: Store, rank: Rank) -> Resumed | None:
    """The newest intact checkpoint; None if none was completed yet. Every worker calls it.

    Raises:
        Halt: there are checkpoints, and all are damaged.
    """
    complete, lost = completed(store)
    for one in complete:
        folder = Path(store.path(FOLDER)) if store.local else _fetch(store, one, rank)
        faults = _faults(one, folder / one.name, rank, everyone=store.local)
        if not faults:
            return Resumed(one, folder, lost, fetched=not store.local)
        lost[one.name] = "; ".join(faults)
        _drop(folder, rank, fetched=not store.local)
    if lost:
        said = "\n".join(f"{name}: {why}" for name, why in sorted(lost.items(), reverse=True))
        raise Halt(
            f"no checkpoint in {store.path(FOLDER)} is intact, so none is loaded:\n{said}\nRestore the files named, or"
            f" start again without them: rm -r {shlex.quote(store.path(FOLDER))}"
        )
    return None


def _fetch(store: Store, one: Checkpoint, rank: Rank) -> Path:
    """Copy a checkpoint from an object store to each node's disk; its parent folder there."""
    folder = Path(rank.agree(tempfile.mkdtemp(prefix="mminstruct-") if rank.local == 0 else ""))
    if rank.local == 0:

        def get(file: str) -> None:
            to = folder / one.name / file
            to.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # reported as missing by ``_fault``
                store.fs.get_file(store.path(FOLDER, one.name, file), str(to))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(get, one.files))
    rank.barrier()
    return folder


def _drop(folder: Path, rank: Rank, *, fetched: bool) -> None:
    if fetched:
        rank.barrier()
        if rank.local == 0:
            shutil.rmtree(folder, ignore_errors=True)


def _faults(one: Checkpoint, folder: Path, rank: Rank, *, everyone: bool) -> list[str]:
    """How the files differ from the receipt. Workers divide them (*everyone*), or the first of each node checks all."""
    mine = list(one.files)[rank.index :: rank.world] if everyone else list(one.files) if rank.local == 0 else []
    said = [fault for file in mine if (fault := _fault(folder / file, file, one.files[file]))]
    return sorted({fault for some in rank.gather(said) for fault in some})


def _fault(path: Path, name: str, written: File) -> str | None:
    import torch

    if not path.is_file():
        return f"{name} is missing"
    if path.stat().st_size != written.bytes:
        return f"{name} has {path.stat().st_size} bytes instead of {written.bytes}"
    if File.of(path) != written:
        return f"{name} has changed: its SHA-256 differs"
    if path.suffix == ".pt":
        with _tensors_only():
            try:
                strange = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            except ValueError as error:
                return f"{name} is not a PyTorch file: {error}"
        if strange:
            return f"{name} contains more than tensors and is not loaded: {', '.join(sorted(strange))}"
    return None


def save(engine: Any, store: Store, step: int, *, keep: int, rank: Rank) -> None:
    """Write a checkpoint after *step* steps, then remove all but the newest *keep*. Every worker calls it.

    Raises:
        OSError: a file could not be written; the checkpoint stays incomplete.
    """
    name = f"step-{step:08d}"
    rank.barrier()
    if rank.index == 0:
        _remove(store, name)  # left by a run that died while writing it
    rank.barrier()
    target = Path(store.path(FOLDER)) if store.local else Path(tempfile.gettempdir()) / f"mminstruct-{os.getpid()}"
    if not store.local:
        target = Path(rank.agree(str(target)))
    target.mkdir(parents=True, exist_ok=True)
    try:
        engine.save_checkpoint(str(target), tag=name, client_state={"step": step}, save_latest=False)
    except (OSError, RuntimeError) as error:  # PyTorch raises RuntimeError when a disk is full
        raise OSError(f"checkpoint {name} could not be written, the previous one is kept: {error}") from error
    rank.barrier()
    here = sorted(str(path.relative_to(target / name)) for path in (target / name).rglob("*") if path.is_file())
    mine = here[rank.index :: rank.world] if store.local else here if rank.local == 0 else []
    digests = {file: File.of(target / name / file) for file in mine}
    files = {file: one for some in rank.gather(digests) for file, one in some.items()}
    if not store.local:
        if rank.local == 0:
            store.fs.put(f"{target / name}/", store.path(FOLDER, name) + "/", recursive=True)
            shutil.rmtree(target, ignore_errors=True)
        rank.barrier()
    if rank.index == 0:
        store.write(Checkpoint(name, step, rank.world, files).as_json(), FOLDER, name, COMPLETE)
        for old in [one.name for one in completed(store)[0]][keep:]:
            _remove(store, old)
    rank.barrier()


def _remove(store: Store, name: str) -> None:
    """Remove a checkpoint, its receipt first."""
    store.remove(FOLDER, name, COMPLETE)
    if store.exists(FOLDER, name):
        store.fs.rm(store.path(FOLDER, name), recursive=True)


def load(engine: Any, resumed: Resumed, rank: Rank) -> int:
    """Load a checkpoint into *engine*; the number of completed steps. Every worker calls it.

    If the number of workers has changed, the first worker of each node converts it to DeepSpeed's universal checkpoint,
    in a temporary folder.

    Raises:
        Halt: the checkpoint is intact, but DeepSpeed cannot load it.
    """
    name, folder = resumed.checkpoint.name, resumed.folder
    scratch = None
    try:
        with _tensors_only():
            if resumed.needs_conversion(rank.world):
                scratch = rank.agree(tempfile.mkdtemp(prefix="mminstruct-") if rank.local == 0 else "")
                if rank.local == 0:
                    _universal(folder / name, Path(scratch) / f"{name}_universal")
                rank.barrier()
                name, folder = f"{name}_universal", Path(scratch)
            return _load(engine, folder, name)
    finally:
        _drop(resumed.folder, rank, fetched=resumed.fetched)
        if scratch:
            _drop(Path(scratch), rank, fetched=True)


def _load(engine: Any, folder: Path, tag: str) -> int:
    import pickle

    try:
        path, client = engine.load_checkpoint(str(folder), tag=tag)
    except (pickle.UnpicklingError, KeyError, EOFError) as error:
        versions = "load it with the package versions that wrote it; see train/manifest.json"
        raise Halt(f"{folder / tag} cannot be loaded: {error}; {versions}") from error
    if path is None:
        raise Halt(f"{folder / tag} cannot be loaded: DeepSpeed found no checkpoint in it")
    return int(client["step"])


@contextlib.contextmanager
def _tensors_only() -> Iterator[None]:
    """Within it, ``torch.load`` returns only tensors, plain values and ``_CLASSES``, else raises."""
    import torch

    switch = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # overrides weights_only=False, which DeepSpeed passes
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
