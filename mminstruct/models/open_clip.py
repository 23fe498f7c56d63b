"""CLIP embeddings of images and texts by open_clip: OpenAI, LAION, DFN, MetaCLIP, SigLIP, PE and local checkpoints.

Stages compare cosines, also for SigLIP: its logits are ``logit_scale * cosine + logit_bias``, which gives the same
ranking. Both numbers are attributes of ``Encoder``.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from mminstruct.models.model import Model
from mminstruct.models.prefetch import Prefetcher
from mminstruct.models.transcript import Unanswerable, picture
from mminstruct.unit import answered, asked, note


class Encoder:
    """``Embed`` of images and texts.

    A model's name is a folder (``open_clip_config.json`` beside the weights), ``hf-hub:organisation/model``, or
    ``architecture/tag``, such as ``ViT-L-14-336-quickgelu/openai``.

    Options: ``batch_size`` (images; 32 on CPU, 256 on GPU), ``text_batch_size`` (256), ``precision`` (fp32 on CPU,
    bf16 on GPU; also fp16, pure_bf16...), ``device``, ``decoders`` (threads that decode and resize, 2 on CPU, 8 on
    GPU), ``threads`` of torch, ``cache_dir`` of downloads.

    On a GPU a JPEG whose shorter side is at least twice the model's input is decoded at 1/2, 1/4 or 1/8, so that its
    shorter side is still as long as the input; on the CPU pixels are those of open_clip's own preprocessing.
    """

    logit_scale: float
    """Trained factor of the cosines."""
    logit_bias: float
    """Trained offset of the logits; 0 except for SigLIP."""

    def __init__(self, model: Model) -> None:
        import open_clip
        import torch

        options = model.options
        if threads := options.get("threads"):
            torch.set_num_threads(int(threads))
        self._device = str(options.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
        small = self._device == "cpu"
        precision = str(options.get("precision") or ("fp32" if small else "bf16"))
        name, tag = _source(model)
        net, prepare = open_clip.create_model_from_pretrained(
            name,
            pretrained=tag,
            precision=precision,
            device=self._device,
            cache_dir=options.get("cache_dir"),
        )
        self._net = net.eval()
        self._tokenizer = open_clip.get_tokenizer(name, cache_dir=options.get("cache_dir"))
        # not the dtype of the parameters, because layer norms stay float32 in bf16
        self._dtype = open_clip.get_input_dtype(precision)
        self._batch = int(options.get("batch_size") or (32 if small else 256))
        self._text_batch = int(options.get("text_batch_size") or 256)
        self._shape, self._mean, self._deviation = _split(prepare, self._device)
        self._enough = 0 if small else min(_side(net))
        self._prefetch = Prefetcher(options, self._device)
        self._lock = threading.Lock()
        self.logit_scale = float(net.logit_scale.detach().exp())
        bias = getattr(net, "logit_bias", None)
        self.logit_bias = 0.0 if bias is None else float(bias.detach())

    def texts(self, texts: list[str]) -> np.ndarray:
        """See ``Embed``; texts longer than the model's context are cut and noted as ``clip_text_cut``."""
        asked(len(texts))
        if not texts:
            return self._empty()
        import torch

        rows = []
        with self._lock, torch.inference_mode():
            for start in range(0, len(texts), self._text_batch):
                some = texts[start : start + self._text_batch]
                note("clip_text_cut", sum(map(self._cut, some)))
                tokens_BT = self._tokenizer(some).to(self._device)
                rows.append(self._net.encode_text(tokens_BT, normalize=True).float().cpu().numpy())
                answered(len(some))
        return _unit(np.concatenate(rows))

    def images(self, images: list[bytes]) -> np.ndarray:
        """See ``Embed``; an image that cannot be decoded gets a row of NaN and is noted as ``clip_image_broken``."""
        asked(len(images))
        if not images:
            return self._empty()
        import torch

        batches = (images[start : start + self._batch] for start in range(0, len(images), self._batch))
        good: list[int] = []
        made = []
        count = 0
        for pixels in self._prefetch(self._pixels, batches):
            some = [found for found in pixels if not isinstance(found, Unanswerable)]
            good += [count + row for row, found in enumerate(pixels) if not isinstance(found, Unanswerable)]
            count += len(pixels)
            note("clip_image_broken", len(pixels) - len(some))
            if some:
                shape = (len(some), *some[0].shape)
                pixels_BHWC = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.startswith("cuda"))
                np.stack(some, out=pixels_BHWC.numpy())
                with self._lock, torch.inference_mode():  # a GPU still computes when the next batch is put together
                    made.append(self._encode(pixels_BHWC.to(self._device, non_blocking=True)))
            answered(len(pixels))
        vectors_ND = np.full((count, self._width), np.nan, np.float32)
        if made:
            vectors_ND[good] = torch.cat(made).cpu().numpy()
        return _unit(vectors_ND)

    def _pixels(self, data: bytes) -> np.ndarray:
        """Pixels ``(H, W, 3)`` of the model's size, uint8."""
        return np.asarray(self._shape(picture(data, self._enough)))

    def _encode(self, pixels_BHWC: Any) -> Any:
        """Vectors ``(B, D)`` of uint8 pixels, which take a quarter of the room of floats on their way to a GPU."""
        pixels_BCHW = pixels_BHWC.permute(0, 3, 1, 2).contiguous().float().div(255)  # as torchvision's ToTensor
        pixels_BCHW = pixels_BCHW.sub_(self._mean).div_(self._deviation).to(self._dtype)
        return self._net.encode_image(pixels_BCHW, normalize=True).float()

    def _cut(self, text: str) -> bool:
        """Whether *text* has more tokens than the context, start and end tokens included."""
        context = int(self._tokenizer.context_length)
        if len(text.encode()) + 2 <= context:  # a token has at least one byte
            return False
        inner = getattr(self._tokenizer, "tokenizer", None)  # present if the tokenizer is Hugging Face's
        if inner is not None:
            return len(inner(self._tokenizer.clean_fn(text), verbose=False)["input_ids"]) > context
        return len(self._tokenizer.encode(text)) + 2 > context

    @property
    def _width(self) -> int:
        import torch

        if not hasattr(self, "_dimensions"):
            with torch.inference_mode():
                self._dimensions = int(self._net.encode_text(self._tokenizer(["a"]).to(self._device)).shape[1])
        return self._dimensions

    def _empty(self) -> np.ndarray:
        return np.empty((0, self._width), np.float32)


