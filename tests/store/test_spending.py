from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.engine.local import Local
from mminstruct.models.model import Model
from mminstruct.recipe import Recipe
from mminstruct.run import Run, claim, execute
from mminstruct.stage import Halt
from mminstruct.stages.caption import Caption
from mminstruct.stages.ingest import Ingest
from mminstruct.store import spending
from mminstruct.store.spending import BudgetExceeded, Ledger
from mminstruct.store.tables import Store
from tests import world
from tests.models.asking import PRICE, MemoryJournal, ask, chatter, unit
from tests.models.server import Answer, Capacity, Endpoint, Request, echo, say
from tests.spending_run import buy, work
from tests.stages.doubles import prompt_text


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Three processes that share nothing but the run's folder."""
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_processes_that_spend_side_by_side_never_spend_more_than_there_is(
    workers: ProcessPoolExecutor, tmp_path: Path
) -> None:
    spending_now = [workers.submit(buy, str(tmp_path), 0.01, 2.0, seed) for seed in range(3)]
    spent = [worker.result(120) for worker in spending_now]
    assert 1.8 < sum(spent) <= 2.0 + 1e-9


def test_an_endpoint_is_paid_no_more_than_the_budget_by_all_workers_together(
    workers: ProcessPoolExecutor, tmp_path: Path
) -> None:
    here: set[str] = set()
    all_here = asyncio.Event()

    async def script(request: Request) -> Answer:
        here.add(request.asked.partition("-")[0])
        if len(here) == 3:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), 120)  # no one spends before all are ready
        return echo(request)

    with Endpoint(script) as endpoint:
        at_work = [workers.submit(work, str(tmp_path), endpoint.url, name) for name in "abc"]
        for worker in at_work:
            worker.result(120)
    assert 15 <= len(endpoint.requests) <= 25, "2 cents each, and 50 in all"
    left = [json.loads(file.read_text())["usd"] for file in (tmp_path / spending.FOLDER).iterdir()]
    assert sum(left) == pytest.approx(0.02 * len(endpoint.requests)), "all that is claimed in the end was spent"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.01, 0.5), st.floats(0, 1)), max_size=60), st.floats(0.1, 5))
def test_whatever_the_order_claims_never_pass_the_budget(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, float, float]], budget: float
) -> None:
    store = Store(str(tmp_path_factory.mktemp("run")))
    ledgers = [Ledger(store) for _ in range(3)]
    for who, cost, share in steps:
        try:
            if ledgers[who].reserve(cost, limit=budget):
                ledgers[who].settle(cost, cost * share)
        except BudgetExceeded:
            ledgers[who].release()
        assert sum(ledger.spent for ledger in ledgers) <= budget + 1e-9


def test_a_killed_process_counts_with_all_it_had_claimed_and_one_that_ended_a_unit_with_what_it_spent(
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path))
    killed, tidy = Ledger(store), Ledger(store)
    for ledger in (killed, tidy):
        ledger.reserve(0.1, limit=10.0)
        ledger.settle(0.1, 0.1)
    tidy.release()
    late = Ledger(store)
    with pytest.raises(BudgetExceeded, match=r"budget of \$0\.30"):
        late.reserve(0.01, limit=0.3)
    killed.release()
    assert late.reserve(0.01, limit=0.3), "its advance is back"


def test_a_budget_holds_across_resumption_and_raising_it_goes_on_without_buying_twice(tmp_path: Path) -> None:
    journal = MemoryJournal()
    options = {"price": PRICE, "body": {"max_tokens": 5}, "budget": {"usd": 0.5}}

    def attempt(store: Store) -> tuple[Ledger, list[str]]:
        ledger = Ledger(store)  # as in a new process
        with chatter(endpoint, **options) as made, unit(journal) as work:
            work.budget = ledger
            try:
                return ledger, [reply.text for reply in ask(made, *map(str, range(100)))]
            finally:
                ledger.release()

    with Endpoint(Capacity(latency=0.01)) as endpoint:
        with pytest.raises(BudgetExceeded, match="raise budget"):
            attempt(Store(str(tmp_path)))
        bought = len(endpoint.requests)
        assert 20 <= bought <= 25, "2 cents each"
        assert len(journal.replies) == bought
        with pytest.raises(BudgetExceeded):
            attempt(Store(str(tmp_path)))
        assert len(endpoint.requests) <= 25, "what earlier processes spent counts"
        options["budget"] = {"usd": 10.0}
        _, replies = attempt(Store(str(tmp_path)))
    assert replies == [f"re: {i}" for i in range(100)]
    assert len(endpoint.requests) == 100, "no reply was bought twice"


def test_where_prompts_cost_more_than_guessed_the_budget_is_exceeded_by_what_is_in_flight_and_no_more(
    tmp_path: Path,
) -> None:
    dear = Answer(body=say("yes", tokens=(10_000, 5)), delay=0.05)  # 10.01 dollars; the estimate is 1.04
    options = {"price": PRICE, "budget": {"usd": 5.0}, "concurrency": {"start": 16, "max": 16}}
    ledger = Ledger(Store(str(tmp_path)))
    with (
        Endpoint(lambda request: dear) as endpoint,
        chatter(endpoint, ledger, **options) as made,
        pytest.raises(BudgetExceeded),
    ):
        ask(made, *map(str, range(100)))
    assert len(endpoint.requests) == endpoint.peak == 4, "as many as fit by the guess, and none once the price is known"
    assert ledger.spent == pytest.approx(4 * 10.01)


@dataclass(kw_only=True)
class Captions(Recipe):
    ingest: Ingest
    caption: Caption


def test_a_builds_units_pay_from_the_budget_of_their_run(tmp_path: Path) -> None:
    source = world.draw(tmp_path / "world", images=8)
    options = {"price": {"input": 0, "output": 4000}, "concurrency": {"start": 1, "max": 1}, "budget": {"usd": 0.11}}

    def build() -> None:
        model = Model(name="m", backend="openai", url=endpoint.url, max_tokens=5, options=options)
        caption = Caption(model=model, prompt=prompt_text("caption"))
        run = Run(url=str(tmp_path / "run"), recipe=Captions(ingest=Ingest(path=str(source), rows=4), caption=caption))
        claim(run)
        execute(run, Local())

    with Endpoint(echo) as endpoint:
        with pytest.raises(Halt, match="raise budget"):
            build()
        assert len(endpoint.requests) == 5, "2 cents each: one unit of four, and one of the next"
        options["budget"] = {"usd": 1.0}
        build()
        assert len(endpoint.requests) == 8, "of the unit that was cut short, one was in the journal"
    (file,) = (tmp_path / "run" / spending.FOLDER).iterdir()
    assert json.loads(file.read_text())["usd"] == pytest.approx(0.16)


def test_a_process_has_one_ledger_for_each_run(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    assert spending.ledger(one) is spending.ledger(one)
    assert spending.ledger(one) is not spending.ledger(other)
