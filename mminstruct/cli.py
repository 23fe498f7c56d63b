"""The command ``mminstruct``: its words, and what each command that Hydra does not compose does."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mminstruct import job
from mminstruct.terminal import say


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    if words and words[0] in job.COMMANDS:
        return job.run(words[0], words[1:])
    said = "Image collections into visual instruction-tuning sets."
    parser = argparse.ArgumentParser(prog="mminstruct", description=said)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("build", help="make every table of a recipe, or go on where it stopped (build --help)")
    commands.add_parser("bench", help="contestants answer questions, judges compare the answers (bench --help)")
    commands.add_parser("plan", help="what build with the same words would do, and what it costs")
    commands.add_parser("serve", help="a role's model behind an OpenAI-compatible endpoint (serve --help)")
    commands.add_parser("train", help="tune a LLaVA on an export (train --help)")
    status = commands.add_parser("status", help="units done, failed, left; sums; reasons")
    status.add_argument("run")
    status.add_argument("--json", action="store_true")
    status.add_argument("--verify", action="store_true", help="read every byte and compare it with what was written")
    trace = commands.add_parser("trace", help="follow an image, an instruction or a pair through every table")
    trace.add_argument("run")
    trace.add_argument("id", help="an id, its first digits, or a member's name")
    trace.add_argument("--json", action="store_true")
    report = commands.add_parser("report", help="a page of a build or a benchmark: counts, samples, intervals")
    report.add_argument("run")
    report.add_argument("--to", metavar="FILE", help="the page; by default report.html in the run")
    report.add_argument("--json", action="store_true", help="its facts on the terminal instead of its tables")
    power = commands.add_parser("bench-power", help="questions a benchmark needs, and what so many can tell")
    goal = power.add_mutually_exclusive_group(required=True)
    goal.add_argument("--questions", type=int, help="what so many tell")
    goal.add_argument("--half-width", type=float, help="needed for an interval of +- so much (0.05: five points)")
    goal.add_argument("--difference", type=float, help="needed to find a win rate so far from 0.5")
    power.add_argument("--ties", type=float, default=0.25, help="share of questions tied")
    power.add_argument("--per-instruction", type=float, default=1, help="questions that share an instruction")
    power.add_argument("--icc", type=float, default=0, help="correlation of those, 0 to 1")
    power.add_argument("--power", type=float, default=0.8, help="chance to find the difference")
    lmms = commands.add_parser("lmms", help="standard benchmarks by lmms-eval on a served model, into a run's tables")
    lmms.add_argument("run")
    lmms.add_argument("--tasks", required=True, help="comma-separated: pope,mme,... or lmms-eval's own names; or all")
    lmms.add_argument("--url", required=True, help="of the OpenAI-compatible endpoint, to /v1")
    lmms.add_argument("--model", required=True, help="as the endpoint calls it")
    lmms.add_argument("--python", required=True, help="interpreter of lmms-eval's environment")
    lmms.add_argument("--key-env", metavar="NAME", help="environment variable with the endpoint's key")
    lmms.add_argument("--include", metavar="DIR", help="folder of more tasks")
    lmms.add_argument("--limit", type=int, help="only the first so many samples of each task")
    lmms.add_argument("--keep", metavar="DIR", help="for the files that lmms-eval writes: results, every sample")
    task = commands.add_parser("lmms-task", help="write a benchmark's questions as a task folder for lmms-eval")
    task.add_argument("run")
    task.add_argument("--to", required=True)
    task.add_argument("--max-tokens", type=int, default=1024, help="cap of every answer")
    export = commands.add_parser("export", help="write the dataset in a trainer's format")
    export.add_argument("run")
    _written(export, words, required=True)
    mix = commands.add_parser("mix", help="write one dataset out of several sources, by weight or count")
    mix.add_argument("file", help="YAML: sources, each with a path (docs/export.md)")
    _written(mix, words, default="llava")
    delete = commands.add_parser("delete", help="leave images, pairs or instructions out of every later export")
    delete.add_argument("run")
    delete.add_argument("ids", nargs="+", metavar="ID", help="whole ids; @FILE reads them from a file, one a line")
    delete.add_argument("--reason", required=True)
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
        code = command(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # head or less has seen enough; the interpreter must not flush into it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return job.EXIT_ERROR
    except (LookupError, ValueError, OSError) as error:
        say(f"mminstruct {given.command}: {error}", to=sys.stderr)
        return job.EXIT_ERROR
    except KeyboardInterrupt:
        return job.EXIT_SIGNAL + signal.SIGINT


def _status(given: argparse.Namespace) -> int:
    from mminstruct import deletion, status
    from mminstruct.store import Store

    standings = status.standing(given.run, verify=given.verify)
    say(status.as_json(standings) if given.json else status.as_text(standings))
    if status.unsound(standings):
        return job.EXIT_ERROR
    if not given.json and (gone := deletion.as_text(Store(given.run))):
        say(gone)
    return job.EXIT_FAILED if status.incomplete(standings) else 0


def _trace(given: argparse.Namespace) -> int:
    from mminstruct import trace

    found = trace.trace(given.run, given.id)
    say(trace.as_json(found) if given.json else trace.as_text(found))
    return 0


def _export(given: argparse.Namespace) -> int:
    from mminstruct import export

    say(export.write(given.run, given.format, given.to, **_to(given)))
    return 0


def _written(parser: argparse.ArgumentParser, words: Sequence[str], **format: Any) -> None:
    """What export and mix have in common; only they load the table of formats."""
    if words[:1] not in (["export"], ["mix"]):
        return
    from mminstruct.export import FORMATS

    named = f"{', '.join(FORMATS)}, or a module of yours: my_package.my_format"
    parser.add_argument("--format", metavar="FORMAT", type=_format, help=named, **format)
    parser.add_argument("--to", required=True)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--model", help="openai-batch: who the requests are for")
    parser.add_argument("--tokenizer", help="of the model to be trained: rows are measured, label masks proved")
    parser.add_argument("--template", help="chat template: v1, plain or Jinja text; by default the tokenizer's own")
    parser.add_argument("--max-length", type=int, default=2048, help="tokens")
    parser.add_argument("--image-tokens", type=int, default=576, help="what an image becomes")


def _format(name: str) -> str:
    from mminstruct.export import ExportError, format_of

    try:
        format_of(name)
    except ExportError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def _to(given: argparse.Namespace) -> dict[str, Any]:
    """The arguments of export and mix, as both functions take them."""
    from mminstruct.export.proof import Target

    target = None
    if given.tokenizer is not None:
        how = {"max_length": given.max_length, "image_tokens": given.image_tokens}
        target = Target(tokenizer=given.tokenizer, template=given.template, **how)
    return {"overwrite": given.overwrite, "model": given.model, "target": target}


def _mix(given: argparse.Namespace) -> int:
    from mminstruct.export.mix import mix

    say(mix(given.file, given.format, given.to, **_to(given)))
    return 0


def _delete(given: argparse.Namespace) -> int:
    from mminstruct import deletion
    from mminstruct.readers import text
    from mminstruct.store import Store

    ids: list[str] = []
    for one in given.ids:
        lines = text.read(one[1:]).split("\n") if one.startswith("@") else [one]
        ids += filter(None, (line.strip() for line in lines))
    new = deletion.delete(given.run, ids, given.reason)
    say(f"{len(new)} ids deleted now\n{deletion.as_text(Store(given.run))}")
    return 0


def _report(given: argparse.Namespace) -> int:
    from mminstruct import report

    where = report.write(given.run, given.to)
    say(report.as_json(given.run) if given.json else f"{report.as_text(given.run)}\n\n{where}")
    return 0


def _bench_power(given: argparse.Namespace) -> int:
    from mminstruct.bench import power

    effect = power.design_effect(given.per_instruction, given.icc)
    say(power.as_text(given.questions, given.half_width, given.difference, given.ties, effect, given.power))
    return 0


def _lmms(given: argparse.Namespace) -> int:
    from mminstruct.bench import lmms

    some = {name: getattr(given, name) for name in ("python", "url", "model", "key_env", "include", "limit", "keep")}
    tasks = list(lmms.BENCHMARKS) if given.tasks == "all" else given.tasks.split(",")
    lmms.run(given.run, tasks, lmms.Launch(**some))
    say(lmms.as_text(lmms.rows(given.run)))
    return 0


def _lmms_task(given: argparse.Namespace) -> int:
    from mminstruct.bench import lmms
    from mminstruct.config import conf

    prompt = (conf() / "prompts" / "judge.md").read_text(encoding="utf-8")
    folder = lmms.task(given.run, given.to, prompt, max_tokens=given.max_tokens)
    say(f"lmms-eval --include_path {folder} --tasks mminstruct  (or mminstruct_judged)")
    return 0


def _microworld(given: argparse.Namespace) -> int:
    from mminstruct.microworld import shards

    some = {"seed": given.seed, "per_shard": given.per_shard, "start": given.start}
    shards.write(given.layout, Path(given.to), given.images, **some)
    say(f"{given.images} images and their truth (_truth/) in {given.to}")
    return 0


def _microworld_report(given: argparse.Namespace) -> int:
    from mminstruct.microworld import report
    from mminstruct.readers import text

    found = report.report(given.run, given.truth, models=not given.no_models)
    more = text.read(given.ablations) if given.ablations else ""
    say(report.as_json(found) if given.json else report.as_markdown(found, more))
    return 0


def enter() -> None:
    """The console script."""
    job.leave(main())


if __name__ == "__main__":
    enter()
