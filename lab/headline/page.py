"""The result of the experiment: answers judged by the truth of their scenes, as tables.

    python -m lab.headline.page OUT

judges the answers in ``OUT`` again and writes ``OUT/result.json`` and ``OUT/headline.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.headline.arms import ARMS
from lab.headline.scenes import KINDS, Asked, exam
from mminstruct.bench.intervals import Estimate, difference, rate
from mminstruct.bench.statistics import compare
from mminstruct.bench.verdicts import decide
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.oracle import judge_answer, statements

Key = tuple[str, int, str]
"""Arm, seed, kind of question."""
KIND = {"seen": "families of the sets, unseen wordings", "held": "families in no set", "never": "families in no text",
        "short": "short questions"}  # fmt: skip
AGAINST = ("vqa", "set")
"""Arms that all others are compared with."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer by the truth of its scene; of a short one all are whether it is exactly right."""

    form: bool
    ok: bool
    """Form kept and nothing false."""
    right: int
    """True statements."""
    said: int
    """Statements."""
    words: int

    @property
    def worth(self) -> tuple[bool, bool, float]:
        """Key to compare answers by, as the judge ``oracle`` of benchmarks does."""
        return self.ok, self.form, self.right / self.said if self.said else 0.0


def plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".! ")


def judge(one: Asked, text: str) -> Judged:
    if one.expected is not None:
        exact = plain(text) == plain(one.expected)
        return Judged(exact, exact, exact, 1, len(text.split()))
    scene = one.scene
    verdict, told = judge_answer(text, one.text, scene), statements(text, facts_of(scene, place=True), one.text)
    return Judged(verdict.format_ok, verdict.ok, told.right, told.said, len(text.split()))


def judged(path: Path) -> dict[Key, list[Judged]]:
    """The answers in the file *path*, by kind in the order of scenes.

    Raises:
        ValueError: The file has another number of answers than the exam has questions.
    """
    made = json.loads(path.read_text(encoding="utf-8"))
    asked = exam(made["scenes"])
    if len(asked) != len(made["answers"]):
        raise ValueError(
            f"{path} has {len(made['answers'])} answers to {len(asked)} questions: run the experiment again"
        )
    found: dict[Key, list[Judged]] = {}
    for one, text in zip(asked, made["answers"], strict=True):
        found.setdefault((made["arm"], made["seed"], one.kind), []).append(judge(one, text))
    return found


Verdicts = Mapping[Key, Sequence[Judged]]


def seeds_of(found: Verdicts, arm: str) -> list[int]:
    return sorted({seed for name, seed, _ in found if name == arm})


def _per_scene(
    found: Verdicts, arm: str, kind: str, value: Callable[[Judged], float], seeds: Sequence[int] | None = None
) -> np.ndarray[Any, Any]:
    """(seeds, scenes); of all seeds of *arm* by default."""
    chosen = seeds_of(found, arm) if seeds is None else seeds
    return np.array([[value(one) for one in found[arm, seed, kind]] for seed in chosen], np.float64)


def shares(found: Verdicts, arm: str, kind: str) -> dict[str, Any]:
    """Measures of *arm* over its seeds: intervals by scene, and the value of each seed."""
    made: dict[str, Any] = {}
    ones = _per_scene(found, arm, kind, lambda one: 1)
    parts: dict[str, tuple[Callable[[Judged], float], Callable[[Judged], float]]] = {
        "form": (lambda one: one.form, lambda one: 1),
        "ok": (lambda one: one.ok, lambda one: 1),
        "true": (lambda one: one.right, lambda one: one.said),
    }
    for name, (top, bottom) in parts.items():
        if kind == "short" and name != "ok":
            continue
        tops, bottoms = _per_scene(found, arm, kind, top), _per_scene(found, arm, kind, bottom)
        each = [float(a.sum() / b.sum()) if b.sum() else None for a, b in zip(tops, bottoms, strict=True)]
        made[name] = asdict(rate(tops.sum(0), bottoms.sum(0))) | {"seeds": each}
    made["words"] = float(_per_scene(found, arm, kind, lambda one: one.words).sum() / ones.sum())
    return made


def change(found: Verdicts, arm: str, other: str, kinds: Iterable[str]) -> Estimate:
    """How much more often *arm* is right in every respect than *other*, by question and seed; clustered by scene."""
    ups, downs, all_ = [], [], []
    shared = [seed for seed in seeds_of(found, arm) if seed in seeds_of(found, other)]
    for kind in kinds:
        mine, theirs = (_per_scene(found, name, kind, lambda one: one.ok, shared) for name in (arm, other))
        step = mine - theirs
        ups.append((step > 0).sum(0))
        downs.append((step < 0).sum(0))
        all_.append(np.full(step.shape[1], len(shared)))
    return difference(*(np.sum(part, 0).astype(np.float64) for part in (ups, downs, all_)))


