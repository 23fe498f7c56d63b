"""``images=N`` takes the first N images of a source, exactly, and a larger N goes on from them."""

from __future__ import annotations

import base64
import csv
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mminstruct.cli import main
from mminstruct.engine.config import EngineConfig, PoolConfig
from mminstruct.engine.data import Ray
from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.run import DriftError, Event, Run, claim, execute
from mminstruct.stage import Stage, StageOutput, Transform, output, part, whole
from mminstruct.stages.ingest import Ingest
from mminstruct.state import states
from mminstruct.status.tables import table_statuses
from mminstruct.store.receipt import Receipt
from mminstruct.store.receipts import PACKED
from mminstruct.store.tables import Store
from tests.sources.badworld import Writer, jpeg
from tests.test_run import Cut, PowerCut, contents

WIDTHS = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field("value", pa.int64(), nullable=False)])


@dataclass(kw_only=True)
class Width(Stage):
    reads = {"ingest": part("image_id", "width")}
    writes = WIDTHS
    row_key = "image_id"

    def load(self) -> Transform:
        return lambda ingest: StageOutput(ingest.rename_columns(["image_id", "value"]).cast(WIDTHS), [])


@dataclass(kw_only=True)
class Rank(Stage):
    reads = {"width": whole("image_id", "value")}
    writes = WIDTHS
    row_key = "image_id"

    def load(self, width: ds.Dataset) -> Transform:
        ids = sorted(width.to_table()["image_id"].to_pylist())
        return lambda: output(WIDTHS, [{"image_id": one, "value": rank} for rank, one in enumerate(ids)])


@dataclass(kw_only=True)
class Small(Recipe):
    ingest: Ingest
    width: Width
    rank: Rank


COUNT = 11
"""Images of each collection that are kept. Each has a damaged image, a second copy and a text without image, too."""


def _files() -> dict[str, bytes]:
    files = {f"{number:02d}.jpg": jpeg(number) for number in range(COUNT)}
    files |= {"03.txt": b"a caption", "04-broken.jpg": b"\xff\xd8\xff\xe0 no more", "05-copy.jpg": jpeg(5)}
    return dict(sorted(files.items()))


def _folder(place: Path) -> None:
    for name, data in _files().items():
        (place / name[0]).mkdir(exist_ok=True)
        (place / name[0] / name).write_bytes(data)


def _tars(place: Path) -> None:
    files = list(_files().items())
    for number, some in enumerate((files[:5], files[5:6], files[6:])):
        with tarfile.open(place / f"{number}.tar", "w") as archive:
            for name, data in some:
                Writer(archive).file(name, data)


def _list(place: Path) -> None:
    with (place / "images.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image"])
        rows.writerows([base64.b64encode(data).decode()] for name, data in _files().items() if name.endswith("jpg"))


KINDS: dict[str, Callable[[Path], None]] = {"folder": _folder, "tars": _tars, "list": _list}


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = tmp_path / "source"
    place.mkdir()
    KINDS[request.param](place)
    return str(place)


def build(folder: Path, source: str, images: int | None = None, base: Path | None = None) -> list[Event]:
    run = made(folder, source, images)
    claim(run, base and str(base))
    events: list[Event] = []
    execute(run, Local(), watch=events.append)
    return events


def made(folder: Path, source: str, images: int | None) -> Run:
    recipe = Small(ingest=Ingest(path=source, rows=3, group=4, shortest=1), width=Width(), rank=Rank())
    return Run(url=str(folder), recipe=recipe, images=images)


def ids(folder: Path) -> list[str]:
    table = Store(str(folder)).table("ingest")
    return [one for part in table.parts().values() for one in table.load(part, ("image_id",))["image_id"].to_pylist()]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 9, COUNT - 1, COUNT, COUNT + 1])
