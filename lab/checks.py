"""The checks that MM-Instruct's authors left open, as commands, with what the microworld can answer of them.

    python -m lab.checks RUN --to docs/checks.md

``RUN`` is a run on the microworld, such as ``runs/demo``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template

from mminstruct.config.files import conf
from mminstruct.microworld.language import short_questions
from mminstruct.quality.diversity.compare import Comparison, compare
from mminstruct.quality.diversity.table import as_text
from mminstruct.quality.run import RunTables
from mminstruct.quality.truth import find_truth, read_truth

PAGE = Path(__file__).with_suffix(".md")
FAMILIES = "families, bits"


def diversity(url: str, folder: Path) -> Comparison:
    """The run at *url* beside visual questions about its own scenes, and our seed instructions.

    Args:
        url: Folder of a run on the microworld.
        folder: Where ``vqa.txt`` is written, the questions one a line.
    """
    known = read_truth(find_truth(RunTables(url).sources()))
    asked = [question for key in sorted(known) for question, _ in short_questions(known[key].scene)]
    questions = folder / "vqa.txt"
    questions.write_text("\n".join(asked) + "\n", encoding="utf-8")
    return compare(url, [str(questions), str(conf() / "seeds.yaml")])


def ordered(found: Comparison) -> bool:
    """Whether the entropies of families are in the order questions, seeds, bank, each outside the next one's interval.

    The bank's own interval does not count: parts of a bank with one instruction a family all have the same entropy.
    """
    bank, questions, seeds = (one.measures[FAMILIES] for one in found.sets)
    values = (questions.high, seeds.low, seeds.high, bank.value)
    if any(value is None for value in values):
        return False
    below, low, high, above = (float(value) for value in values if value is not None)
    return below < low and high < above


def page(url: str, found: Comparison) -> str:
    """The page, as Markdown."""
    lower = sorted(name for name, one in found.sets[2].differences.items() if one.low is not None and one.low > 0)
    order = "came out" if ordered(found) else "did **not** come out"
    verdict = f"The order of families {order}."
    if lower:
        verdict += f" Seeds are above the bank in {', '.join(lower)}: the embedded summarizer has few wordings."
    return Template(PAGE.read_text(encoding="utf-8")).substitute(run=url, diversity=as_text(found), verdict=verdict)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.checks", description="Write the page of open checks.")
    parser.add_argument("run")
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        given.to.write_text(page(given.run, diversity(given.run, Path(folder))), encoding="utf-8")


if __name__ == "__main__":
    main()
