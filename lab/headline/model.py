"""LLaVAs as plain functions of their tensors, several of one shape in one batch, and the optimizer that teaches them.

Every tensor has a leading axis of models (M), so that all arms of the experiment learn side by side in the kernels of
one. The language model is a Llama without biases whose last layer shares the embedding; ``llama`` gives its tensors
the names of transformers. Suffixes of names are axes: M models, B rows, L places, D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.teach.learner import Tensors, orthogonal, precision
from lab.teach.words import EOS, PAD

_BY_ADAM = ("embed", "norm", "bias")


@dataclass(frozen=True, slots=True)
class Size:
    """Shape of a LLaVA, without its tower."""

    width: int = 384
    layers: int = 6
    inner: int = 1024
    vocabulary: int = 2048
    tower: int = 192
    """Width of the tower's states."""
    head: int = 64

    @property
    def heads(self) -> int:
        return self.width // self.head


def fresh(size: Size, seed: int = 0) -> Tensors:
    """New tensors of one model, fp32 on the CPU."""
    chance = torch.Generator().manual_seed(seed)
    d, n, f = size.width, size.layers, size.inner

    def matrix(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(1, *shape, generator=chance) * scale / math.sqrt(shape[-1])

    deep = 1 / math.sqrt(2 * n)
    return {
        "embed": torch.randn(1, size.vocabulary, d, generator=chance) * 0.02,
        "project1": matrix(d, size.tower),
        "project1.bias": torch.zeros(1, d),
        "project2": matrix(d, d, scale=0.1),
        "project2.bias": torch.zeros(1, d),
        "qkv": matrix(n, 3, d, d),
        "out": matrix(n, d, d, scale=deep),
        "up": matrix(n, 2, f, d),
        "down": matrix(n, d, f, scale=deep),
        "norm1": torch.ones(1, n, d),
        "norm2": torch.ones(1, n, d),
        "norm": torch.ones(1, d),
    }


def llama(p: Mapping[str, Tensor]) -> Tensors:
    """The language model of one model (M = 1) under the names of transformers' ``LlamaForCausalLM``."""
    made = {"model.embed_tokens.weight": p["embed"][0], "model.norm.weight": p["norm"][0],
            "lm_head.weight": p["embed"][0]}  # fmt: skip
    for k in range(p["out"].shape[1]):
        at = f"model.layers.{k}"
        made |= {f"{at}.self_attn.{name}_proj.weight": p["qkv"][0, k, i] for i, name in enumerate("qkv")}
        made |= {f"{at}.mlp.{name}_proj.weight": p["up"][0, k, i] for i, name in enumerate(("gate", "up"))}
        made |= {
            f"{at}.self_attn.o_proj.weight": p["out"][0, k],
            f"{at}.mlp.down_proj.weight": p["down"][0, k],
            f"{at}.input_layernorm.weight": p["norm1"][0, k],
            f"{at}.post_attention_layernorm.weight": p["norm2"][0, k],
        }
    return made


def _linear(x_MTD: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(x_MTD, weight.mT)


def _norm(x_MTD: Tensor, weight_MD: Tensor) -> Tensor:
    return F.rms_norm(x_MTD, (x_MTD.shape[-1],), eps=1e-6) * weight_MD[:, None]


def rotary(places: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (places, width), as in Llama."""
    pace = 1.0 / (10_000.0 ** (torch.arange(0, width, 2, dtype=torch.float, device=like.device) / width))
    angles = torch.arange(places, device=like.device).float()[:, None] * pace
    angles = torch.cat((angles, angles), -1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    half = x.shape[-1] // 2
    return x * turn[0] + torch.cat((-x[..., half:], x[..., :half]), -1) * turn[1]


class Net:
    """Forward passes of models with the tensors *p* of shape *size*."""

    def __init__(self, p: Tensors, size: Size) -> None:
        self.p, self.size, self.models = p, size, p["embed"].shape[0]

    def embedded(self, ids_MBL: Tensor) -> Tensor:
        m, vocabulary, width = self.p["embed"].shape
        shift = torch.arange(m, device=ids_MBL.device)[:, None, None] * vocabulary
        return F.embedding(ids_MBL + shift, self.p["embed"].reshape(m * vocabulary, width))

    def projected(self, states_MBSD: Tensor) -> Tensor:
        m, b, s, d = states_MBSD.shape
        x = _linear(states_MBSD.reshape(m, b * s, d), self.p["project1"]) + self.p["project1.bias"][:, None]
        x = _linear(F.gelu(x), self.p["project2"]) + self.p["project2.bias"][:, None]
        return x.view(m, b, s, -1)

    def scores(self, ids_MBL: Tensor, states_MBSD: Tensor, shown_MB: Tensor, at_MBK: Tensor) -> Tensor:
        """Scores (M, B, K, V) of the tokens after the places *at*.

        Args:
            ids_MBL: Rows, padded on the right; ids of places 1 to S are ignored where a picture is shown.
            states_MBSD: The tower's states of each row's picture.
            shown_MB: Whether the row has a picture.
            at_MBK: Places; negative ones give scores that mean nothing.
        """
        x, seen = self.embedded(ids_MBL), self.projected(states_MBSD)
        stop = 1 + seen.shape[2]
        inside = torch.where(shown_MB[:, :, None, None], seen, x[:, :, 1:stop])
        x = torch.cat((x[:, :, :1], inside, x[:, :, stop:]), 2)
        m, b, length, width = x.shape
        heads, head = self.size.heads, self.size.head
        turn = rotary(length, head, x)
        x = x.view(m, b * length, width)
        for norm1, norm2, qkv, out, up, down in self._layers():
            every = _linear(_norm(x, norm1), qkv).view(m * b, length, 3 * heads, head).transpose(1, 2)
            both, value = _turned(every[:, : 2 * heads], turn), every[:, 2 * heads :]
            query, key = both[:, :heads], both[:, heads:]
            told = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + _linear(told.transpose(1, 2).reshape(m, b * length, width), out)
            x = x + self._fed(_norm(x, norm2), up, down)
        at = at_MBK.clamp(min=0) + torch.arange(b, device=x.device)[:, None] * length
        x = x.gather(1, at.view(m, -1, 1).expand(-1, -1, width))
        return _linear(_norm(x, self.p["norm"]), self.p["embed"]).view(m, b, -1, self.size.vocabulary)

    def _layers(self) -> list[tuple[Tensor, ...]]:
        names = ("norm1", "norm2", "qkv", "out", "up", "down")
        made = []
        for parts in zip(*(self.p[name].unbind(1) for name in names), strict=True):
            flat = [part.reshape(part.shape[0], -1, part.shape[-1]) if part.ndim == 4 else part for part in parts]
            made.append(tuple(flat))
        return made

    @staticmethod
    def _fed(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
        gate, value = _linear(x, up).chunk(2, -1)
        return _linear(F.silu(gate) * value, down)

    @torch.no_grad()
    def answers(self, ids_MBP: Tensor, states_MBSD: Tensor, pads_MB: Tensor, new: int, shown: bool = True) -> Tensor:
        """Greedy continuations (M, B, new) of prompts, ``PAD`` after their end.

        Args:
            ids_MBP: Prompts, padded on the left; the picture stands after the first token.
            states_MBSD: The tower's states.
            pads_MB: Padding of each row.
            new: Most tokens of an answer.
            shown: Whether the prompts have pictures.
        """
        x = self.embedded(ids_MBP)
        m, b, prompt, width = x.shape
        heads, head, device = self.size.heads, self.size.head, x.device
        if shown:
            seen = self.projected(states_MBSD)
            places = pads_MB[:, :, None] + 1 + torch.arange(seen.shape[2], device=device)
            x = x.scatter(2, places[..., None].expand(-1, -1, -1, width), seen)
        whole = prompt + new
        turn = rotary(whole, head, x)
        there = torch.arange(whole, device=device) >= pads_MB.reshape(-1, 1)
        square = torch.ones(prompt, prompt, dtype=torch.bool, device=device).tril()
        mask = (there[:, None, None, :prompt] & square) | torch.eye(prompt, dtype=torch.bool, device=device)
        layers = self._layers()
        keys, values = (
            [torch.zeros(m * b, heads, whole, head, dtype=x.dtype, device=device) for _ in layers] for _ in range(2)
        )
        said = torch.full((m, b, new), PAD, device=device)
        done = torch.zeros(m, b, dtype=torch.bool, device=device)
        start = 0
        for step in range(new):
            length = x.shape[2]
            stop = start + length
            here = (turn[0][start:stop], turn[1][start:stop])
            x = x.reshape(m, b * length, width)
            for k, (norm1, norm2, qkv, out, up, down) in enumerate(layers):
                every = _linear(_norm(x, norm1), qkv).view(m * b, length, 3 * heads, head).transpose(1, 2)
                both = _turned(every[:, : 2 * heads], here)
                keys[k][:, :, start:stop], values[k][:, :, start:stop] = both[:, heads:], every[:, 2 * heads :]
                told = F.scaled_dot_product_attention(
                    both[:, :heads], keys[k][:, :, :stop], values[k][:, :, :stop],
                    attn_mask=mask if start == 0 else there[:, None, None, :stop],
                )  # fmt: skip
                x = x + _linear(told.transpose(1, 2).reshape(m, b * length, width), out)
                x = x + self._fed(_norm(x, norm2), up, down)
            last = x.view(m, b, length, width)[:, :, -1]
            best = _linear(_norm(last, self.p["norm"]), self.p["embed"]).argmax(-1)
            said[:, :, step] = torch.where(done, PAD, best)
            done |= best == EOS
            if step % 16 == 15 and bool(done.all()):
                break
            start, x = stop, self.embedded(best[:, :, None])
        return said


def costs(scores_MBKV: Tensor, ids_MBL: Tensor, at_MBK: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of cross-entropies of each row's learned tokens, and their number; both (M, B)."""
    truth = ids_MBL.gather(2, at_MBK.clamp(min=0) + 1).masked_fill(at_MBK < 0, -100)
    each = F.cross_entropy(scores_MBKV.float().flatten(0, 2), truth.flatten(), ignore_index=-100, reduction="none")
    return each.view(truth.shape).sum(-1), (truth != -100).sum(-1)


class Learner:
    """Muon for matrices and Adam for the rest, for stacked models: each is updated as it would be alone.

    Muon's updates have the root mean square of Adam's (Liu et al. 2025). Forward and backward passes are in a fast
    precision, updates in fp32.

    Args:
        tensors: By name; ``p`` holds leaves in the fast precision of *device*.
        device: Where it learns.
        rate: Peak learning rate.
        decay: Weight decay of matrices.
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: str, rate: float, decay: float = 0.02) -> None:
        self.rate, self.decay, self.steps = rate, decay, 0
        self.full = {name: tensor.detach().to(device, torch.float32).clone() for name, tensor in tensors.items()}
        self.p = {name: tensor.to(precision(device), copy=True).requires_grad_() for name, tensor in self.full.items()}
        self.first = {name: torch.zeros_like(tensor) for name, tensor in self.full.items()}
        adams = [name for name in self.full if any(part in name for part in _BY_ADAM)]
        self.second = {name: torch.zeros_like(self.full[name]) for name in adams}

    @torch.no_grad()
    def step(self, share: float) -> None:
        """Update with *share* of the peak rate and clear the gradients; entries that are not finite count as 0."""
        self.steps += 1
        rate = self.rate * share
        for name, leaf in self.p.items():
            assert leaf.grad is not None
            grad, first, full = leaf.grad.float().nan_to_num_(0.0, 0.0, 0.0), self.first[name], self.full[name]
            leaf.grad = None
            if name in self.second:
                second = self.second[name]
                first.lerp_(grad, 0.1)
                second.lerp_(grad.square(), 0.02)
                root = (second / (1 - 0.98**self.steps)).sqrt_().add_(1e-8)
                full.sub_(first / (1 - 0.9**self.steps) / root, alpha=rate)
            else:
                first.mul_(0.95).add_(grad)
                flat = grad.add_(first, alpha=0.95).reshape(-1, *grad.shape[-2:])
                update = orthogonal(flat).view_as(full) * (0.2 * math.sqrt(max(flat.shape[-2:])))
                full.mul_(1 - rate * self.decay).sub_(update, alpha=rate)
            leaf.copy_(full)


def repeated(tensors: Mapping[str, Tensor], models: int) -> Tensors:
    """*models* copies of one model."""
    return {name: tensor.expand(models, *tensor.shape[1:]).clone() for name, tensor in tensors.items()}
