"""The embedded language model by vLLM on this device, against transformers."""

from __future__ import annotations

import time

from benchmarks.agreement import prompts
from benchmarks.gpu.section import NotRun, Section, need
from mminstruct.models.model import Model


def vllm(section: Section) -> None:
    if section.smoke:
        raise NotRun("vLLM on a CPU takes minutes to start; benchmarks/vllm.py runs it there")
    need("vllm")
    asked = prompts(512)
    began = time.monotonic()
    options = {"max_model_len": 1024, "max_num_seqs": 256}
    chat = Model(name="micro:llm", backend="vllm", max_tokens=48, options=options).chat()
    section.add("start", time.monotonic() - began, "s")
    seeds = [0] * len(asked)
    replies = chat.chat(asked, seeds=seeds)
    seconds = section.seconds_of(lambda: chat.chat(asked, seeds=seeds), 3, 0)
    section.add("replies", sum(reply.tokens_out for reply in replies) / seconds, "tokens/s", note="5.5 M parameters")
    there = Model(name="micro:llm", max_tokens=48).chat().chat(asked[:64], seeds=seeds[:64])
    same = sum(a.text == b.text for a, b in zip(replies, there, strict=False))
    section.add("replies equal to transformers", same / len(there), ceiling=1.0)