def test_a_run_takes_exactly_the_first_images_and_accounts_for_all_others(
    tmp_path: Path, source: str, count: int
) -> None:
    build(tmp_path / "all", source)
    build(tmp_path / "some", source, count)
    assert ids(tmp_path / "some") == ids(tmp_path / "all")[:count]
    statuses = table_statuses(str(tmp_path / "some"), verify=True)
    assert [(one.state, one.faults) for one in statuses] == [("complete", [])] * 3
    for one in statuses:
        assert one.rows_in == one.kept + sum(one.dropped.values())
    listing, whole_listing = statuses[0].listing, table_statuses(str(tmp_path / "all"))[0].listing
    assert listing is not None
    assert whole_listing is not None
    assert listing["files"] == whole_listing["files"] == listing["read"] + sum(listing["passed"].values())
    assert not any(event.fresh for event in build(tmp_path / "some", source, count)), "it is done"
    planned = states(made(tmp_path / "some", source, count))
    assert all(state.settled and not state.refused for state in planned.values())
    if count > COUNT:
        assert contents(tmp_path / "some") == contents(tmp_path / "all")


@pytest.mark.parametrize(("first", "then"), [(2, 7), (6, 7), (3, None), (7, None), (COUNT, None), (9, 4), (None, 5)])
def test_another_number_goes_on_in_another_folder_and_gives_the_bytes_of_a_run_from_the_start(
    tmp_path: Path, source: str, first: int | None, then: int | None
) -> None:
    build(tmp_path / "old", source, first)
    events = build(tmp_path / "new", source, then, base=tmp_path / "old")
    assert not any(event.fresh for event in build(tmp_path / "new", source, then))
    build(tmp_path / "plain", source, then)
    assert contents(tmp_path / "new") == contents(tmp_path / "plain")
    old, new = (Store(str(tmp_path / name)).table("ingest").parts() for name in ("old", "new"))
    fresh = {event.key for event in events if event.table == "width" and event.fresh}
    for key, one in new.items():
        if key in fresh and key in old and old[key].sha256 == one.sha256:  # only where the old run's cut was
            assert first is not None
            assert key == max(old)


@pytest.mark.parametrize(
    ("old", "first", "new", "then"),
    [
        ((5, 10, 3), 7, (3, 10, 3), 7),  # the second shard was cut where the first one now leaves more
        ((5, 2, 3), None, (7, 2, 3), 7),  # the first shard now has all
        ((5, 10, 3), None, (7, 10, 3), 11),  # the second shard is cut earlier than the first one's old number says
        ((5, 0, 3), None, (6, 0, 3), 4),  # a shard without images, which is not read
    ],
)
def test_a_shard_that_changed_since_the_other_run_does_not_count_with_its_old_number_of_images(
    tmp_path: Path, old: tuple[int, ...], first: int | None, new: tuple[int, ...], then: int
) -> None:
    place = tmp_path / "source"
    place.mkdir()

    def shard(number: int, count: int, start: int) -> None:
        with tarfile.open(place / f"{number}.tar", "w") as archive:
            for at in range(max(count, 1)):
                Writer(archive).file(f"{at:02d}.jpg", jpeg(start + at) if count else b"no image")

    for number, count in enumerate(old):
        shard(number, count, 50 * number)
    build(tmp_path / "old", str(place), first)
    shard(0, new[0], 400)
    build(tmp_path / "new", str(place), then, base=tmp_path / "old")
    assert not any(event.fresh for event in build(tmp_path / "new", str(place), then))
    build(tmp_path / "plain", str(place), then)
    assert contents(tmp_path / "new") == contents(tmp_path / "plain")


def test_another_number_in_the_same_folder_is_refused_before_anything_is_made(tmp_path: Path, source: str) -> None:
    old = tmp_path / "old"
    build(old, source, 5)
    before = contents(old)
    for images in (None, 4, 6, 1):
        with pytest.raises(DriftError, match=rf"out=NEW base={old}$"):
            build(old, source, images)
        assert contents(old) == before
    with pytest.raises(DriftError, match=r"(?s)^ingest/\S+: images taken: '\d' -> 'all'\nTables in"):
        build(old, source)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_images(tmp_path: Path, source: str, seed: int) -> None:
    build(tmp_path / "calm", source, 8)
    dice, cuts = random.Random(seed), 0
    for _ in range(40):
        run = made(tmp_path / "cut", source, 8)
        claim(run)
        try:
            execute(run, Cut(dice.randrange(3), dice.randrange(100)))
            break
        except PowerCut:
            cuts += 1
    assert cuts
    assert contents(tmp_path / "cut") == contents(tmp_path / "calm")


