"""Exam of the language model, on scenes and wordings that it was not trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lab.teach.llm import lesson_values, render_prompt
from lab.teach.words import coded, load_tokenizer
from mminstruct.microworld.oracle import judge_answer, judge_fuse, judge_instruction, judge_pair, judge_summary
from mminstruct.microworld.scene import Scene, draw_scene

WORLD = 1000
"""Seed of the exams' world."""
WATCHED = 2000
"""Seed of the validation world, for scores during training."""


def exam(folder: Path, number: int = 40, device: str = "cpu") -> dict[str, float]:
    """Share of good greedy replies of the language model in *folder*, by role; *number* scenes for each.

    ``answer0`` has no example in its prompt, ``answer3`` has three. Instructions have training wordings, which the
    pipeline's instructor and summarizer write too; ``_new`` marks wordings that no training saw.
    """
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().to(device)
    scores: dict[str, float] = {}
    for name, role, shots, split in (
        ("fuse", "fuse", 0, "train"),
        ("fuse_capsfusion", "fuse_capsfusion", 0, "train"),
        ("instruct", "instruct", 0, "train"),
        ("summarize", "summarize", 0, "train"),
        ("exemplify", "exemplify", 0, "train"),
        ("answer0", "answer", 0, "train"),
        ("answer0_new", "answer", 0, "test"),
        ("answer3", "answer", 3, "train"),
        ("answer3_new", "answer", 3, "test"),
    ):
        asked = []
        for index in range(number):
            scene, rng = draw_scene(index, WORLD), random.Random(f"exam {name} {index}")
            asked.append((scene, *lesson_values(role, scene, rng, split, shots)))  # type: ignore[arg-type]
        prompts = [coded(tokenizer, render_prompt(role, values), target)[0] for _, values, target in asked]
        replies = answers(model, tokenizer, prompts)
        verdicts = [judge(role, values, reply, scene) for (scene, values, _), reply in zip(asked, replies, strict=True)]
        for part in verdicts[0]:
            scores[f"{name}_{part}"] = sum(verdict[part] for verdict in verdicts) / number
        same = [reply == target for (_, _, target), reply in zip(asked, replies, strict=True)]
        if role in ("fuse", "fuse_capsfusion", "summarize"):
            scores[f"{name}_exact"] = sum(same) / number
    return scores


def judge(role: str, values: dict[str, Any], reply: str, scene: Scene) -> dict[str, bool]:
    """The oracle's verdict on a *reply* to the prompt of *role* with *values*."""
    if role in ("fuse", "fuse_capsfusion"):
        return {"ok": judge_fuse(reply, values["caption"], values["alt_text"], scene).ok}
    if role == "instruct":
        verdict = judge_instruction(reply, scene, values["examples"])
        return {"ok": verdict.ok, "suits": judge_pair(reply, scene)}
    if role == "summarize":
        return {"ok": judge_summary(reply, values["members"])}
    said = judge_answer(reply, values["instruction"], scene)
    return {"ok": said.ok, "form": said.format_ok, "facts": said.facts_ok}


@torch.inference_mode()
def answers(model: Any, tokenizer: Any, prompts: Sequence[list[int]], at_once: int = 20) -> list[str]:
    """Greedy replies to prompts of token ids, in left-padded batches of similar length."""
    replies = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
    for start in range(0, len(order), at_once):
        rows = order[start : start + at_once]
        longest = max(len(prompts[n]) for n in rows)
        ids = torch.tensor([[2] * (longest - len(prompts[n])) + prompts[n] for n in rows], device=model.device)
        mask = torch.tensor(
            [[0] * (longest - len(prompts[n])) + [1] * len(prompts[n]) for n in rows], device=model.device
        )
        made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=160, do_sample=False)
        for n, text in zip(rows, tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True), strict=True):
            replies[n] = text.strip()
    return replies
