"""What each choice of the recipe is worth: a run built again with one thing changed, on the same scenes.

    python -m lab.ablations RUN --to DIR

Every variant is a run of its own in ``DIR``; tables that a change leaves untouched are taken over from ``RUN``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from lab.variants import AGAIN, PAPER_K, TrueCaption, variants
from mminstruct import schemas
from mminstruct.config import engine as make_engine
from mminstruct.job import leave
from mminstruct.microworld.families import FAMILIES, classify
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.oracle import judge_answer, judge_pair
from mminstruct.quality.measures import share, statements
from mminstruct.quality.truth import Tables, Truth, truth, truth_folders
from mminstruct.recipe import differences, manifests
from mminstruct.recipes import MMInstruct
from mminstruct.run import Run, claim, execute
from mminstruct.store import Store

_RESAMPLES = 2000


def load(url: str) -> tuple[MMInstruct, Any]:
    """The recipe that the run at *url* was built with, and its engine's configuration.

    Raises:
        FileNotFoundError: where the folder is no run.
        ValueError: where config.yaml and the package no longer make what the run holds.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from mminstruct import config as configuration

    facts = Store(url).config()
    if facts is None:
        raise FileNotFoundError(f"{url} has no config.yaml: give the folder of a run that `mminstruct build` made")
    configuration.register()
    with initialize_config_dir(str(configuration.conf()), version_base="1.3"):
        config = OmegaConf.merge(compose("build", ["recipe=mm_instruct"]), facts["config"])
    made_from, run = configuration.build(cast(Any, config))
    for name, facts in manifests(run.recipe).items():
        there = Store(url).table(name).manifest() or {}
        if there.get("fingerprint") != facts["fingerprint"]:
            lines = differences(there.get("config", {}), facts["config"]) or ["its inputs or its schema"]
            raise ValueError(f"{name} of {url} was made by another recipe than its config.yaml gives now: {lines[0]}")
    return cast(MMInstruct, run.recipe), made_from.engine


Counts = Mapping[str, tuple[float, float]]
"""By image: how many are right, of how many."""

