from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.sources import sample
from mminstruct.sources.sample import Names, Rule, Sample, SampleAssembler, slugs
from mminstruct.stage import Drop
from mminstruct.unit import UNIT, Unit
from tests.sources.badworld import jpeg

JPEG = jpeg(1)[:200]


def gather(
    members: Iterable[tuple[str, bytes]], rule: Rule = "last", limit: int = 10_000, one_image: bool = True
) -> list[Sample | Drop]:
    found = SampleAssembler(rule, limit, one_image=one_image)
    out: list[Sample | Drop] = []
    for where, (name, data) in enumerate(members):
        out += found.add(name, where, len(data), data if found.wanted(name, len(data)) else None)
    return [*out, *found.finish()]


def plain(found: Iterable[Sample | Drop]) -> list[tuple[str, ...]]:
    return [(one.id, one.reason) if isinstance(one, Drop) else (one.member,) for one in found]


@given(st.randoms(use_true_random=False))
def test_sidecars_find_their_image_in_whatever_order_they_come(shuffle: random.Random) -> None:
    members = [(f"{key}.{kind}", JPEG + key.encode() if kind == "jpg" else f"{key} {kind}".encode())
               for key in "abcdef" for kind in ("jpg", "json", "txt")]  # fmt: skip
    shuffle.shuffle(members)
    found = [one for one in gather(members) if isinstance(one, Sample)]
    assert {one.key: (one.json, one.text) for one in found} == {
        key: (f"{key} json".encode(), f"{key} txt".encode()) for key in "abcdef"
    }


def noted(members: Iterable[tuple[str, bytes]], **options: Any) -> tuple[list[Sample | Drop], dict[str, int]]:
    unit = Unit(table="ingest", key="k")
    token = UNIT.set(unit)
    try:
        return gather(members, **options), unit.notes
    finally:
        UNIT.reset(token)


def texts(found: Iterable[Sample | Drop]) -> dict[str, bytes | None]:
    return {one.member: one.text for one in found if isinstance(one, Sample)}


@pytest.mark.parametrize("one_image", [True, False])
@pytest.mark.parametrize("rule", ["last", "first"])
def test_a_sidecar_named_after_the_whole_image_joins_that_image(one_image: bool, rule: Rule) -> None:
    members = [("a.jpg.txt", b"of a.jpg"), ("a.jpg", JPEG), ("b.jpg", JPEG + b"b"), ("b.JPG.txt", b"of b.JPG")]
    found, _ = noted(members, rule=rule, one_image=one_image)
    assert texts(found) == {"a.jpg": b"of a.jpg", "b.jpg": None}
    (drop,) = (one for one in found if isinstance(one, Drop))
    assert (drop.id, drop.reason) == ("b.JPG.txt", "no_image")
    assert drop.detail == "no image is called 'b.JPG'; beside it is 'b.jpg'"


def test_in_a_folder_images_that_differ_in_their_extension_are_two_images() -> None:
    members = [("a.jpg", JPEG), ("a.png", JPEG + b"2"), ("a.png.txt", b"of a.png"), ("a.txt", b"of which?")]
    found, notes = noted(members, one_image=False)
    assert texts(found) == {"a.jpg": None, "a.png": b"of a.png"}
    assert notes == {"sidecar_ambiguous": 1}
    found, notes = noted(members, one_image=True)
    assert plain(found) == [("a.png", "key_ambiguous"), ("a.jpg",)]
    assert texts(found) == {"a.jpg": b"of which?"}
    assert notes == {"sidecar_of_drop": 1}


def test_an_image_with_two_extensions_of_images_keeps_its_sidecar() -> None:
    found, notes = noted([("a.png.txt", b"of a.png.jpg"), ("a.png.jpg", JPEG)])
    assert (texts(found), notes) == ({"a.png.jpg": b"of a.png.jpg"}, {})


def test_names_join_in_one_normal_form_and_a_collision_is_named() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    found, _ = noted([(f"{apart}.jpg", JPEG), (f"{composed}.txt", b"text")])
    assert texts(found) == {f"{composed}.jpg": b"text"}
    both = [(f"{apart}.jpg", JPEG), (f"{composed}.jpg", JPEG + b"2")]
    found, _ = noted(both)
    assert isinstance(found[0], Drop)
    assert "in NFC" in str(found[0].detail)
    found, notes = noted(both, one_image=False)
    assert plain(found) == [(f"{composed}.jpg",), (f"{composed}.jpg@1",)]
    assert notes == {"member_renamed": 1, "member_name_taken": 1}


