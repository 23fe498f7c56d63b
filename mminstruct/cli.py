"""The command line: argument parsing, and the commands that Hydra does not configure."""

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
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    if words and words[0] == "preview":
        from mminstruct import preview

        return preview.main(words[1:])
    if words and words[0] in job.COMMANDS:
        return job.run(words[0], words[1:])
    said = "Image collections into visual instruction-tuning sets."
    parser = argparse.ArgumentParser(prog="mminstruct", description=said)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("build", help="build every table of a recipe, or continue a build (build --help: recipes)")
    commands.add_parser("bench", help="contestants answer questions, judges compare the answers (bench --help)")
    commands.add_parser("plan", help="show what the same build command would do, or estimate its cost (images=N)")
    commands.add_parser("preview", help="run the stages up to one on a few rows, and show what it made (preview STAGE)")
    commands.add_parser("serve", help="serve a role's model at an OpenAI-compatible endpoint (serve --help)")
    commands.add_parser("train", help="fine-tune a LLaVA on an export (train --help)")
    status = commands.add_parser("status", help="units done, failed and left; row counts; reasons of drops")
    status.add_argument("run")
    status.add_argument("--json", action="store_true")
    status.add_argument("--verify", action="store_true", help="read every byte and compare checksums")
    trace = commands.add_parser("trace", help="follow an image, an instruction or a pair through every table")
    trace.add_argument("run")
    trace.add_argument("id", help="an id, its first 4 or more digits, or a file name inside a shard")
    trace.add_argument("--json", action="store_true")
    report = commands.add_parser(
        "report", help="write a page about a build or a benchmark: counts, samples, confidence intervals"
    )
    report.add_argument("run")
    report.add_argument("--to", metavar="FILE", help="the page; by default report.html in the run")
    report.add_argument("--json", action="store_true", help="print JSON instead of tables")
    review = commands.add_parser("review", help="write a page for each person, on which they decide about rows by keys")
    review.add_argument("run")
    review.add_argument("--to", required=True, metavar="DIR", help="a new folder for the pages and sheet.json")
    review.add_argument("--people", required=True, metavar="NAMES", help="comma-separated short names: ana,bo")
    review.add_argument(
        "--what", choices=("turns", "match", "instructions", "answers", "captions"), default="turns",
        help="rows to review: accept, edit or reject; match and instructions are rated 1 to 5",
    )  # fmt: skip
    review.add_argument("--rows", type=int, default=300, help="rows on each page, 5%% of them hidden repeats")
    review.add_argument("--overlap", type=float, default=0.2, help="share of the rows that all people see, 0 to 1")
    review.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only such rows; repeatable"
    )
    review.add_argument(
        "--order", choices=("chance", "doubt"), default="chance", help="doubt: most doubtful rows first"
    )
    review.add_argument(
        "--disputed", nargs="+", default=[], metavar="FILE", help="only rows on which these decisions disagree"
    )
    review.add_argument("--seed", type=int, default=0, help="another seed chooses other rows")
    review.add_argument("--picture", type=int, default=256, help="longest side of a picture, pixels")
    agree = commands.add_parser(
        "agree", help="check files of decisions, and measure how far people agree and how fast they are"
    )
    agree.add_argument("run")
    agree.add_argument("files", nargs="+", metavar="FILE", help="files of decisions, or folders of them")
    agree.add_argument("--json", action="store_true")
    power = commands.add_parser(
        "bench-power", help="how many questions a benchmark needs, or how precise a number of questions is"
    )
    goal = power.add_mutually_exclusive_group(required=True)
    goal.add_argument("--questions", type=int, help="show the precision of this number of questions")
    goal.add_argument("--half-width", type=float, help="questions for an interval of +- this (0.05: five points)")
    goal.add_argument("--difference", type=float, help="questions to detect a win rate this far from 0.5")
    power.add_argument("--ties", type=float, default=0.25, help="share of questions tied")
    power.add_argument("--per-instruction", type=float, default=1, help="number of questions that share an instruction")
    power.add_argument("--icc", type=float, default=0, help="intraclass correlation of these questions, 0 to 1")
    power.add_argument("--power", type=float, default=0.8, help="probability of detecting the difference")
    diversity = commands.add_parser(
        "diversity", help="compare how varied a run's instructions are with files of instructions and other runs"
    )
    diversity.add_argument("run")
    diversity.add_argument("--against", nargs="+", required=True, metavar="FILE", help="questions (docs/checks.md)")
    diversity.add_argument("--n", type=int, default=100, help="texts compared at a time, the same for each set")
    diversity.add_argument("--embedder", metavar="NAME", help="model of texts; by default the run's own; or none")
    diversity.add_argument("--seed", type=int, default=0)
    diversity.add_argument("--json", action="store_true")
    lmms = commands.add_parser(
        "lmms", help="run lmms-eval's standard benchmarks on a served model and store the results in a run"
    )
    lmms.add_argument("run")
    lmms.add_argument("--tasks", required=True, help="comma-separated: pope,mme,... or lmms-eval's own names; or all")
    lmms.add_argument("--url", required=True, help="base URL of the OpenAI-compatible endpoint, ending in /v1")
    lmms.add_argument("--model", required=True, help="name of the model at the endpoint")
    lmms.add_argument("--python", required=True, help="Python interpreter of lmms-eval's environment")
    lmms.add_argument("--key-env", metavar="NAME", help="environment variable with the endpoint's key")
    lmms.add_argument("--include", metavar="DIR", help="folder with more tasks")
    lmms.add_argument("--limit", type=int, help="only the first so many samples of each task")
    lmms.add_argument("--keep", metavar="DIR", help="folder for the files that lmms-eval writes")
    task = commands.add_parser("lmms-task", help="write a benchmark's questions as a task folder for lmms-eval")
    task.add_argument("run")
    task.add_argument("--to", required=True)
    task.add_argument("--max-tokens", type=int, default=1024, help="longest answer, tokens")
    export = commands.add_parser("export", help="write the dataset in a trainer's format")
    export.add_argument("run")
    _written(export, words, required=True)
    mix = commands.add_parser("mix", help="write one dataset from several sources, by weight or count")
    mix.add_argument("file", help="YAML: sources, each with a path (docs/export.md)")
    _written(mix, words, default="llava")
    delete = commands.add_parser("delete", help="exclude images, pairs or instructions from every later export")
    delete.add_argument("run")
    delete.add_argument("ids", nargs="+", metavar="ID", help="whole ids; @FILE reads them from a file, one a line")
    delete.add_argument("--reason", required=True)
    world = commands.add_parser("microworld", help="draw synthetic scenes with their ground truth")
    world.add_argument("--images", type=int, required=True)
    world.add_argument("--seed", type=int, default=1000)
    world.add_argument(
        "--layout", choices=("sa1b", "datacomp", "coco"), default="datacomp",
        help="how files are laid out; coco: a folder of images with annotation sets of ten formats",
    )  # fmt: skip
    world.add_argument(
        "--level", choices=("easy", "hard"), default="easy",
        help="hard: crowded scenes, hidden parts, tiny and huge things, similar colours, worse photographs",
    )  # fmt: skip
    world.add_argument("--to", required=True)
    world.add_argument("--start", type=int, default=0, help="index of the first scene")
    world.add_argument("--per-shard", type=int, default=128)
    quality = commands.add_parser(
        "microworld-report", help="measure each stage of a run against the ground truth of its scenes"
    )
    quality.add_argument("run")
    quality.add_argument("--truth", nargs="+", default=[], metavar="DIR", help="folders written by `microworld`")
    quality.add_argument("--json", action="store_true")
    quality.add_argument("--no-models", action="store_true", help="skip measures that load the run's models")
    quality.add_argument("--ablations", metavar="FILE", help="page of `python -m lab.ablations` to append")
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
    from mminstruct.status import tables as status
    from mminstruct.store import deletion
    from mminstruct.store.tables import Store

    statuses = status.table_statuses(given.run, verify=given.verify)
    say(status.as_json(statuses) if given.json else status.as_text(statuses))
    if status.all_faults(statuses):
        return job.EXIT_ERROR
    if not given.json and (gone := deletion.as_text(Store(given.run))):
        say(gone)
    return job.EXIT_FAILED if status.incomplete(statuses) else 0


