"""Tar archives: SA-1B's, img2dataset's and DataComp's, any WebDataset's. One shard for each archive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mminstruct.readers import table
from mminstruct.readers.text import BadRow
from mminstruct.sources import tar
from mminstruct.sources.listing import TARS
from mminstruct.sources.sample import Sample, SampleAssembler, ShardError, normal
from mminstruct.sources.source import ImageSource, Shard
from mminstruct.stage import Drop
from mminstruct.unit import note


class TarSource(ImageSource):
    """Archives; a Parquet file of the same name belongs to its archive, as img2dataset writes them."""

    endings = TARS
    what = "archive"

    def recognises(self) -> bool:
        return bool(self.listing.finished(*TARS))

    def shards(self) -> list[Shard]:
        return [
            Shard(name, tuple(one for one in (name, _table_of(name)) if one in self.listing.files))
            for name in self.listing.finished(*TARS)
        ]

    def read(self, shard: Shard) -> Iterator[Sample | Drop]:
        """Samples and drops of one archive, in the order of their images.

        Rows of the Parquet file join their image by ``key``; rows of images that could not be downloaded are drops.

        Raises:
            ShardError, Unreadable: the archive or its table is cut or corrupt, or the archive has no members.
        """
        known, bad = self._rows(_table_of(shard.name))
        assembler = SampleAssembler(self.options.rule, self.options.member_bytes, one_image=True)
        count = 0
        with self.listing.fs.open(self.listing.files[shard.name].path, "rb") as file:
            for member in tar.members(file, shard.name, assembler.wanted):
                count += 1
                if member.kind == "file":
                    yield from _joined(assembler.add(member.name, member.offset, member.size, member.data), known)
                elif member.kind == "directory":
                    note("directory")
                else:
                    yield assembler.refuse(member.name, member.offset, "member_type", member.kind)
        if not count and not known and not bad:
            raise ShardError(f"{shard.name} is an archive without members: write this shard again, or remove it")
        yield from _joined(assembler.finish(), known)
        there = {key.rpartition("/")[2] for key in assembler.keys}
        for key, row in known.items():
            if key in there:
                continue
            said = f"{row.get('status') or 'listed'}: {row.get('error_message') or 'not in the archive'}"
            yield assembler.refuse(f"{key} (listed)", "table", "no_image", said)
        for one in bad:
            yield assembler.refuse(f"{_table_of(shard.name)} row {one.line}", "table", "row_bad", one.said)

    def _rows(self, name: str) -> tuple[dict[str, dict[str, Any]], list[BadRow]]:
        """Rows by key in NFC, as members' keys are, and bad rows. The first row of a key counts; others are noted.

        Raises:
            Unreadable: the table cannot be read.
        """
        known: dict[str, dict[str, Any]] = {}
        bad: list[BadRow] = []
        file = self.listing.files.get(name)
        for row in table.rows(self.listing.fs, file.path) if file else ():
            if isinstance(row, BadRow):
                bad.append(row)
            elif row.get("key") is None:
                note("table_row_without_key")
            else:
                key = normal(str(row["key"]))
                note("table_row_repeated" if key in known else "table_rows")
                known.setdefault(key, row)
        return known, bad


def _joined(found: Iterator[Sample | Drop], known: dict[str, dict[str, Any]]) -> Iterator[Sample | Drop]:
    for one in found:
        if isinstance(one, Sample) and known:
            one.row = known.get(one.key.rpartition("/")[2], {})
        yield one


def _table_of(name: str) -> str:
    ending = next(ending for ending in TARS if name.lower().endswith(ending))
    return f"{name[: -len(ending)]}.parquet"
