"""Description of an export: the dataset card for people and ``export.json`` for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from mminstruct.export.proof import Share
from mminstruct.stages.export import TURN
from mminstruct.terminal import one_line

_HUB_LICENCES = {
    "cc0": "cc0-1.0", "cc0 1.0": "cc0-1.0", "cc0-1.0": "cc0-1.0", "public domain": "cc0-1.0",
    "cc by 4.0": "cc-by-4.0", "cc-by-4.0": "cc-by-4.0", "cc by-sa 4.0": "cc-by-sa-4.0", "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc by-nc 4.0": "cc-by-nc-4.0", "cc-by-nc-4.0": "cc-by-nc-4.0", "apache-2.0": "apache-2.0", "mit": "mit",
}  # fmt: skip
"""Licence as images carry it, lower case -> the Hub's identifier."""


class Written(str):
    """Markdown that is not escaped, because it is written in this module."""


COLUMNS = {
    "pair_id": "of the pair of image and question; of the dialogue, where it has several",
    "image": "JPEG or PNG",
    "conversations": "LLaVA turns: `human` with `<image>` first, then `gpt`",
    "split": "`train` or `test`; a test row shares neither its image with train, nor what was held out",
    "image_id": "first 16 hex digits of the SHA-256 of the original image",
    "instruction_id": "first 16 hex digits of the SHA-256 of the normalised instruction; null in a dialogue",
    "source": "collection of the image",
    "licence": "of the image, where known",
    "turns": "for each question in order `pair_id`, `instruction_id`, `kind`, `domain`, `origin`",
}
"""Columns of the format hf and their meaning."""

MIXED = "rows of several sources, chosen and put in order by digests of their content"
LIMITS = "The recipe that made it says nothing about its limits, and nobody has read every row."
MIXED_LIMITS = (
    "Each source has its own limits: read its card. What models wrote may claim what an image does not show, and "
    "nobody has read every row."
)
BIASES = (
    "Texts carry the biases of their authors, people or models, and images those of the collections they come from."
)
PERSONAL = (
    "Images come from the collections named under sources and may show people; nothing was done here to find or blur "
    "them. Texts were not searched for personal data."
)
USES = "Visual instruction tuning of vision-language models, and research on it."
IMPACT = (
    "Models tuned on it follow instructions about images better and may state wrong things about them with confidence; "
    "it is not meant for decisions about people."
)
UPKEEP = (
    "An image, pair or instruction is taken out by its id (mminstruct delete): every later export leaves its rows out "
    "and counts them."
)


