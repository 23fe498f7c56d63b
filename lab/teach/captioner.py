"""The captioner: a LLaVA of a vision tower, a projector and a Llama, and what it learns.

A model of this size does not learn from captions alone what a dog looks like. It does with labels for every patch:
linear heads on the tower's states name its group's kind, colour, size, action, number, word and role in a relation.
Tower, heads and text model learn together; the heads are not saved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.teach.album import HEADS
from lab.teach.layers import attended, block, embedded, layers_of, linear, normed, rotary
from lab.teach.learner import Losses, Tensors
from lab.teach.llm import PROMPTS
from lab.teach.pictures import GRID, PATCH, SIDE, WHOLE
from lab.teach.plan import WEIGHTS as SHIPPED
from lab.teach.words import EOS, IMAGE, PAD, TOKENIZER, VOCABULARY, Words, copy_files
from mminstruct.microworld.oracle import Tally, judge_caption
from mminstruct.microworld.scene import Scene
from mminstruct.prompts import render

PROMPT = PROMPTS / "caption.md"
SEEN = GRID * GRID + 1
"""Image tokens: one for each patch, and the class token."""
VISION = "vision_tower.vision_model."
TEXT = "language_model.model."
WEIGHTS = {"kind": 2.0, "count": 1.5, "word": 0.7}
"""Weights of the heads' losses; 1 for the others."""
_VISION_HEADS = 3


@dataclass(frozen=True)
class Size:
    """Numbers of a captioner; both have three heads in the tower."""

    width: int
    vision: int
    """Layers of the tower."""
    text: int
    """Layers of the text model."""
    head: int
    """Width of the text model's heads."""


SIZES = {"captioner": Size(192, 5, 3, 64), "captioner_small": Size(96, 3, 2, 32)}
"""4.0 million parameters, and 0.9 million."""


