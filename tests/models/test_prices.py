from __future__ import annotations

import pytest

from mminstruct.models.model import Model
from mminstruct.models.openai import Chatter
from mminstruct.models.prices import Price, price_of
from mminstruct.store.spending import Ledger
from tests.models.asking import PRICE, ask, chatter, unit
from tests.models.server import Endpoint, echo


def test_tokens_and_costs_are_counted_by_the_current_unit() -> None:
    ledger = Ledger()
    with Endpoint(echo) as endpoint, chatter(endpoint, ledger, price=PRICE) as made, unit() as work:
        ask(made, "a", "b")
    assert (work.calls, work.tokens_in, work.tokens_out) == (2, 20, 10)
    assert work.cost == pytest.approx(0.04)
    assert ledger.spent == pytest.approx(0.04)
    assert ledger.reserved == 0


def test_cached_tokens_have_their_own_price() -> None:
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


def test_a_budget_without_a_price_is_refused_before_anything_is_spent() -> None:
    with Endpoint(echo) as endpoint, pytest.raises(ValueError, match="budget needs a price"):
        Chatter(Model(name="m", backend="openai", url=endpoint.url, options={"budget": {"usd": 1}}))
