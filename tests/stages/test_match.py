from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import chisquare

from mminstruct import schemas
from mminstruct.models.model import Model
from mminstruct.readers.image import load
from mminstruct.stages import match as module
from mminstruct.stages.match import Match, _hashes

DIMENSIONS = 16


@dataclass(kw_only=True)
class Space(Model):
    """An encoder that takes vectors from names: text "3" is axis 3; image bytes are float32 values, or a picture whose
    mean red and green are its cosines to the first two axes."""

    def embed(self) -> Any:
        return self

    def texts(self, texts: list[str]) -> np.ndarray:
        return np.eye(DIMENSIONS, dtype=np.float32)[[int(text) for text in texts]]

    def images(self, images: list[bytes]) -> np.ndarray:
        return np.stack([self._vector(image) for image in images])

    @staticmethod
    def _vector(image: bytes) -> np.ndarray:
        if len(image) == 4 * DIMENSIONS:
            return np.frombuffer(image, np.float32)
        red, green, _ = np.asarray(load(image)).mean(axis=(0, 1)) / 255
        return near(red, green)


def near(*cosines: float) -> np.ndarray:
    """A unit vector with these cosines to the first axes; the rest is on the last axis."""
    vector = np.zeros(DIMENSIONS, np.float32)
    vector[: len(cosines)] = cosines
    vector[-1] = np.sqrt(1 - np.square(vector).sum())
    return vector


def images(vectors: list[np.ndarray], start: int = 0) -> pa.Table:
    return pa.table(
        {
            "image_id": [f"i{start + n}" for n in range(len(vectors))],
            "image": pa.array([vector.tobytes() for vector in vectors], pa.large_binary()),
        }
    )


def run(folder: Path, stage: Match, parts: list[pa.Table], bank: int, undescribed: tuple[str, ...] = ()) -> list[Any]:
    """Match every part; returns all rows and drops."""
    folder.mkdir()
    for n, part in enumerate(parts):
        pq.write_table(part, folder / f"s-{n:04d}.0123abcd.parquet")
    summarize = ds.dataset(
        pa.table({"instruction_id": [f"t{n:02d}" for n in range(bank)], "instruction": [str(n) for n in range(bank)]})
    )
    match = stage.load(summarize=summarize, sample=ds.dataset(folder))
    done = []
    for part in parts:
        described = [key for key in part["image_id"].to_pylist() if key not in undescribed]
        made = match(ingest=part, fuse=pa.table({"image_id": pa.array(described, pa.string())}))
        assert made.table.schema == schemas.MATCH
        done.append(made)
    return done


def test_draws_follow_the_softmax_of_similarities(tmp_path: Path) -> None:
    cosines = (0.30, 0.31, 0.28)
    stage = Match(model=Space(name="space"), per_image=1, top_k=3, prices=False)
    (made,) = run(tmp_path / "run", stage, [images([near(*cosines)] * 4000)], bank=8)
    counts = Counter(made.table["instruction_id"].to_pylist())
    expected = np.exp(np.array(cosines) / 0.01)
    expected /= expected.sum()
    for n, probability in enumerate(expected):
        assert counts[f"t{n:02d}"] / 4000 == pytest.approx(probability, abs=4 * np.sqrt(0.25 / 4000))
    by_instruction = {row["instruction_id"]: row["probability"] for row in made.table.to_pylist()}
    assert [by_instruction[f"t{n:02d}"] for n in range(3)] == pytest.approx(expected, rel=1e-3)


def test_an_image_never_gets_one_instruction_twice_however_steep_the_softmax(tmp_path: Path) -> None:
    stage = Match(model=Space(name="space"), per_image=3, top_k=3, temperature=1e-4, prices=False)
    (made,) = run(tmp_path / "run", stage, [images([near(0.9, 0.1, 0.0)] * 50)], bank=3)
    assert made.table.num_rows == 150
    assert len(set(made.table["pair_id"].to_pylist())) == 150


