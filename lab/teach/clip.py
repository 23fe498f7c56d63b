"""Trains CLIP to embed pictures close to their captions and to instructions that apply to them.

The image tower is the first layers of the trained vision tower, the text tower is open_clip's own. The saved folder
includes the tokenizer; ``open_clip`` opens it with ``local-dir:``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.teach.exam import WATCHED, WORLD
from lab.teach.loop import Learner, Losses, quick_attention, teach
from lab.teach.pictures import PATCH, SIDE, Pictures
from lab.teach.vision import WIDTH, draw_rows, scaled, vision_config
from lab.teach.words import load_tokenizer
from mminstruct.microworld import language
from mminstruct.microworld.families import FAMILIES
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.scene import draw_scene

BATCH = 40
LAYERS = 4
CONTEXT = 48
SUITED = 4.0
"""Target probability of an instruction about a thing in the picture, relative to one that fits any picture."""

_PARTS = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1",
          "mlp.c_proj": "mlp.fc2"}  # fmt: skip
"""Parts of a layer: open_clip's name, transformers' name."""

Batch = tuple[np.ndarray[Any, Any], Tensor, Tensor, Tensor]


def config(vocabulary: int) -> dict[str, Any]:
    """Contents of ``open_clip_config.json``."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {
                "image_size": SIDE, "patch_size": PATCH, "layers": LAYERS, "width": WIDTH, "head_width": 64,
                "mlp_ratio": 3.0, "pool_type": "avg",
            },
            "text_cfg": {
                "context_length": CONTEXT, "vocab_size": vocabulary, "width": 128, "heads": 4, "layers": 2,
                "hf_tokenizer_name": "tokenizer.json beside this file", "pool_type": "eos", "pad_id": 2, "eos_id": 1,
                "tokenizer_kwargs": {"clean": "whitespace"},
            },
        },
        "preprocess_cfg": {
            "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"
        },
    }  # fmt: skip


