"""Counters of units in progress: what they say meanwhile, and that they end at what the receipt says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mminstruct.engine.local import Local
from mminstruct.models.model import Model
from mminstruct.models.transformers import Chatter, Encoder
from mminstruct.run import Run, claim, execute
from mminstruct.unit import IN_HAND, UNIT, Counters, Unit, in_hand
from tests.asked import Asked, Asking
from tests.doing_nothing import Count
from tests.models.asking import COLOURS, PRICE, ask, chatter
from tests.models.server import Answer, Endpoint, Request, say


def wait_for(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
    return found


def test_rows_and_usage_of_a_unit_are_known_while_replies_arrive_and_end_at_its_receipt(tmp_path: Path) -> None:
    """Half of the replies come at once, the others when the test has looked."""
    looked = threading.Event()

    async def half(request: Request) -> Answer:
        import asyncio

        while request.number >= 10 and not looked.is_set():
            await asyncio.sleep(0.01)
        return Answer(body=say("yes"))

    with Endpoint(half) as endpoint:
        options = {"concurrency": {"start": 20, "max": 20}, "price": PRICE}
        model = Model(name="m", backend="openai", url=endpoint.url, options=options)
        run = Run(
            url=str(tmp_path), recipe=Asking(count=Count(shard_count=1, parts=1, rows=20), asked=Asked(model=model))
        )
        claim(run)
        building = threading.Thread(target=execute, args=(run, Local()))
        building.start()
        try:
            found: Counters = wait_for(lambda: next((one for one in in_hand() if one.calls == 10), None))
            assert found[:2] == ("asked", "shard-00000-0000")
            assert (found.rows, found.done, found.tokens_in, found.tokens_out) == (20, 10, 100, 50)
            assert found.cost == pytest.approx(0.2)
            assert 0 < found.seconds < 20
            assert in_hand(least=100.0) == [], "only units of that age"
        finally:
            looked.set()
            building.join()
    receipt = run.table("asked").receipts()["shard-00000-0000"]
    assert (receipt.rows_in, receipt.calls, receipt.tokens_in, receipt.tokens_out) == (20, 20, 200, 100)
    assert receipt.cost == pytest.approx(0.4)
    assert not IN_HAND, "what has ended is in receipts alone"


def test_a_unit_that_fails_is_no_longer_in_hand(tmp_path: Path) -> None:
    model = Model(name="m", backend="openai", url="http://127.0.0.1:9/v1", options={"retries": {"patience": 0.1}})
    run = Run(url=str(tmp_path), recipe=Asking(count=Count(shard_count=1, parts=1), asked=Asked(model=model)))
    claim(run)
    with pytest.raises(Exception, match="nothing but failures"):
        execute(run, Local())
    assert not IN_HAND


def counted(unit: Unit, work: Callable[[], Any]) -> Any:
    token = UNIT.set(unit)
    try:
        return work()
    finally:
        UNIT.reset(token)


def test_repairs_and_equal_requests_count_as_what_is_asked_and_answered() -> None:
    def script(request: Request) -> Answer:
        return Answer(body=say("no json" if request.number == 0 else '{"colour": "red"}'))

    with Endpoint(script) as endpoint, chatter(endpoint, concurrency={"start": 1, "max": 1}) as made:
        unit = Unit("caption", "0", rows=3, expected=3.0)
        counted(
            unit, lambda: made.chat([[{"role": "user", "content": t}] for t in "aab"], seeds=[0, 0, 1], schema=COLOURS)
        )
    assert (unit.asked, unit.answered, unit.calls) == (3, 3, 3), "a, its repair, b"
    assert unit.counters().done == 3


def test_a_stage_that_asks_in_rounds_is_not_done_after_the_first() -> None:
    unit = Unit("respond", "0", rows=10, expected=20.0)
    for half_done in (5, 10):
        unit.asked += 10
        unit.count(calls=10)
        assert unit.counters().done == half_done


def test_a_local_model_counts_each_batch_as_it_ends(mixtral: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Chatter(Model(name=str(mixtral), max_tokens=5, options={"batch_size": 4}))
    unit, seen = Unit("answer", "0", rows=10, expected=10.0), []
    whole = made._decode
    monkeypatch.setattr(made, "_decode", lambda *some: (seen.append(unit.counters().done), whole(*some))[1])
    replies = counted(unit, lambda: ask(made, *[f"what is {n}?" for n in range(9)], "word " * 3000))  # type: ignore[arg-type]
    assert replies[-1].finish == "error", "longer than the context"
    assert seen == [1, 5, 9]
    assert unit.counters()[4:8] == (10, 10, sum(r.tokens_in for r in replies), sum(r.tokens_out for r in replies))


def test_an_encoder_counts_each_batch_and_no_call(mixtral: Path) -> None:
    made = Encoder(Model(name=str(mixtral), options={"batch_size": 4}))
    unit = Unit("embed", "0", rows=10, expected=10.0)
    assert isinstance(counted(unit, lambda: made.texts([f"text {n}" for n in range(10)])), np.ndarray)
    assert (unit.counters().done, unit.calls) == (10, 0)
