"""Measures the coverage of 95% confidence intervals over simulated benchmarks, for docs/bench.md.

    python benchmarks/coverage.py [--benchmarks 1000] [--only rates|clusters|others|power|rounds]

Each benchmark is sampled from known probabilities. `rates` compares the package's interval (Wilson) with six others on
the same samples; `clusters` samples questions that share an instruction; `others` covers ranking, kappa, bias, length
slope and rubric means; `power` covers the stated power; `rounds` covers changes after earlier turns.
benchmarks/judges.py tests the whole benchmark command with judges that have known faults.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable

import numpy as np
from scipy import special

from mminstruct.bench import power
from mminstruct.bench.intervals import Array, rate, t_quantile
from mminstruct.bench.rounds import rounds
from mminstruct.bench.statistics import scores, summarize

LEVEL = 0.95
RESAMPLES = 2000
SIZES = (30, 60, 99, 150, 300)
CHANCES = {  # win, tie, lose
    "even, no ties": (0.5, 0.0, 0.5),
    "usual (.50 .25 .25)": (0.5, 0.25, 0.25),
    "mostly ties (.12 .80 .08)": (0.12, 0.8, 0.08),
    "nearly all ties (.03 .95 .02)": (0.03, 0.95, 0.02),
    "lopsided (.85 .10 .05)": (0.85, 0.1, 0.05),
    "crushing (.95 .03 .02)": (0.95, 0.03, 0.02),
}


# Candidates: functions from numerators and denominators of S benchmarks with G clusters (S x G) to interval bounds.


def _spread(top: Array, bottom: Array) -> tuple[Array, Array]:
    clusters, whole = top.shape[1], bottom.sum(1)
    value = top.sum(1) / whole
    residual = top - value[:, None] * bottom
    return value, np.sqrt(clusters / (clusters - 1) * (residual**2).sum(1)) / whole


def wald(top: Array, bottom: Array) -> tuple[Array, Array]:
    """Student's t interval with the cluster-robust standard error."""
    value, error = _spread(top, bottom)
    half = t_quantile(top.shape[1]) * error
    return value - half, value + half


def wilson(top: Array, bottom: Array) -> tuple[Array, Array]:
    """The package's interval."""
    found = [rate(t, b) for t, b in zip(top, bottom, strict=True)]
    return np.array([e.low for e in found], dtype=float), np.array([e.high for e in found], dtype=float)


def plus_two(top: Array, bottom: Array) -> tuple[Array, Array]:
    """Bonett and Price: Student's t interval after adding one cluster of ones and one of zeros."""
    size = bottom.mean(1, keepdims=True)
    return wald(np.concatenate([top, size, 0 * size], 1), np.concatenate([bottom, size, size], 1))


CLOSED = {"Wilson": wilson, "t": wald, "plus-two t": plus_two}