def duel(found: Verdicts, arm: str, other: str, kinds: Sequence[str]) -> dict[str, Any]:
    """Pairwise verdicts by the truth, by the statistics of ``mminstruct bench``."""
    a, b = sorted((arm, other))
    rows = [
        {"question_id": f"{seed}-{scene}-{kind}", "kind": kind, "a": a, "b": b, "order": 0, "scene": str(scene),
         "verdict": "a" if mine.worth > theirs.worth else "b" if mine.worth < theirs.worth else "neither"}
        for kind in kinds for seed in seeds_of(found, a) if (b, seed, kind) in found
        for scene, (mine, theirs) in enumerate(zip(found[a, seed, kind], found[b, seed, kind], strict=True))
    ]  # fmt: skip
    decisions = decide(rows, cluster="scene")
    made = compare(a, b, decisions)
    turned = a != arm
    flip = (lambda one: one.scaled(-1, 1)) if turned else (lambda one: one)
    wins = asdict(flip(made.win_rate))
    if turned and wins["low"] is not None:
        wins["low"], wins["high"] = wins["high"], wins["low"]
    win, lose = (made.lose, made.win) if turned else (made.win, made.lose)
    return {"win": win, "tie": made.tie, "lose": lose, "rate": wins}


def result(found: Verdicts, facts: Mapping[str, Any]) -> dict[str, Any]:
    told = [kind for kind in KINDS if kind != "short"]
    arms = [arm for arm in ("base", "told", *ARMS) if seeds_of(found, arm)]
    made: dict[str, Any] = {"facts": dict(facts), "arms": {}, "against": {}}
    for arm in arms:
        kinds = [kind for kind in KINDS if (arm, 0, kind) in found]
        made["arms"][arm] = {kind: shares(found, arm, kind) for kind in kinds}
    pairs = [(arm, other) for other in AGAINST for arm in ARMS if arm != other and {arm, other} <= set(arms)]
    pairs += [
        pair for pair in (("rated", "wrong30"), ("rated", "thinned"), ("seen", "fewer")) if set(pair) <= set(arms)
    ]
    for arm, other in pairs:
        made["against"][f"{arm} against {other}"] = {
            "ok": {kind: asdict(change(found, arm, other, [kind])) for kind in KINDS}
            | {"instructions": asdict(change(found, arm, other, told))},
            "duel": duel(found, arm, other, told),
        }
    return made


def _share(one: Mapping[str, Any]) -> str:
    if one["value"] is None:
        return "none"
    return (
        f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" if one["low"] is not None else f"{one['value']:.3f}"
    )


def _signed(one: Mapping[str, Any]) -> str:
    return f"{one['value']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]" if one["low"] is not None else "none"


def as_text(made: Mapping[str, Any]) -> str:
    """Three Markdown tables: shares, their values by seed, comparisons."""
    says = {"base": "base", "told": "base, told the true caption instead of the picture"}
    says |= {name: f"{name}: {arm.says}" for name, arm in ARMS.items()}
    first = [["model", *(f"{KIND[kind]}: right" for kind in KINDS), "form: seen, held, never"]]
    seeds = [["model", *(f"{KIND[kind]}: right by seed" for kind in KINDS)]]
    for arm, kinds in made["arms"].items():
        forms = ", ".join(f"{kinds[kind]['form']['value']:.3f}" for kind in KINDS[:-1])
        first.append([says[arm], *(_share(kinds[kind]["ok"]) if kind in kinds else "" for kind in KINDS), forms])
        own = ((f"{one:.3f}" for one in kinds[kind]["ok"]["seeds"]) if kind in kinds else () for kind in KINDS)
        seeds.append([arm, *(" ".join(some) for some in own)])
    last = [
        ["compared", *(KIND[kind] for kind in KINDS), "all instructions", "won / tied / lost", "wins and half the ties"]
    ]
    for name, one in made["against"].items():
        duels = one["duel"]
        last.append([name, *(_signed(one["ok"][kind]) for kind in (*KINDS, "instructions")),
                     f"{duels['win']} / {duels['tie']} / {duels['lose']}", _share(duels["rate"])])  # fmt: skip
    lines = []
    for head, *rows in (first, last, seeds):
        lines += [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)] + [""]
    return "\n".join(lines)


def write(out: Path, pool: Executor) -> str:
    """Judge all answers in *out*; write and return the tables."""
    found: dict[Key, list[Judged]] = {}
    for some in pool.map(judged, sorted(out.glob("answers/*.json"))):
        found |= some
    facts = json.loads((out / "facts.json").read_text(encoding="utf-8"))
    made = result(found, facts)
    (out / "result.json").write_text(json.dumps(made, indent=1), encoding="utf-8")
    text = as_text(made)
    (out / "headline.md").write_text(text, encoding="utf-8")
    return text


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.headline.page", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    with ProcessPoolExecutor() as pool:
        print(write(parser.parse_args(words).out, pool))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