def test_what_an_image_gets_is_the_same_in_any_part_batch_and_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors = [near(*rng.uniform(0.1, 0.3, 8)) for _ in range(60)]
    stage = Match(model=Space(name="space"), top_k=5, prices=False)
    (whole,) = run(tmp_path / "whole", stage, [images(vectors)], bank=8)
    split = run(tmp_path / "split", stage, [images(vectors[:7]), images(vectors[7:], start=7)], bank=8)
    assert pa.concat_tables([made.table for made in split]).to_pylist() == whole.table.to_pylist()
    monkeypatch.setattr(module, "_BLOCK", 13)
    monkeypatch.setattr(module, "_PAIRS", 40)
    (backwards,) = run(tmp_path / "backwards", stage, [images(vectors).take(list(range(59, -1, -1)))], bank=8)
    both = [sorted(made.table.to_pylist(), key=lambda row: row["pair_id"]) for made in (whole, backwards)]
    assert both[0] == both[1]


def test_a_longer_bank_redraws_only_what_the_new_instructions_win(tmp_path: Path) -> None:
    vectors = [near(0.3, 0.3, 0.3, 0.301)] * 400  # the new one is the first candidate: the others move by one place
    stage = Match(model=Space(name="space"), per_image=1, top_k=8, prices=False)
    (few,) = run(tmp_path / "few", stage, [images(vectors)], bank=3)
    (more,) = run(tmp_path / "more", stage, [images(vectors)], bank=4)
    was, now = few.table["instruction_id"].to_pylist(), more.table["instruction_id"].to_pylist()
    assert {pair for pair in zip(was, now, strict=True) if len(set(pair)) > 1} == {
        (f"t{n:02d}", "t03") for n in range(3)
    }


def test_draws_have_the_probabilities_of_drawing_without_replacement_over_images_and_over_seeds() -> None:
    cosines, draws = np.array([0.30, 0.31, 0.28, 0.295, 0.25]), 2
    weights = np.exp(cosines / 0.01)
    weights /= weights.sum()
    intended = {
        (one, other): weights[one] * weights[other] / (1 - weights[one])
        for one, other in itertools.permutations(range(5), draws)
    }

    def counts(seeds: range, ids: list[str]) -> Counter[tuple[int, ...]]:
        found: Counter[tuple[int, ...]] = Counter()
        for seed in seeds:
            stage = Match(model=Space(name="space"), per_image=draws, top_k=5, prices=False, seed=seed)
            index_NK, logits_NK = stage.choices(np.tile(cosines, (len(ids), 1)), np.zeros(5))
            bank = _hashes(stage._salt(), [f"t{n}" for n in range(5)])
            places_NR = stage._draw(_hashes(stage._salt(), ids), bank[index_NK], logits_NK)
            found.update(map(tuple, np.take_along_axis(index_NK, places_NR, axis=1).tolist()))
        return found

    for found in (
        counts(range(1), [f"{n:016x}" for n in range(40000)]),
        counts(range(4000), ["a" * 16, "b", "x" * 30]),
    ):
        total = sum(found.values())
        often = [pair for pair, probability in intended.items() if probability * total >= 5]
        rest = total - sum(found[pair] for pair in often)
        expected = [intended[pair] * total for pair in often]
        assert chisquare([*(found[pair] for pair in often), rest], [*expected, total - sum(expected)]).pvalue > 1e-3


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(0, 2**31 - 1),
    st.sampled_from([None, 0.2, 0.26]),
    st.sampled_from([None, 0.0, 0.03]),
    st.sampled_from([1, 37, 1 << 18]),
)
def test_the_best_are_found_exactly_and_of_equal_scores_the_first_in_the_bank(
    count: int, bank: int, k: int, seed: int, floor: float | None, margin: float | None, pairs: int
) -> None:
    rng = np.random.default_rng(seed)
    units_NM, prices_M = (
        rng.integers(24990, 25010, (count, bank)) * rng.choice([1, 1.04], (count, 1)),
        rng.integers(0, 9, bank) + rng.choice([0, 0.4]),
    )
    units_NM = np.rint(units_NM).astype(int)
    noise = rng.uniform(-0.3, 0.3, units_NM.shape)
    similarity_NM = ((units_NM + noise) / 1e5).astype(np.float32)
    stage = Match(model=Space(name="space"), per_image=1, top_k=k, floor=floor, margin=margin)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAIRS", pairs)
        index_NK, logits_NK = stage.choices(similarity_NM, prices_M / 1e5)
    for row in range(count):
        least = max(
            -1e6 if floor is None else round(floor * 1e5),
            -1e6 if margin is None else units_NM[row].mean() + margin * 1e5,
        )
        fit = [m for m in range(bank) if units_NM[row, m] >= least - 1e-6]
        best = sorted(fit, key=lambda m: (np.rint(prices_M[m]) - units_NM[row, m], m))[:k]
        there = np.isfinite(logits_NK[row])
        assert index_NK[row][there].tolist() == best
        assert logits_NK[row][there] == pytest.approx(
            [(units_NM[row, m] - np.rint(prices_M[m])) / 1000 for m in best], rel=1e-9
        )
        assert ((index_NK[row] >= 0) & (index_NK[row] < bank)).all()