def bootstraps(top: Array, bottom: Array, draws: np.random.Generator) -> dict[str, tuple[Array, Array]]:
    """Four bootstrap intervals from the same resamples."""
    clusters = top.shape[1]
    weights = draws.multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES).astype(float)
    tops, bottoms = weights @ top.T, weights @ bottom.T
    with np.errstate(divide="ignore", invalid="ignore"):
        values = tops / bottoms
        squares = (
            weights @ (top**2).T - 2 * values * (weights @ (top * bottom).T) + values**2 * (weights @ (bottom**2).T)
        )
        errors = np.sqrt(np.maximum(squares, 0) * clusters / (clusters - 1)) / bottoms
    value, error = _spread(top, bottom)
    alpha = (1 - LEVEL) / 2
    outer = special.ndtr(-np.sqrt(clusters / (clusters - 1)) * t_quantile(clusters))
    with np.errstate(divide="ignore", invalid="ignore"):
        student = (values - value) / errors
        low_t, high_t = np.quantile(np.where(np.isfinite(student), student, 0.0), [alpha, 1 - alpha], axis=0)
    without = (top.sum(1, keepdims=True) - top) / (bottom.sum(1, keepdims=True) - bottom)
    skew = without.mean(1, keepdims=True) - without
    with np.errstate(divide="ignore", invalid="ignore"):
        speed = np.nan_to_num((skew**3).sum(1) / 6 / (skew**2).sum(1) ** 1.5)
    below = ((values < value).mean(0) + (values <= value).mean(0)) / 2
    shift = special.ndtri(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    ends = []
    for z in (special.ndtri(alpha), special.ndtri(1 - alpha)):
        place = special.ndtr(shift + (shift + z) / (1 - speed * (shift + z)))
        ends.append(np.array([np.nanquantile(values[:, s], place[s]) for s in range(len(value))]))
    return {
        "percentile": tuple(np.nanquantile(values, [alpha, 1 - alpha], axis=0)),
        "expanded percentile": tuple(np.nanquantile(values, [outer, 1 - outer], axis=0)),
        "BCa": (ends[0], ends[1]),
        "bootstrap t": (value - high_t * error, value - low_t * error),
    }


def drawn(chances: tuple[float, float, float], benchmarks: int, n: int, draws: np.random.Generator) -> Array:
    """Scores of n questions for each benchmark."""
    return draws.choice([1.0, 0.5, 0.0], p=chances, size=(benchmarks, n))


def rates(benchmarks: int, draws: np.random.Generator) -> None:
    worst: dict[str, list[float]] = {}
    for name, chances in CHANCES.items():
        print(f"\nwin rate, {name}: coverage in % (mean width in points)")
        for n in SIZES:
            top = drawn(chances, benchmarks, n, draws)
            truth = chances[0] + chances[1] / 2
            found = {label: method(top, np.ones_like(top)) for label, method in CLOSED.items()}
            found |= bootstraps(top, np.ones_like(top), draws)
            cells = []
            for method, (low, high) in found.items():
                covered = 100 * float(((low - 1e-12 <= truth) & (truth <= high + 1e-12)).mean())
                worst.setdefault(method, []).append(covered)
                cells.append(f"{method} {covered:.1f} ({100 * np.nanmean(high - low):.1f})")
            print(f"  n={n:<4}" + "; ".join(cells))
    print("\nmethod, over all cells: least, most, cells outside 93..97")
    for method, covered in worst.items():
        out = sum(not 93 <= c <= 97 for c in covered)
        print(f"  {method:<20} {min(covered):.1f} {max(covered):.1f}  {out} of {len(covered)}")
    print("\nwins among the decisive (ties left out): Wilson; of benchmarks with two decisive questions or more")
    for name, chances in CHANCES.items():
        cells = []
        for n in SIZES:
            score = drawn(chances, benchmarks, n, draws)
            low, high = wilson((score == 1) * 1.0, (score != 0.5) * 1.0)
            truth = chances[0] / (chances[0] + chances[2])
            told = np.isfinite(low)
            covered = ((low <= truth) & (truth <= high))[told].mean()
            cells.append(f"n={n} {100 * covered:.1f}" + ("" if told.all() else f" (of {told.sum()})"))
        print(f"  {name:<26} " + "; ".join(cells))


def clusters(benchmarks: int, draws: np.random.Generator) -> None:
    """Groups of three questions that share an instruction, as in MM-Instruct's benchmark."""
    print("\nthree images an instruction, no ties, win chance of an instruction ~ Beta(c/2, c/2): coverage in %")
    for icc in (0.0, 0.1, 0.3, 0.5):
        for n in (30, 99, 300):
            groups = n // 3
            c = 1 / icc - 1 if icc else np.inf
            chance = draws.beta(c / 2, c / 2, (benchmarks, groups)) if icc else np.full((benchmarks, groups), 0.5)
            won = draws.binomial(3, chance).astype(float)
            by_group = wilson(won, np.full_like(won, 3))
            each = (np.arange(3) < won[..., None]).reshape(benchmarks, -1).astype(float)
            alone = wilson(each, np.ones_like(each))
            cells = [100 * float(((low <= 0.5) & (high >= 0.5)).mean()) for low, high in (by_group, alone)]
            print(f"  icc {icc:.1f} n={n:<4} clusters are instructions {cells[0]:.1f}, questions {cells[1]:.1f}")


def judged(
    n: int,
    say: Callable[[random.Random, int, str, float], str],
    draws: random.Random,
    contestants: int = 2,
    chance: Callable[[int, int], float] = lambda a, b: 0.6,
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Verdicts of a judge in both orders, and the oracle's. *say* gets order, truth and log2 length ratio."""
    rows, truth = [], []
    for q in range(n):
        for a in range(contestants):
            for b in range(a + 1, contestants):
                best = "a" if draws.random() < chance(a, b) else "b"
                lengths = [draws.randint(20, 200), draws.randint(20, 200)]
                for order in (0, 1):
                    row = {"question_id": str(q), "kind": "all", "a": f"m{a}", "b": f"m{b}", "order": order}
                    row |= {"length_a": lengths[0], "length_b": lengths[1]}
                    verdict = say(draws, order, best, float(np.log2(lengths[0] / lengths[1])))
                    rows.append({**row, "verdict": verdict})
                    truth.append({**row, "verdict": best})
    return rows, truth


def right(p: float) -> Callable[[random.Random, int, str, float], str]:
    """A judge whose verdicts are independently right with probability p."""
    return lambda draws, order, best, _: best if draws.random() < p else "ab".replace(best, "")


def first(q: float, p: float = 0.8) -> Callable[[random.Random, int, str, float], str]:
    """A judge that names the first answer with probability q, and otherwise is right with probability p."""
    other = right(p)
    return lambda draws, order, best, ratio: "ab"[order] if draws.random() < q else other(draws, order, best, ratio)


def likes_length(slope: float) -> Callable[[random.Random, int, str, float], str]:
    """A judge that decides by length only: log-odds *slope* per doubling."""
    return lambda draws, order, best, ratio: "a" if draws.random() < special.expit(slope * ratio) else "b"


def others(benchmarks: int, draws: np.random.Generator) -> None:
    print("\nother estimates: coverage in %")
    strengths = np.array([0.6, 0.2, -0.2, -0.6])
    chance = lambda a, b: float(special.expit(strengths[a] - strengths[b]))  # noqa: E731
    for n in (30, 99):
        source = random.Random(n)
        hits: dict[str, list[bool]] = {}

        def hit(name: str, estimate: object, truth: float, hits: dict[str, list[bool]] = hits) -> None:
            low, high = estimate.low, estimate.high  # type: ignore[attr-defined]
            hits.setdefault(name, []).append(low is not None and low - 1e-12 <= truth <= high + 1e-12)

        for seed in range(benchmarks):
            rows, _ = judged(n, right(1.0), source, 4, chance)
            many = summarize([row for row in rows if row["order"] == 0], resamples=500, seed=seed)
            for rank in many.ranking:
                hit("Bradley-Terry strength, 4 contestants", rank.strength, strengths[int(rank.contestant[1])])
            rows, truth = judged(n, first(0.2), source)
            one = summarize(rows, truth, resamples=500, seed=seed)
            hit("position bias 0.2", one.position.bias, 0.2)
            hit("reversed", one.position.reversed, _reversed(0.2, 0.8))
            rows, truth = judged(n, right(0.8), source, chance=lambda a, b: 0.5)
            two = summarize(rows, truth, resamples=500, seed=seed)
            assert two.truth is not None
            hit("accuracy 0.8", two.truth.verdicts, 0.8)
            # conflicts count as ties: observed agreement .64; for chance agreement: rows .5 .5 0, columns .34 .34 .32
            hit("kappa of decisions 0.4545", two.truth.kappa, (0.64 - 0.34) / (1 - 0.34))
            rows, _ = judged(n, likes_length(1.0), source)
            three = summarize(rows, resamples=2, seed=seed)
            assert three.length is not None
            hit("length slope 1.0", three.length.slope, 1.0)
            grades = [
                {
                    "question_id": str(q),
                    "kind": "all",
                    "contestant": "m",
                    "score": 1 + source.choice((9, 9, 9, 8, 8, 7, 3, 0)),
                }
                for q in range(n)
            ]
            hit("rubric mean, skewed 1 to 10", scores(grades)[0].mean, 1 + 53 / 8)
        print(f"  n={n}: " + "; ".join(f"{name} {100 * np.mean(found):.1f}" for name, found in hits.items()))


def _reversed(q: float, p: float) -> float:
    """Probability that the verdicts in the two orders differ, if the first answer is named with probability q."""
    says_a = [q * (order == 0) + (1 - q) * p for order in (0, 1)]  # if a is better; symmetric if b is
    return says_a[0] * (1 - says_a[1]) + says_a[1] * (1 - says_a[0])


def powers(benchmarks: int, draws: np.random.Generator) -> None:
    print("\npromised power 80%: how often the interval leaves out 1/2 at the smallest difference that n should find")
    for ties in (0.0, 0.3):
        for n in (30, 99, 300):
            difference = power.smallest_difference(n, ties=ties)
            win = (1 - ties) / 2 + difference
            top = drawn((win, ties, 1 - ties - win), benchmarks, n, draws)
            low, high = wilson(top, np.ones_like(top))
            found = 100 * float(((low > 0.5) | (high < 0.5)).mean())
            print(f"  ties {ties:.1f} n={n:<4} difference {difference:.3f}: {found:.1f}%")


def changes(benchmarks: int, draws: np.random.Generator) -> None:
    """Open questions, three an image; after a history, contestants a and b answer in one word with chances *falls*."""
    print("\ncollapse after a history, three questions an image: coverage in %")
    long, short = "There is a quiet street with two parked cars.", "Calm."
    for falls in ((0.6, 0.0), (0.6, 0.3), (0.05, 0.02)):
        for n in (30, 99, 240):
            questions = {
                str(q): {"question": "Why?", "kind": "", "reference": None, "image_id": str(q // 3)} for q in range(n)
            }
            hits = np.zeros((benchmarks, 3))
            for place in range(benchmarks):
                image_AI, alone_AQ = draws.random((2, n // 3)), draws.random((2, n))
                shared_AQ = draws.random((2, n)) < 0.5  # a question falls with its image half of the time
                chance_AQ = np.where(shared_AQ, np.repeat(image_AI, 3, axis=1), alone_AQ)
                answers = [
                    {"question_id": q, "contestant": f"{who}{after}",
                     "answer": short if after and chance < fall else long}
                    for who, chance_Q, fall in zip("ab", chance_AQ, falls, strict=True)
                    for after in ("", "@x") for q, chance in zip(questions, chance_Q, strict=True)
                ]  # fmt: skip
                found = rounds(answers, questions, {})
                measured = [one.measures["collapse"].change for one in found.changes]
                measured.append(found.differences[0].measures["collapse"])
                for number, truth in enumerate((*falls, falls[0] - falls[1])):
                    low, high = measured[number].low, measured[number].high
                    assert low is not None
                    assert high is not None
                    hits[place, number] = low - 1e-9 <= truth <= high + 1e-9
            a, b, both = 100 * hits.mean(0)
            print(f"  falls {falls[0]} and {falls[1]}, n={n:<4} changes {a:.1f} and {b:.1f}, difference {both:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmarks", type=int, default=1000)
    parser.add_argument("--only", choices=("rates", "clusters", "others", "power", "rounds"))
    given = parser.parse_args()
    steps = {"rates": rates, "clusters": clusters, "power": powers, "others": others, "rounds": changes}
    for name, step in steps.items():
        if given.only in (None, name):
            step(given.benchmarks, np.random.default_rng(20240629))
