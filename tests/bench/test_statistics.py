from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import cohen_kappa_score

from benchmarks.coverage import CHANCES, drawn, first, judged, likes_length, right, wilson
from mminstruct.bench.agreement import agreement
from mminstruct.bench.intervals import Estimate, bootstrap, rate
from mminstruct.bench.statistics import Summary, scores, summarize
from mminstruct.bench.verdicts import VERDICTS, decide

Row = dict[str, Any]


def verdicts(said: dict[str, tuple[str, ...]], a: str = "new", b: str = "old", **more: Any) -> list[Row]:
    return [
        {"question_id": question, "kind": question[0], "a": a, "b": b, "order": order, "verdict": verdict, **more}
        for question, both in said.items()
        for order, verdict in enumerate(both)
    ]


WORDS = st.sampled_from(VERDICTS)
ROWS = st.dictionaries(st.sampled_from([f"{kind}{n}" for kind in "pq" for n in range(9)]), st.tuples(WORDS, WORDS))


def test_a_small_benchmark_is_counted_as_by_hand() -> None:
    rows = verdicts(
        {
            "p1": ("a", "a"), "p2": ("a", "neither"), "p3": ("neither", "b"), "p4": ("neither", "neither"),
            "q5": ("a", "b"), "q6": ("b", "a"), "q7": ("a", "unparsed"), "q8": ("a",),
        }
    )  # fmt: skip
    found = summarize(rows)
    one = found.pairs[0].all
    assert (one.questions, one.win, one.tie, one.lose, one.conflict, one.undecided) == (8, 2, 3, 1, 2, 2)
    assert one.win_rate.value == pytest.approx((2 + 3 / 2) / 6)
    assert one.win_rate_decisive.value == pytest.approx(2 / 3)
    assert (one.win_rate.n, one.win_rate_decisive.n) == (6, 3)
    assert {kind: (part.win, part.tie, part.lose) for kind, part in found.pairs[0].kinds.items()} == {
        "p": (2, 1, 1), "q": (0, 2, 0),
    }  # fmt: skip
    assert (found.verdicts, found.unparsed) == (15, 1)
    position = found.position
    assert position.questions == 6
    assert position.consistent.value == pytest.approx(2 / 6)
    assert position.reversed.value == pytest.approx(2 / 6)
    assert position.first.value == pytest.approx(5 / 12)  # p1 p2 once each, p3 once, q5 twice
    assert position.second.value == pytest.approx(3 / 12)  # p1 once, q6 twice
    assert position.bias.value == pytest.approx(2 / 12)


@given(ROWS, st.randoms(use_true_random=False))
def test_sums_close_intervals_hold_their_values_and_no_order_of_rows_matters(
    said: dict[str, tuple[str, ...]], chance: random.Random
) -> None:
    rows = verdicts(said)
    found = summarize(rows, resamples=50)
    for pair in found.pairs:
        for one in (pair.all, *pair.kinds.values()):
            assert one.win + one.tie + one.lose + one.undecided == one.questions
        assert sum(one.questions for one in pair.kinds.values()) == pair.all.questions
    told = json.loads(json.dumps(asdict(found), allow_nan=False))
    for estimate in _estimates(told):
        value, low, high = estimate["value"], estimate["low"], estimate["high"]
        assert low is None or low - 1e-9 <= value <= high + 1e-9
        assert value is not None or low is None
    shuffled = rows[:]
    chance.shuffle(shuffled)
    assert asdict(summarize(shuffled, resamples=50)) == asdict(found)
    table = pa.Table.from_pylist(rows) if rows else []
    assert asdict(summarize(table, resamples=50)) == asdict(found)


def _estimates(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict) and {"value", "low", "high", "n"} == set(value):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in inner for found in _estimates(item)]


