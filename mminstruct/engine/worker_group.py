"""Extra Ray workers that one worker borrows for one unit, such as a k-means over very many points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def lend(size: int) -> Iterator[_WorkerGroup]:
    """Start *size* - 1 workers with this worker's resources and environment; stop them on exit.

    Raises:
        ValueError: some of them did not start within ten minutes.
    """
    import ray

    resources = dict(ray.get_runtime_context().get_assigned_resources())
    cpus, gpus, memory = (resources.pop(name, 0) for name in ("CPU", "GPU", "memory"))
    actor = ray.remote(num_cpus=cpus, num_gpus=gpus, memory=memory or None, resources=resources)(_Member)
    members = [actor.remote() for _ in range(size - 1)]
    try:
        _, late = ray.wait([member.work.remote(int) for member in members], num_returns=len(members), timeout=600)
        if late:
            raise ValueError(
                f"{len(late)} more workers of {cpus:g} CPUs and {gpus:g} GPUs did not start in ten minutes: the cluster"
                " has too few free resources"
            )
        yield _WorkerGroup(members, ray.util.get_node_ip_address())
    finally:
        for member in members:
            ray.kill(member)


class _Member:
    """An actor that calls any function."""

    def work(self, work: Callable[..., Any], *share: Any) -> Any:
        return work(*share)


class _WorkerGroup:
    """See ``stage.WorkerGroup``."""

    def __init__(self, members: list[Any], address: str) -> None:
        self.members, self.address, self.size = members, address, len(members) + 1

    def __call__(self, work: Callable[..., Any], shares: list[tuple[Any, ...]]) -> list[Any]:
        others = [member.work.remote(work, *share) for member, share in zip(self.members, shares[1:], strict=True)]
        try:
            first = work(*shares[0])
        except Exception:
            # if another worker failed too, its error is the cause and this one only a consequence
            self._results(others, timeout=60)
            raise
        return [first, *self._results(others)]

    @staticmethod
    def _results(others: list[Any], timeout: float | None = None) -> list[Any]:
        import ray

        try:
            return list(ray.get(others, timeout=timeout))
        except ray.exceptions.GetTimeoutError:
            return []
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # without Ray's traceback
