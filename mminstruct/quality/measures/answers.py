"""Measures of answers, of the filter that drops some of them, and of the rows of the final set."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from mminstruct.microworld.families import FAMILIES, applicable, classify
from mminstruct.microworld.families.wordings import unseen
from mminstruct.microworld.language import facts_of, read_facts
from mminstruct.microworld.oracle import Tally, judge_answer, judge_pair, statements
from mminstruct.models.model import Model
from mminstruct.prompts import render
from mminstruct.quality import injected_faults
from mminstruct.quality.measure import Measure, coverage, share
from mminstruct.quality.run import JudgedRun
from mminstruct.stage import seed
from mminstruct.text.rules import RULES, Context

_ENOUGH = 50
"""Right answers that a run must have for faults to be injected into them, instead of into the families' own texts."""
_WORDINGS = 200
"""Answers asked for in wordings that no training saw."""


def _counted(found: Mapping[str, Sequence[bool]]) -> list[tuple[int, int]]:
    return [(sum(some), len(some)) for some in found.values()]


def answer(run: JudgedRun) -> list[Measure]:
    """Form and facts of answers, against the scene and against the description that the answerer was given."""
    form: dict[str, list[bool]] = {}
    suited: dict[str, list[bool]] = {}
    true: dict[str, Tally] = {}
    borne: dict[str, Tally] = {}
    right: dict[str, list[bool]] = {}
    for row in run.answers:
        key, asked, text = row["image_id"], run.bank[row["instruction_id"]], row["answer"]
        scene = run.truth[key].scene
        verdict = judge_answer(text, asked, scene)
        form.setdefault(key, []).append(verdict.format_ok)
        right.setdefault(key, []).append(verdict.facts_ok)
        if judge_pair(asked, scene):
            suited.setdefault(key, []).append(verdict.format_ok)
        true[key] = true.get(key, Tally()) + statements(text, facts_of(scene, place=True), asked)
        borne[key] = borne.get(key, Tally()) + statements(text, read_facts(run.descriptions[key]), asked)
    answerer = run.model("answer")
    return [
        *share("answer", "verifier passes (format), where the instruction applies", _counted(suited), 0.95),
        *share("answer", "verifier passes (format), all pairs", _counted(form)),
        *share("answer", "statements about the scene that are true", ((t.right, t.said) for t in true.values()), 0.95),
        *share("answer", "statements that the description bears out", ((t.right, t.said) for t in borne.values())),
        *share("answer", "answers without a false statement", _counted(right)),
        *(new_wordings(run, answerer) if answerer else ()),
    ]


def new_wordings(run: JudgedRun, answerer: Model) -> list[Measure]:
    """Answers to instructions that no training saw, about the run's descriptions, without exemplars.

    Two sets: the families' test wordings, and ``unseen`` ones, whose sentence shapes, verbs and names are all new.
    """
    asked: dict[str, list[tuple[str, str]]] = {"wordings": [], "sentence shapes": []}
    for key, description in sorted(run.descriptions.items()):
        facts = read_facts(description)
        families = applicable(facts)
        if key in run.truth and families and len(asked["wordings"]) < _WORDINGS:
            rng = random.Random(f"new wordings {key}")
            family = rng.choice(families)
            asked["wordings"].append((key, family.instruction(facts, rng, "test")))
            shaped = unseen(family, facts, rng, specific=rng.random() < 0.5)
            asked["sentence shapes"].append((key, shaped))
    return [measure for what, some in asked.items() if some for measure in _asked_anew(run, answerer, what, some)]


