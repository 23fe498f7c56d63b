"""Trains the text embedder: a BERT of two layers that embeds wordings of one task close together."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from lab.teach.learner import Learner, Losses, precision
from lab.teach.llm import SCENES, seed_instructions
from lab.teach.plan import Plan
from lab.teach.pupil import begin, device_of, learn, saved
from lab.teach.words import VOCABULARY, load_tokenizer
from mminstruct.microworld.catalogue import LEVELS
from mminstruct.microworld.families import FAMILIES, Split, classify
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.scene import draw_scene

WIDTH = 96
LENGTH = 64
"""Maximum tokens of an instruction."""
TEMPERATURE = 0.1
EACH = 6
"""Instructions of each family in a batch."""


def build(vocabulary: int) -> Any:
    """A BERT with 0.4 million parameters."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=3 * WIDTH,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=2,
    )
    return BertModel(config, add_pooling_layer=False)


def ids_of(tokenizer: Any, texts: Sequence[str], rng: random.Random | None = None) -> tuple[Tensor, Tensor]:
    """Token ids and mask, both (texts, longest); with *rng*, each token is left out with probability 0.15."""
    rows = [ids[:LENGTH] for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    if rng:
        rows = [[token for token in row if rng.random() > 0.15] or row for row in rows]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [2] * (longest - len(row)) for row in rows])
    return ids, (torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]).long()


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of the token states without padding, normalised to unit length: (texts, width), fp32."""
    weight = mask.to(states.device)[:, :, None].float()
    return F.normalize((states.float() * weight).sum(1) / weight.sum(1), dim=-1)


def embed(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Unit vectors of texts, (texts, width), fp32."""
    device = model.device
    states = model(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state
    return pooled(states, mask)


def instructions(rng: random.Random, split: Split, each: int, seed: int, indices: range) -> tuple[list[str], list[int]]:
    """*each* instructions of every family, for scenes in *indices* of world *seed*; and the index of their family.

    In training, a quarter of them are seed instructions of the family, if it has any.
    """
    texts, families = [], []
    seeds = [(text, classify(text)) for text in seed_instructions()] if split == "train" else []
    for number, family in enumerate(FAMILIES.values()):
        known = [text for text, name in seeds if name == family.name]
        for _ in range(each):
            if known and rng.random() < 0.25:
                texts.append(rng.choice(known))
                families.append(number)
                continue
            while True:
                facts = facts_of(draw_scene(rng.choice(indices), seed, rng.choice(LEVELS)), place=True)
                if family.applies(facts):
                    break
            texts.append(family.instruction(facts, rng, split))
            families.append(number)
    return texts, families


def purity(model: Any, tokenizer: Any, seed: int = 1000) -> dict[str, float]:
    """Share of instructions about unseen scenes that are nearest to the centroid of their own family.

    Returns:
        ``purity``: for training wordings; ``purity_new``: for wordings that no training saw, with their own centroids;
        ``purity_to_known``: for these, with the centroids of training wordings.
    """
    rng = random.Random(f"purity {seed}")
    known, own = instructions(rng, "train", 12, seed, range(2000))
    asked, truth = instructions(rng, "test", 12, seed, range(2000, 4000))

    def vectors(texts: list[str]) -> Tensor:
        return embed(model, *ids_of(tokenizer, texts)).cpu()

    def share(points: Tensor, families: list[int], of: Tensor, groups: list[int]) -> float:
        centres = torch.zeros(len(FAMILIES), WIDTH).index_add_(0, torch.tensor(groups), of)
        nearest = (points @ F.normalize(centres, dim=-1).T).argmax(1)
        return float((nearest == torch.tensor(families)).float().mean())

    old, new = vectors(known), vectors(asked)
    return {
        "purity": share(old, own, old, own),
        "purity_new": share(new, truth, new, truth),
        "purity_to_known": share(new, truth, old, own),
    }


def start(words: Path, folder: Path) -> None:
    """Write an untaught embedder with the tokenizer in *words* to *folder*."""
    torch.manual_seed(0)
    build(VOCABULARY).bfloat16().save_pretrained(folder)
    tokenizer = load_tokenizer(words)
    tokenizer.model_max_length = LENGTH
    tokenizer.save_pretrained(folder)


def embed_wordings(plan: Plan, attempt: int, name: str = "embedder") -> None:
    """Teach by a supervised contrastive loss (Khosla et al. 2020); wordings of one family are the positives."""
    from transformers import AutoModel

    device = device_of(plan, attempt)
    begin(plan, name, lambda folder: start(plan.work / "llm", folder))
    tokenizer = load_tokenizer(plan.work / "llm")
    model = AutoModel.from_pretrained(plan.work / name, dtype=torch.float32).train().to(device)
    learner = Learner(saved(plan.work / name), device, 2e-3)
    model.to(precision(device))
    rng = random.Random(f"embedder {time.time()}")

    def cost(progress: float) -> Losses:
        texts, families = instructions(rng, "train", EACH, 0, range(SCENES))
        ids, mask = ids_of(tokenizer, texts, rng)
        states = functional_call(model, learner.p, (), {"input_ids": ids.to(device), "attention_mask": mask.to(device)})
        vectors, family = pooled(states.last_hidden_state, mask), torch.tensor(families, device=device)
        close = vectors @ vectors.T / TEMPERATURE
        close = close.masked_fill(torch.eye(len(close), dtype=torch.bool, device=device), -1e4)
        same = (family[:, None] == family).float().fill_diagonal_(0)
        return {"loss": -(same * close.log_softmax(1)).sum(1).div(same.sum(1)).mean()}

    learn(plan, name, learner, cost, dict, dict)


def examined(folder: Path, device: str = "cpu") -> dict[str, float]:
    """Scores of the embedder in *folder*."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().to(device)
    with torch.inference_mode():
        return purity(model, load_tokenizer(folder))