def _trace(given: argparse.Namespace) -> int:
    from mminstruct.status import trace

    found = trace.trace(given.run, given.id)
    say(trace.as_json(found) if given.json else trace.as_text(found))
    return 0


def _export(given: argparse.Namespace) -> int:
    from mminstruct import export

    say(export.write(given.run, given.format, given.to, **_to(given)))
    return 0


def _written(parser: argparse.ArgumentParser, words: Sequence[str], **format: Any) -> None:
    """Add the arguments that export and mix share; only these two commands load the table of formats."""
    if words[:1] not in (["export"], ["mix"]):
        return
    from mminstruct.export import FORMATS

    named = f"{', '.join(FORMATS)}, or a module of yours: my_package.my_format"
    parser.add_argument("--format", metavar="FORMAT", type=_format, help=named, **format)
    parser.add_argument("--to", required=True)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--model", help="openai-batch: name of the model in the requests")
    parser.add_argument(
        "--tokenizer", help="tokenizer of the model to be trained: measures row lengths and checks label masks"
    )
    parser.add_argument("--template", help="chat template: v1, plain or Jinja text; default: the tokenizer's own")
    parser.add_argument("--max-length", type=int, default=2048, help="tokens")
    parser.add_argument("--image-tokens", type=int, default=576, help="tokens of one image")


