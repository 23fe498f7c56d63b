"""Prepares a call's images in threads while the model computes the batches before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from mminstruct.models.transcript import Unanswerable
from mminstruct.unit import UNIT, Unit, note

_AHEAD = 3
"""Batches that are prepared before they are needed; the one in use is not counted."""
A = TypeVar("A")
B = TypeVar("B")


class Prefetcher:
    """Threads that decode and resize for all calls of one model, so that calls at once do not multiply them.

    Pillow and libjpeg release Python's lock for most of that work; torch, which has threads of its own, takes no part.

    Args:
        options: of the model; ``decoders`` is the number of threads, 2 on CPU and 8 on GPU by default.
    """

    def __init__(self, options: dict[str, Any], device: str) -> None:
        self.threads = int(options.get("decoders") or (2 if device == "cpu" else 8))
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decoder")

    def __call__(self, work: Callable[[A], B], batches: Iterable[Sequence[A]]) -> Iterator[list[B | Unanswerable]]:
        """Results of *work* for the items of each batch, in order; an ``Unanswerable`` takes its item's place."""

        def one(item: A) -> tuple[B | Unanswerable, dict[str, int]]:
            own = Unit("", "")  # threads must not add to one unit's notes at once
            token = UNIT.set(own)
            try:
                return work(item), own.notes
            except Unanswerable as error:
                return error, own.notes
            finally:
                UNIT.reset(token)

        def first() -> list[B | Unanswerable]:
            results: list[B | Unanswerable] = []
            for result, notes in (future.result() for future in ahead.popleft()):
                for name, count in notes.items():
                    note(name, count)
                results.append(result)
            return results

        ahead: deque[list[Future[tuple[B | Unanswerable, dict[str, int]]]]] = deque()
        try:
            for some in batches:
                ahead.append([self._pool.submit(one, item) for item in some])
                if len(ahead) > _AHEAD:
                    yield first()
            while ahead:
                yield first()
        finally:
            for futures in ahead:
                for future in futures:
                    future.cancel()
