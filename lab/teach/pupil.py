"""What every model does while it learns: start from saved tensors, step by the clock, report, save, be packed."""

from __future__ import annotations

import fcntl
import json
import math
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.teach.learner import Clock, Learner, Losses, Mean, Tensors
from lab.teach.plan import LESSON, WEAK, Plan, history

ARCHIVES = {"captioner_small": "small", "llm_small": "small", "embedder": "small"}
"""Models that share an archive; the others have one of their own."""
Row = dict[str, Any]


def device_of(plan: Plan, attempt: int) -> torch.device:
    """The device of this process, set up: one thread, fixed seeds, and plain attention in a second *attempt*."""
    torch.set_num_threads(1)
    torch.manual_seed(1000 + attempt)
    device = torch.device(plan.device)
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every shape
        torch.backends.cuda.enable_flash_sdp(not attempt)
        torch.backends.cuda.enable_mem_efficient_sdp(not attempt)
    return device


def begin(plan: Plan, name: str, start: Callable[[Path], None]) -> bool:
    """Whether ``work/name`` has weights to go on from. If not, *start* writes untaught ones there.

    The weak models always start untaught: going on would make them strong. Untaught weights that are there already,
    from a machine with transformers, are taken.
    """
    folder = plan.work / name
    there = bool(list(folder.glob("*.safetensors")))
    if there and ((plan.resume and name not in WEAK) or taught_since(folder, plan.started)):
        return True
    if there and name in WEAK and not (folder / LESSON).exists():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LESSON).unlink(missing_ok=True)
    start(folder)
    return False


def taught_since(folder: Path, when: float) -> bool:
    """Whether the model in *folder* was saved after *when*, seconds since 1970."""
    path = folder / LESSON
    return path.exists() and path.stat().st_mtime > when


def enough(name: str) -> Callable[[Row], bool]:
    """Whether a weak model is good enough to stop, by its scores."""
    score, aim = WEAK.get(name, ("", math.inf))
    return lambda row: row.get(score, 0.0) >= aim


def weights_in(folder: Path) -> Path:
    """The file of tensors of the model in *folder*."""
    return next(iter(sorted(folder.glob("*.safetensors"))))


def saved(folder: Path) -> Tensors:
    """Tensors of the model in *folder*, fp32."""
    from safetensors.torch import load_file

    return {name: tensor.float() for name, tensor in load_file(weights_in(folder)).items()}


def keep(plan: Plan, name: str, tensors: Tensors, lesson: dict[str, Any]) -> None:
    """Replace the model in ``work/name`` by *tensors* in bfloat16, with what *lesson* says, and pack it.

    Raises:
        ValueError: where tensors are not those that the folder has, or not finite. The folder stays as it was.
    """
    from safetensors.torch import load_file, save_file

    folder, new = plan.work / name, plan.work / f".{name}"
    known = load_file(weights_in(folder))
    made = {n: tensor.detach().to(torch.bfloat16).contiguous().cpu() for n, tensor in tensors.items()}
    shapes, mine = ({n: tensor.shape for n, tensor in one.items()} for one in (known, made))
    wrong = {n for n in known.keys() | made.keys() if shapes.get(n) != mine.get(n)}
    if wrong or not all(bool(torch.isfinite(tensor).all()) for tensor in made.values()):
        raise ValueError(f"{name} is not saved: tensors differ or are not finite, {sorted(wrong)[:5]}")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(folder, new)
    save_file(made, new / weights_in(folder).name, metadata={"format": "pt"})
    (new / LESSON).write_text(json.dumps(lesson, indent=1))
    with locked(plan.work):
        shutil.rmtree(folder)
        new.rename(folder)
        if plan.out:
            pack(plan.work, plan.out, ARCHIVES.get(name, name))


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Nobody else replaces or packs models of *work* meanwhile."""
    with (work / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def pack(work: Path, out: Path, archive: str) -> None:
    """Write the taught models of an *archive* to ``out/archive.tar``, at once."""
    part = out / f"{archive}.part"
    names = [name for name, its in ARCHIVES.items() if its == archive] or [archive]
    with tarfile.open(part, "w") as file:
        for name in names:
            if (work / name / LESSON).exists():
                file.add(work / name, name)
    part.replace(out / f"{archive}.tar")


def learn(
    plan: Plan,
    name: str,
    learner: Learner,
    cost: Callable[[float], Losses | None],
    shipped: Callable[[Tensors], Tensors],
    watch: Callable[[], Row],
    *,
    hold: float = 0.45,
    facts: Callable[[], Row] = dict,
) -> None:
    """Let *learner* learn until the end of its window, and save it.

    Args:
        plan: The run.
        name: The model.
        learner: Parameters and optimizer.
        cost: From the progress, 0 to 1, to the losses of a new batch; None where there is none yet.
        shipped: From parameters to tensors under the shipped names.
        watch: Scores on pictures or lessons that are never taught.
        hold: Share of the time in which the rate stays at its peak.
        facts: What else to record, such as the number of pictures.
    """
    often = 6 if name in WEAK else 1
    clock = Clock(plan.window(name)[1], hold, plan.sizes.report / often, plan.sizes.save)
    known, means, stopped = history(plan.work / name), Mean(), False
    curve: list[Row] = []

    def report(minutes: float) -> Row:
        with torch.no_grad():
            row = {"minutes": minutes, "steps": learner.steps, **facts(), **means.take(), **watch()}
        row = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
        row = {key: value for key, value in row.items() if value == value}  # a mean of nothing is not a number
        curve.append(row)
        plan.say(f"{name} {json.dumps(row)}")
        return row

    def save(mean: bool = False) -> None:
        how = {
            "minutes": round(clock.minutes, 2), "steps": learner.steps, "device": device_name(plan.device),
            "torch": torch.__version__, "resume": plan.resume, **facts(),
        }  # fmt: skip
        lesson = {"lessons": [*known["lessons"], how], "curve": [*known["curve"], *curve]}
        keep(plan, name, shipped(learner.tensors(mean)), lesson)

    report(0.0)
    while (progress := clock.progress) < 1 and not stopped:
        losses = cost(progress)
        if losses is None:
            continue
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        learner.step(clock.share(progress))
        means.add(losses)
        if clock.due("report"):
            stopped = enough(name)(report(clock.minutes))
        if clock.due("save"):
            save(mean=clock.progress < 0.9 and learner.steps > 1000)
    save()
    report(clock.minutes)
    save()
    plan.say(f"{name}: done, {learner.steps} steps in {clock.minutes:.1f} minutes")


def device_name(device: str) -> str:
    """``NVIDIA H100 80GB HBM3``, or ``cpu``."""
    return torch.cuda.get_device_name() if device == "cuda" else device


def placed(parts: tuple[Any, ...], device: torch.device) -> tuple[Tensor, ...]:
    """Arrays on *device* as int64; from pinned memory, so that nothing waits for the copy."""
    made = [torch.from_numpy(part) for part in parts]
    if device.type == "cuda":
        made = [part.pin_memory() for part in made]
    return tuple(part.to(device, non_blocking=True).long() for part in made)
