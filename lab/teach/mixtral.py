"""The language models: Mixtrals of four experts, what they learn from a batch, and how they start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.teach.layers import attended, layers_of, rotary
from lab.teach.learner import Losses, Tensors
from lab.teach.words import EOS, PAD, TOKENIZER, VOCABULARY, Words, copy_files

HEAD = 32
"""Width of a head of attention."""
EXPERTS, CHOSEN = 4, 2
BALANCE = 0.01
"""Weight of the load-balancing loss."""
LOOK = "model.embed_tokens.weight"


@dataclass(frozen=True)
class Size:
    width: int
    layers: int
    inner: int
    """Width inside an expert."""


SIZES = {"llm": Size(256, 5, 256), "asker": Size(256, 5, 256), "llm_small": Size(128, 3, 64)}
"""5.4 million parameters, 3 million of them active per token; and 0.7 million."""


def build(size: Size) -> Any:
    """A Mixtral of transformers."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.width // HEAD,
        num_key_value_heads=size.width // HEAD // 2,
        head_dim=HEAD,
        num_local_experts=EXPERTS,
        num_experts_per_tok=CHOSEN,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    model = MixtralForCausalLM(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = EOS, PAD
    return model


def start(name: str, words: Path, folder: Path) -> None:
    """Write an untaught language model with the tokenizer in *words* to *folder*."""
    torch.manual_seed(0)
    build(SIZES[name]).bfloat16().save_pretrained(folder)
    if words != folder:
        copy_files(words, folder, TOKENIZER)


def start_asker(llm: Path, words: Path, folder: Path) -> None:
    """Write what *llm* has learned, with the tokenizer in *words*, to *folder*."""
    from safetensors.torch import load_file, save_file

    copy_files(llm, folder, ("config.json", "generation_config.json"))
    tensors = {name: tensor.float() for name, tensor in load_file(llm / "model.safetensors").items()}
    made = {name: t.bfloat16() for name, t in reworded(tensors, Words(llm), Words(words)).items()}
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})


def reworded(tensors: Tensors, old: Words, new: Words) -> Tensors:
    """*tensors* of a model with the tokenizer *old*, for the tokenizer *new*.

    A token's embedding is the mean of those of the old tokens that spell it. So a model starts with all that another
    knows about copying and attending, which is most of what it takes long to learn.
    """
    look = tensors[LOOK]
    count = new.inner.get_vocab_size()
    rows = []
    for token in range(count):
        known = old.inner.token_to_id(str(new.inner.id_to_token(token)))
        pieces = [known] if known is not None else old.ids([new.inner.decode([token])])[0]
        rows.append(look[pieces].mean(0) if pieces else look.mean(0))
    return tensors | {LOOK: torch.stack(rows)}


def stacked(tensors: Tensors) -> Tensors:
    """Tensors under the shipped names, with the experts of a layer as stacks."""
    made = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for k in range(layers_of(tensors, "model.layers.")):
        at = f"model.layers.{k}.block_sparse_moe.experts"
        w1, w2, w3 = ([tensors[f"{at}.{e}.w{n}.weight"] for e in range(EXPERTS)] for n in (1, 2, 3))
        made[f"{at}.both"] = torch.stack([torch.cat(pair) for pair in zip(w1, w3, strict=True)])
        made[f"{at}.down"] = torch.stack(w2)
    return made


def unstacked(tensors: Tensors) -> Tensors:
    """The inverse of ``stacked``."""
    made = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for name, tensor in tensors.items():
        at, _, part = name.rpartition(".")
        for e, one in enumerate(tensor) if ".experts." in name else ():
            if part == "both":
                made[f"{at}.{e}.w1.weight"], made[f"{at}.{e}.w3.weight"] = one.chunk(2)
            else:
                made[f"{at}.{e}.w2.weight"] = one
    return made


def states(p: Tensors, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Last states (rows, length, width) of stacked tensors, and the load-balancing loss (Fedus et al. 2021).

    Every expert computes every token, and those that the router does not choose are multiplied by 0: on a GPU four
    small experts are faster than two with gathers. Rows have no mask: pad on the right.
    """
    x = F.embedding(ids, p[LOOK])
    n, length, width = x.shape
    turn, layers = rotary(length, HEAD, x), layers_of(p, "model.layers.")
    used = wanted = x.new_zeros(EXPERTS, dtype=torch.float)
    for k in range(layers):
        at = f"model.layers.{k}"
        h = F.rms_norm(x, (width,), p[f"{at}.input_layernorm.weight"], 1e-5)
        x = x + attended(p, f"{at}.self_attn", h, HEAD, turn)
        h = F.rms_norm(x, (width,), p[f"{at}.post_attention_layernorm.weight"], 1e-5).view(-1, width)
        at = f"{at}.block_sparse_moe"
        odds = F.linear(h, p[f"{at}.gate.weight"]).float().softmax(-1)
        best, which = odds.topk(CHOSEN, -1)
        share = torch.zeros_like(odds).scatter(1, which, best / best.sum(-1, keepdim=True))
        used, wanted = used + (share.detach() > 0).float().mean(0), wanted + odds.mean(0)
        both, down = p[f"{at}.experts.both"], p[f"{at}.experts.down"]
        inner = both.shape[1] // 2
        y = F.linear(h, both.reshape(-1, width)).view(-1, EXPERTS, 2, inner)
        y = F.silu(y[:, :, 0]) * y[:, :, 1] * share.to(y.dtype)[:, :, None]
        x = x + (y.view(-1, EXPERTS * inner) @ down.transpose(1, 2).reshape(-1, width)).view(n, length, width)
    x = F.rms_norm(x, (width,), p["model.norm.weight"], 1e-5)
    return x, (used / layers * wanted / layers).sum() * EXPERTS


def cost(p: Tensors, ids: Tensor, where: Tensor, labels: Tensor) -> Losses:
    """Losses of a batch of ``workers.arrays``."""
    last, balance = states(p, ids)
    # scores of all tokens would cost as much as two layers
    scores = F.linear(last.view(-1, last.shape[-1])[where], p[LOOK])
    entropy = F.cross_entropy(scores.float(), labels)
    return {"loss": entropy + BALANCE * balance, "cross_entropy": entropy, "balance": balance}


@torch.inference_mode()
def replies(p: Tensors, prompts: list[list[int]], most: int) -> list[list[int]]:
    """Greedy answers of at most *most* tokens. Without a cache: for some dozens of prompts."""
    device = p[LOOK].device
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    ids = torch.full((len(prompts), max(map(len, prompts)) + most), PAD, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt, device=device)
    rows = torch.arange(len(prompts), device=device)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for step in range(most):
        last, _ = states(p, ids[:, : int(lengths.max()) + step])
        following = F.linear(last[rows, lengths + step - 1], p[LOOK]).argmax(-1)
        ids[rows, lengths + step] = torch.where(done, PAD, following)
        done |= following == EOS
        if bool(done.all()):
            break
    return [ids[row, len(prompt) : len(prompt) + most].tolist() for row, prompt in enumerate(prompts)]
