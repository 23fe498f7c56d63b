"""Layers of the embedded models as plain functions of tensors by name: few kernels, and no version of transformers.

Shapes: n rows, tokens, width. Names of tensors are those of the shipped files.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.teach.learner import Tensors


def rotary(length: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines, both (length, width), of rotary positions with base 10,000."""
    pace = 1.0 / (10_000.0 ** (torch.arange(0, width, 2, dtype=torch.float, device=like.device) / width))
    angles = torch.arange(length, device=like.device).float()[:, None] * pace
    angles = torch.cat((angles, angles), -1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """Attention of (n, heads, tokens, width).

    On a CPU two batched products and a softmax take a third of the time of the fused kernel's backward pass at the
    lengths of these models (100 to 300 tokens).
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    n, heads, length, width = query.shape
    q, k, v = (x.reshape(n * heads, length, width) for x in (query, key, value))
    bias = q.new_full((length, length), float("-inf")).triu(1) if causal else q.new_zeros(length, length)
    scores = torch.baddbmm(bias.expand(n * heads, -1, -1), q, k.mT, alpha=width**-0.5).softmax(-1)
    return (scores @ v).view(n, heads, length, width)


def attended(p: Tensors, at: str, x: Tensor, width: int, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Causal attention of Llama and Mixtral with heads of *width*, at most as many for keys as for queries."""
    n, length, _ = x.shape
    parts = [p[f"{at}.{part}_proj.weight"] for part in "qkv"]
    heads, fewer = len(parts[0]) // width, len(parts[1]) // width
    every = F.linear(x, torch.cat(parts)).view(n, length, heads + 2 * fewer, width).transpose(1, 2)
    both, value = _turned(every[:, : heads + fewer], *turn), every[:, heads + fewer :]
    query, key = both[:, :heads], both[:, heads:]
    if fewer != heads:
        key, value = (y.repeat_interleave(heads // fewer, 1) for y in (key, value))
    made = attend(query, key, value, True)
    return F.linear(made.transpose(1, 2).reshape(n, length, heads * width), p[f"{at}.o_proj.weight"])


def normed(p: Tensors, at: str, x: Tensor) -> Tensor:
    """Layer norm with weight and bias."""
    return F.layer_norm(x, (x.shape[-1],), p[f"{at}.weight"], p[f"{at}.bias"], 1e-5)


def linear(p: Tensors, at: str, x: Tensor) -> Tensor:
    return F.linear(x, p[f"{at}.weight"], p[f"{at}.bias"])


def block(
    p: Tensors, x: Tensor, norms: tuple[str, str], qkv: tuple[Tensor, Tensor], out: str, mlp: tuple[str, str],
    heads: int, causal: bool = False,
) -> Tensor:  # fmt: skip
    """A transformer layer with layer norms before its parts, biases and GELU."""
    n, length, width = x.shape
    every = F.linear(normed(p, norms[0], x), *qkv).view(n, length, 3 * heads, width // heads).transpose(1, 2)
    made = attend(every[:, :heads], every[:, heads : 2 * heads], every[:, 2 * heads :], causal)
    x = x + linear(p, out, made.transpose(1, 2).reshape(n, length, width))
    return x + linear(p, mlp[1], F.gelu(linear(p, mlp[0], normed(p, norms[1], x))))


def embedded(patches: Tensor, weight: Tensor, whole: Tensor, places: Tensor) -> Tensor:
    """Patches (n, patches, values) with the class token first and positions added; *weight* is a convolution's."""
    x = F.linear(patches, weight.permute(0, 2, 3, 1).reshape(len(weight), -1))
    return torch.cat([whole.expand(len(x), 1, -1), x], 1) + places


def layers_of(p: Tensors, at: str) -> int:
    """How many layers have names that start with *at* and a number."""
    return 1 + max(int(name.removeprefix(at).split(".")[0]) for name in p if name.startswith(at))
