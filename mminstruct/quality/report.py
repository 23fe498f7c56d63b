"""The quality report of a run: measures of all stages, as Markdown or JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mminstruct.microworld.families import FAMILIES, applicable
from mminstruct.microworld.language import facts_of, read_facts
from mminstruct.microworld.oracle import judge_answer
from mminstruct.models.model import Model
from mminstruct.prompts import Message, render
from mminstruct.quality import injected_faults, measures
from mminstruct.quality import truth as truths
from mminstruct.quality.measures import Measure, share
from mminstruct.quality.truth import Tables, Truth
from mminstruct.stage import seed
from mminstruct.text.rules import RULES, Context

ENOUGH = 50
"""Right answers that a run must have for faults to be planted in them, and not in the families' own."""
TAUGHT = 0
"""Seed of the world that the embedded models were taught on."""
EXAMINED = 1000
"""Seed of the world on which their progress was watched, and so decided when to stop."""
WORDINGS = 200
"""Answers asked for in wordings that no training saw."""


@dataclass(frozen=True, slots=True)
class Report:
    """All measures of a run."""

    run: str
    images: int
    """Images of known truth."""
    worlds: list[int]
    """Seeds of the worlds that they are scenes of."""
    measures: list[Measure]


def report(url: str, truth: Sequence[str] = (), *, models: bool = True) -> Report:
    """All measures of the run at *url*; of stages that are not made yet there are none.

    Args:
        truth: Folders that ``mminstruct microworld`` wrote; by default those that the run was ingested from.
        models: Whether to load the run's CLIP and answerer for what needs them: the plain nearest instruction, and
            answers to wordings that no training saw.

    Raises:
        FileNotFoundError: where the folder is no run, or the truth is not found.
        ValueError: where none of the run's images is in the truth.
    """
    tables = Tables(url)
    folders = [Path(folder) for folder in truth] or truths.truth_folders(tables)
    known = truths.truth(folders)
    images = [row["image_id"] for row in tables.rows("ingest", "image_id")]
    judged = [known[key].scene for key in images if key in known]
    if not judged:
        raise ValueError(
            f"none of the {len(images)} images of {url} is in {', '.join(map(str, folders))}: give the folder that the "
            "run was made from with --truth"
        )
    clip = _model(tables, "clip") if models else None
    answerer = _model(tables, "answerer") if models else None
    found = [
        *measures.caption(tables, known),
        *measures.fuse(tables, known),
        *measures.instruct(tables, known),
        *measures.cluster(tables),
        *measures.match(tables, known, clip.embed() if clip else None),
        *measures.answer(tables, known),
        *(new_wordings(tables, known, answerer) if answerer else ()),
        *filtering(tables, known),
        *measures.whole(tables, known),
        *measures.by_kind(tables, known),
    ]
    return Report(url, len(judged), sorted({scene.seed for scene in judged}), found)


def _model(tables: Tables, role: str) -> Model | None:
    """Who played *role*, as the run's config.yaml has it; None where there is no such file."""
    facts = tables.store.config()
    if facts is None:
        return None
    fields: dict[str, Any] = facts["config"]["models"][role]
    return Model(**fields)


def new_wordings(tables: Tables, known: Truth, answerer: Model, count: int = WORDINGS) -> list[Measure]:
    """Answers to instructions of the families' test wordings, asked without exemplars about the run's descriptions."""
    prompt = tables.manifest("answer")["prompt"]
    asked: list[tuple[str, str]] = []
    messages: list[list[Message]] = []
    for key, description in sorted(tables.descriptions.items()):
        families = applicable(read_facts(description))
        if key in known and families and len(asked) < count:
            rng = random.Random(f"new wordings {key}")
            instruction = rng.choice(families).instruction(read_facts(description), rng, "test")
            asked.append((key, instruction))
            messages.append(render(prompt, instruction=instruction, description=description, examples=[]))
    if not asked:
        return []
    replies = answerer.chat().chat(messages, seeds=[seed(0, "new wordings", key) for key, _ in asked])
    form, true = [], []
    for (key, instruction), reply in zip(asked, replies, strict=True):
        scene = known[key].scene
        form.append((judge_answer(reply.text, instruction, scene).format_ok and reply.finish == "stop", 1))
        tally = measures.statements(reply.text, facts_of(scene, place=True), instruction)
        true.append((tally.right, tally.said))
    return [
        *share("answer", "verifier passes (format), wordings never trained on, no exemplars", form, 0.95),
        *share("answer", "true statements, wordings never trained on, no exemplars", true, 0.95),
    ]


