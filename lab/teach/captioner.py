"""Trains the captioner: a LLaVA of the trained vision tower, a projector and a Llama of three layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lab.teach import vision
from lab.teach.exam import WATCHED, WORLD
from lab.teach.loop import Learner, Losses, quick_attention, teach
from lab.teach.pictures import GRID, PATCH, SIDE, Pictures
from lab.teach.vision import WIDTH, Seeing, draw_rows, scaled, vision_config, weighed
from lab.teach.words import IMAGE, load_tokenizer
from mminstruct.microworld import language
from mminstruct.microworld.oracle import Tally, judge_caption
from mminstruct.microworld.scene import draw_scene
from mminstruct.prompts import render

PROMPT = Path(__file__).parents[2] / "conf" / "prompts" / "caption.md"
BATCH = 24
SEEN = GRID * GRID + 1
"""Image tokens: one for each patch, and the class token."""
_PATCH_WEIGHT = 0.1
"""Weight of the tower's patch losses relative to the caption loss, while tower and text model train together."""


def build(tokenizer: Any) -> Any:
    """A LLaVA with 4.0 million parameters."""
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=WIDTH // 64,
        num_key_value_heads=WIDTH // 64,
        head_dim=64,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    config = LlavaConfig(
        vision_config=vision_config(),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=SEEN,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 1, 2
    return model


def make_processor(tokenizer: Any) -> Any:
    """A processor that pads pictures to squares, resizes them to SIDE, and inserts one token per patch."""
    from transformers import LlavaProcessor
    from transformers.models.llava.image_processing_llava import LlavaImageProcessor

    images = LlavaImageProcessor(
        do_pad=True,
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )


def frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids of the caption prompt before and after the image."""
    messages: list[Any] = list(render(PROMPT.read_text("utf-8")))
    messages[-1]["content"] = [{"type": "image"}, {"type": "text", "text": messages[-1]["content"]}]
    ids = tokenizer(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), add_special_tokens=False
    )["input_ids"]
    at = ids.index(tokenizer.convert_tokens_to_ids(IMAGE))
    return ids[:at], ids[at + 1 :]


class Reading:
    """Losses of a batch of captions, computed without ``generate`` and padding masks."""

    def __init__(self, model: Any, tokenizer: Any, pictures: Pictures, seed: int = 0) -> None:
        self.model, self.pictures, self.tokenizer = model, pictures, tokenizer
        self.before, self.behind = frame(tokenizer)
        texts = [language.caption(draw_scene(index, seed)) for index in range(len(pictures))]
        self.targets: list[list[int]] = [
            [*ids, tokenizer.eos_token_id] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]
        ]

    def features(self, rows: np.ndarray[Any, Any]) -> Tensor:
        """States of the tower: (n, SEEN, width)."""
        inner = self.model.model
        pixels = scaled(self.pictures.pixels[rows], inner.multi_modal_projector.linear_1.weight.device)
        return inner.vision_tower(pixel_values=pixels).last_hidden_state  # type: ignore[no-any-return]

    def cost(self, rows: np.ndarray[Any, Any]) -> Losses:
        inner = self.model.model
        states = self.features(rows)
        told = weighed(self.model.seeing.pairs(self.pictures, rows, states=states)) if self.model.seeing else {}
        seen = inner.multi_modal_projector(states)
        targets = [self.targets[row] for row in rows]
        longest = max(map(len, targets))
        said = torch.tensor([t + [2] * (longest - len(t)) for t in targets], device=seen.device)
        look = inner.language_model.embed_tokens
        before, behind = (look(torch.tensor(ids, device=seen.device)) for ids in (self.before, self.behind))
        n = len(targets)
        inputs = torch.cat([before.expand(n, -1, -1), seen, behind.expand(n, -1, -1), look(said[:, :-1])], 1)
        states = inner.language_model(inputs_embeds=inputs).last_hidden_state
        at = len(self.before) + SEEN + len(self.behind) - 1
        learned = (
            torch.arange(longest, device=seen.device)
            < torch.tensor([len(t) for t in targets], device=seen.device)[:, None]
        )
        scores = self.model.lm_head(states[:, at:][learned]).float()
        caption = F.cross_entropy(scores, said[learned])
        return {**told, "loss": caption + _PATCH_WEIGHT * told.get("loss", 0.0), "caption": caption}

    def captions(self, rows: Sequence[int], at_once: int = 50) -> list[str]:
        """Greedy captions of the pictures in *rows*, by transformers' ``generate``."""
        image = self.model.config.image_token_index
        said: list[str] = []
        for start in range(0, len(rows), at_once):
            some = np.array(rows[start : start + at_once])
            ids = torch.tensor([self.before + [image] * SEEN + self.behind] * len(some), device=self.model.device)
            pixels = scaled(self.pictures.pixels[some], self.model.device).to(self.model.dtype)
            made = self.model.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=120, do_sample=False)
            said += self.tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)
        return said


