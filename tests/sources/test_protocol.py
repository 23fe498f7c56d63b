"""Laws of every source, and of one that a user brings from outside the package."""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from mminstruct import config
from mminstruct.engine.local import Local
from mminstruct.recipe import RecipeError, check
from mminstruct.run import Run, claim, execute
from mminstruct.sources import Drop, ImageSource, Options, Sample
from mminstruct.sources.layout import LAYOUTS, account, source_class
from mminstruct.sources.listing import list_path
from mminstruct.stage import identity
from mminstruct.stages.ingest import Ingest
from tests.sources.badworld import jpeg
from tests.sources.kinds import COLLECTIONS, Collection, chosen
from tests.stages.test_ingest import OnlyIngest, ingest

DOCS = Path(__file__).parents[2] / "docs" / "sources.md"


@pytest.fixture(params=list(COLLECTIONS))
def collection(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Collection, Path]:
    found = COLLECTIONS[request.param]
    folder = tmp_path / "collection"
    folder.mkdir()
    found.write(folder)
    return found, folder


def source_of(collection: Collection, folder: Path) -> ImageSource:
    return LAYOUTS[collection.layout](list_path(str(folder)), Options(group=2, name="collection"))


def test_every_layout_has_a_collection_here() -> None:
    assert {one.layout for one in COLLECTIONS.values()} == set(LAYOUTS)
    assert all(kind.endings and kind.what for kind in LAYOUTS.values())


def test_a_source_recognises_its_own_collections_and_no_other(collection: tuple[Collection, Path]) -> None:
    expected, folder = collection
    listing = list_path(str(folder))
    found = [name for name, kind in LAYOUTS.items() if kind(listing, Options()).recognises()]
    assert found[0] == chosen(listing) == expected.layout
    assert expected.mixed or found == [expected.layout]
    assert not any(kind(list_path(str(DOCS)), Options()).recognises() for kind in LAYOUTS.values())


def test_shards_and_their_facts_are_the_same_each_time_and_in_order(collection: tuple[Collection, Path]) -> None:
    expected, folder = collection
    source = source_of(expected, folder)
    shards = source.shards()
    assert shards == source_of(expected, folder).shards()
    assert len({shard.name for shard in shards}) == len(shards)
    assert all(name in source.listing.files for shard in shards for name in shard.read_from)
    stage = Ingest(path=str(folder), group=2)
    facts = stage.shards()
    assert list(facts) == sorted(facts)
    assert facts == stage.shards() == Ingest(path=str(folder), group=2, layout=expected.layout).shards()
    assert all(stage.content(key) for key in facts)


def test_facts_change_with_any_file_that_decides_the_rows_of_a_shard(collection: tuple[Collection, Path]) -> None:
    expected, folder = collection
    stage = Ingest(path=str(folder), name="collection", group=2, layout=expected.layout)
    names = [(shard.name, name) for shard in source_of(expected, folder).shards() for name in shard.read_from]
    for number, (shard, name) in enumerate(names):
        before = {facts["shard"]: facts for facts in stage.shards().values()}
        os.utime(folder / name, (number, number))
        after = {facts["shard"]: facts for facts in stage.shards().values()}
        assert after[shard] != before[shard]


def test_every_member_is_a_sample_or_a_drop_or_joins_one(collection: tuple[Collection, Path]) -> None:
    expected, folder = collection
    source = source_of(expected, folder)
    out = [one for shard in source.shards() for one in source.read(shard)]
    samples = [one for one in out if isinstance(one, Sample)]
    joined = sum((one.json is not None) + (one.text is not None) + bool(one.row) for one in samples)
    assert (len(samples), len(out) - len(samples), joined) == (expected.samples, expected.drops, expected.joined)
    again = [one for shard in source.shards() for one in source.read(shard)]
    assert [(one.id, one.reason) if isinstance(one, Drop) else one.member for one in out] == [
        (one.id, one.reason) if isinstance(one, Drop) else one.member for one in again
    ]