def test_a_large_member_that_is_no_image_by_its_name_takes_no_image_its_key() -> None:
    found = gather([("a.mp4", bytes(20_000)), ("a.jpg", JPEG), ("a.txt", b"text")])
    assert plain(found) == [("a.mp4", "member_too_big"), ("a.jpg",)]
    assert texts(found) == {"a.jpg": b"text"}


NAMES = st.sampled_from(
    ["a.jpg", "a.JPG", "a.png", "a.b.jpg", "a.json", "a.txt", "b.json", "b.webp", "._a.jpg", "c", "c.npy", "a.jpg.txt",
     "a.png.json", "a.png.jpg", "caf\u00e9.jpg", "cafe\u0301.jpg", "cafe\u0301.txt", "_x.jpg", "README.md", "readme.jpg"]
)  # fmt: skip
SIDECAR_NOTES = ("sidecar_repeated", "sidecar_ambiguous", "sidecar_of_drop", "sidecar_late", "sidecar_too_big")


@settings(max_examples=500)
@given(
    st.lists(st.tuples(NAMES, st.sampled_from([JPEG, b"text", b""])), max_size=12),
    st.sampled_from(["last", "first"]), st.booleans(),
)  # fmt: skip
def test_every_member_is_kept_joined_dropped_or_counted_exactly_once(
    members: list[tuple[str, bytes]], rule: Rule, one_image: bool
) -> None:
    found, notes = noted(members, rule=rule, one_image=one_image)
    ids = [one[0] for one in plain(found)]
    assert len(set(ids)) == len(ids)
    samples = [one for one in found if isinstance(one, Sample)]
    joined = sum((one.json is not None) + (one.text is not None) for one in samples)
    counted = notes.get("member_ignored", 0) + sum(notes.get(name, 0) for name in SIDECAR_NOTES)
    assert len(found) + joined + counted == len(members)
    images = {name for name, data in members if data == JPEG and name.endswith((".jpg", ".JPG", ".png", ".webp"))}
    assert {one.name for one in samples} <= {name for name, _ in members}
    if not one_image:
        assert images - {one.name for one in samples} <= {"._a.jpg", *(name for name, data in members if data != JPEG)}


def test_the_window_is_bounded_and_the_accounts_still_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_WINDOW_KEYS", 3)
    members = [(f"{key}.jpg", JPEG) for key in range(10)] + [(f"{key}.json", b"{}") for key in range(10)]
    found, notes = noted(members)
    assert plain(found) == [(f"{key}.jpg",) for key in range(10)]
    assert notes["sidecar_late"] == 7
    assert [one.json for one in found if isinstance(one, Sample)][-3:] == [b"{}"] * 3


def test_by_the_first_dot_dotted_names_are_one_key_and_the_second_is_told_so() -> None:
    members = [("img.v1.jpg", JPEG), ("img.v2.jpg", JPEG + b"2")]
    assert plain(gather(members, "last")) == [("img.v1.jpg",), ("img.v2.jpg",)]
    assert ("img.v2.jpg", "key_ambiguous") in plain(gather(members, "first"))


def test_members_over_the_limit_are_drops_unread() -> None:
    assert plain(gather([("a.jpg", bytes(20_000))])) == [("a.jpg", "member_too_big")]


def test_names_are_repaired_and_never_the_same_twice() -> None:
    names = Names()
    given = ["a\x00b.jpg", "ab.jpg", "\u202egpj.exe", "caf\udce9.jpg", "", "e\u0301.jpg", "x" * 5000, "x" * 5001]
    found = [names(name, where) for where, name in enumerate(given)]
    assert found[:6] == ["ab.jpg", "ab.jpg@1", "gpj.exe", "caf\ufffd.jpg", "@4", "é.jpg"]
    assert len(set(found)) == len(found)
    assert max(map(len, found)) < 1100


@given(st.lists(st.text(max_size=30), unique=True, max_size=20))
def test_unit_keys_are_safe_names_and_differ(names: list[str]) -> None:
    keys = slugs(names)
    assert sorted(keys.values()) == sorted(names)
    assert all(
        key and set(key) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") for key in keys
    )
    assert not any(key.startswith((".", "_")) for key in keys)


def test_shards_of_one_name_in_two_folders_have_two_keys() -> None:
    keys = slugs(["a/000.tar", "b/000.tar", "b/001.tar.gz"])
    assert len(keys) == 3
    assert keys["001"] == "b/001.tar.gz"