@given(ROWS.filter(bool))
def test_the_other_contestants_view_is_the_mirror_image(said: dict[str, tuple[str, ...]]) -> None:
    mirrored = {question: tuple({"a": "b", "b": "a"}.get(one, one) for one in both) for question, both in said.items()}
    mine, theirs = (summarize(verdicts(each), resamples=50).pairs[0].all for each in (said, mirrored))
    assert (mine.win, mine.tie, mine.lose) == (theirs.lose, theirs.tie, theirs.win)
    if mine.win_rate.value is not None:
        assert mine.win_rate.value == pytest.approx(1 - theirs.win_rate.value)
    if mine.win_rate.low is not None:
        assert mine.win_rate.low == pytest.approx(1 - theirs.win_rate.high)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"verdict": "A"}, "verdict 'A' is not one of a, b, neither, unparsed"),
        ({"order": 2}, "order 2 is neither 0"),
        ({"a": "zoe"}, "contestants must be in alphabetical order"),
    ],
)
def test_rows_that_are_no_verdicts_are_refused_with_their_place(fault: Row, said: str) -> None:
    (row,) = verdicts({"p1": ("a",)})
    with pytest.raises(ValueError, match=f"question p1, .*{said}"):
        decide([row | fault])
    with pytest.raises(ValueError, match="two verdicts; give each judge's verdicts separately"):
        decide([row, row])
    with pytest.raises(ValueError, match="a verdict has no column kind"):
        decide([{name: value for name, value in row.items() if name != "kind"}])


def test_the_win_rates_interval_is_wilsons_and_for_resamples_that_of_the_cluster_bootstrap() -> None:
    draws = np.random.default_rng(1)
    for p in (0.02, 0.3, 0.5, 0.97):
        won = (draws.random(2000) < p).astype(float)
        known = stats.binomtest(int(won.sum()), len(won)).proportion_ci(method="wilson")
        found = rate(won, np.ones_like(won))
        assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=2e-4)
    size = draws.integers(1, 6, 400).astype(float)
    won = draws.binomial(size.astype(int), draws.beta(1.0, 1.0, 400)).astype(float)
    found = rate(won, size)
    _, low, high = bootstrap(lambda s: s[..., :1] / s[..., 1:], np.stack([won, size], 1), resamples=4000)
    assert (found.low, found.high) == pytest.approx((low[0], high[0]), abs=0.006)


@pytest.mark.parametrize("n", [30, 99, 300])
@pytest.mark.parametrize("name", ["even, no ties", "usual (.50 .25 .25)", "lopsided (.85 .10 .05)"])
def test_the_95_percent_interval_covers_in_93_to_97_percent_of_1000_benchmarks(name: str, n: int) -> None:
    score = drawn(CHANCES[name], 1000, n, np.random.default_rng(n))
    low, high = wilson(score, np.ones_like(score))
    truth = CHANCES[name][0] + CHANCES[name][1] / 2
    assert 0.93 <= ((low <= truth) & (truth <= high)).mean() <= 0.97


def test_questions_that_share_an_instruction_need_its_clusters() -> None:
    draws = np.random.default_rng(5)
    chance = draws.beta(7 / 6, 7 / 6, (1000, 100))  # icc 0.3: one pair of questions of an instruction goes together
    won = draws.binomial(3, chance).astype(float)
    each = (np.arange(3) < won[..., None]).reshape(1000, -1).astype(float)
    by_instruction, by_question = wilson(won, np.full_like(won, 3)), wilson(each, np.ones_like(each))
    covered, alone = (((low <= 0.5) & (high >= 0.5)).mean() for low, high in (by_instruction, by_question))
    assert 0.93 <= covered <= 0.97
    assert alone < 0.91
    rows = [{**row, "instruction_id": row["question_id"][:2]} for row in verdicts(
        {f"{kind}{n}": (side, side) for kind, side in (("p1", "a"), ("p2", "a"), ("p3", "b"), ("p4", "b")) for n in range(9)}
    )]  # fmt: skip
    wide, narrow = (summarize(rows, cluster=c).pairs[0].all.win_rate for c in ("instruction_id", "question_id"))
    assert wide.value == narrow.value == 0.5
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def found_of(say: Callable[..., str], seed: int = 7) -> Summary:
    return summarize(*judged(300, say, random.Random(seed)), resamples=300)


def covers(estimate: Estimate | None, planted: float) -> bool:
    assert estimate is not None
    return estimate.low - 1e-9 <= planted <= estimate.high + 1e-9