def similarity(images_ND: np.ndarray, texts_MD: np.ndarray) -> np.ndarray:
    """Cosines ``(N, M)``, float32; the rows must have unit length."""
    return np.asarray(images_ND, np.float32) @ np.asarray(texts_MD, np.float32).T


def _split(prepare: Any, device: str) -> tuple[Any, Any, Any]:
    """open_clip's preprocessing up to the pixels, and the mean and the deviation ``(3, 1, 1)`` of its normalisation.

    Raises:
        ValueError: it does not end in ``ToTensor`` and ``Normalize``.
    """
    import torch
    from torchvision.transforms import Compose, Normalize, ToTensor

    *shape, to_tensor, normalize = prepare.transforms
    if not isinstance(to_tensor, ToTensor) or not isinstance(normalize, Normalize):
        raise ValueError(f"open_clip's preprocessing is not known: {prepare}; use open_clip_torch 3.3")
    mean, deviation = (torch.tensor(some, device=device).view(3, 1, 1) for some in (normalize.mean, normalize.std))
    return Compose(shape), mean, deviation


def _side(net: Any) -> tuple[int, int]:
    """Height and width of a network's input."""
    side = net.visual.image_size
    return (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))


def _source(model: Model) -> tuple[str, str | None]:
    """Name and tag of the weights in open_clip."""
    place = model.location()
    if Path(place).is_dir():
        return f"local-dir:{place}", None
    if place.startswith(("hf-hub:", "local-dir:")):
        return place, None
    architecture, _, tag = place.rpartition("/")
    if not architecture:
        raise ValueError(
            f"{place}: give the weights as 'architecture/tag' (ViT-L-14-336-quickgelu/openai), a folder or 'hf-hub:...'"
        )
    return architecture, tag


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    """Rows normalised in float32, even if the model normalised in lower precision."""
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True), np.float32)
