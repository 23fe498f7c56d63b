"""One change at a time: what occupancy, time and cost a build of many images has, as a table for docs/scale.md.

python -m lab.simulate.scenarios [images=10000000] [seeds=3] [models=modern] [...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lab.simulate.__main__ import case
from lab.simulate.account import interval

SCENARIOS: dict[str, tuple[str, ...]] = {
    "`nodes_8` as it is": (),
    "`nodes_4` twice as large, not balanced": ("engine=nodes_4",),
    "the same, idle GPUs handed over every 5 minutes": ("engine=nodes_4", "hand_over=300"),
    "128 images in a part": ("recipe.ingest.rows=128",),
    "2,048 images in a part": ("recipe.ingest.rows=2048",),
    "8,192 images in a part": ("recipe.ingest.rows=8192",),
    "a node lost to spot every 100 hours": ("spot_per_hour=0.01",),
    "a node lost to spot every 20 hours": ("spot_per_hour=0.05",),
    "a node lost to spot every 5 hours": ("spot_per_hour=0.2",),
    "every 5 hours, 8,192 images in a part": ("spot_per_hour=0.2", "recipe.ingest.rows=8192"),
    "stragglers: 2 % of the units take 10 times as long": ("straggler_share=0.02", "straggler_factor=10"),
    "a fifth of the workers slower by 1.5": ("slow_share=0.2", "slow_factor=1.5"),
    "spread of units .5": ("spread=0.5",),
    "store four times slower, 2 s a unit": ("latency=2",),
    "driver three times slower": ("driver_seconds=0.02", "key_seconds=0.0033", "receipt_seconds=0.0054"),
    "no time for keys and receipts": ("key_seconds=0", "receipt_seconds=0"),
    "5 minutes to start vLLM": ("engine_start=300",),
    "at most two units waiting for each slot": ("queue=2",),
    "idle nodes are kept": ("autoscale=false",),
}
"""What changes -> words of ``python -m lab.simulate``."""


def main(words: Sequence[str] | None = None) -> int:
    given = {"images": "10000000", "recipe": "mm_instruct", "models": "modern", "engine": "nodes_8", "gpus": "64"}
    given |= dict(word.split("=", 1) for word in (sys.argv[1:] if words is None else words))
    seeds = int(given.pop("seeds", "3"))
    print("| change | occupancy, % | where the rest went, % | GPU hours | US$ | units done again |")
    print("|---|---|---|---|---|---|", flush=True)
    for name, changes in SCENARIOS.items():
        all_words = {**given, **dict(one.split("=", 1) for one in changes)}
        made = case([f"{key}={value}" for key, value in all_words.items()])
        accounts = [made.run(seed)[0] for seed in range(seeds)]
        shares = {
            cause: interval([100 * one.causes[cause] / one.held for one in accounts])[0]
            for cause in accounts[0].causes
            if cause != "work"
        }
        largest = sorted(shares.items(), key=lambda item: -item[1])[:4]
        rest = ", ".join(f"{cause} {share:.1f}" for cause, share in largest if share >= 0.05)
        mean, half = interval([100 * one.occupancy for one in accounts])
        held, usd, redone = (
            interval([float(getattr(one, what)) for one in accounts])[0] for what in ("held", "usd", "redone")
        )
        print(f"| {name} | {mean:.1f} ± {half:.1f} | {rest} | {held:,.0f} | {usd:,.0f} | {redone:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