def test_an_instruction_without_a_finite_embedding_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Space, "texts", lambda self, texts: np.full((len(texts), DIMENSIONS), np.nan, np.float32))
    with pytest.raises(ValueError, match="instruction t00 is not finite"):
        run(tmp_path / "run", Match(model=Space(name="space")), [images([near(0.3)])], bank=2)


def test_prices_hold_a_hub_to_its_cap_and_force_up_nobody(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    # instruction 0 is slightly nearer to every image than all others; 11 fits none
    vectors = [near(0.30, *rng.uniform(0.2, 0.28, 10), 0.0) for _ in range(600)]
    parts = [images(vectors[n : n + 100], start=n) for n in range(0, 600, 100)]

    def shares(**fields: Any) -> np.ndarray:
        stage = Match(model=Space(name="space"), per_image=2, cap=2.0, sample_images=300, **fields)
        done = run(tmp_path / str(len(list(tmp_path.iterdir()))), stage, parts, bank=12)
        counts = Counter(key for made in done for key in made.table["instruction_id"].to_pylist())
        return np.array([counts[f"t{n:02d}"] for n in range(12)]) / sum(counts.values())

    free, priced = shares(prices=False), shares()
    assert free[0] > 0.35
    assert priced[0] == pytest.approx(2 / 12, abs=0.03)
    assert priced.max() < 2 / 12 + 0.03
    assert priced[11] <= free[11] + 0.01


def test_prices_are_zero_where_no_share_is_over_the_cap() -> None:
    similarity_SM = np.random.default_rng(2).uniform(0.2, 0.25, (400, 12))
    assert not Match(model=Space(name="space"), cap=3.0).find_prices(similarity_SM).any()


def test_prices_are_paid_and_never_paid_out() -> None:
    similarity_SM = np.random.default_rng(3).uniform(0.2, 0.25, (400, 12))
    similarity_SM[:, 0] += 0.05
    similarity_SM[:, 11] -= 0.1
    prices_M = Match(model=Space(name="space"), cap=2.0).find_prices(similarity_SM)
    assert prices_M[0] > 0.01
    assert prices_M[11] == 0
    assert prices_M.min() == 0


def test_a_cap_that_floors_make_impossible_still_gives_finite_prices() -> None:
    similarity_SM = np.full((50, 12), 0.1)
    similarity_SM[:, 0] = 0.3
    prices_M = Match(model=Space(name="space"), floor=0.2, cap=1.0).find_prices(similarity_SM)
    assert np.isfinite(prices_M).all()
    assert (prices_M >= 0).all()


def test_expected_draws_are_near_to_what_is_drawn(tmp_path: Path) -> None:
    stage = Match(model=Space(name="space"), per_image=2, top_k=4, prices=False)
    cosines = (0.30, 0.295, 0.28, 0.27)
    _, logits_NK = stage.choices(np.array([cosines]), np.zeros(4))
    expected = stage._inclusion(logits_NK)[0]
    assert expected.sum() == pytest.approx(2, abs=1e-6)
    (made,) = run(tmp_path / "run", stage, [images([near(*cosines)] * 3000)], bank=4)
    counts = Counter(made.table["instruction_id"].to_pylist())
    for n in range(4):
        assert counts[f"t{n:02d}"] / 3000 == pytest.approx(expected[n], abs=0.08)


def test_images_without_a_good_fit_or_a_sound_embedding_leave_with_the_reason(tmp_path: Path) -> None:
    stage = Match(model=Space(name="space"), floor=0.25, prices=False)
    vectors = [near(0.3, 0.1), near(0.2, 0.1), near(0.3, 0.3), np.full(DIMENSIONS, np.nan, np.float32)]
    (made,) = run(tmp_path / "run", stage, [images(vectors)], bank=4, undescribed=("i2",))
    assert {(drop.id, drop.reason) for drop in made.drops} == {
        ("i1", "no_good_fit"), ("i3", "bad_embedding"),
    }  # fmt: skip
    assert made.table.to_pylist()[0]["instruction_id"] == "t00"
    assert made.table.num_rows == 1  # of two wanted, only one fits


def test_a_margin_is_measured_from_the_images_own_mean(tmp_path: Path) -> None:
    stage = Match(model=Space(name="space"), per_image=1, margin=0.1, prices=False)
    (made,) = run(tmp_path / "run", stage, [images([near(0.6, 0.6, 0.5), near(0.3, 0.1, 0.1)])], bank=3)
    assert [drop.id for drop in made.drops] == ["i0"]
    assert made.table["instruction_id"].to_pylist() == ["t00"]


def test_a_floor_of_zero_is_a_floor() -> None:
    index_NK, logits_NK = Match(model=Space(name="space"), floor=0.0).choices(np.array([[-0.1, 0.1]]), np.zeros(2))
    assert index_NK[np.isfinite(logits_NK)].tolist() == [1]


def test_top1_takes_the_nearest_and_random_takes_any(tmp_path: Path) -> None:
    vectors = [near(0.3, 0.4, 0.2)] * 300
    (top,) = run(
        tmp_path / "top", Match(model=Space(name="space"), per_image=2, strategy="top1"), [images(vectors)], bank=3
    )
    assert Counter(top.table["instruction_id"].to_pylist()) == {"t00": 300, "t01": 300}
    stage = Match(model=Space(name="space"), per_image=1, strategy="random")
    (anyone,) = run(tmp_path / "random", stage, [images(vectors)], bank=3)
    assert min(Counter(anyone.table["instruction_id"].to_pylist()).values()) > 60


def test_a_bank_smaller_than_per_image_gives_what_there_is(tmp_path: Path) -> None:
    (made,) = run(tmp_path / "run", Match(model=Space(name="space"), per_image=5), [images([near(0.3)])], bank=2)
    assert made.table.num_rows == 2


def test_an_empty_bank_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="summarize"):
        run(tmp_path / "run", Match(model=Space(name="space")), [images([near(0.3)])], bank=0)


