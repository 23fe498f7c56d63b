"""CLIP embeddings of images and texts by open_clip: OpenAI, LAION, DFN, MetaCLIP, SigLIP, PE and local checkpoints.

Stages compare cosines, also for SigLIP: its logits are ``logit_scale * cosine + logit_bias``, which gives the same
ranking. Both numbers are attributes of ``Encoder``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mminstruct.models.model import Model
from mminstruct.models.transcript import Unanswerable, picture
from mminstruct.unit import note


class Encoder:
    """``Embed`` of images and texts.

    A model's name is a folder (``open_clip_config.json`` beside the weights), ``hf-hub:organisation/model``, or
    ``architecture/tag``, such as ``ViT-L-14-336-quickgelu/openai``.

    Options: ``batch_size`` (images; 32 on CPU, 256 on GPU), ``text_batch_size`` (256), ``precision`` (fp32 on CPU,
    bf16 on GPU; also fp16, pure_bf16...), ``device``, ``decoders`` (threads that decode and resize, 2 on CPU, 8 on
    GPU), ``threads`` of torch, ``cache_dir`` of downloads.
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
        net, self._prepare = open_clip.create_model_from_pretrained(
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
        self._decoders = int(options.get("decoders") or (2 if small else 8))
        self._lock = threading.Lock()
        self.logit_scale = float(net.logit_scale.detach().exp())
        bias = getattr(net, "logit_bias", None)
        self.logit_bias = 0.0 if bias is None else float(bias.detach())

    def texts(self, texts: list[str]) -> np.ndarray:
        """See ``Embed``; texts longer than the model's context are cut and noted as ``clip_text_cut``."""
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
        return _unit(np.concatenate(rows))

    def images(self, images: list[bytes]) -> np.ndarray:
        """See ``Embed``; an image that cannot be decoded gets a row of NaN and is noted as ``clip_image_broken``."""
        if not images:
            return self._empty()
        import torch

        rows = []
        with self._lock, torch.inference_mode(), ThreadPoolExecutor(self._decoders) as pool:
            for tensors in self._decoded(images, pool):
                whole = [tensor for tensor in tensors if tensor is not None]
                note("clip_image_broken", len(tensors) - len(whole))
                vectors_BD = np.full((len(tensors), self._width), np.nan, np.float32)
                if whole:
                    pixels_BCHW = torch.stack(whole).to(self._device, self._dtype)
                    good = [row for row, tensor in enumerate(tensors) if tensor is not None]
                    vectors_BD[good] = self._net.encode_image(pixels_BCHW, normalize=True).float().cpu().numpy()
                rows.append(vectors_BD)
        return _unit(np.concatenate(rows))

    def _decoded(self, images: list[bytes], pool: ThreadPoolExecutor) -> Iterator[list[Any]]:
        """Preprocessed images in batches; the next batch is decoded while the caller uses this one."""
        ahead: list[list[Future[Any]]] = []
        for start in range(0, len(images), self._batch):
            ahead.append([pool.submit(self._tensor, data) for data in images[start : start + self._batch]])
            if len(ahead) > 1:
                yield [future.result() for future in ahead.pop(0)]
        for futures in ahead:
            yield [future.result() for future in futures]

    def _tensor(self, data: bytes) -> Any:
        try:
            return self._prepare(picture(data))
        except Unanswerable:
            return None

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
