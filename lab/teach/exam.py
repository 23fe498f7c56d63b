"""Exams of the models as they are saved, on scenes and wordings that they were not taught, level by level."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lab.teach import llm
from lab.teach.llm import lesson_values, render_prompt
from lab.teach.plan import WORLD as WORLD
from lab.teach.words import coded, load_tokenizer
from mminstruct.microworld.families import Split
from mminstruct.microworld.oracle import judge_answer, judge_fuse, judge_instruction, judge_pair, judge_summary
from mminstruct.microworld.questions.grammar import judge_turn
from mminstruct.microworld.questions.lessons import asker_example
from mminstruct.microworld.questions.world import world_from
from mminstruct.microworld.scene import Scene, draw_scene
from mminstruct.text.turn import Checker, Limits, read_reply

SORTS: tuple[tuple[str, str, int, Split], ...] = (
    ("fuse", "fuse", 0, "train"),
    ("fuse_capsfusion", "fuse_capsfusion", 0, "train"),
    ("instruct", "instruct", 0, "train"),
    ("summarize", "summarize", 0, "train"),
    ("exemplify", "exemplify", 0, "train"),
    ("answer0", "answer", 0, "train"),
    ("answer0_new", "answer", 0, "test"),
    ("answer3", "answer", 3, "train"),
    ("answer3_new", "answer", 3, "test"),
)
"""Name, role, examples in the prompt, wordings. Instructions have training wordings, which the pipeline's instructor
and summarizer write too; ``_new`` marks wordings that no training saw."""


def language(folder: Path, level: str, number: int = 30, device: str = "cpu", asker: bool = False) -> dict[str, float]:
    """Share of good greedy replies of the language model in *folder*, by sort; *number* scenes of *level* for each."""
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().to(device)
    scores: dict[str, float] = {}
    sorts = tuple((role, role, 0, "test") for role in llm.ASKED) if asker else SORTS
    for name, role, shots, split in sorts:
        asked = []
        for index in range(number):
            scene, rng = draw_scene(index, WORLD, level), random.Random(f"exam {name} {index}")
            if asker:
                asked.append((scene, *asker_example(role, scene, rng, "test")))
            else:
                asked.append((scene, *lesson_values(role, scene, rng, split, shots)))  # type: ignore[arg-type]
        prompts = [coded(tokenizer, render_prompt(role, values), target)[0] for _, values, target in asked]
        replies = answers(model, tokenizer, prompts, most=320 if asker else 160)
        rows = list(zip(asked, replies, strict=True))
        verdicts = [(judge_asked if asker else judge)(role, values, reply, scene) for (scene, values, _), reply in rows]
        for part in dict.fromkeys(part for verdict in verdicts for part in verdict):
            told = [float(verdict[part]) for verdict in verdicts if part in verdict]
            scores[f"{name}_{part}"] = sum(told) / len(told)
        if role in ("fuse", "fuse_capsfusion", "summarize", "verify"):
            scores[f"{name}_exact"] = sum(reply == target for (_, _, target), reply in rows) / number
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


def judge_asked(role: str, values: dict[str, Any], reply: str, scene: Scene) -> dict[str, float]:
    """Verdict on a *reply* of the asker by the description in its prompt.

    ``parsed`` is the share of the wanted pairs that can be read and have no fault, ``known`` the share of these whose
    question the grammar has, ``right`` the share of the known whose answer is true. A reply to ``verify`` is compared
    with its target, by ``language``.
    """
    if role == "verify":
        return {}
    kind = values.get("kind", "long")
    limits = Limits() if role == "ask" else Limits(long=4)  # rounds have one to three sentences
    checker = Checker(values.get("domain", ""), limits)
    _, asked = read_reply("stop", reply, role)
    turns = [turn for turn in (checker.check(one, kind) for one in asked) if turn.fault is None][: values["number"]]
    world = world_from(values["description"], values.get("words", ()), values.get("prior", ""))
    origin = {"origin": "converse"} if role == "converse" else {}
    rows = [{**dataclasses.asdict(turn), "domain": checker.domain.replace(" ", "_"), **origin} for turn in turns]
    known = [one for one in (judge_turn(row, world) for row in rows) if one.known]
    found = {"parsed": len(turns) / values["number"]}
    found |= {"known": len(known) / len(turns)} if turns else {}
    return found | ({"right": sum(one.right for one in known) / len(known)} if known else {})


@torch.inference_mode()
def answers(model: Any, tokenizer: Any, prompts: Sequence[list[int]], at_once: int = 20, most: int = 160) -> list[str]:
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
        made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=most, do_sample=False)
        for n, text in zip(rows, tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True), strict=True):
            replies[n] = text.strip()
    return replies


def captions(folder: Path, level: str, number: int = 100, device: str = "cpu") -> dict[str, float]:
    """Scores of the captioner in *folder* on the first *number* scenes of *level*, by transformers' ``generate``."""
    from transformers import LlavaForConditionalGeneration

    from lab.teach.captioner import SEEN, frame, judged
    from lab.teach.pictures import pixels_of
    from lab.teach.words import Words

    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval().to(device)
    tokenizer = load_tokenizer(folder)
    before, behind = frame(Words(folder))
    pixels = torch.from_numpy(pixels_of(number, WORLD, level)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    row = [*before, *[model.config.image_token_index] * SEEN, *behind]
    said: list[str] = []
    with torch.inference_mode():
        for some in pixels.split(50):
            ids = torch.tensor([row] * len(some), device=device)
            made = model.generate(input_ids=ids, pixel_values=some, max_new_tokens=120, do_sample=False)
            said += tokenizer.batch_decode(made[:, len(row) :], skip_special_tokens=True)
    return judged(said, [draw_scene(index, WORLD, level) for index in range(number)])


def matches(folder: Path, level: str, number: int = 100, device: str = "cpu") -> dict[str, float]:
    """Scores of the CLIP in *folder* on the first *number* scenes of *level*."""
    from lab.teach import clip
    from lab.teach.pictures import pixels_of

    scenes = [draw_scene(index, WORLD, level) for index in range(number)]
    return clip.examined(folder, pixels_of(number, WORLD, level), scenes, device)