@pytest.mark.parametrize(
    "fields", [{"strategy": "best"}, {"per_image": 0}, {"temperature": 0.0}, {"cap": 0.5}, {"top_k": 1}]
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="match"):
        Match(model=Space(name="space"), **fields).check()


def test_an_image_too_near_to_an_evaluation_image_leaves(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    picture = Image.new("RGB", (64, 48), (230, 26, 0))
    picture.paste((228, 26, 9), (0, 0, 20, 20))
    picture.save(tmp_path / "eval" / "seen.tif")
    stage = Match(
        model=Space(name="space"), per_image=1, prices=False, eval_images=str(tmp_path / "eval"), eval_cosine=0.99
    )
    (made,) = run(tmp_path / "run", stage, [images([near(0.9, 0.1), near(0.1, 0.9)])], bank=3)
    assert [(drop.id, drop.reason, drop.detail) for drop in made.drops] == [
        ("i0", "eval_image", "seen.tif, cosine 1.000")
    ]
    assert made.table["image_id"].to_pylist() == ["i1"]
    (tmp_path / "eval" / "lost.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ValueError, match=r"lost\.heic"):
        run(tmp_path / "again", stage, [images([near(0.9, 0.1)])], bank=3)
    with pytest.raises(ValueError, match="no such folder"):
        Match(model=Space(name="space"), eval_images=str(tmp_path / "none")).check()
