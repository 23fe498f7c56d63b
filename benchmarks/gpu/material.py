"""Images, texts and networks of published dimensions with random weights, made here: nothing is downloaded."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mminstruct.models.model import Model, with_image
from mminstruct.prompts import Message

LLAVA = {
    "7b": {"width": 4096, "wide": 11008, "layers": 32, "heads": 32, "side": 336, "tower": (1024, 4096, 24, 16)},
    "3b": {"width": 2560, "wide": 6912, "layers": 32, "heads": 20, "side": 336, "tower": (1024, 4096, 24, 16)},
    "tiny": {"width": 64, "wide": 128, "layers": 3, "heads": 2, "side": 56, "tower": (64, 96, 3, 2)},
}
"""Dimensions of LLaVA-1.5-7B, of a smaller one for GPUs of less than 125 GiB, and of one that computes nothing much."""
COGVLM: dict[str, Any] = {
    "architectures": ["CogVLMForCausalLM"], "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "template_version": "chat", "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "vision_config": {
        "dropout_prob": 0.0, "hidden_act": "gelu", "hidden_size": 1792, "image_size": 490, "in_channels": 3,
        "intermediate_size": 15360, "layer_norm_eps": 1e-6, "num_heads": 16, "num_hidden_layers": 63,
        "num_positions": 1226, "patch_size": 14,
    },
}  # fmt: skip
"""config.json of cogvlm-chat-hf."""
TINY_COGVLM = COGVLM | {
    "vocab_size": 2048, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "vision_config": COGVLM["vision_config"] | {
        "hidden_size": 48, "image_size": 42, "intermediate_size": 80, "num_heads": 4, "num_hidden_layers": 2,
        "num_positions": 10,
    },
}  # fmt: skip
QUESTION = "Describe this image in detail: the place, every thing in it with its colour, size and number."


def jpegs(count: int, width: int = 640, height: int = 480) -> list[bytes]:
    """Smooth noise, which takes as many bytes as photographs: about 100 KB at 640 x 480."""
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        coarse = Image.fromarray(rng.integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noisy).save(stream, "JPEG", quality=90)
        made.append(stream.getvalue())
    return made


def questions(images: list[bytes]) -> list[list[Message]]:
    return [with_image([{"role": "user", "content": QUESTION}], image) for image in images]


def embedded(name: str) -> Path:
    """The folder of an embedded model."""
    return Path(Model(name=f"micro:{name}").location())


def fill(name: str, tensor: Any) -> None:
    """Random weights in place: norms 1, biases 0, all others N(0, .02)."""
    if name.endswith("bias"):
        tensor.zero_()
    elif "norm" in name and name.endswith("weight"):
        tensor.fill_(1.0)
    else:
        tensor.normal_(0.0, 0.02)


def llava_folder(folder: Path, size: str) -> Path:
    """Everything of a LLaVA-1.5 in llava-hf's layout except its weights; the tokenizer is the embedded captioner's."""
    from transformers import AutoTokenizer, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaProcessor
    from transformers.models.llava.image_processing_llava import LlavaImageProcessor

    from mminstruct.training.template import V1

    dims: dict[str, Any] = LLAVA[size]
    width, wide, layers, heads = dims["tower"]
    side = dims["side"]
    words = AutoTokenizer.from_pretrained(embedded("captioner"))
    vision = CLIPVisionConfig(
        hidden_size=width, intermediate_size=wide, num_hidden_layers=layers, num_attention_heads=heads,
        image_size=side, patch_size=14, projection_dim=width, hidden_act="quick_gelu",
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=32064, hidden_size=dims["width"], intermediate_size=dims["wide"],
        num_hidden_layers=dims["layers"], num_attention_heads=dims["heads"], num_key_value_heads=dims["heads"],
        max_position_embeddings=4096, rms_norm_eps=1e-5, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2, vision_feature_select_strategy="default", image_seq_length=(side // 14) ** 2,
        projector_hidden_act="gelu", tie_word_embeddings=False,
    )  # fmt: skip
    config.architectures = ["LlavaForConditionalGeneration"]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    images = LlavaImageProcessor(do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    LlavaProcessor(
        image_processor=images, tokenizer=words, patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=V1,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def random_llava(folder: Path, device: str) -> Callable[..., Any]:
    """A stand-in for ``from_pretrained``, which draws the weights on the device, under ZeRO-3 if that is on."""

    def made(*_: Any, dtype: Any = None, output_loading_info: bool = False, **rest: Any) -> Any:
        import torch
        import transformers
        from transformers.initialization import no_init_weights
        from transformers.integrations import deepspeed

        config = transformers.LlavaConfig.from_pretrained(folder)
        extra = {key: value for key, value in rest.items() if key == "attn_implementation"}
        deepspeed.initialize_weights_zero3 = lambda model: None  # weights are drawn below
        place = contextlib.nullcontext() if deepspeed.is_deepspeed_zero3_enabled() else torch.device(device)
        with place, no_init_weights():
            net = transformers.LlavaForConditionalGeneration._from_config(config, dtype=dtype, **extra)
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                fill(name, getattr(parameter, "ds_tensor", parameter))
        return (net, {"missing_keys": []}) if output_loading_info else net

    return made


def conversations(folder: Path, rows: int, *, short: bool) -> Path:
    """LLaVA's JSON: seven of eight rows with an image, answers of 60 to 250 words, a quarter of two turns."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    files = jpegs(6, 100, 80) if short else jpegs(96)
    for number, data in enumerate(files):
        (folder / "images" / f"{number}.jpg").write_bytes(data)
    tokens = json.loads((embedded("captioner") / "tokenizer.json").read_text())["model"]["vocab"]
    words = sorted(w[1:] for w in tokens if w[0] == "\u0120" and len(w) > 3 and w[1:].isascii() and w[1:].isalpha())
    low, high = (4, 12) if short else (60, 250)
    made = []
    for number in range(rows):
        rng = random.Random(number)
        turns = 2 if number % 4 == 0 else 1
        talk = []
        for turn in range(turns):
            asked = " ".join(rng.choices(words, k=rng.randint(5, 25)))
            talk.append({"from": "human", "value": f"<image>\n{asked}" if number % 8 != 7 and not turn else asked})
            talk.append({"from": "gpt", "value": " ".join(rng.choices(words, k=rng.randint(low, high) // turns))})
        row: dict[str, Any] = {"id": f"row-{number}", "conversations": talk}
        made.append(row | ({"image": f"images/{number % len(files)}.jpg"} if number % 8 != 7 else {}))
    (folder / "train.json").write_text(json.dumps(made))
    return folder / "train.json"


def clip_folder(folder: Path, *, tiny: bool, side: int = 32) -> Path:
    """A ViT-L/14 of 336 pixels with random weights, or a tiny one of *side*, as a folder for the backend open_clip."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    facts = open_clip.get_model_config("ViT-L-14-336-quickgelu")
    if tiny:
        facts = {
            "embed_dim": 32,
            "vision_cfg": {"image_size": side, "layers": 2, "width": 64, "head_width": 16, "patch_size": side // 4},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
        }  # fmt: skip
    net = open_clip.model.CLIP(**facts)
    half = {
        name: value.to(torch.bfloat16 if value.ndim > 1 else value.dtype) for name, value in net.state_dict().items()
    }
    save_file({name: value.contiguous() for name, value in half.items()}, folder / "open_clip_model.safetensors")
    colours = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    preprocess = {**colours, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": facts, "preprocess_cfg": preprocess}))
    return folder