COLUMNS = ("match applies", "statements true", "answer right", "rows right", "rows kept")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a variant came to."""

    name: str
    counts: Mapping[str, Counts]
    """By column."""
    kinds: int
    """Families of instructions among the final rows."""
    bank: int
    used: float
    """Share of the bank that was matched to any image."""
    rows: int


def outcome(name: str, url: str, known: Truth) -> Outcome:
    """Judge the run at *url*."""
    tables = Tables(url)
    counts: dict[str, dict[str, tuple[float, float]]] = {column: {} for column in COLUMNS}

    def add(column: str, image: str, good: int, of: int = 1) -> None:
        before = counts[column].get(image, (0, 0))
        counts[column][image] = (before[0] + good, before[1] + of)

    right: dict[str, bool] = {}
    for row in tables.answers:
        if row["image_id"] in known:
            scene, asked = known[row["image_id"]].scene, tables.bank[row["instruction_id"]]
            good = judge_answer(row["answer"], asked, scene).ok
            right[row["pair_id"]] = good and judge_pair(asked, scene)
            tally = statements(row["answer"], facts_of(scene, place=True), asked)
            add("statements true", row["image_id"], tally.right, tally.said)
            add("answer right", row["image_id"], good)
    final = [row for row in tables.rows("select", "pair_id", "image_id", "instruction_id") if row["pair_id"] in right]
    for row in final:
        add("rows right", row["image_id"], right[row["pair_id"]])
    kept, used = {row["pair_id"] for row in final}, set()
    for row in tables.rows("match", "pair_id", "image_id", "instruction_id"):
        used.add(row["instruction_id"])
        if row["image_id"] in known:
            asked = tables.bank[row["instruction_id"]]
            add("match applies", row["image_id"], judge_pair(asked, known[row["image_id"]].scene))
            add("rows kept", row["image_id"], row["pair_id"] in kept)
    kinds = {classify(tables.bank[row["instruction_id"]]) for row in final} - {None}
    bank = len(tables.bank)
    return Outcome(name, counts, len(kinds), bank, len(used) / bank if bank else 0.0, len(final))


def differs(these: Counts, those: Counts) -> bool:
    """Whether the 95 % interval of the difference leaves out zero, when the images of both are drawn together."""
    images = sorted({*these, *those})
    if not these or not those:
        return False
    both_N4 = np.array([(*these.get(image, (0, 0)), *those.get(image, (0, 0))) for image in images], np.float64)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_RESAMPLES):
        a, b, c, d = both_N4[rng.integers(len(images), size=len(images))].sum(axis=0)
        if b and d:
            found.append(a / b - c / d)
    low, high = np.percentile(found, (2.5, 97.5))
    return bool(low > 0 or high < 0)


def _mean(counts: Counts) -> float:
    """Share over all images; 0 where there is nothing."""
    right, of = (sum(column) for column in zip(*counts.values(), strict=True)) if counts else (0, 0)
    return right / of if of else 0.0


def page(outcomes: Sequence[Outcome], images: int, recipe: MMInstruct) -> str:
    """The table, as Markdown; the first outcome is the run that all others are held against."""
    base = outcomes[0]
    same = [one for one in outcomes if one is base or one.name.startswith(AGAIN)]
    chance = {column: [_mean(one.counts[column]) for one in same] for column in COLUMNS}
    captions = "captions written from the scenes, " if isinstance(recipe.caption, TrueCaption) else ""
    prices = "with" if recipe.match.prices else "without"
    lines = [
        "# Ablations",
        "",
        f"The run and variants of it with one thing changed, all on the same {images} scenes. Each cell is a share "
        "with its 95 % interval (bootstrap over images). That interval holds the bank of instructions fixed, but "
        "every seed draws another bank: the rows with another seed show what chance alone does. A star marks a "
        "difference from the run as built that is more than both: its own interval (images drawn in pairs) leaves out "
        f"zero, and the value lies outside of those of all {len(same)} seeds. {len(same)} seeds are few, and the table "
        f"compares {len(COLUMNS) * (len(outcomes) - len(same))} values: a star just beyond the seeds is a hint, no "
        "finding.",
        "",
        f"| variant | {' | '.join(COLUMNS)} | rows | kinds | bank | bank used |",
        "|---" * (len(COLUMNS) + 5) + "|",
    ]
    for one in outcomes:
        cells = [one.name]
        for column in COLUMNS:
            own = _mean(one.counts[column])
            beyond = not min(chance[column]) <= own <= max(chance[column])
            star = " *" if beyond and differs(one.counts[column], base.counts[column]) else ""
            found = share("", column, one.counts[column].values())
            cells += [f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f}){star}" for m in found] or ["none"]
        cells += [str(one.rows), f"{one.kinds} of {len(FAMILIES)}", str(one.bank), f"{one.used:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "- match applies: share of matched pairs whose instruction can be followed for the scene.",
        "- statements true: share of all that answers say about the picture that is so.",
        "- answer right: share of answers that have the form asked for and say nothing untrue.",
        "- rows right: share of final rows whose instruction applies and whose answer is right.",
        "- rows kept: share of matched pairs that are in the final set.",
        f"- As built: {captions}k = {recipe.cluster.k}, match by {recipe.match.how} {prices} prices, "
        f"{recipe.answer.shots} exemplars, "
        f"{len(recipe.filter.rules)} filter rules. The paper has k = {PAPER_K} for some 50,000 raw instructions; here "
        f"k is scaled so that {recipe.cluster.k} stands for {PAPER_K}.",
        "- No clustering: the bank is every distinct raw instruction, as it was written.",
        "- Captions half wrong: in each caption, every kind of thing, colour and number is with probability 1/2 "
        "replaced by another one, the same word always by the same; all later stages see only that.",
        "- Captions the truth: written from the scenes themselves, as a captioner without a fault would.",
    ]
    if recipe.exemplify.model.name == recipe.answer.model.name:
        lines.append(
            "- Exemplars are by the same model as the answers here: they cannot teach it what it does not know."
        )
    if recipe.filter.rules and any(one.name == "no filter rules" and one.counts == base.counts for one in outcomes):
        lines.append("- No rule of the filter found anything in this run: without them it is the same.")
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Build what is missing of every variant and write ``ablations.md`` and ``ablations.json`` into the folder."""
    parser = argparse.ArgumentParser(prog="python -m lab.ablations", description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--to", required=True, metavar="DIR")
    parser.add_argument("--truth", nargs="+", default=[], metavar="DIR", help="folders that `microworld` wrote")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--true-captions", action="store_true", help="all with captions written from the scenes")
    parser.add_argument("--parts", type=int, metavar="N", help="only the first N parts of the run")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="variants whose names have one of these in them")
    given = parser.parse_args(words)
    tables = Tables(given.run)
    folders = [Path(folder) for folder in given.truth] or truth_folders(tables)
    known = truth(folders)
    recipe, engine = load(given.run)
    engine.kind = given.engine
    if given.true_captions:
        recipe.caption = cast(Any, TrueCaption(folders=[str(folder) for folder in folders]))
    built_again = bool(given.true_captions or given.parts)
    parts = sorted(tables.store.table("ingest").parts())[: given.parts]
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
    ingest = tables.store.table("ingest").dataset(schemas.INGEST, frozenset(parts))
    images = sum(key in known for key in ingest.to_table(columns=["image_id"])["image_id"].to_pylist())
    text = page(outcomes, images, recipe)
    store = Store(given.to)
    store.write(json.dumps([asdict(one) for one in outcomes]).encode(), "ablations.json")
    store.write(text.encode(), "ablations.md")
    print(text)
    return 0


if __name__ == "__main__":
    leave(main())
