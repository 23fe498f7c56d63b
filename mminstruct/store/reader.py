"""Reads the tables of any run. Columns and their meanings come from the run itself.

run = RunReader("runs/demo")
run["caption"].to_pandas()
run["match"].dataset().to_table(filter=pc.field("image_id") == image_id)
"""

from __future__ import annotations

import base64
import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mminstruct import schemas
from mminstruct.errors import Error
from mminstruct.store.packed import Packed
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store

if TYPE_CHECKING:
    import datasets
    import pandas as pd


class MissingTable(Error, KeyError):
    """The run has no table of that name; the message lists those it has."""

    def __str__(self) -> str:
        return str(self.args[0])


class RunReader(Mapping[str, "TableReader"]):
    """The tables of the run at *url* by name, in the order of its recipe, read lazily.

    Raises:
        FileNotFoundError: there is no run.
        Damaged: a manifest is not what was written.
    """

    def __init__(self, url: str | Store) -> None:
        self.store = url if isinstance(url, Store) else Store(url)
        self._tables = {name: TableReader(self.store, name, facts) for name, facts in manifests(self.store).items()}

    @property
    def url(self) -> str:
        return self.store.url

    def __getitem__(self, name: str) -> TableReader:
        if name in self._tables:
            return self._tables[name]
        close = difflib.get_close_matches(name, self._tables, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise MissingTable(f"{self.url} has no table {name!r}{meant} (its tables: {', '.join(self._tables)})")

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return "\n".join([f"run {self.url}", *(f"  {table!r}" for table in self._tables.values())])


class TableReader:
    """One table of a run; returned by ``RunReader``."""

    def __init__(self, store: Store, name: str, manifest: dict[str, Any]) -> None:
        self.name = name
        self.table = store.table(name)
        """Its files: parts, receipts, failures."""
        self.manifest = manifest
        """Provenance of the table: stage, config, inputs, fingerprint."""

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns with meanings and tags (``schemas.TAGS``).

        Earlier versions did not store it: for their runs, columns come from a part, and tags from the table of that
        name in ``schemas``.

        Raises:
            ValueError: such a run has no part of the table yet, and this version does not know the table.
        """
        if stored := self.manifest.get("arrow"):
            return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored)))
        known, found = schemas.TABLES.get(self.name), self._footer()
        if found is None and known is None:
            raise ValueError(f"{self.table.store.url}: the columns of {self.name} are unknown before its first part")
        if found is None or known is None:
            return found or known
        return pa.schema([known.field(one.name) if one.name in known.names else one for one in found], found.metadata)

    def _footer(self) -> pa.Schema | None:
        """The schema in the first part's file, with the metadata that its stage added."""
        part = next(iter(self.table.parts().values()), None)
        return None if part is None else pq.read_schema(self.table.open(part))

    def tagged(self, *tags: str) -> list[str]:
        """Names of the columns that have one of *tags*, in order."""
        return schemas.tagged(self.schema, *tags)

    def lists(self, kind: str) -> list[str]:
        """Names of the columns with lists of structs that have an id of *kind*, such as a conversation's turns."""
        lists = [one for one in self.schema if pa.types.is_list(one.type) and pa.types.is_struct(one.type.value_type)]
        return [one.name for one in lists if one.type.value_type.get_field_index(kind) >= 0]

    @property
    def num_rows(self) -> int:
        """Rows so far, from the receipts."""
        return sum(part.rows for part in self.table.parts().values())

    def receipts(self) -> Packed[Receipt]:
        """The receipts of the finished units, by unit key: rows, drops, parts, time, tokens, cost."""
        return self.table.receipts()

    def dropped(self) -> Iterator[dict[str, Any]]:
        """Dropped rows: unit, id, reason, detail."""
        return self.table.dropped()

    def dataset(self, only: frozenset[str] | None = None) -> ds.Dataset:
        """The table as a lazy ``pyarrow.dataset.Dataset``; fragments in order of part keys, verified when read.

        Args:
            only: Keys of the parts wanted; all by default.
        """
        return self.table.dataset(self.schema, only)

    def to_arrow(self, columns: Sequence[str] | None = None, filter: pc.Expression | None = None) -> pa.Table:
        """The table in memory.

        Args:
            columns: Names; all by default.
            filter: Selects rows: ``pc.field("split") == "test"``.

        Raises:
            KeyError: there is no such column.
        """
        missing = [name for name in columns or () if name not in self.schema.names]
        if missing:
            raise KeyError(f"{self.name} has no column {missing[0]!r}, only {', '.join(self.schema.names)}")
        return self.dataset().to_table(columns=None if columns is None else list(columns), filter=filter)

    def to_pandas(self, columns: Sequence[str] | None = None, filter: pc.Expression | None = None) -> pd.DataFrame:
        """``to_arrow`` as a pandas frame."""
        frame: pd.DataFrame = self.to_arrow(columns, filter).to_pandas()
        return frame

    def to_datasets(
        self, columns: Sequence[str] | None = None, filter: pc.Expression | None = None
    ) -> datasets.Dataset:
        """``to_arrow`` as a Hugging Face dataset; the images of an export are decoded by ``datasets``.

        Raises:
            ImportError: ``datasets`` is not installed.
        """
        try:
            import datasets
        except ImportError as error:
            raise ImportError("to_datasets() needs the package datasets: pip install datasets") from error

        table, footer = self.to_arrow(columns, filter), self._footer()
        fields = [field.with_nullable(True).remove_metadata() for field in table.schema]  # as `datasets` compares them
        metadata = footer.metadata if footer is not None else None
        return datasets.Dataset(table.cast(pa.schema(fields)).replace_schema_metadata(metadata))

    def __repr__(self) -> str:
        return f"{self.name}: {self.num_rows} rows of {', '.join(self.schema.names)}"


def picture_column(table: TableReader) -> str | None:
    """The column that holds encoded images: bytes, or a struct with bytes (the Image feature of Hugging Face)."""
    for name in table.tagged("heavy"):
        kind = table.schema.field(name).type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return name
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return name
    return None


def encoded(value: Any) -> bytes | None:
    """The encoded image in a cell of a ``picture_column``."""
    data: bytes | None = value["bytes"] if isinstance(value, dict) else value
    return data


def manifests(store: Store) -> dict[str, dict[str, Any]]:
    """Manifests of the run in *store* by table, in the order of its recipe.

    Raises:
        FileNotFoundError: there is no run.
        Damaged: a manifest is not what was written.
    """
    folders = [name for name in store.names() if name.isidentifier()]  # not config.yaml
    found = {name: facts for name in folders if (facts := store.table(name).manifest()) is not None}
    for facts in found.values():
        facts.setdefault("row_key", facts.pop("takes", None))  # the name in version 0.1
    if not found:
        raise FileNotFoundError(f"{store.url}: no run here: a run has one folder per table, each with a manifest.json")
    return dict(sorted(found.items(), key=lambda item: item[1]["order"]))