def test_a_judge_that_always_says_the_first_is_found_out() -> None:
    found = found_of(first(1.0))
    assert found.position.bias.value == 1
    assert found.position.bias.low > 0.95
    assert (found.position.consistent.value, found.position.reversed.value) == (0, 1)
    assert found.truth.verdicts.value == 0.5
    pair = found.pairs[0].all
    assert pair.conflict == pair.tie == pair.questions  # so the paper's rule would have called it a draw
    half = found_of(first(0.3, 1.0))
    assert covers(half.position.bias, 0.3)
    assert half.position.bias.low > 0.2


def test_a_judge_that_likes_length_is_found_out_and_a_longer_better_contestant_is_not_held_against_it() -> None:
    found = found_of(likes_length(1.0))
    assert covers(found.length.slope_given_truth, 1.0)
    assert found.length.slope_given_truth.low > 0.5
    assert found.length.longer.low > 0.6
    assert covers(found.position.bias, 0.0)
    always = found_of(lambda draws, order, best, ratio: "a" if ratio >= 0 else "b")
    assert always.length.longer.value == 1
    assert always.length.slope.low > 10
    rows, truth = judged(300, right(0.9), random.Random(1), chance=lambda a, b: 0.9)
    longer = [row | {"length_a": 3 * row["length_a"]} for row in rows]
    fair = summarize(longer, truth, resamples=50).length
    assert fair.longer.low > 0.5  # the better one is longer, too
    assert covers(fair.slope, 0.0)
    assert covers(fair.slope_given_truth, 0.0)
    best = [row | {f"length_{known['verdict']}": 300} for row, known in zip(rows, truth, strict=True)]
    merit = summarize(best, truth, resamples=50).length
    assert merit.slope.low > 0.5  # without the truth, it looks like a liking for length
    assert covers(merit.slope_given_truth, 0.0)


def test_a_judge_that_is_right_80_percent_of_the_time_is_found_to_be() -> None:
    found = found_of(right(0.8), seed=8)
    assert covers(found.truth.verdicts, 0.8)
    assert found.truth.verdicts.high - found.truth.verdicts.low < 0.08
    assert covers(found.position.bias, 0.0)
    assert covers(found.length.slope_given_truth, 0.0)
    assert found_of(right(1.0)).truth.verdicts.value == found_of(right(1.0)).truth.kappa.value == 1


def test_the_slope_of_length_is_firths() -> None:
    """Saturated, it is the difference of log-odds with 1/2 added to each cell (Firth 1993; Heinze 2002)."""
    cells = {(2, "a"): 9, (2, "b"): 2, (1, "a"): 4, (1, "b"): 7}  # a is twice as long, or half
    rows = [
        {**row, "length_a": 2 if size == 2 else 1, "length_b": 1 if size == 2 else 2}
        for (size, said), count in cells.items()
        for n in range(count)
        for row in verdicts({f"{size}{said}{n}": (said,)})
    ]
    expected = (math.log(9.5 / 2.5) - math.log(4.5 / 7.5)) / 2
    assert summarize(rows, resamples=2).length.slope.value == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=30))
def test_kappa_is_cohens(said: list[tuple[str, str, str, str]]) -> None:
    mine = verdicts({f"q{n}": each[:2] for n, each in enumerate(said)})
    others = verdicts({f"q{n}": each[2:] for n, each in enumerate(said)})
    found = agreement(mine, others, resamples=10)
    assert found.verdicts.value == pytest.approx(
        np.mean([x["verdict"] == y["verdict"] != "unparsed" for x, y in zip(mine, others, strict=True)])
    )
    one, two = (["tie" if d.outcome == "conflict" else d.outcome for d in decide(rows)] for rows in (mine, others))
    both = [pair for pair in zip(one, two, strict=True) if "undecided" not in pair]
    assert found.decisions.n == found.kappa.n == len(both)
    if len({word for pair in both for word in pair}) > 1:
        assert found.kappa.value == pytest.approx(cohen_kappa_score(*zip(*both, strict=True)))
    else:
        assert found.kappa.value is None


