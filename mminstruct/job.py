"""Commands whose configuration Hydra composes: they get a configuration and return an exit code."""

from __future__ import annotations

import atexit
import itertools
import os
import re
import shlex
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from omegaconf import DictConfig, OmegaConf

from mminstruct.terminal import log, say

if TYPE_CHECKING:
    from mminstruct.status.tables import TableStatus

EXIT_ERROR, EXIT_CONFIG, EXIT_FAILED, EXIT_HALTED, EXIT_SIGNAL = 1, 2, 3, 4, 128
"""Exit codes: an error (`status`: data is damaged or row counts are wrong), a bad configuration, failed units
(`status`: units failed or are left), a halt (key, budget). A signal gives 128 + its number (Ctrl-C: 130)."""
COMMANDS = {"build": "build", "plan": "build", "preview": "build", "bench": "bench", "serve": "serve", "train": "train"}
"""Commands whose configuration Hydra composes, and the file in conf/ that each starts from."""
_SWEEP = {"-m", "--multirun"}
"""Options of Hydra that turn a command into a sweep."""


def run(command: str, words: list[str], work: Callable[[DictConfig], int] | None = None) -> int:
    """Compose a configuration from *words* and run a command with it, once or for each job of a sweep.

    Args:
        work: Does the command's work; by default the function of its name here.

    With HYDRA_FULL_ERROR=1 in the environment, every error is raised with its traceback.
    """
    import hydra

    from mminstruct import config as configuration
    from mminstruct.config import files as conf_files

    configuration.register()
    work = work or globals()[f"_{command}"]
    whole = os.environ.get("HYDRA_FULL_ERROR") == "1"
    jobs: list[_Job] = []

    def job(config: DictConfig) -> None:
        jobs.append(_Job(overrides(), str(OmegaConf.select(config, "out", throw_on_missing=False))))
        try:
            if OmegaConf.select(config, "out", throw_on_missing=False):
                _refuse_lost_folder(jobs[-1].out)
            jobs[-1].code = work(config)
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if whole:
                raise
            jobs[-1].code = _tell(command, words, error)

    before = sys.argv
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors instead of printing them and exiting
    try:
        given = configuration.opened(COMMANDS[command], [word for word in words if _overrides_a_value(word)])
        with tempfile.TemporaryDirectory() as scratch:
            if _SWEEP & set(words):  # Hydra's folder of the sweep itself, which looks like a run but is none
                given = [f"hydra.sweep.dir={scratch}", *given]
            options = [word for word in words if not _overrides_a_value(word)]
            sys.argv = [f"mminstruct {command}", *options, *given]
            hydra.main(version_base="1.3", config_path=str(conf_files.conf()), config_name=COMMANDS[command])(job)()
    except Exception as error:
        if whole:
            raise
        return _tell(command, words, error)
    finally:
        sys.argv = before
        if not whole:
            del os.environ["HYDRA_FULL_ERROR"]
    if len(jobs) > 1 and command not in ("plan", "preview"):
        say(_side_by_side(command, jobs))
    return max((one.code for one in jobs), default=0)


def _refuse_lost_folder(out: str) -> None:
    """Refuse a relative *out* in a job that `ray job submit` started: Ray deletes the folder that the job runs in."""
    if "working_dir_files/_ray_pkg_" in os.getcwd() and not re.match(r"/|\w+://", out):
        raise ValueError(
            f"out={out} is in the copy of the working directory that Ray made for this job, and will delete: give a"
            " full path that every node reaches, or a URL such as s3://bucket/runs/one"
        )


@dataclass
class _Job:
    """One run of a sweep."""

    overrides: list[str]
    out: str
    code: int = 0


def _overrides_a_value(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(map(str, OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)))  # type: ignore[arg-type]


