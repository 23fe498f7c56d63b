"""The pairs of a selection as columns of numbers, and which of them are dropped."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mminstruct.schemas.ids import alike, joined, numbers, places, texts
from mminstruct.stage import Drop
from mminstruct.unit import note

SIDES = ("image", "instruction", "kind", "domain")
"""The properties of a pair by which it is selected."""
_NEAR = {"dup_image": "image", "dup_answer": "pair"}
"""Reason whose detail names another image or pair; others have a text."""
_TWELFTHS = 12
"""The means of up to four ratings are whole numbers of twelfths."""
_RATED = 1 << 12
"""More than twelve times the highest rating that an int8 can hold."""
_LOOKED_UP = 1 << 18
"""Rows that are joined, or numbered, at once."""


class Side:
    """One property of all pairs: a number for each, in the order of the ids or names that the numbers stand for."""

    def __init__(self, ids: np.ndarray, of_N: np.ndarray) -> None:
        self.ids = ids
        """All ids or names in order, in the form of ``schemas.ids.numbers``."""
        self.of_N = of_N
        """int32, or less where that is enough."""
        self.count = len(ids)

    @classmethod
    def of(cls, ids_N: np.ndarray) -> Side:
        """From ids as ``schemas.ids.numbers``."""
        names = np.unique(ids_N)
        of_N = np.empty(len(ids_N), np.min_scalar_type(-len(names) - 1))
        for start in range(0, len(ids_N), _LOOKED_UP):
            block = slice(start, start + _LOOKED_UP)
            of_N[block] = np.searchsorted(names, ids_N[block])
        return cls(names, of_N)

    @classmethod
    def named(cls, batches: list[pa.DictionaryArray]) -> Side:
        """From names, of which there are few."""
        names = sorted({name for batch in batches for name in batch.dictionary.to_pylist()})
        type_ = np.min_scalar_type(-len(names) - 1)
        place = {name: number for number, name in enumerate(names)}
        found = [np.empty(0, type_)]
        for batch in batches:
            known = np.array([place[name] for name in batch.dictionary.to_pylist()], type_)
            found.append(known[batch.indices.to_numpy(zero_copy_only=False)])
        return cls(np.array([name.encode() for name in names], np.bytes_), np.concatenate(found))

    def texts(self, numbers: np.ndarray | Sequence[int]) -> pa.Array:
        """Ids or names of these *numbers*."""
        return texts(self.ids[np.asarray(numbers, np.int64)])

    def has(self, names: Collection[str]) -> np.ndarray:
        """Which ids or names are among *names* ``(count,)``."""
        found, known = places(self.ids, numbers(pa.array(sorted(names), pa.string())))
        among = np.zeros(self.count, bool)
        among[found[known]] = True
        return among


class Choice:
    """Pairs by row, in input order, and whether each was dropped: about 30 bytes a pair, and 8 for each id.

    Args:
        parts: Part key -> batches with ``pair_id``, ``image_id``, ``instruction_id``, ``kind``, ``domain`` and
            ``decision``.
        ranks: Of several pairs, those whose decision has a lower rank stay where only some may.
    """

    def __init__(self, parts: Iterable[tuple[str, Iterable[pa.RecordBatch]]], ranks: dict[str, int]) -> None:
        self.parts: dict[str, slice] = {}
        """Rows of each part."""
        ids: dict[str, list[np.ndarray]] = {"pair": [], "image": [], "instruction": []}
        names: dict[str, list[pa.DictionaryArray]] = {"kind": [], "domain": []}
        preferred: list[np.ndarray] = []
        words, rank_of = pa.array(list(ranks), pa.string()), np.array(list(ranks.values()), np.int32)
        count = flat = flat_rows = 0
        for key, batches in parts:
            start = count
            for batch in batches:
                count += len(batch)
                for name, found in ids.items():
                    found.append(numbers(batch[f"{name}_id"]))
                for name, some in names.items():
                    some.append(_encoded(batch[name]))
                rank_places = pc.index_in(batch["decision"], words)
                if rank_places.null_count:
                    raise ValueError(f"part {key} of review has a decision that is none of {', '.join(ranks)}")
                preferred.append(rank_of[rank_places.to_numpy(zero_copy_only=False)] * np.int32(_RATED))
                if count - flat_rows >= _LOOKED_UP:  # arrays of one batch each would leave holes in the heap
                    for found in ids.values():
                        found[flat:] = [joined(found[flat:])]
                    preferred[flat:] = [np.concatenate(preferred[flat:])]
                    flat, flat_rows = flat + 1, count
            self.parts[key] = slice(start, count)
        self.sides = {name: Side.named(names.pop(name)) for name in ("kind", "domain")}
        # a list goes when its column is made, since each may have gigabytes
        self.sides |= {name: Side.of(joined(ids.pop(name))) for name in ("image", "instruction")}
        self.pair_N = joined(ids.pop("pair"))
        self.prefer_N = np.concatenate([np.empty(0, np.int32), *preferred])
        """Pairs with a lower number are preferred."""
        del preferred
        self.reasons = ["", "duplicate"]
        self._said: dict[str, int] = {}
        self.reason_N = np.zeros(count, np.uint8)
        self._detail_N = np.zeros(count, np.int64 if count >= 2**31 else np.int32)
        self._repeated()

    def _repeated(self) -> None:
        """Of pairs whose image is in two shards, the first is kept."""
        sorted_N = np.sort(self.pair_N)
        twice = np.unique(sorted_N[1:][sorted_N[1:] == sorted_N[:-1]])
        del sorted_N
        if len(twice):
            rows = np.flatnonzero(np.isin(self.pair_N, twice))
            _, first = np.unique(self.pair_N[rows], return_index=True)
            self.reason_N[np.delete(rows, first)] = 1
            note("duplicate_pairs", len(rows) - len(first))

    def rate(self, rows: np.ndarray, means: np.ndarray) -> None:
        """Of pairs with the same rank, those with a higher mean rating (1 to 5) stay; the unrated come last."""
        rank = -(-self.prefer_N[rows] // _RATED)
        self.prefer_N[rows] = rank * _RATED - np.rint(means * _TWELFTHS).astype(np.int32)

    def open(self) -> np.ndarray:
        """Rows that are not dropped ``(M,)``."""
        return np.flatnonzero(self.reason_N == 0)

    def drop(self, rows: np.ndarray | Sequence[int], reason: str, detail: str | np.ndarray) -> None:
        """Drop those of *rows* that are still open.

        Args:
            detail: A text, or for near images and answers the number of the kept image or row, for each of *rows*.
        """
        rows = np.asarray(rows, np.int64)
        still = self.reason_N[rows] == 0
        if reason not in self.reasons:
            self.reasons.append(reason)
        if isinstance(detail, str):
            self._detail_N[rows[still]] = self._said.setdefault(detail, len(self._said))
        else:
            self._detail_N[rows[still]] = detail[still]
        self.reason_N[rows[still]] = self.reasons.index(reason)

    def groups(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Open rows sorted by one of ``SIDES``, in input order within it, and where each of its values begins."""
        of_N, rows = self.sides[name].of_N, self.open().astype(self._detail_N.dtype)
        rows = rows[np.argsort(of_N[rows], kind="stable")]
        return rows, np.concatenate([[0], np.cumsum(np.bincount(of_N[rows], minlength=self.sides[name].count))])

    def rows(self, key: str, test_N: np.ndarray) -> tuple[dict[str, pa.Array], list[Drop]]:
        """Columns of the kept rows of a part, and its drops."""
        first = self.parts[key].start
        reason = self.reason_N[self.parts[key]]
        kept, gone = first + np.flatnonzero(reason == 0), first + np.flatnonzero(reason > 1)
        names = {name: side.texts(side.of_N[kept]) for name, side in self.sides.items()}
        split = pa.array(np.where(test_N[kept], "test", "train"), pa.string())
        columns = {
            "pair_id": texts(self.pair_N[kept]), "image_id": names["image"], "instruction_id": names["instruction"],
            "split": split, "kind": names["kind"], "domain": names["domain"],
        }  # fmt: skip
        return columns, list(self._drops(gone))

    def _drops(self, rows: np.ndarray) -> Iterator[Drop]:
        said, pairs = list(self._said), texts(self.pair_N[rows]).to_pylist()
        for pair, code, detail in zip(pairs, self.reason_N[rows].tolist(), self._detail_N[rows].tolist(), strict=True):
            reason = self.reasons[code]
            if reason not in _NEAR:
                told = said[detail]
            elif _NEAR[reason] == "image":
                told = f"near {self.sides['image'].texts([detail])[0]}"
            else:
                told = f"near {texts(self.pair_N[detail : detail + 1])[0]}"
            yield Drop(pair, reason, told)