def test_images_after_the_last_one_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "source"
    place.mkdir()
    _folder(place)
    monkeypatch.setattr("mminstruct.sources.sample._WINDOW_KEYS", 1)
    opened: list[str] = []
    recipe = Small(ingest=Ingest(path=str(place), shortest=1), width=Width(), rank=Rank())
    run = Run(url=str(tmp_path / "run"), recipe=recipe, images=2)
    claim(run)
    normalised = Ingest._row

    def row(self: Ingest, sample: object, *more: object) -> object:
        opened.append(sample.member)  # type: ignore[attr-defined]
        return normalised(self, sample, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Ingest, "_row", row)
    execute(run, Local())
    assert opened == ["0/00.jpg", "0/01.jpg"]
    dropped = list(Store(run.url).table("ingest").dropped())
    assert {row["reason"] for row in dropped} == {"beyond_images"}
    assert [row["detail"] for row in dropped].count("not read") >= 8
    listing = table_statuses(run.url)[0].listing
    assert listing is not None
    assert listing["passed"] == {"after the images that images= takes": 1}


def test_a_second_build_parses_each_receipt_of_a_source_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "source"
    place.mkdir()
    for number in range(40):
        with tarfile.open(place / f"{number:02d}.tar", "w") as archive:
            Writer(archive).file("one.jpg", jpeg(number))
    build(tmp_path / "run", str(place), 40)
    monkeypatch.setattr("mminstruct.store.packed.COUNT", 4)
    (tmp_path / "run" / "ingest" / PACKED).unlink()
    parsed: list[object] = []
    from_facts = Receipt.from_facts

    def counted(facts: dict[str, object]) -> Receipt:
        parsed.append(facts)
        return from_facts(facts)

    monkeypatch.setattr(Receipt, "from_facts", counted)
    assert not any(event.fresh for event in build(tmp_path / "run", str(place), 40))
    assert len(parsed) < 10 * 40, "not as often as there are shards"


def test_rows_of_a_table_beside_an_archive_are_not_lost_with_the_images_after_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "source"
    place.mkdir()
    with tarfile.open(place / "0.tar", "w") as archive:
        for number in range(5):
            Writer(archive).file(f"{number}.jpg", jpeg(number))
    rows = [{"key": str(number), "status": "success", "url": f"http://x.org/{number}"} for number in range(6)]
    pq.write_table(pa.Table.from_pylist(rows), place / "0.parquet")
    monkeypatch.setattr("mminstruct.sources.sample._WINDOW_KEYS", 1)
    build(tmp_path / "run", str(place), 2)
    table = Store(str(tmp_path / "run")).table("ingest")
    assert {row["id"]: row["reason"] for row in table.dropped()} == {
        "2.jpg": "beyond_images", "3.jpg": "beyond_images", "4.jpg": "beyond_images", "5 (listed)": "no_image",
    }  # fmt: skip
    assert table.store.read("ingest", PACKED) is not None, "the next build reads no receipt of its own"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["images=0"], "images=0: take 1 or more images, or leave it out for all"),
        (["images=-3"], "images=-3: take 1 or more images"),
        (["images=2", "units=1"], "images=2 and units=1 both limit the run: take one of them"),
        (["images=many"], "images"),
    ],
)
def test_a_number_that_is_none_is_refused_in_one_line(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", f"out={tmp_path}/run", f"source={tmp_path}", *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_benchmark_whose_source_has_questions_takes_no_number_of_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "bench",
                f"out={tmp_path}/run",
                f"source={tmp_path}",
                "experiment=oracle",
                "judges.oracle.options.truth=[x]",
                "images=2",
            ]
        )
        == 2
    )
    assert "images=2: the first stage, pick, reads no images; units=N takes N parts" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_on_ray_cut_the_shard_where_one_process_does(tmp_path: Path, ray_here: None) -> None:
    place = tmp_path / "source"
    place.mkdir()
    _tars(place)
    build(tmp_path / "local", str(place), 7)
    run = made(tmp_path / "ray", str(place), 7)
    claim(run)
    execute(run, Ray(EngineConfig(pool=PoolConfig(workers=2, cpus=0.25))))
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