def _format(name: str) -> str:
    from mminstruct.export import ExportError, format_of

    try:
        format_of(name)
    except ExportError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def _to(given: argparse.Namespace) -> dict[str, Any]:
    """The shared arguments of export and mix, as these functions take them."""
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
    from mminstruct.readers import text
    from mminstruct.store import deletion
    from mminstruct.store.tables import Store

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


def _review(given: argparse.Namespace) -> int:
    from mminstruct.reviewing import write

    some = {
        name: getattr(given, name)
        for name in ("what", "rows", "overlap", "where", "order", "disputed", "seed", "picture")
    }
    people = [name.strip() for name in given.people.split(",") if name.strip()]
    say(write.write(given.run, given.to, people, **some))
    return 0


def _agree(given: argparse.Namespace) -> int:
    from mminstruct.reviewing import agreement, told

    found = agreement.agree(given.run, given.files)
    say(told.as_json(found) if given.json else told.as_text(found))
    return 0


def _bench_power(given: argparse.Namespace) -> int:
    from mminstruct.bench import power

    effect = power.design_effect(given.per_instruction, given.icc)
    say(power.as_text(given.questions, given.half_width, given.difference, given.ties, effect, given.power))
    return 0


def _diversity(given: argparse.Namespace) -> int:
    from mminstruct.quality.diversity import table
    from mminstruct.quality.diversity.compare import compare

    found = compare(given.run, given.against, n=given.n, embedder=given.embedder, run_seed=given.seed)
    say(table.as_json(found) if given.json else table.as_text(found))
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
    from mminstruct.config.files import conf

    prompt = (conf() / "prompts" / "judge.md").read_text(encoding="utf-8")
    folder = lmms.task(given.run, given.to, prompt, max_tokens=given.max_tokens)
    say(f"lmms-eval --include_path {folder} --tasks mminstruct  (or mminstruct_judged)")
    return 0


def _microworld(given: argparse.Namespace) -> int:
    from mminstruct.microworld import shards

    some = {"seed": given.seed, "per_shard": given.per_shard, "start": given.start, "level": given.level}
    shards.write(given.layout, Path(given.to), given.images, **some)
    say(f"{given.images} images and their truth (_truth/) in {given.to}")
    return 0


def _microworld_report(given: argparse.Namespace) -> int:
    from mminstruct.quality import report
    from mminstruct.readers import text

    found = report.report(given.run, given.truth, models=not given.no_models)
    more = text.read(given.ablations) if given.ablations else ""
    say(report.as_json(found) if given.json else report.as_markdown(found, more))
    return 0


def enter() -> None:
    """The console script."""
    job.exit_process(main())


if __name__ == "__main__":
    enter()