def test_judges_are_compared_on_what_both_judged() -> None:
    mine = verdicts({"q1": ("a", "a"), "q2": ("a", "a"), "q3": ("b", "b")})
    found = agreement(mine, verdicts({"q2": ("a", "b"), "q4": ("a", "a")}))
    assert (found.shared, found.verdicts.value, found.decisions.n) == (2, 0.5, 1)
    assert agreement(mine, []).kappa == Estimate(None, None, None, 0)


def test_bradley_terry_finds_planted_strengths_and_says_which_ranks_are_open() -> None:
    strengths = {"m0": 0.6, "m1": 0.2, "m2": -0.2, "m3": -0.6}
    chance = lambda a, b: float(special.expit(strengths[f"m{a}"] - strengths[f"m{b}"]))  # noqa: E731
    rows, _ = judged(400, right(1.0), random.Random(3), 4, chance)
    found = summarize(rows, resamples=500).ranking
    assert [one.contestant for one in found] == ["m0", "m1", "m2", "m3"]
    assert all(covers(one.strength, strengths[one.contestant]) for one in found)
    assert sum(one.strength.value for one in found) == pytest.approx(0)
    assert all(one.best <= one.rank <= one.worst for one in found)
    assert (found[0].worst, found[3].best) == (1, 4)
    few = summarize(rows[:48], resamples=500).ranking  # four questions: next to nothing is sure
    assert max(one.worst - one.best for one in few) > 0


def test_contestants_who_never_met_are_not_ranked_and_one_who_won_all_has_a_finite_strength() -> None:
    apart = verdicts({"q1": ("a", "a")}, "x", "y") + verdicts({"q1": ("a", "a")}, "v", "w")
    assert summarize(apart).ranking == []
    all_won = summarize(verdicts({f"q{n}": ("a", "a") for n in range(20)})).ranking
    assert [one.contestant for one in all_won] == ["new", "old"]
    # 20.5 to 0.5, half to each side of the mean
    assert all_won[0].strength.value == pytest.approx(math.log(20.5 / 0.5) / 2)
    some_tied = summarize(
        verdicts({"q1": ("a", "a"), "q2": ("a", "a"), "q3": ("a", "b"), "q4": ("neither", "neither")})
    )
    assert some_tied.ranking[0].strength.value == pytest.approx(math.log(3.5 / 1.5) / 2)


def test_thirty_wins_of_thirty_are_no_certainty_and_nothing_is_no_number() -> None:
    one = summarize(verdicts({f"q{n}": ("a", "a") for n in range(30)})).pairs[0].all
    assert one.win_rate.value == 1
    assert 0.8 < one.win_rate.low < 0.95
    assert one.win_rate.high == 1
    empty = summarize([])
    assert (empty.questions, empty.pairs, empty.ranking, empty.truth) == (0, [], [], None)
    assert empty.position.bias == Estimate(None, None, None, 0)
    single = summarize(verdicts({"q1": ("a", "a")})).pairs[0].all.win_rate
    assert single == Estimate(1.0, None, None, 1)


def test_grades_are_compared_question_by_question() -> None:
    rows = [
        {
            "question_id": f"q{n}",
            "kind": "kp"[n % 2],
            "contestant": who,
            "score": None if who == "y" and n == 9 else score,
        }
        for who, shift in (("x", 0), ("y", 1))
        for n in range(10)
        for score in [n % 5 + 1 + shift]
    ]
    x, y = scores(rows)
    assert (x.contestant, x.difference, x.unparsed) == ("x", None, 0)
    assert (x.mean.value, x.mean.n) == (3.0, 10)
    half = stats.t.ppf(0.975, 9) * np.std([n % 5 + 1 for n in range(10)], ddof=1) / math.sqrt(10)
    assert x.mean.high - x.mean.value == pytest.approx(half)
    assert (y.unparsed, y.mean.n) == (1, 9)
    assert (y.difference.value, y.difference.low, y.difference.n) == pytest.approx((1.0, 1.0, 9))
    assert set(y.kinds) == {"k", "p"}