def filtering(tables: Tables, known: Truth) -> list[Measure]:
    """Precision and recall of every rule on faults planted in right answers, and what the filter did in earnest."""
    right: list[tuple[str, str, Context]] = []
    wrong: list[tuple[str, str, Context]] = []
    for row in tables.answers:
        if row["image_id"] in known:
            asked = tables.bank[row["instruction_id"]]
            verdict = judge_answer(row["answer"], asked, known[row["image_id"]].scene)
            context = Context(instruction=asked, description=tables.descriptions[row["image_id"]])
            (right if verdict.ok else wrong).append((row["pair_id"], row["answer"], context))
    manifest = tables.store.table("filter").manifest()
    config = dict(manifest["config"]) if manifest else {}
    rules = [name for name in config.get("rules", list(RULES)) if name in RULES]
    own = [(answer, context) for _, answer, context in right]
    good = own if len(own) >= ENOUGH else injected_faults.drawn_answers(400)
    samples = injected_faults.plant(injected_faults.with_limits(good, config), rules)
    found: list[Measure] = []
    for name in rules:
        found += share("filter", f"{name}: precision", injected_faults.precision(samples, name), 0.98)
        found += share("filter", f"{name}: recall", injected_faults.recall(samples, name), 0.95)
    for name, (rule, _) in injected_faults.HARD.items():
        if rule in rules:
            found += share("filter", f"{name}: recall", injected_faults.recall(samples, name))
    kept = {row["pair_id"] for row in tables.rows("filter", "pair_id")}
    if kept:
        found += share("filter", "right answers of the run kept", ((pair in kept, 1) for pair, _, _ in right), 0.98)
        found += share("filter", "wrong answers of the run dropped", ((pair not in kept, 1) for pair, _, _ in wrong))
    return found


PREFACE = """# Quality

Generated by `mminstruct microworld-report {run}{more}`: {images} images of the microworld, whose whole truth is
known, so a program judges every text. {worlds}
The instructions are those that the run itself invented; lines that say so ask in wordings that no training saw.

Intervals are 95 % percentile intervals of a bootstrap over images (over clusters for `cluster` and `summarize`, over
texts for `filter`). Where all is right or all is wrong, the interval has no width; the true rate may then still be up
to about 3/n off. `n` counts what the value is a share of. Kinds are the {kinds} families of instructions that the
microworld can write, recognise and check.

The intervals of `match`, `answer` and `whole` hold the run's bank of instructions fixed. Another seed or another
collection makes another bank, and moves those values by more than the intervals say.

The faults planted for `filter` were written, and mended where they were no real faults, by people who knew the rules:
its numbers show that the rules do what they are meant to, not how they fare with faults that nobody thought of.
Among the planted cuts are only those in prose of 20 words and more and in JSON; the others have a line of their own.
"""


def as_markdown(found: Report, more: str = "") -> str:
    """The report as a page; *more* is a page that follows, such as the table of ablations."""
    option = " --ablations ..." if more else ""
    names = ", ".join(map(str, found.worlds))
    worlds = f"The scenes are of world {names}; the embedded models were taught on scenes of world {TAUGHT} alone."
    if EXAMINED in found.worlds:
        worlds += f" The first scenes of world {EXAMINED} were looked at, never learnt from, while they were taught."
    if TAUGHT in found.worlds:
        worlds = f"Beware: some scenes are of world {TAUGHT}, which the embedded models were taught on."
    lines = [PREFACE.format(run=found.run, images=found.images, kinds=len(FAMILIES), more=option, worlds=worlds)]
    lines += ["| stage | measure | value | 95 % interval | n | aim | met |", "|---|---|---|---|---|---|---|"]
    before = ""
    for measure in found.measures:
        stage, before = ("" if measure.stage == before else measure.stage), measure.stage
        aim = "" if measure.aim is None else "all" if measure.aim == 1 else f"{measure.aim:.2f}"
        met = {None: "", True: "yes", False: "**no**"}[measure.met]
        cells = (stage, measure.name, f"{measure.value:.3f}", interval(measure), measure.n, aim, met)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    aimed = [measure for measure in found.measures if measure.aim is not None]
    others = [measure for measure in aimed if measure.stage != "filter"]
    reached = sum(bool(measure.met) for measure in aimed)
    elsewhere = sum(bool(measure.met) for measure in others)
    lines += ["", f"{reached} of {len(aimed)} aims are met; without those of the filter, {elsewhere} of {len(others)}."]
    return "\n".join([*lines, *(["", more.strip()] if more else [])])


def interval(measure: Measure) -> str:
    """``0.912 to 0.934``; empty for counts of distinct things."""
    return "" if measure.low is None else f"{measure.low:.3f} to {measure.high:.3f}"


def as_json(found: Report) -> str:
    """The run, how many images were judged, and a list of measures with their fields and ``met``."""
    measures = [{**asdict(measure), "met": measure.met} for measure in found.measures]
    facts = {"run": found.run, "images": found.images, "worlds": found.worlds, "measures": measures}
    return json.dumps(facts, indent=1)