def test_every_file_is_read_or_passed_by(collection: tuple[Collection, Path]) -> None:
    _, folder = collection
    (folder / "x.npy").write_bytes(b"")
    listing = list_path(str(folder))
    for kind in LAYOUTS.values():
        found = account(listing, kind(listing, Options()).shards())
        assert found["files"] == len(list(folder.rglob("*.*"))) == found["read"] + sum(found["passed"].values())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package outside of ours, with the source of docs/sources.md in ``my_package/zips.py``."""
    (block,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    folder = tmp_path / "path" / "my_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "zips.py").write_text(block)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


@pytest.fixture
def zips(tmp_path: Path) -> Path:
    folder = tmp_path / "zips"
    folder.mkdir()
    for number in range(2):
        with zipfile.ZipFile(folder / f"{number}.zip", "w") as archive:
            archive.writestr("x/1.jpg", jpeg(2 * number))
            archive.writestr("x/2.jpg", jpeg(2 * number + 1))
            archive.writestr("x/1.txt", f"caption {number}")
            archive.writestr("x/broken.jpg", b"no image")
    return folder


ZIPS = "my_package.zips:ZipSource"


def test_the_source_of_the_docs_reads_its_shards_in_a_run(package: Path, zips: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no archive .* it holds 2 files \(0\.zip, 1\.zip\)"):
        Ingest(path=str(zips)).shards()
    stage = Ingest(path=str(zips), layout=ZIPS)
    assert source_class(ZIPS)(list_path(str(zips)), Options()).recognises()
    run = Run(url=str(tmp_path / "run"), recipe=OnlyIngest(ingest=stage))
    claim(run)
    execute(run, Local())
    rows = run.table("ingest").dataset(stage.writes).to_table().to_pylist()
    assert [(row["member"], row["shard"], row["alt_text"]) for row in rows] == [
        ("x/1.jpg", "0.zip", "caption 0"), ("x/2.jpg", "0.zip", None),
        ("x/1.jpg", "1.zip", "caption 1"), ("x/2.jpg", "1.zip", None),
    ]  # fmt: skip
    assert [(row["id"], row["reason"]) for row in run.table("ingest").dropped()] == [
        ("x/broken.jpg", "img_not_image")
    ] * 2
    assert stage.listing() == {"files": 2, "shards": 2, "read": 2, "passed": {}}


def test_a_broken_shard_of_it_fails_by_its_name(package: Path, zips: Path) -> None:
    (zips / "0.zip").write_bytes((zips / "0.zip").read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"0\.zip"):
        ingest(Ingest(path=str(zips), layout=ZIPS), "0.zip")


def test_it_is_named_on_the_command_line(package: Path, zips: Path, tmp_path: Path) -> None:
    words = [f"out={tmp_path / 'run'}", f"source={zips}", f"recipe.ingest.layout={ZIPS}"]
    config.register()
    with initialize_config_dir(str(config.conf()), version_base="1.3"):
        made, _ = config.build(compose("build", config.opened("build", words)))
    assert list(made.recipe.ingest.shards()) == ["0.zip", "1.zip"]


def test_which_source_reads_is_part_of_the_identity(package: Path, zips: Path) -> None:
    ours, theirs = identity(Ingest(path=str(zips))), identity(Ingest(path=str(zips), layout=ZIPS))
    assert {key for key in ours if ours[key] != theirs[key]} == {"layout"}


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("zip", r"zip: take one of auto, tar, folder, parquet, urls, or your own source as package\.module:Class"),
        ("no_package.zips:ZipSource", "there is no module no_package; install its package, or put its folder on PYTHONPATH"),
        ("my_package.zip:ZipSource", r"there is no module my_package\.zip; install its package"),
        ("my_package.zips:Zips", r"my_package\.zips has no Zips; it has .*ZipSource"),
        ("my_package.zips:", r"write my_package\.my_module:MyClass"),
        (":ZipSource", r"write my_package\.my_module:MyClass"),
        ("my_package.zips:zipfile", r"zipfile is no subclass of mminstruct\.sources\.ImageSource"),
        ("my_package.needs:X", r"my_package\.needs imports no_such, which is not installed"),
        ("my_package.half:Half", "Half does not implement read, shards"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_used_is_refused_with_the_reason(package: Path, layout: str, message: str) -> None:
    (package / "needs.py").write_text("import no_such\n")
    (package / "half.py").write_text("from mminstruct.sources import ImageSource\nclass Half(ImageSource): ...\n")
    with pytest.raises(RecipeError, match=rf"^recipe\.ingest\.layout=.*{message}"):
        check(OnlyIngest(ingest=Ingest(path="x", layout=layout)))
