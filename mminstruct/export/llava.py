"""LLaVA's own format: ``train.json`` and ``test.json``, lists of conversations, and the images as files.

Train with ``--data_path FOLDER/train.json --image_folder FOLDER``. Images lie in subfolders by the first two
characters of their names: a folder of a million files is a burden to every file system.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mminstruct.export import ExportError, Funnel, Tables, prove_image, prove_turns, replacing, rows, splits


def write(tables: Tables, to: Path, *, funnel: Funnel = (), overwrite: bool = False) -> dict[str, int]:
    """Write ``SPLIT.json`` and ``images/``, and the funnel as ``funnel.json`` where there is one; rows by split."""
    table = tables("export")
    counts = splits(table)
    with replacing(to, overwrite) as folder:
        written: dict[str, str] = {}
        for split in counts:
            with open(folder / f"{split}.json", "w", encoding="utf-8") as file:
                for place, row in enumerate(rows(table, split)):
                    image = _image(row, folder, written)
                    file.write("[\n" if place == 0 else ",\n")
                    record = {"id": row["pair_id"], "image": image, "conversations": row["conversations"]}
                    json.dump(record, file, ensure_ascii=False)
                file.write("\n]\n")
        if funnel:
            (folder / "funnel.json").write_text(json.dumps(list(funnel), indent=1), encoding="utf-8")
        prove(folder, counts)
    return counts


def _image(row: dict[str, Any], folder: Path, written: dict[str, str]) -> str:
    """Write the row's image unless it is there; its path from *folder*."""
    name, data = row["image"]["path"], row["image"]["bytes"] or b""
    if not name or name != Path(name).name or name.startswith("."):
        raise ExportError(f"row {row['pair_id']}: {name!r} is no plain file name for its image")
    digest = hashlib.sha256(data).hexdigest()
    if written.setdefault(name, digest) != digest:
        raise ExportError(f"row {row['pair_id']}: another image goes by the name of {name} already")
    path = f"images/{name[:2]}/{name}"
    if not (folder / path).exists():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return path


def prove(folder: Path, counts: dict[str, int]) -> None:
    """Read every list back and check it and the images it names.

    Raises:
        ExportError: naming the row, or the list whose rows are not all there.
    """
    proven: set[str] = set()
    for split, wanted in counts.items():
        records = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
        if len({record["id"] for record in records}) != wanted:
            raise ExportError(f"{split}.json: {len(records)} rows written of {wanted}, or one of them twice")
        for record in records:
            prove_turns(record["id"], record["conversations"], 1)
            if record["image"] not in proven:
                prove_image(record["id"], (folder / record["image"]).read_bytes())
                proven.add(record["image"])
