from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mminstruct import schemas
from mminstruct.stage import content_id
from mminstruct.stages import cluster as module
from mminstruct.stages.cluster import Cluster

CENTRES = np.eye(6, 8, dtype=np.float32)
SIZES = (40, 25, 60, 10, 30, 35)


def cloud(seed: int = 0) -> dict[str, np.ndarray]:
    """200 unit vectors around six axes, by id; the id contains the axis."""
    rng = np.random.default_rng(seed)
    points: dict[str, np.ndarray] = {}
    for axis, size in enumerate(SIZES):
        for n in range(size):
            vector = CENTRES[axis] + rng.normal(0, 0.08, 8)
            points[f"{n:03d}-{axis}"] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return points


def run(
    folder: Path, points: dict[str, np.ndarray], parts: int = 2, often: dict[str, int] | None = None, **fields: Any
) -> pa.Table:
    folder.mkdir()
    ids = list(points)
    for n in range(parts):
        mine = ids[n::parts]
        table = pa.table(
            {
                "instruction_id": pa.array(mine, pa.string()),
                "embedding": pa.array([points[i] for i in mine], pa.list_(pa.float32())),
            }
        )
        pq.write_table(table, folder / f"s-{n:04d}.0123abcd.parquet")
    written = [key for key in ids for _ in range((often or {}).get(key, 1))]
    stage = Cluster(**{"k": 6, "backend": "numpy", **fields})
    stage.check()
    transform = stage.load(
        embed=ds.dataset(folder), instruct=ds.dataset(pa.table({"instruction_id": pa.array(written, pa.string())}))
    )
    made: Any = transform()
    assert made.table.schema == schemas.CLUSTER
    assert not made.drops
    return made.table


def test_points_about_one_axis_fall_in_one_cluster_and_the_largest_comes_first(tmp_path: Path) -> None:
    table = run(tmp_path / "run", cloud(), restarts=4)
    of_axis = {}
    for row in table.to_pylist():
        of_axis.setdefault(row["instruction_id"][-1], set()).add(row["cluster"])
    assert all(len(clusters) == 1 for clusters in of_axis.values())
    order = sorted(range(6), key=lambda axis: -SIZES[axis])
    assert [of_axis[str(axis)] for axis in order] == [{rank} for rank in range(6)]


def test_the_order_of_parts_and_rows_does_not_matter(tmp_path: Path) -> None:
    points = cloud()
    backwards = dict(reversed(points.items()))
    assert run(tmp_path / "one", points).equals(run(tmp_path / "other", backwards, parts=5))


def test_distances_are_those_between_unit_vectors(tmp_path: Path) -> None:
    table = run(tmp_path / "run", {"a": np.array([1, 0], np.float32), "b": np.array([0, 1], np.float32)}, k=1)
    assert table["distance"].to_pylist() == pytest.approx([np.sqrt(2 - np.sqrt(2))] * 2, rel=1e-5)


def test_counts_tell_how_often_an_instruction_was_written(tmp_path: Path) -> None:
    table = run(tmp_path / "run", cloud(), often={"003-2": 7})
    counts = {row["instruction_id"]: row["count"] for row in table.to_pylist()}
    assert counts["003-2"] == 7
    assert counts["004-2"] == 1


def test_an_id_in_two_parts_is_one_point(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for n in range(2):
        pq.write_table(
            pa.table(
                {
                    "instruction_id": ["a", f"b{n}"],
                    "embedding": pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32())),
                }
            ),
            folder / f"s-{n:04d}.0123abcd.parquet",
        )
    instruct = ds.dataset(pa.table({"instruction_id": ["a", "b0", "a", "b1"]}))
    made: Any = Cluster(k=2, backend="numpy").load(embed=ds.dataset(folder), instruct=instruct)()
    assert made.table["instruction_id"].to_pylist() == ["a", "b0", "b1"]
    assert made.table["count"].to_pylist() == [2, 1, 1]
    assert made.table["cluster"].to_pylist() == [1, 0, 0]


def test_more_clusters_than_distinct_points_gives_as_many_as_there_are(tmp_path: Path) -> None:
    points = {f"p{n}": CENTRES[n % 3] for n in range(9)}
    assert set(run(tmp_path / "run", points, k=300)["cluster"].to_pylist()) == {0, 1, 2}


def test_a_fit_on_a_sample_assigns_every_point_whatever_the_parts_and_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = cloud()
    fitted = []
    fit = Cluster._fit
    monkeypatch.setattr(Cluster, "_fit", lambda self, points_ND: fitted.append(points_ND) or fit(self, points_ND))
    tables = [run(tmp_path / "one", points, k=6, sample=80, restarts=4)]
    monkeypatch.setattr(module, "_BLOCK", 7)
    tables.append(run(tmp_path / "two", dict(reversed(points.items())), parts=5, k=6, sample=80, restarts=4))
    chosen = sorted(points, key=lambda key: content_id("0", key))[:80]
    for points_SD in fitted:
        assert (points_SD == np.stack([points[key] for key in sorted(chosen)])).all()
    assert tables[0].drop(["distance"]).equals(tables[1].drop(["distance"]))
    assert tables[0]["distance"].to_numpy() == pytest.approx(tables[1]["distance"].to_numpy(), abs=1e-6)
    assert tables[0].num_rows == 200
    assert len(set(tables[0]["cluster"].to_pylist())) == 6
    whole = run(tmp_path / "whole", points, k=6, sample=200, restarts=4)
    assert whole.equals(run(tmp_path / "all", points, k=6, sample=None, restarts=4))


def test_memory_does_not_grow_with_the_points_that_are_only_assigned(tmp_path: Path) -> None:
    width, peaks, random = 256, [], np.random.default_rng(0)
    for parts in (4, 40):
        folder = tmp_path / str(parts)
        folder.mkdir()
        for n in range(parts):
            vectors = random.normal(size=(500, width)).astype(np.float32)
            ids = [content_id(str(n), str(row)) for row in range(500)]
            table = pa.table(
                {"instruction_id": ids, "embedding": list(vectors / np.linalg.norm(vectors, axis=1)[:, None])}
            )
            pq.write_table(table, folder / f"s-{n:04d}.0123abcd.parquet")
        embed = ds.dataset(folder)
        instruct = ds.dataset(embed.to_table(columns=["instruction_id"]))
        work = Cluster(k=4, iterations=2, sample=1000, backend="numpy").load(embed=embed, instruct=instruct)
        tracemalloc.start()
        made: Any = work()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert made.table.num_rows == 500 * parts
    vectors_in_bytes = 18000 * width * 4
    assert peaks[1] - peaks[0] < vectors_in_bytes / 5


def test_no_instructions_give_no_clusters(tmp_path: Path) -> None:
    assert run(tmp_path / "run", {}).num_rows == 0


@pytest.mark.parametrize("fields", [{"k": 0}, {"k": 10, "sample": 5}])
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cluster"):
        Cluster(**fields).check()
