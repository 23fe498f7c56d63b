"""What a build would do to each table, and its cost as far as it is known. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mminstruct.state import Run, State
from mminstruct.store.totals import totals


@dataclass
class Step:
    """What a build would do to one table."""

    table: str
    state: str
    """done, to do, to continue, stale or refused."""
    why: list[str]
    done: int
    left: int | None
    """None: unknown until earlier tables are complete."""
    reused: int = 0
    """Units that would be reused from base=."""
    seconds: float | None = None
    """Worker seconds for the units left, from measured rates; None if no unit was measured."""
    tokens: int | None = None
    cost: float | None = None


def plan(run: Run, found: Mapping[str, State], base: str | None = None) -> list[Step]:
    """What ``build`` would do, given the *found* states. Rates are measured in this run, or else in *base*."""
    theirs = Run(url=base, recipe=run.recipe) if base else None
    steps: list[Step] = []
    for name, state in found.items():
        why = state.differs or state.stale
        if not why and not state.brought:
            why = [f"not reused from {base}: {line}" for line in state.not_brought]
        done = len(state.here) + len(state.brought)
        left = None if state.total is None else max(0, state.total - done)
        kind = "refused" if state.differs else "stale" if state.stale else ""
        kind = kind or ("done" if left == 0 else "to continue" if done else "to do")
        step = Step(name, kind, why, len(state.here), left, len(state.brought))
        steps.append(step)
        known = totals(run.table(name).receipts())
        if not known.units and theirs is not None:
            known = totals(theirs.table(name).receipts())
        if known.units and left is not None:
            share = left / known.units
            step.seconds = known.seconds * share
            step.tokens = round((known.tokens_in + known.tokens_out) * share)
            step.cost = known.cost * share
    return steps


def plan_text(steps: list[Step]) -> str:
    head = f"{'table':<10} {'state':<14} {'done':>5} {'reused':>6} {'left':>5}"
    lines = [f"{head} {'worker time':>12} {'tokens':>10} {'US$':>8}"]
    for step in steps:
        left = "?" if step.left is None else str(step.left)
        time = "not measured" if step.seconds is None else f"{step.seconds:.0f} s"
        tokens = "" if step.tokens is None else str(step.tokens)
        cost = "" if step.cost is None else f"{step.cost:.2f}"
        counts = f"{step.table:<10} {step.state:<14} {step.done:>5} {step.reused:>6} {left:>5}"
        lines.append(f"{counts} {time:>12} {tokens:>10} {cost:>8}")
        lines += [f"    {reason}" for reason in step.why[:5]]
        lines += [f"    ... and {len(step.why) - 5} more"] if len(step.why) > 5 else []
    measured = [step for step in steps if step.seconds is not None]
    lines.append(
        f"left, as measured so far: {sum(s.seconds or 0 for s in measured) / 3600:.2f} worker hours,"
        f" {sum(s.tokens or 0 for s in measured)} tokens, {sum(s.cost or 0 for s in measured):.2f} US$"
    )
    return "\n".join(lines)
