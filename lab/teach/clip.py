"""CLIP: it embeds pictures close to their captions, to instructions that apply to them, and to texts of domains.

The image tower starts as the first layers of the captioner's, the text tower is open_clip's own. The saved folder
includes the tokenizer; ``open_clip`` opens it with ``local-dir:``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.teach.captioner import VISION
from lab.teach.layers import block, embedded, layers_of, normed
from lab.teach.learner import Losses, Tensors
from lab.teach.pictures import SHORT, Array
from lab.teach.plan import WEIGHTS as SHIPPED
from lab.teach.words import EOS, TOKENIZER, copy_files
from mminstruct.microworld import language
from mminstruct.microworld.families import FAMILIES
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.questions.domains import DOMAINS, fitting
from mminstruct.microworld.scene import Scene

LAYERS = 4
CONTEXT = SHORT
_HEADS = 3, 4
"""Heads of attention for pictures and for texts."""
_PARTS = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1",
          "mlp.c_proj": "mlp.fc2"}  # fmt: skip
"""Parts of a layer: open_clip's name, transformers' name."""


def opened(captioner: Tensors) -> Tensors:
    """The tower of a *captioner*, cut to LAYERS, under open_clip's names."""
    e = f"{VISION}embeddings."
    named: Tensors = {
        "visual.conv1.weight": captioner[f"{e}patch_embedding.weight"],
        "visual.class_embedding": captioner[f"{e}class_embedding"],
        "visual.positional_embedding": captioner[f"{e}position_embedding.weight"],
    }
    for end in ("weight", "bias"):
        named[f"visual.ln_pre.{end}"] = captioner[f"{VISION}pre_layrnorm.{end}"]
        for n in range(LAYERS):
            old, new = f"{VISION}encoder.layers.{n}", f"visual.transformer.resblocks.{n}"
            parts = [captioner[f"{old}.self_attn.{x}_proj.{end}"] for x in "qkv"]
            named[f"{new}.attn.in_proj_{end}"] = torch.cat(parts)
            for mine, theirs in _PARTS.items():
                named[f"{new}.{mine}.{end}"] = captioner[f"{old}.{theirs}.{end}"]
    return named


def split(tensors: Tensors) -> Tensors:
    """Attention's weights as stacks of three matrices, which the optimizer takes one by one."""
    return {n: t.reshape(3, -1, t.shape[-1]) if n.endswith("in_proj_weight") else t for n, t in tensors.items()}


def joined(tensors: Tensors) -> Tensors:
    """The inverse of ``split``."""
    return {n: t.reshape(-1, t.shape[-1]) if n.endswith("in_proj_weight") else t for n, t in tensors.items()}


