"""Effect of each choice of the recipe: a run built again with one thing changed, on the same scenes.

    python -m lab.ablations RUN --to DIR

Every variant is a run of its own in ``DIR``. Tables that the change does not affect are copied from ``RUN``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from lab.outcomes import COLUMNS, Outcome, differs, mean, outcome
from lab.variants import AGAIN, PAPER_K, TrueCaption, variants
from lab.verdicts import verdicts
from mminstruct.config import engine as make_engine
from mminstruct.job import exit_process
from mminstruct.microworld.families import FAMILIES
from mminstruct.quality.measure import share
from mminstruct.quality.run import RunTables
from mminstruct.quality.truth import find_truth, read_truth
from mminstruct.recipe import differences, manifests
from mminstruct.recipes import MMInstruct
from mminstruct.run import Run, claim, execute
from mminstruct.store.tables import Store

_NOTES = {
    "no clustering": "- No clustering: the bank is every distinct raw instruction, unchanged.",
    "captions: half wrong": "- Captions half wrong: in each caption, every kind of thing, colour and number is replaced"
    " with probability 1/2, each word always by the same other one; all later stages see only these captions.",
    "captions: the truth": "- Captions the truth: written from the scenes, as a perfect captioner would write them.",
    "no fuse": "- No fuse: the description is the caption; no alt-text is used.",
    "descriptions of other images": "- Descriptions of other images: each answer is written from the description of"
    " another image of its part. What is still right needs no picture: this is a blind test of MM-Instruct's answers,"
    " which the recipe itself does not have (`recipe=domains` has one, `recipe.verify.blind_votes`).",
}
"""What the names of variants mean."""


def load(url: str) -> tuple[MMInstruct, Any]:
    """The recipe that the run at *url* was built with, and its engine's configuration.

    Raises:
        FileNotFoundError: where the folder is no run.
        ValueError: where the package no longer makes the run's tables from its config.yaml.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from mminstruct import config as configuration
    from mminstruct.config import files as conf_files

    facts = Store(url).config()
    if facts is None:
        raise FileNotFoundError(f"{url} has no config.yaml: give the folder of a run that `mminstruct build` made")
    configuration.register()
    with initialize_config_dir(str(conf_files.conf()), version_base="1.3"):
        config = OmegaConf.merge(compose("build", ["recipe=mm_instruct"]), facts["config"])
    made_from, run = configuration.build(cast(Any, config))
    for name, facts in manifests(run.recipe).items():
        there = Store(url).table(name).manifest() or {}
        if there.get("fingerprint") != facts["fingerprint"]:
            lines = differences(there.get("config", {}), facts["config"]) or ["its inputs or its schema"]
            raise ValueError(f"{name} of {url} was made by another recipe than its config.yaml now gives: {lines[0]}")
    return cast(MMInstruct, run.recipe), made_from.engine


