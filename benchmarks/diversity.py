"""Measures how often the intervals of `mminstruct diversity` hold the true value, for docs/checks.md.

    python -m benchmarks.diversity [--sets 150]

Texts are drawn from a population with Zipf's law of words and of topics. The true value of a measure is its mean over
600 independent sets of n texts; then the interval is computed from sets of N texts, as the command does.
"""

from __future__ import annotations

import argparse

import numpy as np

from mminstruct.quality.diversity import compare, measures

SIZES = ((36, 35), (36, 30), (55, 35), (200, 100), (1000, 100))
"""(texts of a set, texts of a part)"""
WORDS, TOPICS, WIDTH = 300, 30, 24


class Population:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.normal(size=(TOPICS, WIDTH))
        self.words = [f"w{rank}" for rank in range(WORDS)]

    def draw(self, size: int) -> dict[str, measures.Measured]:
        """Measures of *size* texts."""
        topics = self._zipf(TOPICS, size)
        vectors = self.centres[topics] + 0.7 * self.rng.normal(size=(size, WIDTH))
        vectors /= np.linalg.norm(vectors, axis=1)[:, None]
        lengths = self.rng.integers(4, 9, size)
        texts = [" ".join(self.words[rank] for rank in self._zipf(WORDS, length)) for length in lengths]
        return {
            "distinct-1": measures.distinct(texts, 1),
            "distinct-2": measures.distinct(texts, 2),
            "first verbs": measures.entropy([measures.first_verb(text) for text in texts]),
            "kinds": measures.entropy([str(topic) for topic in topics]),
            "cosine distance": measures.distance(vectors),
            "Vendi score": measures.vendi_score(vectors),
            "length": measures.length(texts),
        }

    def _zipf(self, kinds: int, size: int) -> np.ndarray:
        share = 1 / np.arange(1, kinds + 1)
        return self.rng.choice(kinds, size, p=share / share.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=int, default=150)
    sets = parser.parse_args().sets
    people = Population(1)
    for size, n in SIZES:
        alone = [{name: of(np.arange(n)) for name, of in people.draw(n).items()} for _ in range(600)]
        true = {name: np.mean([one[name] for one in alone]) for name in alone[0]}
        held = dict.fromkeys(true, 0)
        for _ in range(sets):
            parts = [people.rng.permutation(size)[:n] for _ in range(compare.PARTS)]
            for name, of in people.draw(size).items():
                found = compare.resampled(np.array([of(part) for part in parts]), n, size)
                held[name] += found.low is not None and found.low <= true[name] <= found.high
        said = ", ".join(f"{name} {count / sets:.2f}" for name, count in held.items())
        print(f"{n} of {size} texts: {said}", flush=True)


if __name__ == "__main__":
    main()