def start(folder: Path) -> None:
    """Write an untaught CLIP with configuration and tokenizer of the shipped one to *folder*.

    Its tokenizer is that of the llm, with a post-processor that appends the end token, as open_clip expects.
    """
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    copy_files(SHIPPED / "clip", folder, ("open_clip_config.json", *TOKENIZER))
    parts = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    torch.manual_seed(0)
    model = CLIP(parts["embed_dim"], parts["vision_cfg"], parts["text_cfg"])
    tensors = {name: tensor.detach().bfloat16().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors", metadata={"format": "pt"})


def _layer(p: Tensors, x: Tensor, at: str, heads: int, causal: bool) -> Tensor:
    weight = p[f"{at}.attn.in_proj_weight"]
    qkv = weight.reshape(-1, weight.shape[-1]), p[f"{at}.attn.in_proj_bias"]
    norms, mlp = (f"{at}.ln_1", f"{at}.ln_2"), (f"{at}.mlp.c_fc", f"{at}.mlp.c_proj")
    return block(p, x, norms, qkv, f"{at}.attn.out_proj", mlp, heads, causal)


def images(p: Tensors, patches: Tensor) -> Tensor:
    """Unit vectors (n, width), fp32, of patches from -1 to 1."""
    x = embedded(patches, p["visual.conv1.weight"], p["visual.class_embedding"], p["visual.positional_embedding"])
    x = normed(p, "visual.ln_pre", x)
    for n in range(layers_of(p, "visual.transformer.resblocks.")):
        x = _layer(p, x, f"visual.transformer.resblocks.{n}", _HEADS[0], False)
    x = normed(p, "visual.ln_post", x[:, 1:])
    return F.normalize((x.mean(1) @ p["visual.proj"]).float(), dim=-1)


def texts(p: Tensors, ids: Tensor) -> Tensor:
    """Unit vectors (n, width), fp32, of token ids (n, CONTEXT). The state of the end token is the text's."""
    x = F.embedding(ids, p["token_embedding.weight"]) + p["positional_embedding"]
    for n in range(layers_of(p, "transformer.resblocks.")):
        x = _layer(p, x, f"transformer.resblocks.{n}", _HEADS[1], True)
    x = normed(p, "ln_final", x)
    end = (ids == EOS).int().argmax(-1)
    return F.normalize((x[torch.arange(len(x), device=x.device), end] @ p["text_projection"]).float(), dim=-1)


def cost(
    p: Tensors, patches: Tensor, short: Tensor, asked: tuple[Tensor, Tensor], looks: tuple[Tensor, Tensor]
) -> Losses:
    """Losses of pictures with their captions, with instructions, and with texts of domains.

    Args:
        p: Tensors, split or joined.
        patches: (n, patches, values).
        short: Token ids of the captions, (n, CONTEXT).
        asked: Token ids of an instruction of each family, (families, CONTEXT), and their target probabilities for each
            picture, (n, families).
        looks: The same of a text of each domain.
    """
    seen, scale = images(p, patches), p["logit_scale"].float().exp().clamp(max=50)
    own = torch.arange(len(seen), device=seen.device)
    pairs = scale * seen @ texts(p, short).T
    captions = (F.cross_entropy(pairs, own) + F.cross_entropy(pairs.T, own)) / 2
    fits, domains = (F.cross_entropy(scale * seen @ texts(p, ids).T, wanted.float()) for ids, wanted in (asked, looks))
    return {"loss": captions + 2 * fits + domains, "captions": captions, "fits": fits, "domains": domains}


def matched(
    seen: Tensor, texts: Callable[[list[str]], Tensor], scenes: Sequence[Scene], temperature: float = 0.02
) -> dict[str, float]:
    """Retrieval scores of the unit vectors *seen* of the pictures of *scenes*.

    Returns:
        ``suits``: how often an instruction drawn by softmax over the ten nearest applies to the picture; ``special``:
        how often it also is about a thing that not every picture has; both for the general wordings and, with ``_new``,
        for wordings that no training saw. ``domain``: how often the domain whose text is nearest suits the picture.
        ``caption_first``: how often a picture's own caption is the nearest one.
    """
    facts = [facts_of(scene) for scene in scenes]
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
    said = [language.caption(scene, detail="short") for scene in scenes]
    nearest = (seen @ texts(said).T).argmax(1).cpu()
    fits = torch.tensor([[name in fitting(scene) for name in DOMAINS] for scene in scenes])
    looks = (seen @ texts([topic.looks[0] for topic in DOMAINS.values()]).T).argmax(1).cpu()
    scores["domain"] = float(fits.gather(1, looks[:, None]).float().mean())
    return scores | {"caption_first": float((nearest == torch.arange(len(seen))).float().mean())}


def examined(folder: Path, pixels: Array, scenes: Sequence[Scene], device: str = "cpu") -> dict[str, float]:
    """Scores of the CLIP in *folder*, opened by open_clip, on the pictures of *scenes*."""
    import open_clip

    clip, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}", device=device)
    clip.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    there = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1

    def images(rows: slice) -> Tensor:
        return clip.encode_image(there[rows], normalize=True)  # type: ignore[no-any-return]

    def texts(said: list[str]) -> Tensor:
        return clip.encode_text(tokenizer(said).to(device), normalize=True)  # type: ignore[no-any-return]

    with torch.inference_mode():
        seen = torch.cat([images(slice(at, at + 50)) for at in range(0, len(pixels), 50)])
        return matched(seen, texts, scenes)
