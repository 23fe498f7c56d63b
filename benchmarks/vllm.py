"""Compares tokens per second of our vLLM actor and a plain ``vllm.LLM``, and measures the gain from prefix caching.

    python -m benchmarks.vllm [--rounds 3] [--requests 384]

Each engine runs in its own process, since vLLM cannot share one. In each round they run one after the other; the order
is reversed every round. The plain side is ``LLM.chat`` with all prompts in one call. Ours gets the same prompts through
``Chatter.chat`` from several threads, like the units of an actor. One compute thread. Times are the process's CPU
seconds, which other load hardly changes, and wall-clock seconds. Replies are compared, and differences are reported.
Start-up time is reported separately.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.teach.exam import WORLD
from lab.teach.llm import render_prompt
from mminstruct.microworld.families import FAMILIES, lessons
from mminstruct.microworld.scene import draw_scene
from mminstruct.models.model import Model
from mminstruct.prompts import Message

UNITS = 8
"""Concurrent calls."""
OUT = 96
SEQUENCES = 32
TASK = "brochure"
"""A kind of task that fits any image, so that all prompts can share its three exemplars."""


def transcripts(requests: int, shared_first: bool) -> list[list[Message]]:
    """Prompts of the answer stage, as in the training of the embedded LLM: one instruction, many descriptions.

    Args:
        shared_first: If False, each prompt begins with the row's number, so that no prefix is shared.
    """
    rng = random.Random(0)
    while True:
        shared, _ = lessons.answer_example(draw_scene(0, WORLD), rng, "train", shots=3)
        if shared["instruction"] == FAMILIES[TASK].general:
            break
    found = []
    for number in range(requests):
        values = shared | {"description": lessons.describe(draw_scene(number, WORLD), rng)}
        first, *others = render_prompt("answer", values)
        if not shared_first:
            first = {**first, "content": f"{number}. {first['content']}"}
        found.append([first, *others])
    return found


def model(caching: bool) -> Model:
    options = {"max_model_len": 1024, "max_num_seqs": SEQUENCES, "enable_prefix_caching": caching}
    return Model(name="micro:llm", backend="vllm", max_tokens=OUT, options=options)


def ours(case: dict[str, Any]) -> dict[str, Any]:
    from mminstruct.models.vllm import Chatter

    began = time.perf_counter()
    chatter = Chatter(model(case["caching"]))
    start = time.perf_counter() - began
    rows = transcripts(case["requests"], case["shared_first"])
    chatter.chat(rows[:SEQUENCES], seeds=[0] * SEQUENCES)  # warm
    size = -(-len(rows) // UNITS)
    units = [rows[place : place + size] for place in range(0, len(rows), size)]
    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(UNITS) as threads:
        made = list(threads.map(lambda rows: chatter.chat(rows, seeds=[0] * len(rows)), units))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    chatter.close()
    texts = [reply.text for replies in made for reply in replies]
    tokens = sum(reply.tokens_out for replies in made for reply in replies)
    return {"start": start, "wall": seconds, "cpu": cpu, "tokens": tokens, "texts": texts}


def bare(case: dict[str, Any]) -> dict[str, Any]:
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_KVCACHE_SPACE": "1"}
    who = model(case["caching"])
    began = time.perf_counter()
    from vllm import LLM, SamplingParams

    llm = LLM(
        who.location(), dtype="float32", enforce_eager=True, seed=0, load_format="safetensors", disable_log_stats=True,
        **who.options,
    )  # fmt: skip
    start = time.perf_counter() - began
    rows = transcripts(case["requests"], case["shared_first"])
    drawn = SamplingParams(temperature=0.0, max_tokens=OUT, seed=0)
    llm.chat(rows[:SEQUENCES], drawn, use_tqdm=False)  # warm
    began, cpu = time.perf_counter(), time.process_time()
    made = [output.outputs[0] for output in llm.chat(rows, drawn, use_tqdm=False)]
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    tokens = sum(len(output.token_ids) for output in made)
    texts = [output.text.strip() for output in made]
    return {"start": start, "wall": seconds, "cpu": cpu, "tokens": tokens, "texts": texts}


def run(side: str, case: dict[str, Any]) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.vllm", "--child", json.dumps(case | {"side": side})]
    environment = os.environ | {"VLLM_CPU_OMP_THREADS_BIND": str(max(os.sched_getaffinity(0)))}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


CASES = {
    "caching on, shared part first": {"caching": True, "shared_first": True},
    "caching on, shared part last": {"caching": True, "shared_first": False},
    "caching off": {"caching": False, "shared_first": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=384)
    parser.add_argument("--child")
    args = parser.parse_args()
    if args.child:
        case = json.loads(args.child)
        print(json.dumps({"ours": ours, "bare": bare}[case["side"]](case)))
        return
    rates: dict[str, dict[tuple[str, str], list[float]]] = {"cpu": {}, "wall": {}}
    starts: dict[str, list[float]] = {"ours": [], "bare": []}
    first, last, off = CASES
    for number in range(args.rounds):
        for name, case in CASES.items():
            # all cases through our actor; the plain engine only for the most important case
            sides = ["ours", "bare"] if name == first else ["ours"]
            texts: dict[str, list[str]] = {}
            for side in sides[:: 1 if number % 2 == 0 else -1]:
                found = run(side, case | {"requests": args.requests})
                for clock, some in rates.items():
                    some.setdefault((name, side), []).append(found["tokens"] / found[clock])
                starts[side].append(found["start"])
                said = ", ".join(f"{found['tokens'] / found[clock]:.0f} tokens a {clock} second" for clock in rates)
                print(f"  {name}, {side}: {said}; up in {found['start']:.0f} s", flush=True)
                texts[side] = found["texts"]
            if len(texts) == 2 and texts["ours"] != texts["bare"]:
                differ = sum(a != b for a, b in zip(texts["ours"], texts["bare"], strict=True))
                print(f"  round {number}: {differ} of {args.requests} greedy replies differ")
        print(f"round {number}, load {os.getloadavg()[0]:.1f}", flush=True)
    for clock, some in rates.items():
        for (name, side), values in some.items():
            spread = f"({min(values):.0f} to {max(values):.0f})"
            print(f"{name:34}{side:6}{statistics.median(values):9.0f} tokens a {clock} second  {spread}")
        pairs = {
            "ours / bare": (some[first, "ours"], some[first, "bare"]),
            "caching on / off": (some[first, "ours"], some[off, "ours"]),
            "shared first / last": (some[first, "ours"], some[last, "ours"]),
        }
        for said, (above, below) in pairs.items():
            ratios = [a / b for a, b in zip(above, below, strict=True)]
            print(f"{said:40}{statistics.median(ratios):6.2f}  ({min(ratios):.2f} to {max(ratios):.2f}), {clock}")
    print(", ".join(f"start-up {side} {statistics.median(some):.1f} s" for side, some in starts.items()))


if __name__ == "__main__":
    main()
