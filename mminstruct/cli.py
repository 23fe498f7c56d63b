"""The command ``mminstruct``; ``jobs/*.py`` enter by the same doors."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from omegaconf import DictConfig

EXIT_ERROR, EXIT_CONFIG, EXIT_FAILED, EXIT_HALTED, EXIT_SIGNAL = 1, 2, 3, 4, 130
"""Exit codes: an error, a bad configuration, failed units, a halt (key, budget), Ctrl-C."""
JOBS = {"build": "build", "plan": "build"}
"""Commands that Hydra composes, and the file of conf/ that each starts from."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    if words and words[0] in JOBS:
        return hydra(words[0], words[1:])
    said = "Image collections into visual instruction-tuning sets."
    parser = argparse.ArgumentParser(prog="mminstruct", description=said)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("build", help="make every table of a recipe, or go on where it stopped (build --help)")
    commands.add_parser("plan", help="what build with the same words would do, and what it costs")
    status = commands.add_parser("status", help="units done, failed, left; sums; reasons")
    status.add_argument("run")
    status.add_argument("--json", action="store_true")
    trace = commands.add_parser("trace", help="follow an image, an instruction or a pair through every table")
    trace.add_argument("run")
    trace.add_argument("id", help="an id, its first digits, or a member's name")
    trace.add_argument("--json", action="store_true")
    export = commands.add_parser("export", help="write the dataset in a trainer's format")
    export.add_argument("run")
    export.add_argument("--format", choices=("hf", "llava"), required=True)
    export.add_argument("--to", required=True)
    export.add_argument("--overwrite", action="store_true")
    world = commands.add_parser("microworld", help="draw a world of scenes with their ground truth")
    world.add_argument("--images", type=int, required=True)
    world.add_argument("--seed", type=int, default=1000)
    world.add_argument("--layout", choices=("sa1b", "datacomp", "coco"), default="datacomp")
    world.add_argument("--to", required=True)
    world.add_argument("--start", type=int, default=0, help="index of the first scene")
    world.add_argument("--per-shard", type=int, default=128)
    quality = commands.add_parser(
        "microworld-report", help="how good each stage of a run is, against the truth of its scenes"
    )
    quality.add_argument("run")
    quality.add_argument("--truth", nargs="+", default=[], metavar="DIR", help="folders that `microworld` wrote")
    quality.add_argument("--json", action="store_true")
    quality.add_argument("--no-models", action="store_true", help="leave out what needs the run's CLIP and answerer")
    quality.add_argument("--ablations", metavar="FILE", help="a page of microworld.ablations, to follow the report")
    given = parser.parse_args(words)
    command: Callable[[argparse.Namespace], int] = globals()[f"_{given.command.replace('-', '_')}"]
    try:
        return command(given)
    except (LookupError, ValueError, OSError) as error:
        print(f"mminstruct {given.command}: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_SIGNAL


def hydra(command: str, words: list[str]) -> int:
    """Compose a configuration from *words* and run one of ``JOBS`` on it, once or for each job of a sweep.

    With HYDRA_FULL_ERROR=1 in the environment every error comes with its traceback.
    """
    import hydra as library

    from mminstruct import config as configuration

    configuration.register()
    run: Callable[[DictConfig], int] = globals()[f"_{command}"]
    whole = os.environ.get("HYDRA_FULL_ERROR") == "1"
    codes: list[int] = []

    def job(config: DictConfig) -> None:
        try:
            codes.append(run(config))
        except (Exception, KeyboardInterrupt) as error:
            if whole:
                raise
            codes.append(_tell(command, error))

    before = sys.argv
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    sys.argv = [f"mminstruct {command}", *(word for word in words if word not in overrides), *overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # has Hydra raise its errors, instead of printing them and leaving
    try:
        library.main(version_base="1.3", config_path=str(configuration.conf()), config_name=JOBS[command])(job)()
    except Exception as error:
        if whole:
            raise
        return _tell(command, error)
    finally:
        sys.argv = before
        if not whole:
            del os.environ["HYDRA_FULL_ERROR"]
    return max(codes, default=0)


def _tell(command: str, error: BaseException) -> int:
    """Say in a line what a user can mend; the exit code. Anything else is a fault of ours and goes on as it came."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from mminstruct.config import explain
    from mminstruct.run import FailedUnits
    from mminstruct.stage import Halt

    said: object = error
    if isinstance(error, KeyboardInterrupt):
        said, code = "stopped; the same command goes on from here", EXIT_SIGNAL
    elif isinstance(error, HydraException | OmegaConfBaseException):
        said, code = explain(error), EXIT_CONFIG
    elif isinstance(error, FailedUnits | Halt):
        code = EXIT_FAILED if isinstance(error, FailedUnits) else EXIT_HALTED
    elif isinstance(error, ValueError | OSError):
        code = EXIT_CONFIG if isinstance(error, ValueError) else EXIT_ERROR
    else:
        raise error
    print(f"mminstruct {command}: {said}", file=sys.stderr)
    return code


def _folders() -> list[Path]:
    """Folders that the user gave with --config-dir."""
    from hydra.core.hydra_config import HydraConfig

    sources = HydraConfig.get().runtime.config_sources
    return [Path(source.path) for source in sources if source.provider == "command-line"]


def _build(config: DictConfig) -> int:
    from mminstruct import config as configuration
    from mminstruct.progress import Progress
    from mminstruct.run import claim, execute
    from mminstruct.status import as_text, standing

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    made, run = configuration.build(config, _folders())
    taken = claim(run, made.base)
    for name, keys in taken.items():
        if keys:
            print(f"{name}: {len(keys)} units taken over from {made.base}")
    configuration.record(run, config)
    with Progress() as progress, closing(configuration.engine(made.engine)) as engine:
        execute(
            run, engine, units=made.units, fail_on_error=made.fail_on_error, watch=progress.watch, begin=progress.begin
        )
    standings = standing(made.out)
    print(as_text(standings))
    faults = [fault for stands in standings for fault in stands.faults]
    print(f"\nDone: {made.out}")
    print(f"Look into it: mminstruct trace {made.out} ID; mminstruct export {made.out} --format hf --to DIR")
    return EXIT_ERROR if faults else 0


def _plan(config: DictConfig) -> int:
    from mminstruct import config as configuration
    from mminstruct.status import plan, plan_text

    made, run = configuration.build(config, _folders())
    print(plan_text(plan(run, made.base, made.units)))
    return 0


def _status(given: argparse.Namespace) -> int:
    from mminstruct import status

    standings = status.standing(given.run)
    print(status.as_json(standings) if given.json else status.as_text(standings))
    return EXIT_ERROR if any(stands.faults for stands in standings) else 0


def _trace(given: argparse.Namespace) -> int:
    from mminstruct import trace

    found = trace.trace(given.run, given.id)
    print(trace.as_json(found) if given.json else trace.as_text(found))
    return 0


def _export(given: argparse.Namespace) -> int:
    from mminstruct import export

    print(export.write(given.run, given.format, given.to, overwrite=given.overwrite))
    return 0


def _microworld(given: argparse.Namespace) -> int:
    from mminstruct.microworld import shards

    some = {"seed": given.seed, "per_shard": given.per_shard, "start": given.start}
    shards.write(given.layout, Path(given.to), given.images, **some)
    print(f"{given.images} images and their truth (_truth/) in {given.to}")
    return 0


def _microworld_report(given: argparse.Namespace) -> int:
    from mminstruct.microworld import report

    found = report.report(given.run, given.truth, models=not given.no_models)
    more = Path(given.ablations).read_text(encoding="utf-8") if given.ablations else ""
    print(report.as_json(found) if given.json else report.as_markdown(found, more))
    return 0


if __name__ == "__main__":
    sys.exit(main())