def build(size: Size) -> Any:
    """A LLaVA of transformers."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=size.width,
        intermediate_size=3 * size.width,
        num_hidden_layers=size.vision,
        num_attention_heads=_VISION_HEADS,
        image_size=SIDE,
        patch_size=PATCH,
        hidden_act="gelu",
        projection_dim=size.width,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.text,
        num_attention_heads=size.width // size.head,
        num_key_value_heads=size.width // size.head,
        head_dim=size.head,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=3,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=SEEN,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = EOS, PAD
    return model


def start(name: str, words: Path, folder: Path) -> None:
    """Write an untaught captioner with the tokenizer in *words* to *folder*, in the form of the shipped captioner.

    transformers 5 saves a LLaVA that was built from its configuration without the level ``vision_model``, and then vLLM
    does not find the tower.
    """
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    build(SIZES[name]).bfloat16().save_pretrained(folder)
    copy_files(words, folder, TOKENIZER)
    copy_files(SHIPPED / "captioner", folder, ("processor_config.json",))  # the same for all sizes
    path, bare = folder / "model.safetensors", "vision_tower."
    named = {n.replace(bare, VISION) if bare in n and VISION not in n else n: t for n, t in load_file(path).items()}
    save_file(named, path, metadata={"format": "pt"})


def frame(words: Words) -> tuple[list[int], list[int]]:
    """Token ids of the caption prompt before and after the image."""
    messages: list[Any] = list(render(PROMPT.read_text("utf-8")))
    messages[-1] = {**messages[-1], "content": f"{IMAGE}\n{messages[-1]['content']}"}
    ids = words.ids([words.chat(messages)])[0]
    at = ids.index(int(words.inner.token_to_id(IMAGE) or 0))
    return ids[:at], ids[at + 1 :]


def tower(p: Tensors, patches: Tensor) -> Tensor:
    """States (n, SEEN, width) of patches from -1 to 1."""
    e = f"{VISION}embeddings."
    x = embedded(patches, p[f"{e}patch_embedding.weight"], p[f"{e}class_embedding"],
                 p[f"{e}position_embedding.weight"])  # fmt: skip
    x = normed(p, f"{VISION}pre_layrnorm", x)
    for n in range(layers_of(p, f"{VISION}encoder.layers.")):
        at = f"{VISION}encoder.layers.{n}"
        weight, bias = (
            torch.cat([p[f"{at}.self_attn.{part}_proj.{end}"] for part in "qkv"]) for end in ("weight", "bias")
        )
        x = block(p, x, (f"{at}.layer_norm1", f"{at}.layer_norm2"), (weight, bias), f"{at}.self_attn.out_proj",
                  (f"{at}.mlp.fc1", f"{at}.mlp.fc2"), _VISION_HEADS)  # fmt: skip
    return x


def read(p: Tensors, states: Tensor, before: Tensor, behind: Tensor, said: Tensor, head: int) -> Tensor:
    """Scores (n, tokens, vocabulary) of every token of *said*, from the tower's *states* and the tokens before it.

    The last token of *said* is only predicted; *head* is the width of the text model's heads.
    """
    at = "multi_modal_projector.linear_"
    seen = linear(p, f"{at}2", F.gelu(linear(p, f"{at}1", states)))
    look = p[f"{TEXT}embed_tokens.weight"]
    prompt = [F.embedding(ids, look).expand(len(seen), -1, -1) for ids in (before, behind)]
    x = torch.cat([prompt[0], seen, prompt[1], F.embedding(said[:, :-1].clamp(min=0), look)], 1)
    first, width = len(before) + seen.shape[1] + len(behind) - 1, (x.shape[-1],)
    turn, layers = rotary(x.shape[1], head, x), layers_of(p, f"{TEXT}layers.")
    for k in range(layers):
        at = f"{TEXT}layers.{k}"
        x = x + attended(
            p, f"{at}.self_attn", F.rms_norm(x, width, p[f"{at}.input_layernorm.weight"], 1e-6), head, turn
        )
        if k == layers - 1:
            x = x[:, first:]
        h = F.rms_norm(x, width, p[f"{at}.post_attention_layernorm.weight"], 1e-6)
        h = F.silu(F.linear(h, p[f"{at}.mlp.gate_proj.weight"])) * F.linear(h, p[f"{at}.mlp.up_proj.weight"])
        x = x + F.linear(h, p[f"{at}.mlp.down_proj.weight"])
    x = F.rms_norm(x, width, p[f"{TEXT}norm.weight"], 1e-6)
    return F.linear(x, p["language_model.lm_head.weight"])


def mean_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """Mean cross-entropy where *truth* is not -100; 0 where it is everywhere."""
    total = F.cross_entropy(scores.float(), truth, ignore_index=-100, reduction="sum")
    return total / (truth != -100).sum().clamp(min=1)


def new_heads(width: int) -> Tensors:
    """Untaught heads: a norm and one matrix of all heads."""
    total, rng = sum(HEADS.values()), torch.Generator().manual_seed(7)
    return {
        "heads.norm.weight": torch.ones(width),
        "heads.norm.bias": torch.zeros(width),
        "heads.weight": torch.randn(total, width, generator=rng) / math.sqrt(width) / 3,
        "heads.bias": torch.zeros(total),
    }


def told(p: Tensors, states: Tensor, labels: Tensors, detail: bool = False) -> Losses:
    """Cross-entropy of every head, and ``heads``, their weighted sum; with *detail* the accuracies, too."""
    every = linear(p, "heads", normed(p, "heads.norm", states)).split(list(HEADS.values()), -1)
    found: Losses = {}
    for (name, truth), scores in zip(labels.items(), every, strict=True):
        flat = scores[:, 0] if name in WHOLE else scores[:, 1:].flatten(0, 1)
        found[name] = mean_loss(flat, truth.flatten())
        if detail:
            valid = truth.flatten() > 0 if name == "kind" else truth.flatten() != -100
            found[f"acc_{name}"] = (flat.argmax(-1) == truth.flatten())[valid].float().mean()
    found["heads"] = sum((WEIGHTS.get(name, 1.0) * found[name] for name in HEADS), states.new_zeros(()))
    return found


@torch.inference_mode()
def captions(p: Tensors, patches: Tensor, before: Tensor, behind: Tensor, head: int, most: int) -> Tensor:
    """Greedy captions, (n, *most*) token ids. Without a cache: for some dozens of pictures."""
    states = tower(p, patches)
    said = torch.full((len(patches), 1), PAD, device=patches.device)
    for _ in range(most):
        following = read(p, states, before, behind, said, head)[:, -1].argmax(-1)
        said = torch.cat([said[:, :-1], following[:, None], said[:, -1:]], 1)
        if bool((said == EOS).any(1).all()):
            break
    return said[:, :-1]


def judged(texts: Sequence[str], scenes: Sequence[Scene]) -> dict[str, float]:
    """Precision and recall by aspect of captions of *scenes*, and the share of perfect captions."""
    sums: dict[str, Tally] = {}
    perfect = 0
    for text, scene in zip(texts, scenes, strict=True):
        tallies = judge_caption(text, scene)
        perfect += all(t.right == t.said == t.true for t in tallies.values())
        for name, tally in tallies.items():
            sums[name] = sums.get(name, Tally()) + tally
    scores = {f"{name}_precision": tally.precision for name, tally in sums.items()}
    scores |= {f"{name}_recall": tally.recall for name, tally in sums.items()}
    return scores | {"perfect": perfect / max(1, len(texts))}
