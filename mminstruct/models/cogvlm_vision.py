"""CogVLM's vision part: the EVA2-CLIP-E tower and the adapter into the language model (arXiv 2311.03079, 2.1).

Plain functions; weights are keyed by their published names. Shapes: B images, P patches, N tokens, V width of the
tower, D width of the language model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

PREFIX = "model.vision."
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
_STD = np.array([0.26862954, 0.26130258, 0.27577711])


@dataclass(frozen=True, kw_only=True)
class Tower:
    """``vision_config`` of a checkpoint's config.json, and the sizes of the adapter."""

    image_size: int
    """Side in pixels of the square to which images are resized."""
    patch_size: int
    in_channels: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_hidden_layers: int
    num_positions: int
    layer_norm_eps: float
    out: int
    """Width of the language model."""
    out_intermediate: int
    halved: bool
    """CogVLM2: a 2x2 convolution merges four patches into one token."""

    @property
    def tokens(self) -> int:
        """Tokens of an image: its patches, one before and one after."""
        side = self.image_size // self.patch_size // (2 if self.halved else 1)
        return side * side + 2

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all weights of the tower and the adapter, by their published names."""
        width, wide, out = self.hidden_size, self.intermediate_size, self.out
        made: dict[str, tuple[int, ...]] = {
            "patch_embedding.proj.weight": (width, self.in_channels, self.patch_size, self.patch_size),
            "patch_embedding.proj.bias": (width,),
            "patch_embedding.cls_embedding": (1, width),
            "patch_embedding.position_embedding.weight": (self.num_positions, width),
            "linear_proj.linear_proj.weight": (out, width),
            "linear_proj.norm1.weight": (out,),
            "linear_proj.norm1.bias": (out,),
            "linear_proj.dense_h_to_4h.weight": (self.out_intermediate, out),
            "linear_proj.gate_proj.weight": (self.out_intermediate, out),
            "linear_proj.dense_4h_to_h.weight": (out, self.out_intermediate),
            "boi": (1, 1, out),
            "eoi": (1, 1, out),
        }
        if self.halved:
            made |= {"conv.weight": (width, width, 2, 2), "conv.bias": (width,)}
        for layer in range(self.num_hidden_layers):
            for name, into, outof in (
                ("attention.query_key_value", 3 * width, width),
                ("attention.dense", width, width),
                ("mlp.fc1", wide, width),
                ("mlp.fc2", width, wide),
            ):
                made |= {f"transformer.layers.{layer}.{name}.weight": (into, outof)}
                made |= {f"transformer.layers.{layer}.{name}.bias": (into,)}
            for name in ("input_layernorm", "post_attention_layernorm"):
                made |= {f"transformer.layers.{layer}.{name}.{part}": (width,) for part in ("weight", "bias")}
        return {PREFIX + name: shape for name, shape in made.items()}


def pixels(image: Image.Image, tower: Tower) -> np.ndarray:
    """Input of the tower ``(3, S, S)``, float32: the image resized to a square (bicubic), normalised as CLIP's."""
    square = image.resize((tower.image_size, tower.image_size), Image.Resampling.BICUBIC)
    colours_SSC = np.asarray(square, np.float32) / 255
    return np.asarray(((colours_SSC - _MEAN) / _STD).transpose(2, 0, 1), np.float32)


def features(pixels_BCSS: Any, weights: Mapping[str, Any], tower: Tower) -> Any:
    """Images as tokens of the language model ``(B, N, D)``, with the learned begin and end tokens."""
    import torch
    from torch.nn import functional as F

    def of(name: str) -> Any:
        return weights[PREFIX + name]

    def linear(name: str, x: Any) -> Any:
        return F.linear(x, of(f"{name}.weight"), weights.get(f"{PREFIX}{name}.bias"))

    def norm(name: str, x: Any, eps: float) -> Any:
        return F.layer_norm(x, x.shape[-1:], of(f"{name}.weight"), of(f"{name}.bias"), eps)

    x_BVHW = F.conv2d(
        pixels_BCSS, of("patch_embedding.proj.weight"), of("patch_embedding.proj.bias"), stride=tower.patch_size
    )
    count, side = x_BVHW.shape[0], x_BVHW.shape[-1]
    first_B1V = of("patch_embedding.cls_embedding").expand(count, 1, -1)
    x_BPV = torch.cat((first_B1V, x_BVHW.flatten(2).transpose(1, 2)), dim=1)
    x_BPV = x_BPV + of("patch_embedding.position_embedding.weight")
    for number in range(tower.num_hidden_layers):
        layer = f"transformer.layers.{number}"
        qkv = linear(f"{layer}.attention.query_key_value", x_BPV).unflatten(-1, (3, tower.num_heads, -1))
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
        seen_BPV = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        # EVA's post-norm: norms come after their blocks
        seen_BPV = linear(f"{layer}.attention.dense", seen_BPV)
        x_BPV = x_BPV + norm(f"{layer}.input_layernorm", seen_BPV, tower.layer_norm_eps)
        mlp_BPV = linear(f"{layer}.mlp.fc2", F.gelu(linear(f"{layer}.mlp.fc1", x_BPV)))
        x_BPV = x_BPV + norm(f"{layer}.post_attention_layernorm", mlp_BPV, tower.layer_norm_eps)
    x_BPV = x_BPV[:, 1:]
    if tower.halved:
        x_BVHW = x_BPV.transpose(1, 2).unflatten(2, (side, side))
        x_BPV = F.conv2d(x_BVHW, of("conv.weight"), of("conv.bias"), stride=2).flatten(2).transpose(1, 2)
    x_BPD = F.gelu(norm("linear_proj.norm1", linear("linear_proj.linear_proj", x_BPV), 1e-5))
    gated = F.silu(linear("linear_proj.gate_proj", x_BPD)) * linear("linear_proj.dense_h_to_4h", x_BPD)
    x_BPD = linear("linear_proj.dense_4h_to_h", gated)
    return torch.cat((of("boi").expand(count, 1, -1), x_BPD, of("eoi").expand(count, 1, -1)), dim=1)
