from __future__ import annotations

import random

import pytest

from mminstruct.microworld.families import classify
from mminstruct.quality import injected_faults
from mminstruct.quality.injected_faults import FAULTS, HARD, Sample
from mminstruct.text.rules import RULES, Context


@pytest.fixture(scope="module")
def good() -> list[tuple[str, Context]]:
    return injected_faults.drawn_answers(150)


@pytest.fixture(scope="module")
def samples(good: list[tuple[str, Context]]) -> list[Sample]:
    return injected_faults.inject(good, list(RULES), each=40)


def rate(counts: list[tuple[bool, int]]) -> float:
    assert counts
    return sum(good for good, _ in counts) / len(counts)


def test_every_rule_has_a_fault_of_its_own() -> None:
    assert set(FAULTS) == set(RULES)
    assert all(rule in RULES for rule, _ in HARD.values())


def test_the_rules_find_what_is_injected_and_leave_good_answers_alone(samples: list[Sample]) -> None:
    assert [sample for sample in samples if sample.injected is None and sample.found] == []
    for name in RULES:
        assert rate(injected_faults.recall(samples, name)) > 0.8, name
        assert rate(injected_faults.precision(samples, name)) > 0.9, name
    for name in HARD:
        assert rate(injected_faults.recall(samples, name)) > 0.55, name


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_sees_nothing_has_no_recall_and_one_that_is_left_out_is_not_found(
    name: str, good: list[tuple[str, Context]]
) -> None:
    samples = injected_faults.inject(good[:60], [rule for rule in RULES if rule != name], each=10)
    assert rate(injected_faults.recall(samples, name)) == 0
    assert injected_faults.precision(samples, name) == []


def test_a_rule_that_fires_at_everything_loses_its_precision(
    good: list[tuple[str, Context]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "url", lambda answer, context: "an address")
    samples = injected_faults.inject(good[:60], ["url"], each=10)
    assert rate(injected_faults.recall(samples, "url")) == 1
    assert rate(injected_faults.precision(samples, "url")) < 0.2


def test_injecting_is_the_same_every_time_and_draws_wordings_of_known_families(
    good: list[tuple[str, Context]],
) -> None:
    assert injected_faults.inject(good[:20], ["cut"], each=3) == injected_faults.inject(good[:20], ["cut"], each=3)
    assert all(classify(context.instruction) for _, context in good)


def test_a_cut_ends_where_the_sentence_goes_on(good: list[tuple[str, Context]]) -> None:
    found = 0
    for answer, context in good:
        short = FAULTS["cut"](answer, context, random.Random(0))
        if short is not None:
            found += 1
            assert answer.startswith(short)
            assert len(short) < len(answer)
            assert not short.endswith((".", "!", "?"))
    assert found > 10


def test_the_limits_of_the_runs_own_filter_are_kept() -> None:
    [(_, context)] = injected_faults.with_limits(
        injected_faults.drawn_answers(1), {"min_words": 7, "languages": ["de"], "rules": []}
    )
    assert (context.min_words, context.languages, context.max_words) == (7, ("de",), 1000)