def page(outcomes: Sequence[Outcome], images: int, recipe: MMInstruct) -> str:
    """The table, as Markdown; all outcomes are compared with the first one, the run as built."""
    base = outcomes[0]
    same = [one for one in outcomes if one is base or one.name.startswith(AGAIN)]
    chance = {column: [mean(one.counts[column]) for one in same] for column in COLUMNS}
    captions = "captions written from the scenes, " if isinstance(recipe.caption, TrueCaption) else ""
    prices = "with" if recipe.match.prices else "without"
    lines = [
        "# Ablations",
        "",
        f"The run and variants of it with one thing changed, all on the same {images} scenes. Each cell is a share "
        "with its 95 % interval (Wilson, cluster-robust over images). The interval holds the bank of instructions "
        "fixed, but every seed draws another bank: the rows with other seeds show the effect of chance. A star marks a "
        "difference from the run as built whose own interval (paired bootstrap over images) excludes zero, and where "
        f"the value lies outside the range of all {len(same)} seeds. {len(same)} seeds are few, and the table compares "
        f"{len(COLUMNS) * (len(outcomes) - len(same))} values: a star close to the range of the seeds is only a hint.",
        "",
        f"| variant | {' | '.join(COLUMNS)} | rows | kinds | bank | bank used |",
        "|---" * (len(COLUMNS) + 5) + "|",
    ]
    for one in outcomes:
        cells = [one.name]
        for column in COLUMNS:
            own = mean(one.counts[column])
            beyond = not min(chance[column]) <= own <= max(chance[column])
            star = " *" if beyond and differs(one.counts[column], base.counts[column]) else ""
            found = share("", column, one.counts[column].values())
            cells += [f"{m.value:.3f} ({m.interval}){star}" for m in found] or ["none"]
        cells += [str(one.rows), f"{one.kinds} of {len(FAMILIES)}", str(one.bank), f"{one.used:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "- match applies: share of matched pairs whose instruction can be followed for the scene.",
        "- statements true: share of statements about the picture that are true.",
        "- answer right: share of answers that have the requested form and no false statement.",
        "- rows right: share of final rows whose instruction applies and whose answer is right.",
        "- rows kept: share of matched pairs that are in the final set.",
        f"- As built: {captions}k = {recipe.cluster.k}, match by {recipe.match.strategy} {prices} prices, "
        f"{recipe.answer.shots} exemplars, "
        f"{len(recipe.filter.rules)} filter rules. The paper has k = {PAPER_K} for some 50,000 raw instructions; here "
        f"k is scaled so that {recipe.cluster.k} stands for {PAPER_K}.",
        *(note for one in outcomes for name, note in _NOTES.items() if one.name == name),
    ]
    if recipe.exemplify.model.name == recipe.answer.model.name:
        lines.append("- Exemplars are by the same model as the answers here, so they cannot add knowledge.")
    if recipe.filter.rules and any(one.name == "no filter rules" and one.counts == base.counts for one in outcomes):
        lines.append("- No rule of the filter dropped anything in this run, so the run without them is the same.")
    return "\n".join([*lines, *verdicts(outcomes, images)]) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Build the missing tables of every variant; write ``ablations.md`` and ``ablations.json`` into the folder."""
    parser = argparse.ArgumentParser(prog="python -m lab.ablations", description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--to", required=True, metavar="DIR")
    parser.add_argument("--truth", nargs="+", default=[], metavar="DIR", help="folders that `microworld` wrote")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument(
        "--true-captions",
        action="store_true",
        help="write captions from the scenes in all runs",
    )
    parser.add_argument("--parts", type=int, metavar="N", help="only the first N parts of the run")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only variants whose names contain one of these")
    given = parser.parse_args(words)
    base_run = RunTables(given.run)
    folders = [Path(folder) for folder in given.truth] or find_truth(base_run.sources())
    known = read_truth(folders)
    recipe, engine = load(given.run)
    engine.kind = given.engine
    if given.true_captions:
        recipe.caption = cast(Any, TrueCaption(folders=[str(folder) for folder in folders]))
    built_again = bool(given.true_captions or given.parts)
    parts = base_run.parts("ingest")[: given.parts]
    chosen = {"as built": recipe} | {
        name: one
        for name, one in variants(recipe, folders).items()
        if not given.only or any(text in name for text in given.only)
    }
    outcomes = []
    for name, one in chosen.items():
        url = given.run
        if built_again or one is not recipe:
            url = f"{given.to}/{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"
            run = Run(url=url, recipe=one, only=frozenset(parts) if given.parts else None)
            base = given.run if one is recipe or not built_again else f"{given.to}/as-built"
            taken = claim(run, base, given.parts)
            print(f"{name}: {sum(map(bool, taken.values()))} of {len(taken)} tables taken over", file=sys.stderr)
            execute(run, make_engine(engine), units=given.parts)
        outcomes.append(outcome(name, url, known))
    images = sum(key in known for key in base_run.image_ids(frozenset(parts)))
    text = page(outcomes, images, recipe)
    store = Store(given.to)
    store.write(json.dumps([asdict(one) for one in outcomes]).encode(), "ablations.json")
    store.write(text.encode(), "ablations.md")
    print(text)
    return 0


if __name__ == "__main__":
    exit_process(main())
