"""Comparison of a run's instructions with other sets: each measure at equal size, with its interval; coverage.

A measure of n texts is its mean over random parts of n texts, drawn without replacement: with replacement, repeated
texts would count as missing diversity. Its standard error is the delete-d jackknife's with d = N - n (Shao and Wu 1989,
Annals of Statistics 17:1176): the standard deviation over parts times sqrt(n / (N - n)). So each set needs more texts
than n. ``tests/quality/diversity`` measures how often the interval holds the true value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mminstruct.bench.intervals import Array, Estimate, rate, t_quantile
from mminstruct.bench.kinds import KINDS, kind_of
from mminstruct.microworld.families import classify
from mminstruct.models.model import MICRO, Model
from mminstruct.quality.diversity import measures
from mminstruct.quality.diversity.sets import TextSet, bank, read
from mminstruct.quality.run import RunTables
from mminstruct.stage import content_id, instruction_id, seed

PARTS = 400
"""Parts drawn of each set; their number changes a standard error by about 4 %."""
MOST = 2000
"""Texts of a set that are measured; of a larger set as many are drawn."""
FEWEST = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """Measures of one set."""

    set: TextSet
    used: int
    """Texts measured: all of them up to ``MOST``."""
    shared: int
    """Texts of the set that the run has, too."""
    measures: dict[str, Estimate]
    differences: dict[str, Estimate]
    """This set minus the run; empty for the run itself."""
    near_run: Estimate | None = None
    """Share of the set's texts with one of the run's among their nearest; None for the run, and without an embedder."""
    run_near: Estimate | None = None
    """Share of the run's texts with one of the set's among their nearest."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The run's instructions, first, and the sets that they are compared with."""

    asked: int
    n: int
    """Texts of each part: those asked for, or one fewer than the smallest set has."""
    embedder: str | None
    seed: int
    sets: list[Measured]


def compare(
    url: str, against: Sequence[str], *, n: int = 100, embedder: str | None = None, run_seed: int = 0
) -> Comparison:
    """Compare the instructions of the run at *url* with other sets.

    Args:
        url: Folder of the run.
        against: Files, or other runs.
        n: Texts of each part, 2 or more.
        embedder: Name of a model for texts, read by transformers; by default the run's own; ``none`` for measures of
            texts alone.
        run_seed: Seed of the parts.

    Raises:
        FileNotFoundError: there is no run, or no file.
        ValueError: a file in no known form, a set of fewer than 5 texts, or *n* below 2.
    """
    if n < 2:
        raise ValueError(f"--n {n}: give 2 or more texts")
    run = RunTables(url)
    sets = [bank(run), *(read(path) for path in against)]
    for one in sets:
        if len(one.texts) < FEWEST:
            raise ValueError(f"{one.name} has {len(one.texts)} distinct instructions: {FEWEST} are needed")
    texts = [_drawn(one, run_seed) for one in sets]
    size = min(n, min(map(len, texts)) - 1)
    model = Model(name=embedder) if embedder not in (None, "none") else None if embedder else run.model("embed")
    vectors = _vectors(model, texts)
    families = _of_the_microworld(run)
    found = [
        measured(some, None if vectors is None else vectors[place], size, run_seed, families=families)
        for place, some in enumerate(texts)
    ]
    ours = {instruction_id(text) for text in sets[0].texts}
    results = [Measured(sets[0], len(texts[0]), len(ours), found[0], {})]
    for place, one in enumerate(sets[1:], 1):
        there = sum(instruction_id(text) in ours for text in one.texts)
        beside = {name: _difference(value, found[0][name]) for name, value in found[place].items()}
        reached = reaches = None
        if vectors is not None:
            reached = covered(vectors[place], vectors[0], _parts(texts[0], size, run_seed))
            reaches = covered(vectors[0], vectors[place], _parts(texts[place], size, run_seed))
        results.append(Measured(one, len(texts[place]), there, found[place], beside, reached, reaches))
    return Comparison(n, size, model.name if model else None, run_seed, results)


def measured(
    texts: Sequence[str], vectors_ND: Array | None, n: int, run_seed: int, *, families: bool = False
) -> dict[str, Estimate]:
    """All measures of parts of *n* texts, by name.

    Args:
        texts: Distinct, more than *n*.
        vectors_ND: Their embeddings, of unit length.
        n: Texts of a part.
        run_seed: Seed of the parts, which also depend on the texts.
        families: Whether the microworld's grammar knows the kinds of these texts.
    """
    bits = math.log2(n)
    of = {
        "distinct-1": (measures.distinct(texts, 1), 1.0),
        "distinct-2": (measures.distinct(texts, 2), 1.0),
        "first verbs, bits": (measures.entropy([measures.first_verb(text) for text in texts]), bits),
        "kinds, bits": (measures.entropy([kind_of(text, KINDS) for text in texts]), bits),
    }
    if families:
        of["families, bits"] = (measures.entropy([classify(text) or "" for text in texts]), bits)
    if vectors_ND is not None:
        of["cosine distance"] = (measures.distance(vectors_ND), 2.0)
        of["Vendi score"] = (measures.vendi_score(vectors_ND), float(n))
    of["near-duplicates"] = (measures.near_duplicates(texts), 1.0)
    of["length, words"] = (measures.length(texts), math.inf)
    parts = _parts(texts, n, run_seed)
    found = {}
    for name, (measure, most) in of.items():
        one = resampled(np.array([measure(part) for part in parts]), n, len(texts))
        if one.low is not None and one.high is not None:
            one = replace(one, low=max(0.0, one.low), high=min(most, one.high))
        found[name] = one
    return found


