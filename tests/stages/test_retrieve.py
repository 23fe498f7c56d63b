from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mminstruct import schemas
from mminstruct.readers.domains import Domain
from mminstruct.stage import StageOutput, identity
from mminstruct.stages.retrieve import Retrieve
from tests.stages.doubles import Scripted


class Compass:
    """Embeds an image as the direction of its first byte, in degrees, and a text as that of its number."""

    def texts(self, texts: list[str]) -> np.ndarray:
        return self._at([float(text) for text in texts])

    def images(self, images: list[bytes]) -> np.ndarray:
        return self._at([float(image[0]) if image else float("nan") for image in images])

    def _at(self, degrees: list[float]) -> np.ndarray:
        turned = np.radians(degrees)
        return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def domain(name: str, *looks: int, **more: Any) -> Domain:
    return Domain(name=name, says="", looks=tuple(map(str, looks)), **more)


DOMAINS = [domain("east", 0, 20, 350), domain("north", 90, 80, 100)]


def run(degrees: list[int | None], sample: list[int] | None = None, **fields: Any) -> StageOutput:
    images = [b"" if one is None else bytes([one]) for one in degrees]
    ingest = pa.table({"image_id": [f"i{n}" for n in range(len(images))], "image": pa.array(images, pa.large_binary())})
    given = [bytes([one]) for one in ([0, 90] if sample is None else sample)]
    stage = Retrieve(**{"model": Scripted(encoder=Compass()), "domains": DOMAINS, **fields})  # type: ignore[arg-type]
    stage.check()
    whole = pa.table({"image": pa.array(given, pa.large_binary())})
    return stage.load(sample=_Dataset(whole))(ingest)  # type: ignore[arg-type,return-value]


class _Dataset:
    """One part of a table, as a dataset whose fragment has a path."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.path = "part.parquet"

    def get_fragments(self) -> list[_Dataset]:
        return [self]

    def head(self, count: int, **_: Any) -> pa.Table:
        return self.table.slice(0, count)

    def count_rows(self) -> int:
        return int(self.table.num_rows)


def kept(made: StageOutput) -> list[tuple[str, str, str]]:
    return [(row["image_id"], row["domain"], row["nearest"]) for row in made.table.to_pylist()]


def test_an_image_gets_the_domain_whose_text_is_nearest() -> None:
    made = run([5, 83, 22, 101])
    assert made.table.schema == schemas.RETRIEVE
    assert kept(made) == [("i0", "east", "0"), ("i1", "north", "80"), ("i2", "east", "20"), ("i3", "north", "100")]
    row = made.table.to_pylist()[0]
    assert row["similarity"] == pytest.approx(np.cos(np.radians(5)), abs=1e-4)
    east, north = (np.cos(np.radians(a)) - np.cos(np.radians([0, b])).mean() for a, b in ((5, 70), (75, 80)))
    assert row["margin"] == pytest.approx(east - north, abs=1e-4) == pytest.approx(0.6532, abs=1e-4)


def test_a_domain_that_is_near_every_image_loses_its_mean() -> None:
    near = domain("near", 45, 44, 46)
    wide = run([60], domains=[near, domain("north", 100, 101, 102)], sample=[45, 50, 40, 60])
    assert [row[1] for row in kept(wide)] == ["north"]  # nearer to 45 by 25 degrees


@pytest.mark.parametrize(("fields", "dropped"), [({"floor": 0.99}, ["i1"]), ({"margin": 0.2}, ["i1"]), ({}, [])])
def test_an_image_that_fits_nothing_or_two_domains_is_dropped(fields: dict[str, float], dropped: list[str]) -> None:
    made = run([2, 50], **fields)
    assert [(drop.id, drop.reason) for drop in made.drops] == [(one, "no_domain") for one in dropped]


def test_an_image_without_an_embedding_is_dropped_by_name() -> None:
    made = run([2, None])
    assert [(drop.id, drop.reason) for drop in made.drops] == [("i1", "bad_embedding")]


def test_a_quota_keeps_about_that_many_of_each_domain_the_nearest_first() -> None:
    degrees = [0, 4, 8, 12, 16, 30, 90, 93, 96, 99, 102, 70]
    made = run(degrees, sample=degrees, domains=[domain("east", 0, 0, 0), domain("north", 90, 90, 90)], per_domain=2)
    assert kept(made) == [("i0", "east", "0"), ("i1", "east", "0"), ("i6", "north", "90"), ("i7", "north", "90")]
    mixed = [0, 90, 4, 94, 8, 98, 1, 91, 2, 92, 12, 102]  # the sample is the first half: two of each are expected in it
    half = run(
        mixed,
        sample=mixed,
        sample_images=6,
        per_domain=4,
        domains=[domain("east", 0, 0, 0), domain("north", 90, 90, 90)],
    )
    assert [int(row[0][1:]) for row in kept(half)] == [0, 1, 2, 3, 6, 7, 8, 9]


def test_seed_images_belong_to_their_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "seed.png")
    monkeypatch.setattr("mminstruct.stages.retrieve.encode", lambda picture, lossless: bytes([180]))
    made = run([178, 2], folders={"north": str(tmp_path)})
    assert kept(made) == [("i0", "north", "seed.png"), ("i1", "east", "0")]


def test_only_the_images_of_named_domains_stay_and_the_others_still_win_theirs() -> None:
    every = run([5, 85, 93, 15])
    some = run([5, 85, 93, 15], only=["north"])
    assert some.table.to_pylist() == [row for row in every.table.to_pylist() if row["domain"] == "north"] != []
    assert [(drop.id, drop.reason) for drop in some.drops] == [("i0", "no_domain"), ("i3", "no_domain")]


def test_one_domain_alone_has_no_next() -> None:
    made = run([5, 85], domains=DOMAINS[1:])
    assert [row["domain"] for row in made.table.to_pylist()] == ["north", "north"]
    assert made.table["margin"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"domains": []}, "domains is empty"),
        ({"domains": [*DOMAINS, DOMAINS[0]]}, "east twice"),
        ({"only": ["west"]}, "only has west: the domains are east, north"),
        ({"folders": {"west": "."}}, "folders has west"),
        ({"folders": {"east": "nowhere"}}, "folders.east=nowhere: no such folder"),
        ({"per_domain": 0}, "per_domain=0"),
        ({"sample_images": 0}, "sample_images=0"),
        ({"margin": -1.0}, "margin=-1.0"),
        ({"unreadable": "skip"}, "unreadable=skip"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run([], **fields)


def test_the_order_of_the_domains_and_of_rows_changes_nothing() -> None:
    assert kept(run([45, 44, 5], domains=DOMAINS[::-1])) == kept(run([45, 44, 5]))
    twins = [domain("west", 0, 20, 350), domain("east", 0, 20, 350)]
    assert [kept(run([5], domains=order))[0][1] for order in (twins, twins[::-1])] == ["east", "east"]


def test_only_what_clip_reads_of_a_file_is_in_the_fingerprint() -> None:
    def facts(*domains: Domain) -> Any:
        return identity(Retrieve(model=Scripted(), domains=list(domains)))

    assert facts(domain("east", 1)) == facts(domain("east", 1, templates={"long": ("Why?",)}, needs=("words",)))
    assert facts(domain("east", 1)) != facts(domain("east", 2))
