from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.sources import sample
from mminstruct.sources.sample import Gather, Names, Rule, Sample, ignored, slugs, split
from mminstruct.stage import UNIT, Drop, Unit
from tests.sources.badworld import jpeg

JPEG = jpeg(1)[:200]


def gather(members: Iterable[tuple[str, bytes]], rule: Rule = "last", limit: int = 10_000) -> list[Sample | Drop]:
    found = Gather(rule, limit)
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


NAMES = st.sampled_from(
    ["a.jpg", "a.JPG", "a.png", "a.b.jpg", "a.json", "a.txt", "b.json", "b.webp", "._a.jpg", "c", "c.npy"]
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(NAMES, st.sampled_from([JPEG, b"text", b""])), max_size=12), st.sampled_from(["last", "first"])
)
def test_every_image_is_kept_or_dropped_exactly_once(members: list[tuple[str, bytes]], rule: Rule) -> None:
    found = gather(members, rule)
    ids = [one[0] for one in plain(found)]
    assert len(set(ids)) == len(ids)
    extension = lambda name: split(name, rule)[1]  # noqa: E731
    images = [
        name for name, data in members
        if not ignored(name) and extension(name) not in sample.SIDECARS
        and (extension(name) in sample.IMAGES or data == JPEG)
    ]  # fmt: skip
    alone = [one for one in found if isinstance(one, Drop) and one.reason == "no_image"]
    assert len(found) - len(alone) == len(images)
    with_image = {split(name, rule)[0] for name in images}
    sidecars = {split(name, rule)[0] for name, _ in members if extension(name) in sample.SIDECARS}
    assert len(alone) == len(sidecars - with_image)


def test_the_window_is_bounded_and_the_accounts_still_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_WINDOW_KEYS", 3)
    unit = Unit(table="ingest", key="k")
    token = UNIT.set(unit)
    members = [(f"{key}.jpg", JPEG) for key in range(10)] + [(f"{key}.json", b"{}") for key in range(10)]
    found = gather(members)
    UNIT.reset(token)
    assert plain(found) == [(f"{key}.jpg",) for key in range(10)]
    assert unit.notes["sidecar_late"] == 7
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