def _parts(texts: Sequence[str], n: int, run_seed: int) -> list[measures.Places]:
    generator = np.random.default_rng(seed(run_seed, "diversity", *map(content_id, texts)))
    return [generator.permutation(len(texts))[:n] for _ in range(PARTS)]


def resampled(values_B: Array, n: int, size: int) -> Estimate:
    """Mean over parts of *n* of *size* texts, with the interval of the delete-d jackknife.

    No value where no part has one. No interval where all parts have one value: the set is then no evidence about how
    much another one would differ.
    """
    values_B = values_B[np.isfinite(values_B)]
    if not len(values_B):
        return Estimate(None, None, None, size)
    value, error = float(values_B.mean()), _error(values_B, n, size)
    if error < 1e-9:
        return Estimate(value, None, None, size)
    half = t_quantile(size) * error
    return Estimate(value, value - half, value + half, size)


def _error(values_B: Array, n: int, size: int) -> float:
    """Standard error of the mean over parts, with the error that comes from drawing only B of them."""
    return float(values_B.std()) * math.sqrt(n / (size - n) + 1 / len(values_B))


def _difference(one: Estimate, other: Estimate) -> Estimate:
    """*one* minus *other*, of two independent sets."""
    if one.value is None or other.value is None:
        return Estimate(None, None, None, min(one.n, other.n))
    value, half = one.value - other.value, math.hypot(_half(one), _half(other))
    n = min(one.n, other.n)
    return Estimate(value, value - half, value + half, n) if half else Estimate(value, None, None, n)


def _half(one: Estimate) -> float:
    return 0.0 if one.low is None or one.high is None else (one.high - one.low) / 2


def covered(vectors_ND: Array, others_MD: Array, parts: Sequence[measures.Places]) -> Estimate:
    """Share of texts near one of a part of the others (``measures.near_pairs``), 0 to 1.

    The variance has two terms: between the texts, and between the parts of the others, as in ``resampled``. Where both
    are 0, because all texts or none are near, the interval is Wilson's.
    """
    near_NM = measures.near_pairs(vectors_ND, others_MD)
    near_BN = np.array([near_NM[:, part].any(axis=1) for part in parts])
    chance_N, share_B = near_BN.mean(axis=0), near_BN.mean(axis=1)
    size = len(chance_N)
    error = math.hypot(_error(share_B, len(parts[0]), len(others_MD)), chance_N.std(ddof=1) / math.sqrt(size))
    if error < 1e-9:
        return rate(chance_N, np.ones(size))
    value, half = float(chance_N.mean()), t_quantile(min(size, len(others_MD))) * error
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), size)


def _drawn(one: TextSet, run_seed: int) -> list[str]:
    """All texts of a set, or ``MOST`` of them by content digest."""
    chosen = sorted(one.texts, key=lambda text: content_id(str(run_seed), instruction_id(text)))[:MOST]
    return sorted(chosen, key=instruction_id)


def _of_the_microworld(run: RunTables) -> bool:
    """Whether one of the embedded models, which know the microworld's families only, wrote the run's instructions."""
    written = run.manifests.get("instruct", {}).get("config", {}).get("model", {})
    return str(written.get("name", "")).startswith(MICRO)


def _vectors(model: Model | None, texts: Sequence[Sequence[str]]) -> list[Array] | None:
    """Embeddings of the texts of each set, of unit length; each distinct text is embedded once."""
    if model is None:
        return None
    every = sorted({text for some in texts for text in some})
    vectors_ND = np.asarray(model.embed().texts(every), np.float64)
    norms_N = np.linalg.norm(vectors_ND, axis=1)
    bad = [text for text, norm in zip(every, norms_N, strict=True) if not (np.isfinite(norm) and norm > 0)]
    if bad:
        raise ValueError(f"{model.name} has no embedding of {bad[0]!r}: its norm is 0 or not finite")
    place = {text: number for number, text in enumerate(every)}
    vectors_ND /= norms_N[:, None]
    return [vectors_ND[[place[text] for text in some]] for some in texts]
