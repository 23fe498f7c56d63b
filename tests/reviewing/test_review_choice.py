"""Who gets which rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.reviewing.choose import Plan, TooFewRows, by_strata, fitting, sheets

PEOPLE = ("ana", "bo", "cy", "dee")
plans = st.builds(
    Plan, people=st.integers(1, 4).map(lambda n: PEOPLE[:n]), rows=st.integers(1, 120),
    overlap=st.one_of(st.sampled_from([0.0, 0.2, 1.0]), st.floats(0, 1)), seed=st.integers(0, 3),
)  # fmt: skip
SHARES = ({"run": 1.0}, {"run": 0.75, "random": 0.25}, {"run": 0.5, "seed": 0.25, "vqa": 0.25})


def groups(shares: dict[str, float], there: int) -> dict[str, list[str]]:
    return {group: [f"{group} {n}" for n in range(there)] for group in shares}


@given(plans, st.sampled_from(SHARES), st.booleans())
def test_every_sheet_is_full_shared_rows_are_on_all_sheets_and_all_others_on_one(
    plan: Plan, shares: dict[str, float], doubt: bool
) -> None:
    there = groups(shares, 500)
    made = sheets(plan, there, shares, doubt)
    assert list(made) == sorted(plan.people)
    on = Counter(one for ids in made.values() for one in set(ids))
    shared = {one for one, times in on.items() if times == len(plan.people)}
    for ids in made.values():
        assert len(ids) == plan.rows
        assert len(set(ids)) == plan.rows - round(plan.rows * 0.05) or plan.rows == 1
        assert max(Counter(ids).values()) <= 2
        if len(plan.people) > 1:
            assert len(shared) == round(plan.distinct * plan.overlap)
        for group, share in shares.items():
            assert abs(sum(one in there[group] for one in set(ids)) - plan.distinct * share) <= 1
    assert set(on.values()) <= {1, len(plan.people)}


@given(plans)
def test_a_repeat_comes_half_a_sheet_after_the_first(plan: Plan) -> None:
    for ids in sheets(plan, groups(SHARES[0], 500), SHARES[0], False).values():
        for one in (one for one, times in Counter(ids).items() if times == 2):
            assert len(ids) - ids[::-1].index(one) - 1 - ids.index(one) >= len(set(ids)) // 2


@given(plans)
def test_the_order_of_people_changes_nothing_and_another_seed_changes_the_rows(plan: Plan) -> None:
    there = groups(SHARES[0], 500)
    turned = Plan(people=plan.people[::-1], rows=plan.rows, overlap=plan.overlap, seed=plan.seed)
    assert sheets(turned, there, SHARES[0], False) == sheets(plan, there, SHARES[0], False)
    if plan.rows > 20:
        other = Plan(people=plan.people, rows=plan.rows, overlap=plan.overlap, seed=plan.seed + 1)
        assert sheets(other, there, SHARES[0], False) != sheets(plan, there, SHARES[0], False)


def test_people_see_shared_rows_in_different_orders_but_doubtful_rows_first() -> None:
    plan = Plan(people=("ana", "bo"), rows=100, overlap=1.0)
    there = groups(SHARES[0], 200)
    ana, bo = sheets(plan, there, SHARES[0], False).values()
    assert set(ana) == set(bo)
    assert ana != bo
    ana, bo = sheets(plan, there, SHARES[0], True).values()
    assert list(dict.fromkeys(ana)) == list(dict.fromkeys(bo)) == there["run"][: plan.distinct]


@given(plans, st.sampled_from(SHARES), st.integers(0, 60))
def test_with_too_few_rows_the_advice_is_the_most_that_is_possible(
    plan: Plan, shares: dict[str, float], there: int
) -> None:
    some, fits = groups(shares, there), fitting(plan, groups(shares, there), shares)
    if fits != plan:
        advice = f"take --rows {fits.rows} or fewer" if fits else "no sheet can be made"
        for rows in (plan.rows, fits.rows + 1 if fits else 1):
            with pytest.raises(TooFewRows, match=advice):
                sheets(replace(plan, rows=rows), some, shares, False)
    if fits is not None:
        assert len(sheets(fits, some, shares, False)) == len(plan.people)


def test_every_beginning_has_equally_many_rows_of_each_fifth_of_the_similarities() -> None:
    order = by_strata({f"p{n}": n / 100 for n in range(100)}, seed=0)
    for size in (5, 20, 60):
        assert set(Counter(int(one[1:]) // 20 for one in order[:size]).values()) == {size // 5}
    assert [int(one[1:]) // 20 for one in order[:5]] != [int(one[1:]) for one in order[:5]]


@pytest.mark.parametrize(("more", "said"), [({"rows": 0}, "--rows 0"), ({"overlap": 1.5}, "--overlap 1.5")])
def test_a_plan_out_of_range_is_refused(more: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Plan(people=("ana",), **more)  # type: ignore[arg-type]
