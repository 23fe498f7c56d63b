"""Workers that one worker borrows, so that several fit one k-means together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def lend(size: int) -> Iterator[_Crew]:
    """More workers with the resources and the environment of this one, for as long as it needs them."""
    import ray

    mine = dict(ray.get_runtime_context().get_assigned_resources())
    cpus, gpus, memory = (mine.pop(name, 0) for name in ("CPU", "GPU", "memory"))
    made = ray.remote(num_cpus=cpus, num_gpus=gpus, memory=memory or None, resources=mine)(_Member)
    members = [made.remote() for _ in range(size - 1)]
    try:
        _, late = ray.wait([member.work.remote(int) for member in members], num_returns=len(members), timeout=600)
        if late:
            raise ValueError(
                f"{len(late)} more workers of {cpus:g} CPUs and {gpus:g} GPUs did not start in ten minutes: the cluster"
                " has no room for so many"
            )
        yield _Crew(members, ray.util.get_node_ip_address())
    finally:
        for member in members:
            ray.kill(member)


class _Member:
    """A worker that does what another asks of it."""

    def work(self, work: Callable[..., Any], *share: Any) -> Any:
        return work(*share)


class _Crew:
    """See ``stage.Crew``."""

    def __init__(self, members: list[Any], address: str) -> None:
        self.members, self.address, self.size = members, address, len(members) + 1

    def __call__(self, work: Callable[..., Any], shares: list[tuple[Any, ...]]) -> list[Any]:
        others = [member.work.remote(work, *share) for member, share in zip(self.members, shares[1:], strict=True)]
        try:
            first = work(*shares[0])
        except Exception:
            self._results(others, patience=60)  # where another failed, its error says why, and this one only that
            raise
        return [first, *self._results(others)]

    @staticmethod
    def _results(others: list[Any], patience: float | None = None) -> list[Any]:
        import ray

        try:
            return list(ray.get(others, timeout=patience))
        except ray.exceptions.GetTimeoutError:
            return []
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # not Ray's pages about it
