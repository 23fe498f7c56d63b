from __future__ import annotations

import contextlib
import gzip
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.sources.sample import ShardError
from mminstruct.sources.tar import Member, members
from tests.sources.badworld import good_archive

GOOD = good_archive(3)
TAIL = len(GOOD.rstrip(b"\0"))


def read(data: bytes) -> list[Member]:
    return list(members(io.BytesIO(data), "shard.tar", lambda name, size: True))


def headers(data: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [member.offset for member in archive]


WHOLE = read(GOOD)


def one(name: str, data: bytes = b"x", **changes: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=changes.pop("format", tarfile.PAX_FORMAT)) as archive:  # type: ignore[arg-type]
        member = tarfile.TarInfo(name)
        member.size = len(data)
        for attribute, value in changes.items():
            setattr(member, attribute, value)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def test_members_come_with_their_name_place_and_bytes() -> None:
    with tarfile.open(fileobj=io.BytesIO(GOOD)) as archive:
        for found, member in zip(WHOLE, archive, strict=True):
            content = archive.extractfile(member)
            assert content is not None
            assert found == Member(member.name, member.offset, member.size, "file", content.read())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1))
def test_an_archive_cut_anywhere_is_an_error_or_whole_but_never_short(at: int) -> None:
    try:
        found = read(GOOD[:at])
    except ShardError:
        return
    assert found == WHOLE
    assert len(GOOD[:at]) >= TAIL + 1024 - 512


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(headers(GOOD)), st.integers(0, 511), st.integers(1, 255))
def test_a_byte_flipped_in_any_header_is_an_error_or_harmless(header: int, at: int, flip: int) -> None:
    broken = bytearray(GOOD)
    broken[header + at] ^= flip
    try:
        found = read(bytes(broken))
    except ShardError:
        return
    assert found == WHOLE


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD) // 512), st.integers(1, 40))
def test_a_hole_of_zero_blocks_hides_no_members_but_such_as_fit_in_the_last_record(first: int, blocks: int) -> None:
    broken = bytearray(GOOD)
    broken[first * 512 : (first + blocks) * 512] = bytes(len(broken[first * 512 : (first + blocks) * 512]))
    try:
        found = read(bytes(broken))
    except ShardError:
        return
    if len(found) < len(WHOLE):
        assert len(broken) - len(bytes(broken).rstrip(b"\0")) <= 10_752
    else:
        assert [member.name for member in found] == [member.name for member in WHOLE]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_members_or_a_shard_error(data: bytes) -> None:
    with contextlib.suppress(ShardError):
        read(data)


@pytest.mark.parametrize("blocks", [1, 2, 20, 128, 256, 512, 1024, 2048])
def test_records_of_every_usual_blocking_factor_end_an_archive(blocks: int) -> None:
    record = 512 * blocks
    assert read(GOOD[:TAIL].ljust(-(-(TAIL + 1024) // record) * record, b"\0")) == WHOLE


@pytest.mark.parametrize("zeros", [20_480, 65_536, 400_000, 1 << 20, 5 << 20])
def test_more_zeros_than_a_record_holds_are_an_archive_written_in_part(zeros: int) -> None:
    whole = (TAIL + 511) // 512 * 512
    size = whole + (zeros + 511) // 512 * 512
    size += 512 * (size % 65_536 == 0)
    with pytest.raises(ShardError, match="only a part of it was written"):
        read(GOOD[:TAIL].ljust(size, b"\0"))


@pytest.mark.parametrize("cut", [10, 100, -9, -200])
def test_a_cut_gzip_stream_is_an_error(cut: int) -> None:
    assert read(gzip.compress(GOOD)) == WHOLE
    with pytest.raises(ShardError, match="gzip"):
        read(gzip.compress(GOOD)[:cut])


def test_an_error_names_the_shard_the_byte_and_the_way_out() -> None:
    second = headers(GOOD)[2]
    with pytest.raises(ShardError, match=rf"shard.tar .*broken header at byte {second} .*again"):
        read(GOOD[:second] + b"\xff" + GOOD[second + 1 :])


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_foreign_names_are_read_in_both_dialects(format: int) -> None:
    name = "folder/" + "ä" * 150 + ".jpg"
    assert [(found.name, found.data) for found in read(one(name, b"abc", format=format))] == [(name, b"abc")]


def test_a_name_in_an_old_encoding_is_no_error() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("caf\xe9.jpg"))
    assert read(buffer.getvalue())[0].name == "caf\udce9.jpg"


def test_unwanted_members_are_passed_over_unread() -> None:
    found = list(members(io.BytesIO(GOOD), "shard.tar", lambda name, size: name.endswith(".json")))
    assert [member.data is not None for member in found] == [False, True] * 3
    assert [(member.name, member.size) for member in found] == [(member.name, member.size) for member in WHOLE]


def test_a_member_that_claims_more_than_there_is_is_an_error_before_any_memory_is_taken() -> None:
    header = tarfile.TarInfo("large.jpg")
    header.size = 8 << 40
    with pytest.raises(ShardError, match="ends at byte"):
        read(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))


def test_a_pax_header_of_a_gigabyte_is_refused() -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    with pytest.raises(ShardError, match="claims 1073741824 bytes"):
        read(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))


def test_a_member_of_negative_size_is_refused() -> None:
    header = tarfile.TarInfo("back.jpg")
    header.size = -512
    with pytest.raises(ShardError, match="impossible size"):
        read(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))


@pytest.mark.parametrize(
    ("type", "kind"),
    [(tarfile.SYMTYPE, "symbolic link to '/etc/passwd'"), (tarfile.LNKTYPE, "hard link to '/etc/passwd'"),
     (tarfile.DIRTYPE, "directory"), (tarfile.FIFOTYPE, "pipe"), (tarfile.BLKTYPE, "block device")],
)  # fmt: skip
def test_what_is_no_regular_file_says_what_it_is(type: bytes, kind: str) -> None:
    found = read(one("odd", b"", type=type, linkname="/etc/passwd"))
    assert [(member.kind, member.data) for member in found] == [(kind, None)]
