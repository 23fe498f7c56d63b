from __future__ import annotations

import pytest

from mminstruct.models.model import Model
from mminstruct.models.openai import Chatter
from mminstruct.models.prices import BudgetExceeded, Ledger, Price, price_of
from tests.models.asking import PRICE, Shelf, ask, chatter, unit
from tests.models.server import Capacity, Endpoint, echo


def test_tokens_and_money_are_booked_on_the_unit_under_way() -> None:
    ledger = Ledger()
    with Endpoint(echo) as endpoint, chatter(endpoint, ledger, price=PRICE) as made, unit() as work:
        ask(made, "a", "b")
    assert (work.calls, work.tokens_in, work.tokens_out) == (2, 20, 10)
    assert work.cost == pytest.approx(0.04)
    assert ledger.spent == pytest.approx(0.04)
    assert ledger.reserved == 0


def test_cached_tokens_cost_what_they_cost() -> None:
    assert Price(2.0, 8.0, cached=0.5).cost(1_000_000, 0, cached=400_000) == pytest.approx(1.2 + 0.2)
    assert Price(2.0, 8.0).cost(1_000_000, 1_000_000, batch=True) == pytest.approx(5.0)


def test_prices_come_from_the_dated_file_by_host_and_name() -> None:
    known = price_of("gpt-4.1-mini", "api.openai.com")
    assert (
        known == price_of("gpt-4.1-mini-2025-04-14", "api.openai.com") == price_of("gpt-4.1-mini", "x.openai.azure.com")
    )
    assert known is not None
    assert price_of("gpt-4.1-mini", "localhost") is None
    assert price_of("gpt-4.1-mini", "api.openai.com", {"input": 1, "output": 2}) == Price(1, 2)


def test_a_budget_is_never_exceeded_and_what_was_bought_is_kept() -> None:
    shelf, ledger = Shelf(), Ledger()
    options = {"price": PRICE, "body": {"max_tokens": 5}, "budget": {"usd": 0.5}}
    with Endpoint(Capacity(latency=0.01)) as endpoint:
        with (
            chatter(endpoint, ledger, **options) as made,
            unit(shelf),
            pytest.raises(BudgetExceeded, match="raise budget"),
        ):
            ask(made, *map(str, range(100)))
        bought = len(endpoint.requests)
        assert 0.4 < ledger.spent <= 0.5
        assert len(shelf.replies) == bought
        options["budget"] = {"usd": 10.0}
        ledger = Ledger()
        with chatter(endpoint, ledger, **options) as made, unit(shelf) as work:
            replies = ask(made, *map(str, range(100)))
    assert [reply.text for reply in replies] == [f"re: {i}" for i in range(100)]
    assert len(endpoint.requests) == 100, "no reply was bought twice"
    assert work.notes == {"replies_recalled": bought}
    assert work.cost == ledger.spent == pytest.approx(2.0), "what an earlier process paid counts against the budget"


def test_what_earlier_processes_spent_counts() -> None:
    options = {"price": PRICE, "budget": {"usd": 5.0, "spent": 4.999}}
    with Endpoint(echo) as endpoint, chatter(endpoint, **options) as made, pytest.raises(BudgetExceeded):
        ask(made, "a")
    assert not endpoint.requests


def test_a_budget_without_a_price_is_refused_before_anything_is_spent() -> None:
    with Endpoint(echo) as endpoint, pytest.raises(ValueError, match="budget needs a price"):
        Chatter(Model(name="m", backend="openai", url=endpoint.url, options={"budget": {"usd": 1}}))