def _asked_anew(run: JudgedRun, answerer: Model, what: str, asked: Sequence[tuple[str, str]]) -> list[Measure]:
    prompt = run.manifests["answer"]["config"]["prompt"]
    messages = [
        render(prompt, instruction=instruction, description=run.descriptions[key], examples=[])
        for key, instruction in asked
    ]
    replies = answerer.chat().chat(messages, seeds=[seed(0, f"new {what}", key) for key, _ in asked])
    form, true = [], []
    for (key, instruction), reply in zip(asked, replies, strict=True):
        scene = run.truth[key].scene
        form.append((judge_answer(reply.text, instruction, scene).format_ok and reply.finish == "stop", 1))
        tally = statements(reply.text, facts_of(scene, place=True), instruction)
        true.append((tally.right, tally.said))
    return [
        *share("answer", f"verifier passes (format), {what} never trained on, no exemplars", form, 0.95),
        *share("answer", f"true statements, {what} never trained on, no exemplars", true, 0.95),
    ]


def filtering(run: JudgedRun) -> list[Measure]:
    """Precision and recall of every rule on faults injected into right answers; and what the filter kept in the run."""
    right: list[tuple[str, str, Context]] = []
    wrong: list[tuple[str, str, Context]] = []
    for row in run.answers:
        asked = run.bank[row["instruction_id"]]
        verdict = judge_answer(row["answer"], asked, run.truth[row["image_id"]].scene)
        context = Context(instruction=asked, description=run.descriptions[row["image_id"]])
        (right if verdict.ok else wrong).append((row["pair_id"], row["answer"], context))
    config = run.manifests["filter"]["config"]
    rules = [name for name in config.get("rules", list(RULES)) if name in RULES]
    own = [(text, context) for _, text, context in right]
    good = own if len(own) >= _ENOUGH else injected_faults.drawn_answers(400)
    samples = injected_faults.inject(injected_faults.with_limits(good, config), rules)
    found: list[Measure] = []
    for name in rules:
        found += share("filter", f"{name}: precision", injected_faults.precision(samples, name), 0.98)
        found += share("filter", f"{name}: recall", injected_faults.recall(samples, name), 0.95)
    for name, (rule, _) in injected_faults.HARD.items():
        if rule in rules:
            found += share("filter", f"{name}: recall", injected_faults.recall(samples, name))
    kept = {row["pair_id"] for row in run.rows("filter", "pair_id")}
    if kept:
        found += share("filter", "right answers of the run kept", ((pair in kept, 1) for pair, _, _ in right), 0.98)
        found += share("filter", "wrong answers of the run dropped", ((pair not in kept, 1) for pair, _, _ in wrong))
    return found


def whole(run: JudgedRun) -> list[Measure]:
    """Share of final rows whose instruction applies and whose answer has the right form and no false statement."""
    answers = {row["pair_id"]: row["answer"] for row in run.answers}
    right: dict[str, list[bool]] = {}
    families = set()
    for row in run.rows("select", "pair_id", "image_id", "instruction_id"):
        if row["image_id"] not in run.truth:
            continue
        scene, asked = run.truth[row["image_id"]].scene, run.bank[row["instruction_id"]]
        good = judge_pair(asked, scene) and judge_answer(answers[row["pair_id"]], asked, scene).ok
        right.setdefault(row["image_id"], []).append(good)
        families.add(str(classify(asked)))
    return [
        *share("whole", "rows right in every respect", _counted(right), 0.85),
        *(coverage("whole", "kinds among the rows", families, set(FAMILIES)) if right else ()),
    ]


def by_kind(run: JudgedRun) -> list[Measure]:
    """Share of right answers by the kind of their instruction, where it applies to the scene; the lowest first."""
    counts: dict[str, dict[str, list[bool]]] = {}
    for row in run.answers:
        key, asked = row["image_id"], run.bank[row["instruction_id"]]
        if judge_pair(asked, run.truth[key].scene):
            good = judge_answer(row["answer"], asked, run.truth[key].scene).ok
            counts.setdefault(str(classify(asked)), {}).setdefault(key, []).append(good)
    found: list[Measure] = []
    for kind, images in counts.items():
        found += share("by kind", f"{kind}: right answers", _counted(images))
    return sorted(found, key=lambda measure: (measure.value, measure.name))