def _side_by_side(command: str, jobs: list[_Job]) -> str:
    """The runs of a sweep, a line each: folder, own overrides, exit code, result."""
    common = set.intersection(*(set(one.overrides) for one in jobs))
    own = [" ".join(word.lstrip("+") for word in one.overrides if word not in common) for one in jobs]
    wide = [max(map(len, column)) for column in ([one.out for one in jobs], own)]
    lines = [
        f"  {one.out:<{wide[0]}}  {what:<{wide[1]}}  exit code {one.code}  {_came_out(command, one.out)}".rstrip()
        for one, what in zip(jobs, own, strict=True)
    ]
    return "\n".join([f"\n{len(jobs)} runs:", *lines])


def _came_out(command: str, out: str) -> str:
    """A run's result so far, in a few words."""
    from mminstruct.status.tables import table_statuses
    from mminstruct.store.tables import Store
    from mminstruct.training import tracking

    if command == "train":
        rows = tracking.read(Store(out + "/train"))
        last = [next((f"{said} {row[key]:.4f}" for row in reversed(rows) if key in row), "") for key, said in
                (("loss", "loss"), ("eval_loss", "held out"))]  # fmt: skip
        return ", ".join(filter(None, last))
    try:
        last_table = table_statuses(out, recount=False)[-1]
    except FileNotFoundError:
        return "no run"
    except OSError as error:  # a damaged file; its message names it
        return str(error)
    return f"{last_table.table}: {last_table.rows} rows"


def exit_process(code: int) -> NoReturn:
    """End this process with *code*, at once when all that it wrote is out; a Ray that it started ends with it.

    The interpreter is not left to end by itself: it makes threads that hold no lock of it stop where they are, and one
    that is in C++ then (a reader of Arrow's, one of Ray Data's) aborts the process (134) after all its work is done.
    One that asks for Ray after ``ray.shutdown()`` ends the process with code 1 and no message.
    """
    if "ray" in sys.modules:
        from mminstruct.engine.data import end_agents

        end_agents()
    else:
        atexit._run_exitfuncs()  # processes of vLLM's engine, temporary folders; Ray's own would be ray.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # a full disk, or a closed pipe: the last lines are lost
        code = code or EXIT_ERROR
    os._exit(code)


def _tell(command: str, words: list[str], error: BaseException) -> int:
    """Print an error that a user can fix as one line; returns the exit code. Raises any other error: it is our bug."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from mminstruct.config import explained
    from mminstruct.run import DriftError, FailedUnits
    from mminstruct.stage import Halt

    said: object = error
    stopped = "stopped; the same command continues from here"
    if isinstance(error, KeyboardInterrupt):
        said, code = stopped, EXIT_SIGNAL + signal.SIGINT
    elif isinstance(error, SystemExit) and error.code == signal.SIGTERM:  # what Ray makes of that signal
        said, code = stopped, EXIT_SIGNAL + signal.SIGTERM
    elif isinstance(error, HydraException | OmegaConfBaseException):
        said, code = explained(error, COMMANDS[command], words), EXIT_CONFIG
    elif isinstance(error, FailedUnits | Halt):
        code = EXIT_FAILED if isinstance(error, FailedUnits) else EXIT_HALTED
    elif isinstance(error, DriftError):
        said, code = f"{error}{_in_another_folder(command, error.url)}", EXIT_CONFIG
    elif isinstance(error, ValueError | OSError):
        code = EXIT_CONFIG if isinstance(error, ValueError) else EXIT_ERROR
    else:
        raise error
    say(f"mminstruct {command}: {said}", to=sys.stderr)
    return code


def _in_another_folder(command: str, out: str) -> str:
    """The command that continues *out* in a new folder; nothing in a sweep, which has several runs."""
    from mminstruct.store.tables import Store

    words = [word for word in sys.argv[1:] if not word.startswith(("out=", "base="))]
    if _SWEEP & set(words):
        return ""
    new = next(f"{out}-{number}" for number in itertools.count(2) if not Store(f"{out}-{number}").names())
    return f"\n  {shlex.join(['mminstruct', command, f'out={new}', f'base={out}', *words])}"


def folders() -> list[Path]:
    """Folders that the user gave with --config-dir."""
    from hydra.core.hydra_config import HydraConfig

    sources = HydraConfig.get().runtime.config_sources
    return [Path(source.path) for source in sources if source.provider == "command-line"]


def _build(config: DictConfig) -> int:
    out, code = _make(config)
    say(f"Look into it: mminstruct trace {out} ID; mminstruct export {out} --format hf --to DIR")
    return code


def _bench(config: DictConfig) -> int:
    from mminstruct.bench import result

    out, code = _make(config)
    say(result.as_text(result.result(out)))
    return code


def _make(config: DictConfig) -> tuple[str, int]:
    """Build every table of a recipe, or continue a build; returns the run's folder and the exit code."""
    from mminstruct import config as configuration
    from mminstruct.run import Event, FailedUnits, claim, execute
    from mminstruct.status.progress import FirstRows, Progress
    from mminstruct.status.tables import all_faults, as_text, table_statuses
    from mminstruct.store import lease

    log()
    made, run = configuration.build(config, folders())
    with lease.hold(made.out):
        taken = claim(run, made.base, made.units)
        for name, keys in taken.items():
            if keys:
                say(f"{name}: {len(keys)} units reused from {made.base}")
        places = [word for folder in folders() for word in ("--config-dir", str(folder))]
        configuration.record(run, config, [*places, *overrides()])
        engine = configuration.engine(made.engine)
        how = {"units": made.units, "fail_on_error": made.fail_on_error}
        try:
            with Progress(in_hand=engine.in_hand) as progress:
                first = FirstRows(run)

                def watch(event: Event) -> None:
                    progress.watch(event)
                    first.watch(event)

                execute(run, engine, watch=watch, begin=progress.begin, finished=progress.finished, **how)
        except FailedUnits as error:
            raise FailedUnits(
                f"{error}{_emptied(table_statuses(made.out, recount=False, tables=run.table))}"
            ) from error
    statuses = table_statuses(made.out, recount=False, tables=run.table)
    say(as_text(statuses))
    say(f"\nDone: {made.out}")
    return made.out, EXIT_ERROR if all_faults(statuses) else 0