def opened(tower: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of transformers' vision tower under open_clip's names."""
    named: dict[str, Tensor] = {
        "conv1.weight": tower["embeddings.patch_embedding.weight"],
        "class_embedding": tower["embeddings.class_embedding"],
        "positional_embedding": tower["embeddings.position_embedding.weight"],
    }
    for end in ("weight", "bias"):
        named[f"ln_pre.{end}"] = tower[f"pre_layrnorm.{end}"]
        for n in range(LAYERS):
            old, new = f"encoder.layers.{n}", f"transformer.resblocks.{n}"
            named[f"{new}.attn.in_proj_{end}"] = torch.cat([tower[f"{old}.self_attn.{x}_proj.{end}"] for x in "qkv"])
            for mine, theirs in _PARTS.items():
                named[f"{new}.{mine}.{end}"] = tower[f"{old}.{theirs}.{end}"]
    return named


class Pairing(nn.Module):
    """An open_clip model whose visual layers are replaced by *tower* until it is saved."""

    def __init__(self, tower: Any, clip: Any) -> None:
        super().__init__()
        self.tower, self.clip = tower, clip
        clip.visual.transformer.requires_grad_(False)

    def images(self, pixels: Tensor) -> Tensor:
        """Unit vectors of pictures, (n, width), fp32."""
        patches = self.clip.visual.ln_post(self.tower(pixel_values=pixels).last_hidden_state[:, 1:])
        return F.normalize((patches.mean(1) @ self.clip.visual.proj).float(), dim=-1)

    def texts(self, ids: Tensor) -> Tensor:
        """Unit vectors of texts, (n, width), fp32."""
        return F.normalize(self.clip.encode_text(ids).float(), dim=-1)

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        visual = self.clip.visual
        visual.load_state_dict(visual.state_dict() | opened(self.tower.state_dict()))
        tensors = {
            name: tensor.detach().bfloat16().contiguous().cpu() for name, tensor in self.clip.state_dict().items()
        }
        save_file(tensors, folder / "open_clip_model.safetensors", metadata={"format": "pt"})


def suits(facts: Any) -> list[float]:
    """Target probability of each family's instruction for a picture with *facts*; sums to 1."""
    wanted = [(1.0 if f.topic == "any" else SUITED) if f.applies(facts) else 0.0 for f in FAMILIES.values()]
    return [share / sum(wanted) for share in wanted]


class Texts:
    """Token ids of captions and instructions for the pictures of a world."""

    def __init__(self, tokenizer: Any, seed: int) -> None:
        self.tokenizer, self.seed = tokenizer, seed

    def ids(self, texts: list[str]) -> Tensor:
        """(n, CONTEXT). Each text ends with the end token, whose state open_clip uses as the embedding."""
        rows = [[*ids[: CONTEXT - 1], 1] for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]
        return torch.tensor([row + [2] * (CONTEXT - len(row)) for row in rows])

    def batch(self, rows: np.ndarray[Any, Any], rng: random.Random) -> Batch:
        scenes = [draw_scene(int(row), self.seed) for row in rows]
        said = self.ids([language.caption(scene, detail="short") for scene in scenes])
        asked = self.ids([rng.choice(family.wordings_train) for family in FAMILIES.values()])
        return rows, said, asked, torch.tensor([suits(facts_of(scene)) for scene in scenes])


def matched(
    seen: Tensor, texts: Callable[[list[str]], Tensor], seed: int, temperature: float = 0.02
) -> dict[str, float]:
    """Retrieval scores of the unit vectors *seen*, of scenes 0, 1, ... of world *seed*.

    Returns:
        ``suits``: how often an instruction drawn by softmax over the ten nearest applies to the picture; ``special``:
        how often it also is about a thing that not every picture has; both for the general wordings and, with ``_new``,
        for wordings that no training saw. ``caption_first``: how often a picture's own caption is the nearest one.
    """
    facts = [facts_of(draw_scene(index, seed)) for index in range(len(seen))]
    suit = torch.tensor([[f.applies(fact) for f in FAMILIES.values()] for fact in facts])
    special = suit & torch.tensor([f.topic != "any" for f in FAMILIES.values()])
    scores = {}
    for end, asked in (
        ("", [family.general for family in FAMILIES.values()]),
        ("_new", [family.wordings_test[0] for family in FAMILIES.values()]),
    ):
        top = (seen @ texts(asked).T).float().cpu().topk(10)
        drawn = (top.values / temperature).softmax(-1)
        scores[f"suits{end}"] = float((drawn * suit.gather(1, top.indices)).sum(1).mean())
        scores[f"special{end}"] = float((drawn * special.gather(1, top.indices)).sum(1).mean())
    said = [language.caption(draw_scene(index, seed), detail="short") for index in range(len(seen))]
    nearest = (seen @ texts(said).T).argmax(1).cpu()
    return scores | {"caption_first": float((nearest == torch.arange(len(seen))).float().mean())}


def train(
    work: Path, minutes: float, pictures: Pictures, held_out: Pictures, device: str = "cpu", resume: bool = False
) -> dict[str, float]:
    """Train with the tower in ``work/vision`` and save to ``work/clip``."""
    from open_clip.model import CLIP
    from transformers import CLIPVisionModel

    tokenizer = load_tokenizer(work / "llm")
    tokenizer.model_max_length = CONTEXT
    settings = config(len(tokenizer))
    folder = work / "clip"
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(settings, indent=2))
    tower_config = vision_config()
    tower_config.num_hidden_layers = LAYERS
    tower = CLIPVisionModel(tower_config)
    known = CLIPVisionModel.from_pretrained(work / "vision").state_dict()
    tower.load_state_dict({name: tensor for name, tensor in known.items() if name in tower.state_dict()})
    if device == "cpu":
        tower.set_attn_implementation(quick_attention())
    parts = settings["model_cfg"]
    model = Pairing(tower, CLIP(parts["embed_dim"], parts["vision_cfg"], parts["text_cfg"])).to(device)
    learner = Learner(model, rate=2e-3)
    rng = random.Random("clip")
    mine = Texts(tokenizer, 0)

    def batches(steps: int) -> Iterator[Batch]:
        for rows in draw_rows(len(pictures), BATCH, steps):
            yield mine.batch(rows, rng)

    def cost(batch: Batch) -> Losses:
        rows, said, asked, wanted = batch
        seen = model.images(scaled(pictures.pixels[rows], device))
        scale = model.clip.logit_scale.float().exp().clamp(max=50)
        pairs = scale * seen @ model.texts(said.to(device)).T
        own = torch.arange(len(rows), device=device)
        captions = (F.cross_entropy(pairs, own) + F.cross_entropy(pairs.T, own)) / 2
        fits = F.cross_entropy(scale * seen @ model.texts(asked.to(device)).T, wanted.to(device))
        return {"loss": captions + 2 * fits, "captions": captions, "fits": fits}

    def report() -> dict[str, float]:
        starts = range(0, len(held_out), 50)
        seen = torch.cat([model.images(scaled(held_out.pixels[at : at + 50], device)) for at in starts])
        return matched(seen, lambda said: model.texts(mine.ids(said).to(device)), WATCHED)

    curve = teach(
        learner, batches, cost, minutes=minutes, name="clip", work=work, resume=resume,
        report=report,
    )  # fmt: skip
    model.save(folder)
    save_tokenizer(tokenizer, folder)
    return curve[-1]


def examined(folder: Path, held_out: Pictures, device: str = "cpu", number: int = 100) -> dict[str, float]:
    """Scores of the CLIP in *folder*, opened by open_clip, on the first *number* pictures of the exam's world."""
    import open_clip

    clip, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}", device=device)
    clip.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    def images(rows: slice) -> Tensor:
        return clip.encode_image(scaled(held_out.pixels[rows], device).float(), normalize=True)  # type: ignore[no-any-return]

    def texts(said: list[str]) -> Tensor:
        return clip.encode_text(tokenizer(said).to(device), normalize=True)  # type: ignore[no-any-return]

    with torch.inference_mode():
        some = min(number, len(held_out))
        seen = torch.cat([images(slice(at, min(at + 50, some))) for at in range(0, some, 50)])
        return matched(seen, texts, WORLD)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write *tokenizer* with a post-processor that appends the end token, as open_clip expects."""
    from tokenizers.processors import TemplateProcessing

    inner = tokenizer.backend_tokenizer
    before = inner.post_processor
    inner.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save_pretrained(folder)
    inner.post_processor = before
