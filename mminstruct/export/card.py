"""The dataset card: YAML that the Hub reads, and in words and numbers how the data came to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from mminstruct.export import Funnel

_HUB_LICENCES = {
    "cc0": "cc0-1.0", "cc0 1.0": "cc0-1.0", "cc0-1.0": "cc0-1.0", "public domain": "cc0-1.0",
    "cc by 4.0": "cc-by-4.0", "cc-by-4.0": "cc-by-4.0", "cc by-sa 4.0": "cc-by-sa-4.0", "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc by-nc 4.0": "cc-by-nc-4.0", "cc-by-nc-4.0": "cc-by-nc-4.0", "apache-2.0": "apache-2.0", "mit": "mit",
}  # fmt: skip
"""Licence as images carry it, lower case -> the Hub's identifier."""

_COLUMNS = {
    "pair_id": "of the pair of image and instruction",
    "image": "JPEG or PNG",
    "conversations": "LLaVA turns: `human` with `<image>` first, then `gpt`",
    "split": "`train` or `test`; a test row shares neither its image nor its instruction with train",
    "image_id": "first 16 hex digits of the SHA-256 of the original image",
    "instruction_id": "first 16 hex digits of the SHA-256 of the normalised instruction",
    "source": "collection of the image",
    "licence": "of the image, where known",
}


@dataclass(slots=True)
class Facts:
    """What a card tells."""

    name: str
    rows: dict[str, int]
    """Rows by split."""
    funnel: Funnel = ()
    bytes: dict[str, int] = field(default_factory=dict)
    """Bytes in memory by split."""
    download: int = 0
    """Bytes of all files."""
    licences: dict[str, int] = field(default_factory=dict)
    """Rows by licence of the image."""
    sources: dict[str, int] = field(default_factory=dict)


def text(facts: Facts) -> str:
    """README.md of a dataset."""
    head = yaml.safe_dump(_head(facts), sort_keys=False, allow_unicode=True)
    total = sum(facts.rows.values())
    lines = [
        "---", head.rstrip(), "---", "",
        f"# {facts.name}", "",
        f"{total:,} image-instruction-answer conversations for visual instruction tuning, made with mminstruct after "
        "the method of [MM-Instruct](https://arxiv.org/abs/2406.19736): instructions were generated from images, "
        "clustered and summarised into a bank, matched to images by CLIP similarity, answered by a language model from "
        "a detailed description of the image, and filtered.", "",
        "```python", "from datasets import load_dataset", "", f'data = load_dataset("{facts.name}", split="train")',
        'data[0]["image"], data[0]["conversations"]', "```", "",
        *_table(("split", "rows"), facts.rows.items()),
        "## Columns", "", *_table(("column", "meaning"), _COLUMNS.items()),
    ]  # fmt: skip
    if facts.funnel:
        lines += ["## What was kept", "", "Every row that entered a step was kept or dropped for a reason.", ""]
        lines += _table(
            ("step", "in", "kept", "dropped"),
            (
                (step["table"], step["in"], step["kept"], ", ".join(f"{n} {why}" for why, n in step["dropped"].items()))
                for step in facts.funnel
            ),
        )
    lines += [
        "## Sources and licences", "",
        *_table(("source", "rows"), facts.sources.items()),
        *_table(("licence of the image", "rows"), facts.licences.items()),
        "The images keep the licences they came with. Texts are written by models, whose terms may bind you too.", "",
        "## Limits", "",
        "Instructions, descriptions and answers are machine-generated. The answering model never saw the image, only "
        "its description, so answers may claim what the image does not show, and carry the biases of the models and of "
        "the image collection. Nobody has read every row.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _head(facts: Facts) -> dict[str, Any]:
    names = {_HUB_LICENCES.get(licence.casefold(), "other") for licence in facts.licences} or {"other"}
    licence = names.pop() if len(names) == 1 else "other"
    total = sum(facts.rows.values())
    string = [
        {"name": name, "dtype": "string"} for name in ("split", "image_id", "instruction_id", "source", "licence")
    ]
    turns = [{"name": "from", "dtype": "string"}, {"name": "value", "dtype": "string"}]
    return {
        "pretty_name": facts.name,
        "license": licence,
        **({"license_name": "mixed", "license_link": "README.md"} if licence == "other" else {}),
        "language": ["en"],
        "task_categories": ["visual-question-answering", "image-text-to-text"],
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "size_categories": [_size(total)],
        "tags": ["visual-instruction-tuning", "mm-instruct", "llava", "synthetic"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*"} for split in facts.rows],
            }
        ],
        "dataset_info": {
            "features": [
                {"name": "pair_id", "dtype": "string"},
                {"name": "image", "dtype": "image"},
                {"name": "conversations", "list": turns},
                *string,
            ],
            "splits": [
                {"name": split, "num_bytes": facts.bytes.get(split, 0), "num_examples": rows}
                for split, rows in facts.rows.items()
            ],
            "download_size": facts.download,
            "dataset_size": sum(facts.bytes.values()),
        },
    }


def _size(rows: int) -> str:
    """The Hub's size category."""
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    for place, name in enumerate(names):
        if rows < 10 ** (place + 3):
            return f"{names[place - 1]}<n<{name}" if place else f"n<{name}"
    return "n>1B"


def _table(heads: tuple[str, ...], body: Any) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in body:
        cells = [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |")
    return [*lines, ""]
