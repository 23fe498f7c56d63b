"""A worker's place in the process group, and the collective operations of checkpoints."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rank:
    """One worker of ``torch.distributed``."""

    index: int
    """Among all workers; 0 is the one that writes."""
    world: int
    """Number of workers."""
    local: int
    """Rank among the workers of this node."""

    @classmethod
    def here(cls) -> Rank:
        import torch.distributed as dist

        return cls(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))

    def barrier(self) -> None:
        import torch.distributed as dist

        dist.barrier()

    def gather(self, thing: Any) -> list[Any]:
        """Every worker's *thing*, by rank, on every worker."""
        import torch.distributed as dist

        things: list[Any] = [None] * self.world
        dist.all_gather_object(things, thing)
        return things

    def agree(self, text: str) -> str:
        """The *text* of this node's first worker; every worker calls it."""
        said = self.gather((socket.gethostname(), self.local, text))
        return next(str(words) for host, local, words in said if host == socket.gethostname() and local == 0)
