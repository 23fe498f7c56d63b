"""Finds the domain of each image by CLIP: the one whose texts or seed images are nearest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from mminstruct import content, schemas
from mminstruct.models.model import Embed, Model
from mminstruct.readers.domains import Domain
from mminstruct.readers.evaluation import UNREADABLE, pictures
from mminstruct.readers.image import encode
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, files, output, part, role, whole
from mminstruct.store.sample import sample_rows

_BLOCK = 1024
"""Images per batch."""


def _looks(value: Any, holder: Any) -> Any:
    """What a domain file says to CLIP: other changes of the file leave the fingerprint as it is."""
    return [[one.name, list(one.looks)] if isinstance(one, Domain) else one for one in value]


def _folders(value: Any, holder: Any) -> Any:
    return {name: str(content.look(path)) for name, path in value.items()}


@dataclass(kw_only=True)
class Retrieve(Stage):
    """One domain for each image of the user's own pool (MMInstruct, arXiv 2407.15838, step a).

    The paper searches the web by keywords and seed images; a crawler would need rights to the images. The score of a
    domain is the highest cosine over its texts and seed images, minus its mean score over a sample of the images,
    because some texts are near every image. Runs before any image is described: what fits nothing costs one CLIP pass.
    """

    model: Model = role("clip")
    domains: list[Any] = field(default_factory=list, metadata={"domains": True, "files": _looks})
    """Domains (``readers.domains.Domain``); in YAML, names of their files."""
    only: list[str] = field(default_factory=list)
    """Names of the domains whose images are kept; empty: all. The other domains compete, too: an image that one of
    them wins is ``no_domain``."""
    folders: dict[str, str] = files(factory=dict, read=_folders)
    """Seed images: domain -> folder."""
    unreadable: str = "stop"
    """If seed images cannot be read: ``stop`` the build and list them, or only ``note`` it."""
    per_domain: int | None = None
    """About how many images of the whole source a domain keeps, those with the highest scores; None: all. The threshold
    is taken from the sample."""
    floor: float | None = None
    """Minimum cosine. Typical cosines differ between models: look at the table before use."""
    margin: float | None = None
    """Minimum lead over the next domain, cosine units."""
    sample_images: int = 512
    """Number of images from which means and thresholds are computed."""

    kind = "encoder"
    reads = {"ingest": part("image_id", "image"), "sample": whole("image", of="ingest")}
    writes = schemas.RETRIEVE
    row_key = "image_id"
    call_tokens = Tokens(input=0)  # only the image: texts are encoded once per worker

    def check(self) -> None:
        faults, names = [], [one.name for one in self.domains]
        if not names:
            faults.append("domains is empty: name a domain file, such as domains=[domains]")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            faults.append(f"domains has {', '.join(twice)} twice: each domain is in one file")
        for key, given in (("only", self.only), ("folders", self.folders)):
            if unknown := sorted(set(given) - set(names)):
                faults.append(f"{key} has {', '.join(unknown)}: the domains are {', '.join(names)}")
        faults += [f"folders.{name}={path}: no such folder" for name, path in self.folders.items()
                   if not os.path.isdir(path)]  # fmt: skip
        if self.unreadable not in UNREADABLE:
            faults.append(f"unreadable={self.unreadable}: take {' or '.join(UNREADABLE)}")
        if self.per_domain is not None and self.per_domain < 1:
            faults.append(f"per_domain={self.per_domain}: take 1 or more, or null for all")
        if self.sample_images < 1:
            faults.append(f"sample_images={self.sample_images}: take 1 or more")
        if self.margin is not None and self.margin < 0:
            faults.append(f"margin={self.margin}: take 0 or more, or null for no limit")
        if faults:
            raise ValueError("\n".join(faults))

    def load(self, *, sample: ds.Dataset) -> Transform:
        clip = self.model.embed()
        scorer = _Scorer(clip, self._looks(clip))
        images = sample_rows(sample, "image", self.sample_images)
        similarity_SG = scorer.similarity(images)
        similarity_SG = similarity_SG[np.isfinite(similarity_SG).all(axis=1)]
        mean_G = np.round(similarity_SG.mean(axis=0), 5) if len(similarity_SG) else np.zeros(len(scorer.names))
        share = len(similarity_SG) / max(1, sample.count_rows())
        least_G = self._thresholds(similarity_SG - mean_G, share)

        def retrieve(ingest: pa.Table) -> StageOutput:
            rows: list[dict[str, object] | Drop] = []
            for start in range(0, ingest.num_rows, _BLOCK):
                block = ingest.slice(start, _BLOCK)
                cosine_BL = scorer.cosines(block["image"].to_pylist())
                for image_id, cosine_L in zip(block["image_id"].to_pylist(), cosine_BL, strict=True):
                    rows.append(self._row(image_id, cosine_L, scorer, mean_G, least_G))
            return output(self.writes, rows)

        return retrieve

    def _row(
        self, image_id: str, cosine_L: np.ndarray, scorer: _Scorer, mean_G: np.ndarray, least_G: np.ndarray
    ) -> dict[str, object] | Drop:
        if not np.isfinite(cosine_L).all():
            return Drop(image_id, "bad_embedding")
        score_G = scorer.best(cosine_L[None])[0] - mean_G
        best = int(score_G.argmax())
        name, mine_L = scorer.names[best], scorer.owner_L == best
        place = int(np.where(mine_L, cosine_L, -np.inf).argmax())
        similarity = float(cosine_L[place])
        lead = float(score_G[best] - np.delete(score_G, best).max()) if len(score_G) > 1 else None
        told = f"{name}: cosine {similarity:.3f}" + ("" if lead is None else f", lead {lead:.3f}")
        low = self.floor is not None and similarity < self.floor
        near = self.margin is not None and lead is not None and lead < self.margin
        other = bool(self.only) and name not in self.only
        if low or near or other or score_G[best] < least_G[best]:
            return Drop(image_id, "no_domain", told)
        return {
            "image_id": image_id, "domain": name, "similarity": similarity, "margin": lead,
            "nearest": scorer.labels[place],
        }  # fmt: skip

    def _thresholds(self, score_SG: np.ndarray, share: float) -> np.ndarray:
        """Least score of each domain at which about ``per_domain`` images of the whole source are kept."""
        least_G = np.full(score_SG.shape[1], -np.inf)
        if self.per_domain is None or not len(score_SG):
            return least_G
        best_S = score_SG.argmax(axis=1)
        wanted = max(1, round(self.per_domain * share))
        for place in range(score_SG.shape[1]):
            mine = np.sort(score_SG[best_S == place, place])[::-1]
            if len(mine) > wanted:
                least_G[place] = mine[wanted - 1]
        return least_G

    def _looks(self, clip: Embed) -> Iterator[tuple[str, str, np.ndarray]]:
        """(domain, text or file name, embedding) of all that images are compared with."""
        for one in sorted(self.domains, key=lambda one: str(one.name)):
            yield from zip([one.name] * len(one.looks), one.looks, clip.texts(list(one.looks)), strict=True)
            if folder := self.folders.get(one.name):
                found = pictures(
                    folder, self.unreadable, "recipe.retrieve.unreadable", "no image would be compared with them"
                )
                while some := list(islice(found, _BLOCK)):
                    vectors = clip.images([encode(picture, lossless=False) for _, picture in some])
                    yield from ((one.name, name, vector) for (name, _), vector in zip(some, vectors, strict=True))


class _Scorer:
    """Cosines of images with all looks ``(N, L)``, and with the nearest look of each domain ``(N, G)``."""

    def __init__(self, clip: Embed, looks: Iterator[tuple[str, str, np.ndarray]]) -> None:
        owners, labels, vectors = zip(*looks, strict=True)
        self._clip = clip
        self.names: list[str] = list(dict.fromkeys(owners))
        self.labels: tuple[str, ...] = labels
        self.owner_L = np.array([self.names.index(name) for name in owners])
        self._look_LD = np.stack(vectors)

    def cosines(self, images: list[bytes]) -> np.ndarray:
        # five decimals: the last bits of a product depend on the machine and the number of threads
        return np.asarray(np.round(self._clip.images(images) @ self._look_LD.T, 5), np.float64)

    def similarity(self, images: list[bytes]) -> np.ndarray:
        blocks = [self.best(self.cosines(images[n : n + _BLOCK])) for n in range(0, len(images), _BLOCK)]
        return np.concatenate(blocks) if blocks else np.zeros((0, len(self.names)))

    def best(self, cosine_NL: np.ndarray) -> np.ndarray:
        columns = [cosine_NL[:, self.owner_L == place].max(axis=1) for place in range(len(self.names))]
        return np.stack(columns, axis=1)
