"""The checks that MM-Instruct's authors left open, as commands, with what the microworld can answer of them.

    python -m lab.checks RUN --to docs/checks.md [--work DIR]

``RUN`` is a run on the microworld, such as ``runs/demo``, built by this version. Further builds go to ``DIR`` and reuse
the tables of ``RUN``; they take two to three minutes on two cores.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from string import Template

from lab import answerers, raters, reviewers, unseen
from lab.ablations import load
from mminstruct.cli import main as mminstruct
from mminstruct.config.files import conf
from mminstruct.microworld.language import short_questions
from mminstruct.quality.diversity.compare import Comparison, compare
from mminstruct.quality.diversity.table import as_text
from mminstruct.quality.report import report
from mminstruct.quality.run import RunTables
from mminstruct.quality.truth import find_truth, read_truth

PAGE = Path(__file__).with_suffix(".md")
FAMILIES = "families, bits"
MATCHES, INSTRUCTIONS = 150, 70
"""Rows on rating sheets. Half of the rows of instructions are from the bank: 33 of the 36 of the demo."""
RATERS = ("oracle", "oracle:right=0.8")


def diversity(url: str, folder: Path) -> Comparison:
    """The run at *url* beside visual questions about its own scenes, and our seed instructions.

    Args:
        url: Folder of a run on the microworld.
        folder: Where ``vqa.txt`` is written, the questions one a line.
    """
    known = read_truth(find_truth(RunTables(url).sources()))
    asked = [question for key in sorted(known) for question, _ in short_questions(known[key].scene)]
    questions = folder / "vqa.txt"
    questions.write_text("\n".join(asked) + "\n", encoding="utf-8")
    return compare(url, [str(questions), str(conf() / "seeds.yaml")])


def ordered(found: Comparison) -> bool:
    """Whether the entropies of families are in the order questions, seeds, bank, each outside the next one's interval.

    The bank's own interval does not count: parts of a bank with one instruction a family all have the same entropy.
    """
    bank, questions, seeds = (one.measures[FAMILIES] for one in found.sets)
    values = (questions.high, seeds.low, seeds.high, bank.value)
    if any(value is None for value in values):
        return False
    below, low, high, above = (float(value) for value in values if value is not None)
    return below < low and high < above


def diverse(url: str, folder: Path) -> dict[str, str]:
    found = diversity(url, folder)
    lower = sorted(name for name, one in found.sets[2].differences.items() if one.low is not None and one.low > 0)
    verdict = f"The order of families {_came(ordered(found))}."
    if lower:
        verdict += f" Seeds are above the bank in {', '.join(lower)}: the embedded summarizer has few wordings."
    return {"diversity": as_text(found), "verdict": verdict}


def people(url: str, randomly: str, folder: Path) -> dict[str, str]:
    """Planted raters of matches and instructions; *randomly* is a run with the same images, matched by chance."""
    known = read_truth(find_truth(RunTables(url).sources()))
    ours = raters.rated(url, folder / "match", "match", MATCHES, known)
    chance = raters.rated(randomly, folder / "match-random", "match", MATCHES, known)
    bank = raters.rated(url, folder / "instructions", "instructions", INSTRUCTIONS, known)
    every = (ours, chance, bank)
    return {
        "match": raters.table(ours), "match_random": raters.table(chance), "instructions": raters.table(bank),
        "ranks": raters.ranks({"of the run": ours, "by chance": chance}),
        "covered": f"{sum(one.covered for one in every)} of {sum(one.of for one in every)}",
        "covered_share": f"{sum(one.covered for one in every) / sum(one.of for one in every):.1%}",
        "draws": str(raters.DRAWS), "right": f"{ours.right:.0%}", "right_random": f"{chance.right:.0%}",
        "ana": f"{raters.WRONG['ana']:.0%}", "bo": f"{raters.WRONG['bo']:.0%}",
        "matches": str(MATCHES), "rows": str(INSTRUCTIONS),
    }  # fmt: skip


def answers(url: str, folder: Path) -> dict[str, str]:
    """Three builds that differ in their answers only, compared by a benchmark."""
    recipe, _ = load(url)
    truth = find_truth(RunTables(url).sources())
    names = [str(one) for one in truth]
    runs = {"micro": url}
    for name, wrong in (("half_wrong", True), ("truth", False)):
        stage = answerers.Written(folders=names, wrong=wrong)
        runs[name] = answerers.build(str(folder / name), url, recipe, answer=stage)
    found = answerers.compare(url, runs, truth, str(folder / "answerers"))
    order = {judge: _came(answerers.ordered(found, judge)) for judge in found["judges"]}
    return {"answerers": answerers.table(found), "order": order["oracle"], "order_noisy": order["noisy"],
            "noisy": f"{answerers.NOISY:.0%}"}  # fmt: skip


def matched_by_chance(url: str, folder: Path) -> str:
    """A run whose matches ignore similarity; its answers are written without a model."""
    recipe, _ = load(url)
    match = copy.deepcopy(recipe.match)
    match.strategy, match.prices = "random", False
    stage = answerers.Written(folders=[str(one) for one in find_truth(RunTables(url).sources())])
    return answerers.build(str(folder / "random"), url, recipe, match=match, answer=stage)


def rated_by_models(url: str, folder: Path, like: Sequence[str]) -> dict[str, str]:
    """Ratings by two models that know the truth, of which the second is wrong in 20 % of its replies."""
    truth = ",".join(str(one) for one in find_truth(RunTables(url).sources()))
    lines = ["| rater | measure | value | 95 % interval | n |", "|---|---|---|---|---|"]
    for number, name in enumerate(RATERS):
        to = folder / f"rate-{number}"
        model = f"{{name: '{name}', backend: oracle, options: {{truth: [{truth}]}}}}"
        given = ["recipe.rate.enable=true", "recipe.rate.prompt=rate_oracle",
                 f"recipe.rate.reader={model}", f"recipe.rate.viewer={model}"]  # fmt: skip
        _command("build", *like, f"out={to}", f"base={url}", *given)
        for one in report(str(to), models=False).measures:
            if one.stage == "rate":
                lines.append(f"| `{name}` | {one.name} | {one.value:.3f} | {one.interval} | {one.n} |")
    return {"rate": "\n".join(lines)}


def unlike(url: str, folder: Path) -> dict[str, str]:
    """A build that holds out kinds, and what the hold-out by instruction of the run leaves in training."""
    source = unseen.world(folder / "coco")
    given = ["experiment=demo_coco", "engine=local", f"source={source}"]
    _command("build", *given, f"out={folder / 'kinds'}",
             f"recipe.select.holdout={{by: kind, names: [{', '.join(unseen.HELD)}]}}")  # fmt: skip
    found = unseen.split(str(folder / "kinds"))
    train, test = unseen.families(url)
    return {
        "held": unseen.table(found), "held_names": ", ".join(unseen.HELD), "coco_images": str(unseen.IMAGES),
        "held_out": f"{found.dropped['held_out']:,}", "shared_images": str(found.shared_images),
        "kinds_left": ", ".join(sorted(set(unseen.HELD) & found.train.keys())) or "none",
        "families_test": str(len(test)), "families_both": str(len(test & train)), "families_train": str(len(train)),
    }  # fmt: skip


def _command(*words: str) -> None:
    """A command of `mminstruct`, whose output goes to standard error.

    Raises:
        RuntimeError: it failed.
    """
    with redirect_stdout(sys.stderr):
        code = mminstruct(words)
    if code:
        raise RuntimeError(f"mminstruct {' '.join(words)}: exit status {code}")


def _came(right: bool) -> str:
    return "came out" if right else "did **not** come out"


def page(url: str, folder: Path, like: Sequence[str]) -> str:
    """The page, as Markdown.

    Args:
        url: A run on the microworld.
        folder: For further builds and sheets.
        like: Arguments with which *url* was built, without out.
    """
    found = {"run": url, **diverse(url, folder), **people(url, matched_by_chance(url, folder), folder)}
    known = read_truth(find_truth(RunTables(url).sources()))
    found |= reviewers.reviewed(url, folder, known, lambda given: _command("build", *like, *given))
    found |= answers(url, folder) | rated_by_models(url, folder, like) | unlike(url, folder)
    return Template(PAGE.read_text(encoding="utf-8")).substitute(found)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.checks", description="Write the page of open checks.")
    parser.add_argument("run")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="an empty folder for further builds; by default a temporary one")
    parser.add_argument("--like", nargs="+", default=["experiment=demo", "engine=local"],
                        help="arguments that the run was built with")  # fmt: skip
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        given.to.write_text(page(given.run, work, given.like), encoding="utf-8")


if __name__ == "__main__":
    main()
