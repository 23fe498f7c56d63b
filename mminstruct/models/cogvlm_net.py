"""CogVLM and CogVLM2 in plain torch: a language model with a second set of weights for image tokens in every layer.

Source: arXiv 2311.03079, section 2.1; for CogVLM2, arXiv 2408.16500. Weights keep their published names, so a
checkpoint is loaded unchanged and strictly. Shapes: B rows, T tokens, D width, H heads, E width of a head, K capacity
for keys.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mminstruct.models.cogvlm_vision import Tower, features

_PADDING, _WORD, _END, _IMAGE = range(4)
"""Kinds of tokens; an image's last token has its own kind."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A checkpoint's config.json."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    kv_heads: int
    rms_norm_eps: float
    context: int
    """Tokens of image, prompt and reply together."""
    second: bool
    """CogVLM2: grouped queries, biases in the vision experts' projections, another rotary base."""
    template: str
    """Prompt format: chat, vqa or base."""
    ends: tuple[int, ...]
    tower: Tower

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Config:
        """Read and check config.json.

        Raises:
            ValueError: for another architecture, or a missing key.
        """
        known = (facts.get("architectures") or ["CogVLMForCausalLM"])[0]
        if known != "CogVLMForCausalLM":
            raise ValueError(f"config.json is of {known}; the cogvlm backend runs CogVLMForCausalLM (1 and 2, images)")
        second = "num_multi_query_heads" in facts
        try:
            eyes = dict(facts["vision_config"])
            acts = facts.get("hidden_act", "silu"), eyes.pop("hidden_act", "gelu")
            eyes.pop("dropout_prob", None)
            end = facts["eos_token_id"]
            made = cls(
                **{
                    name: facts[name]
                    for name in (
                        "vocab_size",
                        "hidden_size",
                        "intermediate_size",
                        "num_hidden_layers",
                        "num_attention_heads",
                        "rms_norm_eps",
                    )
                },
                kv_heads=facts["num_multi_query_heads"] if second else facts["num_attention_heads"],
                context=facts["max_position_embeddings"],
                second=second,
                template=facts.get("template_version", "chat"),
                ends=tuple(end) if isinstance(end, list) else (end,),
                tower=Tower(
                    **eyes, out=facts["hidden_size"], out_intermediate=facts["intermediate_size"], halved=second
                ),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"config.json is not CogVLM's: {error}") from error
        if acts != ("silu", "gelu"):
            raise ValueError(f"config.json has activations {acts}; CogVLM has silu, and gelu in its vision tower")
        return made

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all weights, by their published names."""
        width, wide = self.hidden_size, self.intermediate_size
        qkv = width + 2 * self.kv_heads * (width // self.num_attention_heads)
        made: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, width),
            "model.norm.weight": (width,),
            "lm_head.weight": (self.vocab_size, width),
        }
        for number in range(self.num_hidden_layers):
            layer = f"model.layers.{number}"
            for expert in ("vision", "language"):
                made |= {
                    f"{layer}.self_attn.{expert}_expert_query_key_value.weight": (qkv, width),
                    f"{layer}.self_attn.{expert}_expert_dense.weight": (width, width),
                    f"{layer}.mlp.{expert}_mlp.gate_proj.weight": (wide, width),
                    f"{layer}.mlp.{expert}_mlp.up_proj.weight": (wide, width),
                    f"{layer}.mlp.{expert}_mlp.down_proj.weight": (width, wide),
                }
            if self.second:
                made[f"{layer}.self_attn.vision_expert_query_key_value.bias"] = (qkv,)
            for norm in ("input_layernorm", "post_attention_layernorm"):
                made[f"{layer}.{norm}.weight"] = (width,)
        return made | self.tower.shapes()


def load(folder: Path, config: Config, device: str, dtype: Any) -> dict[str, Any]:
    """Weights of the safetensors files in *folder*, by name.

    Raises:
        ValueError: for no such file, or a weight that is missing, unknown or of another shape.
    """
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder} has no .safetensors file; pickled weights are never read, so convert them first")
    shapes, weights = config.shapes(), {}
    for file in files:
        with safe_open(file, framework="pt", device="cpu") as held:
            for name in list(held.keys()):
                if name.endswith("rotary_emb.inv_freq"):  # CogVLM 1 ships it, but it follows from the width of a head
                    continue
                shape = tuple(held.get_slice(name).get_shape())
                if shapes.get(name) != shape:
                    wanted = f"expected {shapes[name]}" if name in shapes else "CogVLM has no such weight"
                    raise ValueError(f"{file}: {name} {shape}: {wanted}")
                weights[name] = held.get_tensor(name).to(device, dtype)
    missing = sorted(shapes.keys() - weights.keys())
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} weights of CogVLM, the first: {missing[0]}")
    return weights


def read(folder: Path) -> Config:
    """The config.json in *folder*."""
    return Config.of(json.loads((folder / "config.json").read_text()))


class Cache:
    """Keys and values of all layers ``(B, H, K, E)``, for up to *room* tokens."""

    def __init__(self, config: Config, rows: int, room: int, dtype: Any, device: str) -> None:
        import torch

        shape = (rows, config.kv_heads, room, config.hidden_size // config.num_attention_heads)
        self._held = [
            tuple(torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
            for _ in range(config.num_hidden_layers)
        ]
        self.room, self.end = room, 0
        self.place_1: Any = None
        """Where the next token goes, if shapes must not change from token to token: see ``cogvlm_step``."""

    def grown(self, layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
        """Append *keys* and *values* to a layer, and return all; the caller moves ``end`` after the last layer."""
        held = self._held[layer]
        if self.place_1 is not None:
            for old, new in zip(held, (keys, values), strict=True):
                old.index_copy_(2, self.place_1, new)
            return held[0], held[1]
        end = self.end + keys.shape[2]
        for old, new in zip(held, (keys, values), strict=True):
            old[:, :, self.end : end] = new
        return held[0][:, :, :end], held[1][:, :, :end]


class Net:
    """The network; *weights* are keyed by their published names."""

    def __init__(self, config: Config, weights: Mapping[str, Any]) -> None:
        self.config, self.weights = config, weights

    def begin(self, prompts: list[tuple[list[int], np.ndarray | None]], cache: Cache) -> tuple[Any, Any, Any]:
        """Prefill a batch of prompts, padded on the right: attention that is causal then needs no mask.

        The begin and the end of an image have their own rotary positions, and all its patches share one, so distances
        between words do not depend on the image's size. The language experts process an image's last token.

        Args:
            prompts: Token ids, and the pixels of the image that follows the first token.
            cache: An empty cache; it is filled.

        Returns:
            Logits ``(B, vocabulary)`` of the next token; a mask ``(B, T)`` of what is not padding, or None if there is
            none; the rotary position ``(B, 1)`` of the next token. Tokens of padding stay in *cache*: mask them.
        """
        import torch

        weight = self.weights["lm_head.weight"]
        seen = [0 if image is None else self.config.tower.tokens for _, image in prompts]
        lengths = [len(ids) + tokens for (ids, _), tokens in zip(prompts, seen, strict=True)]
        width = max(lengths)
        ids_BT, kinds_BT, places_BT = torch.zeros((3, len(prompts), width), dtype=torch.long, device=weight.device)
        for row, ((ids, _), tokens, length) in enumerate(zip(prompts, seen, lengths, strict=True)):
            image = [_IMAGE] * (tokens - 1) + [_END] * bool(tokens)
            steps = [1] + [2] * (tokens - 2) + [3] if tokens else []
            after = range((steps[-1] if steps else 0) + 1, width + 1)
            for tensor, line in (
                (ids_BT, [ids[0], *[0] * tokens, *ids[1:]]),
                (kinds_BT, [_WORD, *image, *[_WORD] * (len(ids) - 1)]),
                (places_BT, [0, *steps, *after[: len(ids) - 1]]),
            ):
                tensor[row, :length] = torch.tensor(line, device=weight.device)
        images = [image for _, image in prompts if image is not None]
        x_BTD = self.embed(ids_BT)
        if images:
            pixels_NCSS = torch.from_numpy(np.stack(images)).to(weight.device, weight.dtype)
            x_BTD[kinds_BT >= _END] = features(pixels_NCSS, self.weights, self.config.tower).flatten(0, 1)
        expert_BT = kinds_BT == _IMAGE if images else None
        last_B1 = torch.tensor(lengths, device=weight.device)[:, None] - 1
        logits_BV = self.logits(x_BTD, places_BT, cache, expert_BT=expert_BT, last_B1=last_B1)
        real_BT = kinds_BT > _PADDING if min(lengths) < width else None
        return logits_BV, real_BT, places_BT.gather(1, last_B1) + 1

    def embed(self, ids_BT: Any) -> Any:
        """Embedded tokens ``(B, T, D)``."""
        return self.weights["model.embed_tokens.weight"][ids_BT]

    def logits(
        self,
        x_BTD: Any,
        positions_BT: Any,
        cache: Cache,
        *,
        expert_BT: Any = None,
        mask: Any = None,
        last_B1: Any = None,
    ) -> Any:
        """Float32 logits ``(B, vocabulary)`` of the token after *x_BTD*, whose keys and values go into *cache*.

        Args:
            x_BTD: Embedded tokens: several if *cache* is empty, else the one that follows those in it.
            positions_BT: Their rotary positions.
            cache: Keys and values of the tokens before.
            expert_BT: True for tokens of the vision experts; None: there are none.
            mask: Which keys one token sees ``(B, 1, 1, K)``; None: all.
            last_B1: Index of each row's last token; None: -1.
        """
        from torch.nn import functional as F

        routed, turns = _router(expert_BT), self._rotation(positions_BT, x_BTD.dtype)
        for number in range(self.config.num_hidden_layers):
            layer = f"model.layers.{number}"
            y_BTD = self._norm(f"{layer}.input_layernorm", x_BTD)
            x_BTD = x_BTD + self._attend(number, y_BTD, turns, cache, routed, mask)
            y_BTD = self._norm(f"{layer}.post_attention_layernorm", x_BTD)
            x_BTD = x_BTD + routed(functools.partial(self._mlp, layer), y_BTD)
        cache.end += x_BTD.shape[1]
        x_BD = x_BTD[:, -1] if last_B1 is None else x_BTD.take_along_dim(last_B1[..., None], 1)[:, 0]
        return F.linear(self._norm("model.norm", x_BD), self.weights["lm_head.weight"]).float()

    def _attend(self, number: int, y_BTD: Any, turns: tuple[Any, Any], cache: Cache, routed: Routed, mask: Any) -> Any:
        from torch.nn import functional as F

        def project(kind: str, some: Any, expert: str) -> Any:
            name = f"model.layers.{number}.self_attn.{expert}_expert_{kind}"
            return F.linear(some, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

        heads, kv_heads = self.config.num_attention_heads, self.config.kv_heads
        qkv = routed(functools.partial(project, "query_key_value"), y_BTD)
        qkv_BHTE = qkv.unflatten(-1, (heads + 2 * kv_heads, -1)).transpose(1, 2)
        turned_BHTE = _rotated(qkv_BHTE[:, : heads + kv_heads], turns)
        queries, keys = turned_BHTE.split([heads, kv_heads], dim=1)
        keys, values = cache.grown(number, keys, qkv_BHTE[:, heads + kv_heads :])
        if queries.shape[2] == 1:
            # queries of a group see the same keys, so they are one longer query: enable_gqa with a mask falls to a
            # kernel that repeats the keys (2.3 ms instead of .8 of 8 x 2,350 tokens on an H200)
            grouped = queries.reshape(len(queries), kv_heads, -1, queries.shape[-1])
            seen_BHTE = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask).reshape(queries.shape)
        else:
            seen_BHTE = F.scaled_dot_product_attention(
                queries, keys, values, is_causal=True, enable_gqa=heads != kv_heads
            )
        return routed(functools.partial(project, "dense"), seen_BHTE.transpose(1, 2).flatten(2))

    def _mlp(self, layer: str, some: Any, expert: str) -> Any:
        from torch.nn import functional as F

        gate, up, down = (
            self.weights[f"{layer}.mlp.{expert}_mlp.{name}_proj.weight"] for name in ("gate", "up", "down")
        )
        return F.linear(F.silu(F.linear(some, gate)) * F.linear(some, up), down)

    def _norm(self, name: str, x: Any) -> Any:
        from torch.nn import functional as F

        weight = self.weights[f"{name}.weight"].float()
        return F.rms_norm(x.float(), weight.shape, weight, self.config.rms_norm_eps).to(x.dtype)

    def _rotation(self, positions_BT: Any, dtype: Any) -> tuple[Any, Any]:
        """Cosines and sines ``(B, 1, T, E / 2)`` of the rotary embedding."""
        import torch

        width = self.config.hidden_size // self.config.num_attention_heads
        steps = torch.arange(0, width, 2, device=positions_BT.device, dtype=torch.float32) / width
        angles = positions_BT[:, None, :, None] * (500000.0 if self.config.second else 10000.0) ** -steps
        return angles.cos().to(dtype), angles.sin().to(dtype)


Routed = Callable[[Callable[[Any, str], Any], Any], Any]
"""Calls a function of (tokens, expert) for each expert's tokens, and returns its results in the tokens' order."""


def _router(expert_BT: Any) -> Routed:
    if expert_BT is None:
        return lambda treat, x_BTD: treat(x_BTD, "language")
    flat_N = expert_BT.flatten()
    places = {"vision": flat_N.nonzero()[:, 0], "language": (~flat_N).nonzero()[:, 0]}

    def routed(treat: Callable[[Any, str], Any], x_BTD: Any) -> Any:
        some_ND = x_BTD.flatten(0, 1)
        made = {expert: treat(some_ND[place], expert) for expert, place in places.items()}
        out_ND = made["language"].new_empty(len(some_ND), made["language"].shape[-1])
        for expert, place in places.items():
            out_ND[place] = made[expert]
        return out_ND.unflatten(0, x_BTD.shape[:2])

    return routed


def _rotated(x_BHTE: Any, turns: tuple[Any, Any]) -> Any:
    """Rotary embedding that pairs the two halves of a head, not neighbouring dimensions."""
    import torch

    cosines, sines = turns
    one, other = x_BHTE.chunk(2, dim=-1)
    return torch.cat((one * cosines - other * sines, other * cosines + one * sines), dim=-1)
