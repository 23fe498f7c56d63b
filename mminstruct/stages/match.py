"""Samples instructions for each image by CLIP similarity, with prices that cap how often an instruction is drawn.

In CLIP's space a few instructions are near every image (hubs) and would be drawn too often. A balanced assignment
needs all images at once. Instead, *prices* are computed once on a sample of images and subtracted from all
similarities, so that parts can be matched independently. Prices are never negative: an instruction that fits no image
is not forced on one.
"""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.models.model import Embed, Model
from mminstruct.readers.evaluation import UNREADABLE, pictures
from mminstruct.readers.image import encode
from mminstruct.stage import (
    Drop,
    Stage,
    StageOutput,
    Tokens,
    Transform,
    files,
    output,
    pair_id,
    part,
    renamed,
    role,
    seed,
    whole,
)
from mminstruct.store.sample import sample_rows

_BLOCK = 1024
"""Images per batch. It limits the images x instructions matrix, however large a part is."""


@dataclass(kw_only=True)
class Match(Stage):
    """``per_image`` distinct instructions for each image that has a description."""

    model: Model = role("clip")
    per_image: int = 2
    strategy: str = renamed("how", "sample")
    """sample: softmax over the nearest; top1: always the nearest ones; random: uniform, ignoring similarity."""
    top_k: int = 10
    """Nearest instructions that are candidates for an image."""
    temperature: float = 0.01
    """Temperature of the softmax, in cosine units. CLIP models are trained with about 0.01: then an instruction with
    a cosine higher by 0.01 is e times as likely. Larger values give more variety."""
    floor: float | None = None
    """Minimum cosine of a fitting instruction. Typical cosines differ between models: look at the table before use."""
    margin: float | None = None
    """Like ``floor``, but comparable between models: minimum cosine above the image's mean over the whole bank."""
    prices: bool = True
    """Whether to limit instructions that are near every image to *cap*; not used with *strategy* random."""
    cap: float = 3.0
    """Maximum expected share of an instruction among all draws, as a multiple of the uniform share."""
    sample_images: int = 512
    """Number of images from which prices are computed."""
    eval_images: str | None = files(None)
    """Folder of evaluation images; images too similar to one are dropped (select also compares perceptual hashes)."""
    eval_unreadable: str = "stop"
    """If evaluation images cannot be read: ``stop`` the build and list them, or only ``note`` it."""
    eval_cosine: float = 0.95
    """Minimum cosine at which two images count as the same. Raise it for drawings or narrow collections."""
    seed: int = 0

    kind = "encoder"
    reads = {
        "fuse": part("image_id"),
        "ingest": part("image_id", "image"),
        "summarize": whole("instruction_id", "instruction"),
        "sample": whole("image_id", "image", of="ingest"),
    }
    writes = schemas.MATCH
    row_key = "image_id"
    call_tokens = Tokens(input=0)  # only the image: the instructions are encoded once per worker

    def fan(self) -> float:
        return self.per_image

    def asks(self) -> float:
        return 1.0

    def check(self) -> None:
        if self.strategy not in ("sample", "top1", "random"):
            raise ValueError(f"match.strategy={self.strategy!r} is not one of sample, top1, random")
        if self.per_image < 1 or self.top_k < self.per_image:
            raise ValueError(f"match.per_image={self.per_image}: take 1 to match.top_k, which is {self.top_k}")
        if self.temperature <= 0:
            raise ValueError(
                f"match.temperature={self.temperature} must be above 0; for the nearest take match.strategy=top1"
            )
        if self.prices and (self.cap < 1 or self.sample_images < 1):
            raise ValueError(f"match.cap={self.cap} and match.sample_images={self.sample_images}: take 1 or more")
        if self.eval_images is not None and not os.path.isdir(self.eval_images):
            raise ValueError(f"match.eval_images={self.eval_images}: no such folder")
        if self.eval_unreadable not in UNREADABLE:
            raise ValueError(f"match.eval_unreadable={self.eval_unreadable}: take {' or '.join(UNREADABLE)}")

    def load(self, *, summarize: ds.Dataset, sample: ds.Dataset) -> Transform:
        bank = summarize.to_table(columns=["instruction_id", "instruction"]).sort_by("instruction_id")
        if not bank.num_rows:
            raise ValueError("the bank of instructions is empty: see what `summarize` dropped, and why")
        instructions: list[str] = bank["instruction_id"].to_pylist()
        clip = self.model.embed()
        bank_MD = clip.texts(bank["instruction"].to_pylist())

        names, eval_ED = self._evaluation(clip) if self.eval_images else ([], bank_MD[:0])

        def compared(images: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
            # five decimals: the last bits of a product depend on the machine and the number of threads
            images_ND = clip.images(images)
            bank_NM, eval_NE = (np.round(images_ND @ other.T, 5) for other in (bank_MD, eval_ED))
            return np.asarray(bank_NM, np.float64), eval_NE

        prices_M = np.zeros(len(instructions))
        if self.prices and self.strategy != "random" and self.cap < len(instructions):
            images = sample_rows(sample, "image", self.sample_images)
            if images:
                blocks = [compared(images[n : n + _BLOCK])[0] for n in range(0, len(images), _BLOCK)]
                similarity_SM = np.concatenate(blocks)
                prices_M = self.find_prices(similarity_SM[np.isfinite(similarity_SM).all(axis=1)])

        def match(fuse: pa.Table, ingest: pa.Table) -> StageOutput:
            images = dict(zip(ingest["image_id"].to_pylist(), ingest["image"], strict=True))
            rows: list[dict[str, object] | Drop] = []
            wanted = fuse["image_id"].to_pylist()
            for start in range(0, len(wanted), _BLOCK):
                ids = wanted[start : start + _BLOCK]
                similarity_BM, eval_BE = compared([images[key].as_py() for key in ids])
                bad_B = ~np.isfinite(similarity_BM).all(axis=1)
                similarity_BM[bad_B] = -1
                index_BK, logits_BK = self.choices(similarity_BM, prices_M)
                drawn_BR, probability_BK = self._draw(ids, logits_BK)
                for b, key in enumerate(ids):
                    found = [r for r in drawn_BR[b] if r >= 0]
                    if bad_B[b]:
                        rows.append(Drop(key, "bad_embedding"))
                    elif names and eval_BE[b].max() >= self.eval_cosine:
                        nearest = eval_BE[b].argmax()
                        rows.append(Drop(key, "eval_image", f"{names[nearest]}, cosine {eval_BE[b, nearest]:.3f}"))
                    elif not found:
                        rows.append(Drop(key, "no_good_fit", f"highest cosine {similarity_BM[b].max():.3f}"))
                    else:
                        rows += [
                            {
                                "pair_id": pair_id(key, instructions[index_BK[b, r]]),
                                "image_id": key,
                                "instruction_id": instructions[index_BK[b, r]],
                                "similarity": similarity_BM[b, index_BK[b, r]],
                                "probability": probability_BK[b, r],
                            }
                            for r in found
                        ]
            return output(self.writes, rows)

        return match

    def _evaluation(self, clip: Embed) -> tuple[list[str], np.ndarray]:
        """Names and embeddings of the evaluation images."""
        names: list[str] = []
        vectors: list[np.ndarray] = []
        found = pictures(self.eval_images or "", self.eval_unreadable, "recipe.match.eval_unreadable")
        while some := list(itertools.islice(found, _BLOCK)):
            names += [name for name, _ in some]
            vectors.append(clip.images([encode(picture, lossless=False) for _, picture in some]))
        return names, np.concatenate(vectors)

    def choices(self, similarity_NM: np.ndarray, prices_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Candidates of each image, best first: indices into the bank ``(N, K)``, and their logits ``(N, K)``.

        A logit of minus infinity means that the instruction does not fit.
        """
        fits_NM = np.ones(similarity_NM.shape, bool)
        if self.floor is not None:
            fits_NM &= similarity_NM >= self.floor
        if self.margin is not None:
            fits_NM &= similarity_NM >= similarity_NM.mean(axis=1, keepdims=True) + self.margin
        if self.strategy == "random":
            index_NK = np.broadcast_to(np.arange(similarity_NM.shape[1]), similarity_NM.shape)
            return index_NK, np.where(fits_NM, 0.0, -np.inf)
        scores_NM = np.where(fits_NM, similarity_NM - prices_M, -np.inf)
        k = min(self.top_k, scores_NM.shape[1])
        index_NK = np.sort(np.argpartition(-scores_NM, k - 1, axis=1)[:, :k], axis=1)
        scores_NK = np.take_along_axis(scores_NM, index_NK, axis=1)
        order_NK = np.argsort(-scores_NK, axis=1, kind="stable")
        return (
            np.take_along_axis(index_NK, order_NK, axis=1),
            np.take_along_axis(scores_NK, order_NK, axis=1) / self.temperature,
        )

    def find_prices(self, similarity_SM: np.ndarray) -> np.ndarray:
        """Prices ``(M,)`` in cosine units at which no instruction's expected share of the draws exceeds the cap.

        One-sided Sinkhorn iteration: each price moves by the logarithm of share / cap, and stays at zero for
        instructions below the cap. If the cap cannot be met (``floor`` leaves no alternatives), returns the prices
        with the smallest maximum share.
        """
        size = similarity_SM.shape[1]
        prices_M = best_M = np.zeros(size)
        lowest, target, most = math.inf, self.cap / size, float(np.ptp(similarity_SM)) if similarity_SM.size else 0.0
        for step in range(200):
            index_SK, logits_SK = self.choices(similarity_SM, prices_M)
            share_M = np.bincount(index_SK.ravel(), self._inclusion(logits_SK).ravel(), minlength=size)
            share_M = share_M / max(share_M.sum(), 1e-12)
            if share_M.max() < lowest:
                lowest, best_M = share_M.max(), prices_M
            if lowest <= target * 1.01:
                break
            move_M = np.clip(np.log(np.maximum(share_M, 1e-12) / target), -2, 2) / (1 + step / 50)
            prices_M = np.clip(prices_M + self.temperature * move_M, 0, most)
        return np.round(best_M, 5)

    def _inclusion(self, logits_NK: np.ndarray) -> np.ndarray:
        """Inclusion probability of each candidate among an image's draws ``(N, K)``.

        Drawing without replacement is equivalent to a race of exponential clocks with the weights as rates: at the time
        t at which ``per_image`` clocks have rung, clock j has rung with probability of about 1 - exp(-w_j t) (Rosén
        1997). The error is at most 0.07 for two draws out of a few candidates, less for more.
        """
        draws_N = np.minimum(self.per_image, np.isfinite(logits_NK).sum(axis=1))
        if self.strategy == "top1":
            return np.asarray(np.arange(logits_NK.shape[1]) < draws_N[:, None], float)
        weights_NK = _softmax(logits_NK)
        if self.per_image == 1:
            return weights_NK
        low_N, high_N = np.full(len(logits_NK), -5.0), np.full(len(logits_NK), 40.0)  # log time
        for _ in range(40):
            middle_N = (low_N + high_N) / 2
            rung_N = -np.expm1(-weights_NK * np.exp(middle_N)[:, None]).sum(axis=1)
            early_N = rung_N < draws_N
            low_N, high_N = np.where(early_N, middle_N, low_N), np.where(early_N, high_N, middle_N)
        return np.asarray(np.where(draws_N[:, None] > 0, -np.expm1(-weights_NK * np.exp(high_N)[:, None]), 0.0))

    def _draw(self, ids: list[str], logits_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices ``(N, R)`` of the draws among the candidates, -1 if none is left, and probabilities ``(N, K)``."""
        places_NR = np.full((len(ids), self.per_image), -1)
        probability_NK = _softmax(logits_NK)
        if self.strategy == "top1":
            ranks_K = np.arange(min(self.per_image, logits_NK.shape[1]))
            places_NR[:, : len(ranks_K)] = np.where(np.isfinite(logits_NK[:, ranks_K]), ranks_K, -1)
            return places_NR, np.isfinite(logits_NK).astype(float)
        # an image's random numbers depend only on the image, so batches and parts do not change its draws
        generators = (np.random.default_rng(seed(self.seed, "match", key)) for key in ids)
        uniform_NR = np.array([generator.random(self.per_image) for generator in generators])
        left_NK = logits_NK.copy()
        rows_N = np.arange(len(ids))
        for draw in range(self.per_image):
            cumulative_NK = np.cumsum(_softmax(left_NK), axis=1)
            place_N = (cumulative_NK <= uniform_NR[:, draw, None] * cumulative_NK[:, -1:]).sum(axis=1)
            some_N = np.isfinite(left_NK).any(axis=1)
            place_N = np.where(some_N, np.minimum(place_N, left_NK.shape[1] - 1), -1)
            places_NR[:, draw] = place_N
            left_NK[rows_N[some_N], place_N[some_N]] = -np.inf
        return places_NR, probability_NK


def _softmax(logits_NK: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; rows without any finite logit are zero."""
    top_N = logits_NK.max(axis=1, keepdims=True)
    weights_NK = np.exp(logits_NK - np.where(np.isfinite(top_N), top_N, 0))
    return np.asarray(weights_NK / np.maximum(weights_NK.sum(axis=1, keepdims=True), 1e-300))
