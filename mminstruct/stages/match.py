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
    content_id,
    files,
    pair_id,
    part,
    renamed,
    role,
    whole,
)
from mminstruct.store.sample import sample_rows

_BLOCK = 1024
"""Images per batch. It limits the images x instructions matrix, however large a part is."""
_PAIRS = 1 << 18
"""Pairs ranked at a time: 1 MB of scores stay in the cache."""
_GROUPS = 4
"""Least number of groups a candidate in ``_best``: with fewer, more scores pass the bound."""
_UNIT = 100_000
"""Cosines are ranked as integers, in units of five decimals: the last bits of a product depend on the machine and the
number of threads, and differences of integers have exact ties."""
_UNFIT = -10.0
"""Score of an instruction that does not fit. Cosines less prices are above -4."""
_LATEST = math.exp(40)
"""Time at which every clock has rung whose weight is not negligible."""


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
    version = 2
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
        if len(bad := np.flatnonzero(~np.isfinite(bank_MD).all(axis=1))):
            raise ValueError(f"the CLIP model's embedding of instruction {instructions[bad[0]]} is not finite")
        names, eval_ED = self._evaluation(clip) if self.eval_images else ([], bank_MD[:0])
        hash_M = _hashes(self._salt(), instructions)

        # Every worker finds the prices again. They depend only on the bank and the sample, and take a fraction of a
        # second beside loading the model; a table of its own would add a stage, a barrier and a second set of fields.
        prices_M = np.zeros(len(instructions))
        if self.prices and self.strategy != "random" and self.cap < len(instructions):
            images = sample_rows(sample, "image", self.sample_images)
            blocks = [clip.images(images[n : n + _BLOCK]) for n in range(0, len(images), _BLOCK)]
            if blocks:
                images_SD = np.concatenate(blocks)
                prices_M = self.find_prices(images_SD[np.isfinite(images_SD).all(axis=1)] @ bank_MD.T)

        def pairs(ids: list[str], images_ND: np.ndarray) -> tuple[pa.Table, list[Drop]]:
            sound_N = np.isfinite(images_ND).all(axis=1)
            if not sound_N.all():
                images_ND = np.where(sound_N[:, None], images_ND, 0)
            similarity_NM = images_ND @ bank_MD.T
            eval_NE = np.round(images_ND @ eval_ED.T, 5)
            seen_N = eval_NE.max(axis=1, initial=-np.inf) >= self.eval_cosine
            index_NK, logits_NK = self.choices(similarity_NM, prices_M)
            drawn_NR = self._draw(_hashes(self._salt(), ids), hash_M[index_NK], logits_NK)
            drops: list[Drop] = []
            for n in np.flatnonzero(~sound_N | seen_N | (drawn_NR[:, 0] < 0)):
                if not sound_N[n]:
                    drops.append(Drop(ids[n], "bad_embedding"))
                elif seen_N[n]:
                    nearest = eval_NE[n].argmax()
                    drops.append(Drop(ids[n], "eval_image", f"{names[nearest]}, cosine {eval_NE[n, nearest]:.3f}"))
                else:
                    drops.append(Drop(ids[n], "no_good_fit", f"highest cosine {similarity_NM[n].max():.3f}"))
                drawn_NR[n] = -1
            n_P, r_P = np.nonzero(drawn_NR >= 0)
            k_P = drawn_NR[n_P, r_P]
            m_P = index_NK[n_P, k_P]
            image_ids, instruction_ids = [ids[n] for n in n_P.tolist()], [instructions[m] for m in m_P.tolist()]
            columns = {
                "pair_id": list(map(pair_id, image_ids, instruction_ids)),
                "image_id": image_ids,
                "instruction_id": instruction_ids,
                "similarity": (_units(similarity_NM[n_P, m_P]) / _UNIT).astype(np.float32),
                "probability": self._probability(logits_NK)[n_P, k_P].astype(np.float32),
            }
            return pa.table(columns, schema=self.writes), drops

        def match(fuse: pa.Table, ingest: pa.Table) -> StageOutput:
            images = dict(zip(ingest["image_id"].to_pylist(), ingest["image"], strict=True))
            wanted = fuse["image_id"].to_pylist()
            tables = [self.writes.empty_table()]
            dropped: list[Drop] = []
            for start in range(0, len(wanted), _BLOCK):
                ids = wanted[start : start + _BLOCK]
                table, drops = pairs(ids, clip.images([images[key].as_py() for key in ids]))
                tables.append(table)
                dropped += drops
            return StageOutput(pa.concat_tables(tables).combine_chunks(), dropped)

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

        Cosines and prices count to five decimals; of equal scores the first in the bank comes first. A logit of minus
        infinity means that the instruction does not fit.
        """
        count, size = similarity_NM.shape
        fits_NM: np.ndarray | None = None
        if self.floor is not None or self.margin is not None:
            units_NM = _units(similarity_NM)
            fits_NM = units_NM >= (-np.inf if self.floor is None else round(self.floor * _UNIT, 6))
            if self.margin is not None:
                mean_N1 = units_NM.mean(axis=1, keepdims=True, dtype=np.float64)  # exact: integers
                fits_NM &= units_NM >= mean_N1 + round(self.margin * _UNIT, 6)
        if self.strategy == "random":
            index_NK = np.broadcast_to(np.arange(size), (count, size))
            return index_NK, np.zeros((count, size)) if fits_NM is None else np.where(fits_NM, 0.0, -np.inf)
        if fits_NM is not None:
            similarity_NM = np.where(fits_NM, similarity_NM, similarity_NM.dtype.type(_UNFIT))
        k, step = min(self.top_k, size), max(1, _PAIRS // size)
        blocks = range(0, max(count, 1), step)
        keys_NK = np.concatenate([_best(similarity_NM[n : n + step], prices_M, k) for n in blocks])
        scores_NK = np.ceil(keys_NK / size)
        index_NK = (scores_NK * size - keys_NK).astype(np.int64)
        return index_NK, np.where(scores_NK > _UNFIT / 2 * _UNIT, scores_NK / _UNIT / self.temperature, -np.inf)

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
        # Newton's method: the sum is concave in the time, so steps from below never pass the solution
        all_N1 = (draws_N == np.isfinite(logits_NK).sum(axis=1))[:, None]
        time_N1 = draws_N[:, None].astype(float)
        for _ in range(60):
            left_NK = np.exp(-weights_NK * time_N1)
            missing_N1 = draws_N[:, None] - (1 - left_NK).sum(axis=1, keepdims=True)
            if (missing_N1[~all_N1] < 1e-6).all():
                break
            slope_N1 = (weights_NK * left_NK).sum(axis=1, keepdims=True)
            time_N1 = np.minimum(time_N1 + missing_N1 / np.maximum(slope_N1, 1e-300), _LATEST)
        return np.where(all_N1, np.isfinite(logits_NK), -np.expm1(-weights_NK * time_N1))

    def _salt(self) -> int:
        return int(content_id(str(self.seed), "match"), 16)

    def _probability(self, logits_NK: np.ndarray) -> np.ndarray:
        """Probability ``(N, K)`` of each candidate at the first draw; with *strategy* top1, 1 for those that fit."""
        return np.isfinite(logits_NK).astype(float) if self.strategy == "top1" else _softmax(logits_NK)

    def _draw(self, hash_N: np.ndarray, hash_NK: np.ndarray, logits_NK: np.ndarray) -> np.ndarray:
        """Draws without replacement ``(N, R)``, in their order: places among the candidates, -1 if none is left.

        Logits with Gumbel noise, in descending order, are draws from the softmax without replacement (Yellott 1977).
        The noise of a pair depends on its image, its instruction and the seed only: the same whatever the part, the
        batch and the rest of the bank.

        Args:
            hash_N: Hashes of the images.
            hash_NK: Hashes of the candidates.
        """
        draws = min(self.per_image, logits_NK.shape[1])
        if self.strategy == "top1":
            order_NR = np.broadcast_to(np.arange(draws), (len(logits_NK), draws))
        else:
            uniform_NK = ((_mix(hash_N[:, None] ^ hash_NK) >> np.uint64(11)) + 0.5) * 2.0**-53
            scores_NK = np.log(-np.log(uniform_NK)) - logits_NK
            order_NR = np.argpartition(scores_NK, draws - 1, axis=1)[:, :draws]
            ranks_NR = np.argsort(np.take_along_axis(scores_NK, order_NR, axis=1), axis=1)
            order_NR = np.take_along_axis(order_NR, ranks_NR, axis=1)
        fits_NR = np.isfinite(np.take_along_axis(logits_NK, order_NR, axis=1))
        return np.where(fits_NR, order_NR, -1)


def _best(similarity_NM: np.ndarray, prices_M: np.ndarray, k: int) -> np.ndarray:
    """Keys ``(N, K)`` of the highest scores, highest first: score in units x M - index, exact in float64.

    The k-th highest of the maxima of disjoint groups bounds the k-th highest score from below. So most of a row is only
    compared, without indices and unrounded, and the few scores above the bound are rounded and sorted.
    """
    count, size = similarity_NM.shape
    scores_NM = similarity_NM - prices_M.astype(similarity_NM.dtype)
    groups_NG = scores_NM
    while (half := groups_NG.shape[1] // 2) >= _GROUPS * k:
        groups_NG = np.maximum(groups_NG[:, :half], groups_NG[:, half : 2 * half])
    rank = groups_NG.shape[1] - k
    bound_N1 = np.partition(groups_NG, rank, axis=1)[:, [rank]] - 3 / _UNIT  # rounding moves two scores by a unit each
    n_C, m_C = np.divmod(np.flatnonzero(scores_NM >= np.maximum(bound_N1, _UNFIT / 2)), size)
    place_C = np.arange(len(n_C)) - np.searchsorted(n_C, np.arange(count))[n_C]
    width = max(k, int(place_C.max(initial=-1)) + 1)
    keys_NC = np.tile(_UNFIT * _UNIT * size - np.arange(width, dtype=np.float64), (count, 1))
    scores_C = _units(similarity_NM[n_C, m_C]).astype(np.float64) - np.rint(prices_M * _UNIT)[m_C]
    keys_NC[n_C, place_C] = scores_C * size - m_C
    return np.asarray(-np.sort(-keys_NC, axis=1)[:, :k])


def _units(similarity: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(similarity * np.asarray(_UNIT, similarity.dtype)))


def _mix(hashes: np.ndarray) -> np.ndarray:
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014): each bit of the result depends on each bit of the argument."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(hashes ^ (hashes >> np.uint64(31)))


def _hashes(salt: int, ids: list[str]) -> np.ndarray:
    """64-bit hash ``(N,)`` of each id. The same for an id in any list: the zero bytes that pad it are not hashed."""
    encoded = np.array([key.encode() for key in ids], np.bytes_)
    words_NW = encoded.astype(f"S{-(-encoded.dtype.itemsize // 8) * 8}").view("<u8").reshape(len(ids), -1)
    hashes_N = np.full(len(ids), salt, np.uint64)
    for words_N in words_NW.T:
        hashes_N = np.where(words_N > 0, _mix(hashes_N ^ words_N), hashes_N)
    return hashes_N


def _softmax(logits_NK: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; rows without any finite logit are zero."""
    top_N = logits_NK.max(axis=1, keepdims=True)
    weights_NK = np.exp(logits_NK - np.where(np.isfinite(top_N), top_N, 0))
    return np.asarray(weights_NK / np.maximum(weights_NK.sum(axis=1, keepdims=True), 1e-300))