def judged(texts: Sequence[str], seed: int, start: int = 0) -> dict[str, float]:
    """Precision and recall by aspect of captions of the scenes from *start* on, and the share of perfect captions."""
    sums: dict[str, Tally] = {}
    perfect = 0
    for index, text in enumerate(texts, start):
        tallies = judge_caption(text, draw_scene(index, seed))
        perfect += all(t.right == t.said == t.true for t in tallies.values())
        for name, tally in tallies.items():
            sums[name] = sums.get(name, Tally()) + tally
    scores = {f"{name}_precision": tally.precision for name, tally in sums.items()}
    scores |= {f"{name}_recall": tally.recall for name, tally in sums.items()}
    return scores | {"perfect": perfect / len(texts)}


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Convert *model* to bfloat16; write it and its processor to *folder* with the tensor names of ``llava-hf``.

    transformers 5 saves a LLaVA that was built from its configuration without the level ``vision_model``, and then vLLM
    does not find the tower.
    """
    from safetensors.torch import load_file, save_file

    model.bfloat16().save_pretrained(folder)
    make_processor(tokenizer).save_pretrained(folder)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    bare, whole = "vision_tower.", "vision_tower.vision_model."
    named = {
        name.replace(bare, whole) if bare in name and whole not in name else name: tensor
        for name, tensor in tensors.items()
    }
    save_file(named, weights, metadata={"format": "pt"})


def tower_of(folder: Path) -> Any:
    """The vision tower of the saved captioner in *folder*, in the format of ``vision.train``."""
    from transformers import LlavaForConditionalGeneration

    tower = vision.build()
    captioner = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    tower.load_state_dict(captioner.model.vision_tower.state_dict())
    return tower


def _with_heads(tower: Any, checkpoint: Path) -> Seeing | None:
    """*tower* with its heads from *checkpoint* of ``vision.train``; None where there is no such file."""
    if not checkpoint.exists():
        return None
    seeing = Seeing(tower)
    full = torch.load(checkpoint, weights_only=True)["full"]
    seeing.load_state_dict(seeing.state_dict() | {name: p for name, p in full.items() if not name.startswith("tower.")})
    return seeing


def train(
    work: Path, minutes: float, pictures: Pictures, held_out: Pictures, device: str = "cpu", resume: bool = False
) -> dict[str, float]:
    """Train with the tower in ``work/vision`` and save to ``work/captioner``.

    The tower is frozen at first. With *resume* and a ``work/vision.pt``, it trains together with the text model and
    keeps its patch losses.
    """
    from transformers import CLIPVisionModel

    tokenizer = load_tokenizer(work / "llm")
    model = build(tokenizer)
    if resume:
        model.load_state_dict(type(model).from_pretrained(work / "captioner").state_dict())
    model.model.vision_tower.load_state_dict(CLIPVisionModel.from_pretrained(work / "vision").state_dict())
    attention = quick_attention() if device == "cpu" else "sdpa"
    model.set_attn_implementation(attention)
    # An untrained text model would destroy the tower: Muon's steps are long however small the gradient is.
    model.seeing = _with_heads(model.model.vision_tower, work / "vision.pt") if resume else None
    model.model.vision_tower.requires_grad_(model.seeing is not None)
    learner = Learner(model.to(device), rate=1e-3 if resume else 2e-3, slow="vision_tower")
    reading, unseen = Reading(model, tokenizer, pictures), Reading(model, tokenizer, held_out, WATCHED)

    def report() -> dict[str, float]:
        model.set_attn_implementation("sdpa")
        scores = judged(unseen.captions(range(min(100, len(held_out)))), WATCHED)
        model.set_attn_implementation(attention)
        return scores

    curve = teach(
        learner, lambda steps: draw_rows(len(pictures), BATCH, steps), reading.cost, minutes=minutes, name="captioner",
        work=work, resume=resume, report=report,
    )  # fmt: skip
    model.seeing = None
    save(model, tokenizer, work / "captioner")
    return curve[-1]


def examined(folder: Path, held_out: Pictures, device: str = "cpu", number: int = 100) -> dict[str, float]:
    """Scores of the captioner in *folder* on the first *number* pictures of the exam's world."""
    from transformers import LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval().to(device)
    reading = Reading(model, load_tokenizer(folder), held_out, WORLD)
    with torch.inference_mode():
        return judged(reading.captions(range(min(number, len(held_out)))), WORLD)
