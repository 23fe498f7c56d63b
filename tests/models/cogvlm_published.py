"""What the published modelling code of CogVLM computes, for tests/models/cogvlm_numbers.json.

    python -m tests.models.cogvlm_published v1 FOLDER
    python -m tests.models.cogvlm_published v2 FOLDER

FOLDER holds modeling_cogvlm.py, visual.py and configuration_cogvlm.py as published beside the weights (v1:
THUDM/cogvlm-chat-hf, v2: THUDM/cogvlm2-llama3-chat-19B). They are not part of this repository. Two parts of
them need a GPU and are replaced: the attention of xformers by torch's, the triton kernel of the rotary embedding by its
formula. The model is tiny and its weights are a function of their names, so the numbers can be compared anywhere.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = Path(__file__).parent / "cogvlm_numbers.json"
IMAGES = 2
WORDS = [[5, 17, 3, 88, 41, 9, 60], [70, 2, 33]]
"""Tokens of two questions; the model's vocabulary has 97."""
STEPS = 6


def config(version: str) -> dict[str, Any]:
    """A config.json of the shape of the published one."""
    second = version == "v2"
    facts: dict[str, Any] = {
        "architectures": ["CogVLMForCausalLM"],
        "vocab_size": 97,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "template_version": "chat",
        "bos_token_id": 1,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "vision_config": {
            "dropout_prob": 0.0,
            "hidden_act": "gelu",
            "hidden_size": 48,
            "image_size": 56 if second else 42,
            "in_channels": 3,
            "intermediate_size": 80,
            "layer_norm_eps": 1e-6,
            "num_heads": 4,
            "num_hidden_layers": 2,
            "num_positions": 17 if second else 10,
            "patch_size": 14,
        },
    }
    return facts | ({"num_multi_query_heads": 2} if second else {})


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight that is a function of its name: float32, about one over the square root of its inputs."""
    drawn = np.random.default_rng(zlib.crc32(name.encode())).integers(-1000, 1001, shape) / 1000
    inputs = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    if "norm" in name and name.endswith("weight"):
        return (1 + drawn / 4).astype(np.float32)
    if len(shape) == 1:
        return (drawn / 8).astype(np.float32)
    return (drawn * (1.0 if "embed" in name or "oi" in name else 2.5 * inputs**-0.5)).astype(np.float32)


def sights(version: str) -> np.ndarray:
    """Normalised pixels of the images ``(N, 3, S, S)``."""
    side = config(version)["vision_config"]["image_size"]
    return numbers("pixels", (IMAGES, 3, side, side)) * 40


def main(version: str, folder: Path) -> None:
    import torch

    net = published(version, folder)
    pixels = torch.from_numpy(sights(version))
    found: dict[str, Any] = {"names": {name: list(value.shape) for name, value in net.state_dict().items()}}
    with torch.inference_mode():
        features = net.model.vision(pixels)
        found["features"] = features[:, :, :5].tolist()
        rows = []
        for number, words in enumerate(WORDS):
            ids = [1] + [0] * features.shape[1] + words
            kinds = [0] + [1] * features.shape[1] + [0] * len(words)
            rows.append(follow(net, ids, kinds, pixels[number : number + 1]))
        rows.append(follow(net, [1, *WORDS[0]], [0] * (1 + len(WORDS[0])), None))
        found["rows"] = rows
    held = json.loads(NUMBERS.read_text()) if NUMBERS.is_file() else {}
    NUMBERS.write_text(json.dumps({**held, version: rounded(found)}, sort_keys=True).replace(', "', ',\n"') + "\n")


def follow(net: Any, ids: list[int], kinds: list[int], pixels: Any) -> dict[str, Any]:
    """Logits after a prompt, and the greedy reply."""
    import torch

    ids_1T, kinds_1T = torch.tensor([ids]), torch.tensor([kinds])
    places = sys.modules[type(net).__module__].build_position_ids(kinds_1T)
    out = net(
        input_ids=ids_1T,
        token_type_ids=kinds_1T,
        images=None if pixels is None else [list(pixels)],
        position_ids=places,
        use_cache=True,
    )
    said = []
    first = out.logits[0, -1].tolist()
    for step in range(1, STEPS + 1):
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        said.append(int(token))
        out = net(
            input_ids=token,
            token_type_ids=torch.zeros_like(token),
            position_ids=places[:, -1:] + step,
            past_key_values=out.past_key_values,
            use_cache=True,
        )
    return {"ids": ids, "logits": first, "said": said, "last": out.logits[0, -1].tolist()}


def published(version: str, folder: Path) -> Any:
    """The published network with these weights."""
    import torch

    def attention(q: Any, k: Any, v: Any, *, scale: float) -> Any:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).contiguous()

    class FastRotaryEmbedding(torch.nn.Module):
        def __init__(self, dim: int, pos_idx_in_fp32: bool, base: float) -> None:
            super().__init__()
            self.inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))

        def forward(self, q: Any, k: Any, position_ids: Any, max_seqlen: Any) -> tuple[Any, Any]:
            angles = torch.outer(torch.arange(int(max_seqlen), dtype=torch.float32), self.inv_freq)[position_ids]
            cos, sin = angles.cos()[:, None], angles.sin()[:, None]

            def turned(x: Any) -> Any:
                one, other = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
                return torch.cat([one * cos - other * sin, one * sin + other * cos], dim=-1)

            return turned(q), turned(k)

    ops = types.ModuleType("xformers.ops")
    ops.memory_efficient_attention = attention  # type: ignore[attr-defined]
    xformers = types.ModuleType("xformers")
    xformers.ops = ops  # type: ignore[attr-defined]
    package = types.ModuleType("published")
    package.__path__ = [str(folder)]  # type: ignore[attr-defined]
    util = types.ModuleType("published.util")
    util.FastRotaryEmbedding = FastRotaryEmbedding  # type: ignore[attr-defined]
    sys.modules |= {"xformers": xformers, "xformers.ops": ops, "published": package, "published.util": util}
    embedding = torch.nn.Embedding.__init__

    def small(self: Any, count: int, width: int, padding_idx: int | None = None, **rest: Any) -> None:
        embedding(self, count, width, padding_idx if padding_idx is not None and padding_idx < count else None, **rest)

    torch.nn.Embedding.__init__ = small  # type: ignore[method-assign]  # theirs pads with token 128002
    modeling = importlib.import_module("published.modeling_cogvlm")
    kind = importlib.import_module("published.configuration_cogvlm").CogVLMConfig
    net = modeling.CogVLMForCausalLM(kind(**config(version))).eval()
    weights = {
        name: torch.from_numpy(numbers(name, tuple(value.shape)))
        for name, value in net.state_dict().items()
        if not name.endswith("inv_freq")
    }
    missing = net.load_state_dict(weights, strict=False).missing_keys
    assert all(name.endswith("inv_freq") for name in missing), missing
    return net


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
