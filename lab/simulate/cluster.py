"""Nodes that are lost and come back, and the workers that are placed on them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Worker:
    """A worker of a pool. It takes several units at once, and computes one after another."""

    pool: int
    gpus: float
    cpus: float
    slow: float
    """Factor on its seconds."""
    node: Node | None = None
    since: float = 0.0
    """When it was ordered on its node."""
    ready: float = 0.0
    free: float = 0.0
    """When it will have computed all that it has in hand."""
    life: int = 0
    """Its deaths: events of earlier lives are void."""
    hand: dict[int, tuple[float, float, int]] = field(default_factory=dict)
    """Units in hand: number -> start and end of computing, deaths so far."""


@dataclass(slots=True, eq=False)
class Node:
    gpus: float
    cpus: float
    up: bool = True
    ready: float = 0.0
    """When a node that was ordered has booted."""
    since: float = 0.0
    """From when on it has not been accounted for yet."""
    free_gpus: float = 0.0
    free_cpus: float = 0.0
    workers: list[Worker] = field(default_factory=list)

    def clear(self) -> None:
        self.free_gpus, self.free_cpus = self.gpus, self.cpus
        self.workers = []


def place(worker: Worker, nodes: list[Node]) -> bool:
    """Put *worker* on the node with the most free resources; False if no node has room for it."""
    gpus, cpus = worker.gpus - 1e-9, worker.cpus - 1e-9
    room = [node for node in nodes if node.up and node.free_gpus >= gpus and node.free_cpus >= cpus]
    if not room:
        return False
    node = max(room, key=lambda one: (one.free_gpus, one.free_cpus))
    node.free_gpus -= worker.gpus
    node.free_cpus -= worker.cpus
    node.workers.append(worker)
    worker.node = node
    return True


def remove(worker: Worker) -> None:
    """Free what *worker* has on its node."""
    node = worker.node
    if node is not None:
        node.free_gpus += worker.gpus
        node.free_cpus += worker.cpus
        node.workers.remove(worker)
        worker.node = None
