"""Runs all processes of a lesson: starts them, starts once more what fails early, ends everything in time.

The process that forks never imports PyTorch, so every child may use a GPU. A model that fails does not stop the others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from lab.teach import workers
from lab.teach.plan import FORK, LANGUAGE, Plan

Works = dict[str, BaseProcess]


def _see(plan: Plan, attempt: int, name: str) -> None:
    from lab.teach.seeing import see

    see(plan, attempt, name)


def _match(plan: Plan, attempt: int, name: str) -> None:
    from lab.teach.seeing import match

    match(plan, attempt, name)


def _speak(plan: Plan, attempt: int, name: str) -> None:
    from lab.teach.speaking import speak

    speak(plan, attempt, name)


def _embed(plan: Plan, attempt: int, name: str) -> None:
    from lab.teach.embedder import embed_wordings

    embed_wordings(plan, attempt, name)


TEACH: dict[str, Callable[[Plan, int, str], None]] = {
    "captioner": _see, "captioner_small": _see, "clip": _match, "embedder": _embed, **dict.fromkeys(LANGUAGE, _speak),
}  # fmt: skip
"""What teaches a model. PyTorch is imported in its process."""


def conduct(plan: Plan) -> list[str]:
    """Teach all models of *plan*; the models that were not finished."""
    helping = _helpers(plan)
    pupils: Works = {}
    attempts = dict.fromkeys(plan.models, 0)
    waiting = dict.fromkeys(plan.models)
    shown = plan.begun
    while (now := time.monotonic()) < plan.end:
        for name in list(waiting):
            if now >= plan.window(name)[0]:
                del waiting[name]
                pupils[name] = _started(plan, name, TEACH[name], attempts[name], name)
        for name, process in list(pupils.items()):
            if process.exitcode and not attempts[name] and now < plan.window(name)[1] - 0.05 * 60 * plan.minutes:
                attempts[name] = 1
                plan.say(f"{name} ended with {process.exitcode}; once more, with half of the batch")
                pupils[name] = _started(plan, name, TEACH[name], 1, name)
        if now - shown > plan.sizes.report:
            shown = now
            waits = " ".join(f"{name} {its.qsize()}" for name, its in plan.queues.items())
            plan.say(f"{plan.drawn()} pictures drawn; batches waiting: {waits}; load {os.getloadavg()[0]:.0f}")
            _copy_log(plan)
        if not waiting and all(process.exitcode is not None for process in pupils.values()):
            break
        time.sleep(0.2)
    late = [name for name in plan.models if name not in pupils or pupils[name].exitcode is None]
    if late:
        plan.say(f"out of time: {', '.join(late)}; their last saves remain")
    for process in (*helping, *pupils.values()):
        if process.exitcode is None:
            process.kill()
    for process in (*helping, *pupils.values()):
        process.join(5)
    failed = [name for name in plan.models if name not in pupils or pupils[name].exitcode != 0]
    for part in plan.out.glob("*.part") if plan.out else ():
        part.unlink()
    plan.say(f"done; unfinished: {', '.join(failed) or 'none'}")
    _copy_log(plan)
    return failed


def _helpers(plan: Plan) -> list[BaseProcess]:
    """Processes that draw and write. On a CPU they have lower priority than the models, so two of each are enough."""
    cores = len(os.sched_getaffinity(0))
    writers = min(2, cores) if plan.device == "cpu" else max(2, round(cores * 0.34))
    drawers = min(2, cores) if plan.device == "cpu" else max(2, cores - 1 - writers)
    work = []
    if "asker" in plan.models:
        work.append(_started(plan, "tokeniser", workers.tokeniser))
    if plan.chunks:
        work += [_started(plan, f"drawer {n}", workers.drawer, n) for n in range(drawers)]
    if plan.queues:
        work += [_started(plan, f"writer {n}", workers.writer, 100 + n) for n in range(writers)]
    plan.say(f"{', '.join(plan.models)} on {plan.device} for {plan.minutes:g} minutes, {cores} cores, "
             f"{len(work)} processes draw and write")  # fmt: skip
    return work


def _started(plan: Plan, name: str, work: Callable[..., None], *given: Any) -> BaseProcess:
    process = FORK.Process(target=workers.guarded, args=(plan, name, work, *given), name=name, daemon=True)
    process.start()
    return process


def _copy_log(plan: Plan) -> None:
    if plan.out:
        with contextlib.suppress(OSError):  # the models matter more
            shutil.copyfile(plan.work / "log.txt", plan.out / "log.txt")