@dataclass(slots=True)
class CardFacts:
    """Facts for the card and for ``export.json``."""

    name: str
    format: str = ""
    files: str = ""
    """Glob pattern of its files, with ``{split}``."""
    use: str = ""
    """How to read it."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows by split."""
    digests: dict[str, str] = field(default_factory=dict)
    """Content digest of each split, independent of the order of rows."""
    download: int = 0
    """Total bytes of all files."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each split without compression; only of the format hf."""
    date: str = ""
    """Day of the export, ISO 8601, UTC."""
    shares: dict[str, Share] = field(default_factory=dict)
    """Counts by source."""
    target: dict[str, Any] = field(default_factory=dict)
    """How tokens were counted (``proof.Target``); empty if they were not."""
    annotations: dict[str, dict[str, int]] = field(default_factory=dict)
    """Annotations by set and licence, where people's annotations were used."""
    people: dict[str, int] = field(default_factory=dict)
    """Questions of the rows that people accepted or edited, and ``all`` of them; empty if no decision was given."""
    funnel: Sequence[dict[str, Any]] = ()
    """Counts of each stage, in order: ``table``, ``in``, ``kept`` and ``dropped`` (reason -> count)."""
    warnings: Sequence[str] = ()
    """What the run, or the runs and exports of a mix, warn of (``status.tables.all_warnings``)."""
    about: dict[str, Any] = field(default_factory=dict)
    """The recipe's description of its method (``Recipe.about``); empty for a mix."""
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)
    """Questions by domain and kind."""
    models: dict[str, str] = field(default_factory=dict)
    """Model with revision by stage."""
    made_from: dict[str, Any] = field(default_factory=dict)
    """Fingerprints of the input."""
    mixture: Sequence[dict[str, Any]] = ()
    """Counts for each source of a mix; empty for a run."""

    @property
    def licences(self) -> dict[str, dict[str, int]]:
        """Rows by source and licence."""
        return {source: share.licences for source, share in sorted(self.shares.items())}

    @property
    def licence(self) -> str:
        """The Hub's identifier of the licence if all images have the same one, else other."""
        names = {_HUB_LICENCES.get(name.casefold(), "other") for found in self.licences.values() for name in found}
        return names.pop() if len(names) == 1 else "other"

    @property
    def made(self) -> str:
        """How a row was made; empty if the recipe does not say."""
        return MIXED if self.mixture else self.about.get("made", "")

    @property
    def limits(self) -> str:
        return MIXED_LIMITS if self.mixture else self.about.get("limits") or LIMITS

    @property
    def tags(self) -> list[str]:
        return [] if self.mixture else list(self.about.get("tags", ()))

    @property
    def synthetic(self) -> bool:
        """Whether models wrote the texts."""
        return "synthetic" in self.tags

    def as_json(self) -> str:
        facts = {key: value for key, value in asdict(self).items() if key not in ("files", "use", "date") and value}
        return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def text(facts: CardFacts) -> str:
    """The dataset card (README.md)."""
    head = yaml.safe_dump(_head(facts), sort_keys=False, allow_unicode=True)
    total = sum(facts.rows.values())
    lines = [
        "---", head.rstrip(), "---", "",
        f"# {markdown(facts.name)}", "",
        f"{total:,} conversations for visual instruction tuning, made with mminstruct{_method(facts)}"
        + f": {markdown(facts.made)}" * bool(facts.made) + ".", "",
        *(line for said in facts.warnings for line in (f"**Warning:** {markdown(said)}", "")),
        f"Format `{facts.format}`. {facts.use.replace('NAME', _code(facts.name))}.", "",
        *table(("split", "rows", "content"), ((s, rows, facts.digests.get(s, "")) for s, rows in facts.rows.items())),
    ]  # fmt: skip
    if facts.format == "hf":
        lines += [
            "## Columns",
            "",
            *table(("column", "meaning"), ((name, Written(meaning)) for name, meaning in COLUMNS.items())),
        ]
    if sum(map(len, facts.kinds.values())) > 1:
        lines += ["## Kinds of questions", "", *kinds(facts)]
    if facts.mixture:
        lines += ["## What was taken", "", *mixture(facts)]
    if facts.funnel:
        lines += ["## What was kept", "", "Every row that entered a step was kept or dropped for a reason.", ""]
        lines += table(
            ("step", "in", "kept", "dropped"),
            ((step["table"], step["in"], step["kept"], reasons(step["dropped"])) for step in facts.funnel),
        )
    if facts.people:
        lines += ["## Review by people", "", reviewed(facts), ""]
    if facts.models:
        lines += ["## Models that wrote it", "", *table(("stage", "model"), facts.models.items())]
    lines += [
        "## Sources and licences", "",
        *shares(facts),
        *licences(facts),
        "Images and annotations keep their licences. Where models wrote the texts, their terms may bind you too.", "",
        "## Uses and limits", "", f"{USES} {markdown(facts.limits)} {BIASES} {IMPACT}", "",
        "## People and deletion", "", f"{PERSONAL} {UPKEEP}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _method(facts: CardFacts) -> str:
    """Title of the method's paper, with a link."""
    title = "" if facts.mixture else facts.about.get("title", "")
    number = re.search(r"arXiv:(\d{4}\.\d{4,5})", facts.about.get("paper", ""))
    named = markdown(title)
    if title and number:
        named = f"[{named}](https://arxiv.org/abs/{number.group(1)})"
    return f" after the method of {named}" if title else ""


def reviewed(facts: CardFacts) -> str:
    """How many questions people looked at; no names."""
    accepted, edited, every = (f"{facts.people[name]:,}" for name in ("accepted", "edited", "all"))
    return (
        f"Of the {every} questions with their answers, people accepted {accepted} as they were and edited {edited}. "
        "What all who saw it rejected is not in this set."
    )


def kinds(facts: CardFacts) -> list[str]:
    """Table of questions by domain (rows) and kind (columns)."""
    names = sorted({kind for found in facts.kinds.values() for kind in found})
    body = (
        (domain or "(none)", *(found.get(kind, 0) for kind in names)) for domain, found in sorted(facts.kinds.items())
    )
    return table(["domain", *map(markdown, names)], body)


def shares(facts: CardFacts) -> list[str]:
    """Table of counts by source."""
    heads = ["source", "rows", "images", "characters"]
    how = facts.target
    heads += ["tokens", "longest", f"over {how['max_length']:,}"] if how else []
    lines = table(
        heads,
        (
            (name, s.rows, s.images, s.characters, s.tokens, s.longest, s.truncated)[: len(heads)]
            for name, s in sorted(facts.shares.items())
        ),
    )
    if how:
        lines += [
            f"Tokens are those of `{_code(str(how['tokenizer']))}`, an image counted as {how['image_tokens']:,}.",
            "",
        ]
    return lines


def licences(facts: CardFacts) -> list[str]:
    """Tables of rows by source and licence, and of annotations by set and licence."""
    lines = table(("source", "licence", "rows"), _by_name(facts.licences))
    if facts.annotations:
        lines += table(("annotations of", "licence", "annotations"), _by_name(facts.annotations))
    return lines


def _by_name(found: dict[str, dict[str, int]]) -> Iterator[tuple[str, str, int]]:
    return ((name, licence, count) for name, some in sorted(found.items()) for licence, count in sorted(some.items()))


def mixture(facts: CardFacts) -> list[str]:
    """Table of row counts for each source of a mix; in = unsound + left + taken."""
    return table(
        ("source", "in", "unsound", "left", "taken", "rows", "mended"),
        (
            (
                *(one["source"], one["in"], reasons(one["unsound"]) or 0, one["left"], one["taken"], one["rows"]),
                reasons(one["mended"]) or 0,
            )
            for one in facts.mixture
        ),
    )


def reasons(counted: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counted.items())


def table(heads: Sequence[str], body: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table, followed by an empty line."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in body:
        cells = [
            f"{cell:,}" if isinstance(cell, int) else markdown(cell if isinstance(cell, str) else str(cell))
            for cell in row
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


_ACTIVE = re.compile(r"[\\`*\[\]|~!#$^={}]|(?<![^\W_])_|_(?![^\W_])")
"""Characters with a meaning within a line of Markdown (CommonMark 0.31, GitHub's tables, strikethrough, formulas)."""


def markdown(text: str) -> str:
    """*text* escaped for one line of Markdown, so that it cannot become a link, an image, markup or HTML."""
    if isinstance(text, Written):
        return text
    escaped = _ACTIVE.sub(lambda found: f"\\{found.group()}", one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    """*text* escaped for use within backticks."""
    return one_line(text).replace("`", "'")


def _head(facts: CardFacts) -> dict[str, Any]:
    string = [
        {"name": name, "dtype": "string"} for name in ("split", "image_id", "instruction_id", "source", "licence")
    ]
    turns = [{"name": "from", "dtype": "string"}, {"name": "value", "dtype": "string"}]
    files = [{"split": split, "path": facts.files.format(split=split)} for split in facts.rows]
    features = facts.format == "hf" and {
        "dataset_info": {
            "features": [
                {"name": "pair_id", "dtype": "string"},
                {"name": "image", "dtype": "image"},
                {"name": "conversations", "list": turns},
                *string,
                {"name": "turns", "list": [{"name": name, "dtype": dtype} for name, dtype in TURN.items()]},
            ],
            "splits": [
                {"name": split, "num_bytes": facts.sizes.get(split, 0), "num_examples": rows}
                for split, rows in facts.rows.items()
            ],
            "download_size": facts.download,
            "dataset_size": sum(facts.sizes.values()),
        }
    }
    writers = ["machine-generated" if facts.synthetic else "other"]
    return {
        "pretty_name": facts.name,
        "license": facts.licence,
        **({"license_name": "mixed", "license_link": "README.md"} if facts.licence == "other" else {}),
        "language": ["en"],
        "task_categories": ["visual-question-answering", "image-text-to-text"],
        "annotations_creators": writers,
        "language_creators": [*writers],  # a copy: YAML writes the second use of one list as a reference
        "size_categories": [_size(sum(facts.rows.values()))],
        "tags": ["visual-instruction-tuning", "llava", *facts.tags],
        "configs": [{"config_name": "default", "data_files": files}],
        **(features or {}),
    }


def _size(rows: int) -> str:
    """The Hub's size category."""
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    for place, name in enumerate(names):
        if rows < 10 ** (place + 3):
            return f"{names[place - 1]}<n<{name}" if place else f"n<{name}"
    return "n>1B"