def parts(review: ds.Dataset) -> Iterator[tuple[str, Iterator[pa.RecordBatch]]]:
    """Key and batches of each part of ``review``, for ``Choice``."""
    columns = ["pair_id", "image_id", "instruction_id", "kind", "domain", "decision"]
    for fragment in review.get_fragments():
        yield os.path.basename(fragment.path).split(".")[0], fragment.to_batches(columns=columns)


def image_hashes(choice: Choice, ingest: ds.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Perceptual hash of each image that has a pair ``(I,)``, and whether ``ingest`` has the image ``(I,)``."""
    ids = choice.sides["image"].ids
    hash_I, hashed_I = np.zeros(len(ids), np.uint64), np.zeros(len(ids), bool)
    for batch in ingest.to_batches(columns=["image_id", "phash"]):
        place_M, there_M = places(ids, numbers(batch["image_id"]))
        hash_I[place_M[there_M]] = batch["phash"].to_numpy()[there_M]
        hashed_I[place_M[there_M]] = True
    return hash_I, hashed_I


def still_open(choice: Choice, review: ds.Dataset, *columns: str) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
    """The rows that are still open, by number, and their *columns*.

    Raises:
        ValueError: the rows are not those that *choice* was made from.
    """
    start = 0
    for batch in review.to_batches(columns=["pair_id", *columns]):
        known, found = alike([choice.pair_N[start : start + len(batch)], numbers(batch["pair_id"])])
        if not np.array_equal(known, found):
            raise ValueError(
                f"review has other rows than before, from row {start} on: it was changed while it was read"
            )
        open_N = choice.reason_N[start : start + len(batch)] == 0
        yield start + np.flatnonzero(open_N), batch.filter(pa.array(open_N))
        start += len(batch)


def open_answers(choice: Choice, review: ds.Dataset, count: int) -> Iterator[tuple[np.ndarray, list[str]]]:
    """The answers of open rows, at least *count* at a time."""
    found: list[np.ndarray] = []
    answers: list[str] = []
    for rows, batch in still_open(choice, review, "answer"):
        found.append(rows)
        answers += batch["answer"].to_pylist()
        if len(answers) >= count:
            yield np.concatenate(found), answers
            found, answers = [], []
    if answers:
        yield np.concatenate(found), answers


def _encoded(names: pa.Array) -> pa.DictionaryArray:
    """*names* by number, in as few bytes as possible."""
    encoded = names.dictionary_encode()
    smallest = pa.from_numpy_dtype(np.min_scalar_type(-len(encoded.dictionary) - 1))
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(smallest), encoded.dictionary)
