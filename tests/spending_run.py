"""Executed by ``test_spending`` in separate processes: workers of one run, which share only its folder."""

from __future__ import annotations

import contextlib
import random

from mminstruct.models.model import Model
from mminstruct.models.openai import Chatter
from mminstruct.store.spending import BudgetExceeded, Ledger
from mminstruct.store.tables import Store
from tests.models.asking import PRICE, ask


def buy(url: str, cost: float, budget: float, seed: int) -> float:
    """Spend the budget until nothing is left, like one worker; returns what was spent."""
    chance, ledger = random.Random(seed), Ledger(Store(url))
    while True:
        try:
            ledger.reserve(cost, limit=budget)
        except BudgetExceeded:
            return ledger.spent
        ledger.settle(cost, cost * chance.choice((0.2, 0.5, 1.0)))
        if chance.random() < 0.1:
            ledger.release()


def work(run: str, url: str, name: str) -> None:
    """Send requests with a real client until the budget is spent, like one worker."""
    one = {"start": 1, "max": 1}
    options = {"price": PRICE, "budget": {"usd": 0.5}, "body": {"max_tokens": 5}, "concurrency": one}
    ledger = Ledger(Store(run))
    made = Chatter(Model(name="m", backend="openai", url=url, options=options), budget=ledger)
    with contextlib.suppress(BudgetExceeded):
        ask(made, *(f"{name}-{i}" for i in range(100)))
    made.close()
    ledger.release()