def _emptied(statuses: list[TableStatus]) -> str:
    """The first table that dropped all of its rows, if there is one: it causes the failures after it."""
    first = next((one for one in statuses if one.units and not one.kept), None)
    if first is None:
        return ""
    if not first.rows_in:
        return f"\n{first.table} got no rows: is there an image in source=?"
    reasons = ", ".join(f"{count} x {reason}" for reason, count in Counter(first.dropped).most_common())
    return f"\nThe cause: {first.table} kept none of {first.rows_in} rows ({reasons})"


def _plan(config: DictConfig) -> int:
    from mminstruct import config as configuration
    from mminstruct.config.files import rates
    from mminstruct.run import DriftError, refuse
    from mminstruct.state import states
    from mminstruct.status.estimate import as_text, estimate
    from mminstruct.status.plan import plan, plan_text

    if config.images is not None:
        runs = [config[key] for key in ("out", "base") if not OmegaConf.is_missing(config, key) and config[key]]
        for key in ("out", "source"):
            config[key] = "(none)" if OmegaConf.is_missing(config, key) else config[key]
        made, run = configuration.build(config, folders(), estimated=True)
        say(as_text(estimate(run.recipe, made.engine, config.images, rates(folders()), runs)))
        return 0
    made, run = configuration.build(config, folders())
    found = states(run, made.base, made.units)
    steps = plan(run, found, made.base)
    say(plan_text(steps))
    if any(step.state in ("refused", "stale") for step in steps):
        try:
            refuse(run, found)
        except DriftError as error:
            say(f"\nbuild is refused:\n{error}{_in_another_folder('build', error.url)}")
    return 0


def _serve(config: DictConfig) -> int:
    from mminstruct import config as configuration
    from mminstruct.engine.serve import serve

    service, role, model = configuration.serve(config)
    serve(service, role, model, lambda url: say(f"{model.name} answers at {url}; Ctrl-C ends it", flush=True))
    return 0


def _train(config: DictConfig) -> int:
    from mminstruct import config as configuration
    from mminstruct.engine.train import train

    log()
    model = train(configuration.train(config), commit=configuration.commit())
    say(f"Done: {model}")
    return 0
