"""CLIP from JPEG bytes, and the embedded models against the CPU."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.agreement import prompts
from benchmarks.gpu import material
from benchmarks.gpu.section import Section
from mminstruct.models.model import Model
from mminstruct.models.prefetch import Prefetcher


def clip(section: Section) -> None:
    """Images a second beside what the encoder alone can do; before: open_clip's preprocessing in a pool per call."""
    import open_clip
    import torch

    from mminstruct.models.transcript import picture

    tiny = section.smoke
    folder = material.clip_folder(section.work / "clip", tiny=tiny)
    encoder: Any = Model(name=str(folder), backend="open_clip").embed()
    _, prepare = open_clip.create_model_from_pretrained(f"local-dir:{folder}")

    def before(images: list[bytes]) -> None:
        """As the backend worked before: floats made by torch in each thread, one batch ahead, pageable memory."""
        starts = range(0, len(images), encoder._batch)
        with ThreadPoolExecutor(encoder._prefetch.threads) as pool, torch.inference_mode():
            ahead: list[Any] = []
            for start in [*starts, None]:
                if start is not None:
                    some = images[start : start + encoder._batch]
                    ahead.append([pool.submit(lambda data: prepare(picture(data)), data) for data in some])
                if ahead and (start is None or len(ahead) > 1):
                    pixels = torch.stack([future.result() for future in ahead.pop(0)])
                    pixels = pixels.to(section.device, encoder._dtype)
                    encoder._net.encode_image(pixels, normalize=True).float().cpu().numpy()

    size = encoder._batch if section.cuda else 4
    side = encoder._net.visual.image_size
    pixels = torch.randn(size, 3, *(side if isinstance(side, tuple) else (side, side)), device=section.device)
    pixels = pixels.to(encoder._dtype)
    with torch.inference_mode():
        alone = size / section.seconds_of(lambda: encoder._net.encode_image(pixels, normalize=True))
    weights = sum(p.numel() for p in encoder._net.visual.parameters())
    tokens = (pixels.shape[-1] // encoder._net.visual.conv1.kernel_size[0]) ** 2 + 1
    section.add("encoder alone", alone, "images/s", ceiling=1e12 * section.ceilings["bf16"] / (2 * weights * tokens))
    for width, height in ((640, 480), (1024, 768)):
        with section.part(f"JPEG of {width} x {height}"):
            section.wants(10)
            few = material.jpegs(4 if tiny else 64, width, height)
            images = few * (2 if tiny else 32)
            old = section.seconds_of(lambda: before(images), 1, 0)  # noqa: B023
            for threads in (2,) if tiny else (8, 16):
                encoder._prefetch = Prefetcher({"decoders": threads}, section.device)
                seconds = section.seconds_of(lambda: encoder.images(images), 1)  # noqa: B023
                section.add(
                    f"JPEG of {width} x {height}, {threads} decoders", len(images) / seconds, "images/s",
                    before=len(images) / old, ceiling=alone, note=section.memory() or "CPU",
                )  # fmt: skip


def pictures(section: Section) -> None:
    """Decoding and resizing alone, which a CPU does on every machine, for an input of 336 pixels.

    Three sides by turns: open_clip's preprocessing (before), the backend's on a CPU, and its on a GPU, which decodes
    large JPEGs at a fraction. CPU time is what other load hardly changes.
    """
    import open_clip

    from mminstruct.models.transcript import picture

    folder = material.clip_folder(section.work / "clip", tiny=True, side=336)
    encoder: Any = Model(name=str(folder), backend="open_clip", options={"device": "cpu"}).embed()
    _, prepare = open_clip.create_model_from_pretrained(f"local-dir:{folder}")

    def ours(enough: int, data: bytes) -> Any:
        encoder._enough = enough
        return encoder._pixels(data)

    sides: dict[str, Callable[[bytes], Any]] = {
        "before": lambda data: prepare(picture(data)),
        "on a CPU": functools.partial(ours, 0),
        "on a GPU": functools.partial(ours, 336),
    }
    for width, height in ((640, 480), (1024, 768), (2048, 1536)):
        images = material.jpegs(2 if section.smoke else 12, width, height)
        for threads in (1, 2) if section.smoke else (1, 2, 8):
            wall: dict[str, list[float]] = {name: [] for name in sides}
            cpu: dict[str, list[float]] = {name: [] for name in sides}
            with ThreadPoolExecutor(threads) as pool:
                for _ in range(1 if section.smoke else 3):
                    for name, work in sides.items():
                        began, used = time.perf_counter(), time.process_time()
                        list(pool.map(work, images))
                        wall[name].append(time.perf_counter() - began)
                        cpu[name].append(time.process_time() - used)
            speed = {name: len(images) / float(np.median(took)) for name, took in wall.items()}
            cost = {name: 1e3 * float(np.median(used)) / len(images) for name, used in cpu.items()}
            for name in list(sides)[1:]:
                what = f"{width} x {height}, {threads} threads, {name}"
                section.add(what, speed[name], "images/s", before=speed["before"])
                section.add(f"{what}: CPU time", cost[name], "ms", before=cost["before"])


def embedded(section: Section) -> None:
    """Replies and vectors of the embedded models on this device against the CPU in fp32."""
    from mminstruct.microworld import shards

    count = 3 if section.smoke else 40
    shards.write("coco", section.work / "coco", count, seed=7)
    drawn = [path.read_bytes() for path in sorted((section.work / "coco" / "images").glob("*.jpg"))]
    asked: dict[str, Any] = {"llm": prompts(count), "captioner": material.questions(drawn)}
    texts = [row[0]["content"] for row in asked["llm"]]

    def replies(name: str, device: str, dtype: str) -> list[str]:
        model = Model(name=f"micro:{name}", max_tokens=48, options={"device": device, "dtype": dtype})
        return [reply.text for reply in model.chat().chat(asked[name], seeds=[0] * len(asked[name]))]

    def vectors(name: str, device: str, dtype: str) -> np.ndarray:
        if name == "embedder":
            return Model(name="micro:embedder", options={"device": device, "dtype": dtype}).embed().texts(texts)
        precision = {"bfloat16": "bf16", "float32": "fp32"}[dtype]
        options = {"device": device, "precision": precision}
        return Model(name="micro:clip", backend="open_clip", options=options).embed().images(drawn)

    for name in asked:
        there = replies(name, "cpu", "float32")
        for dtype in ("float32", "bfloat16"):
            with section.part(f"{name}, {dtype}"):
                same = sum(a == b for a, b in zip(replies(name, section.device, dtype), there, strict=True))
                section.add(f"{name}, {dtype}: equal replies", same / len(there), ceiling=1.0)
    for name in ("embedder", "clip"):
        known = vectors(name, "cpu", "float32").astype(np.float64)
        for dtype in ("float32", "bfloat16"):
            with section.part(f"{name}, {dtype}"):
                least = float((vectors(name, section.device, dtype) * known).sum(axis=1).min())
                section.add(f"{name}, {dtype}: 1 - least cosine", 1 - least)
