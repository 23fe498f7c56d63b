"""Which choices of the recipe pay: each beside the same run without it, on the same scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lab.outcomes import Outcome, difference, effective_kinds, excludes_zero, kinds_difference, mean, right_rows
from lab.variants import AGAIN, WITHOUT
from mminstruct.bench.intervals import Estimate

BUILT = "as built"


@dataclass(frozen=True, slots=True)
class Choice:
    """A variant with a choice, and one without it."""

    says: str
    without: str
    """Name of the variant, or its beginning."""
    having: str = BUILT


CHOICES = (
    Choice("clustering and summaries, instead of every raw instruction", "no clustering"),
    Choice("matching by CLIP, instead of at random", "match: random"),
    Choice("sampling by similarity, instead of the nearest", "match: top-1", "match: sampled, no prices"),
    Choice("prices of instructions that are matched often", "match: sampled, no prices"),
    Choice("exemplars", "0 exemplars"),
    Choice("exemplars by a stronger model, instead of the answerer", "exemplars by the answerer"),
    Choice("the alt-text in the description (fuse)", "no fuse"),
    Choice("the filter", "no filter rules"),
    Choice("descriptions in the prompt of the answer, instead of another image's", "descriptions of other images"),
)
"""Those whose variant's name is fixed. Rules of the filter, other k and numbers of exemplars are added by name."""
_OTHER = {"k = ": "k as built, instead of ", "captions: ": "captions as built, instead of "}


@dataclass(frozen=True, slots=True)
class Scale:
    """A number that two variants are compared by."""

    says: str
    value: Callable[[Outcome], float]
    difference: Callable[[Outcome, Outcome], Estimate]
    factor: float = 1.0
    form: str = "+.3f"


SCALES = (
    Scale("rows right", lambda one: mean(one.counts["rows right"]),
          lambda this, that: difference(this.counts["rows right"], that.counts["rows right"])),
    Scale("right rows of 100 images", lambda one: 100 * mean(right_rows(one)),
          lambda this, that: difference(right_rows(this), right_rows(that)), 100, "+.1f"),
    Scale("effective kinds", effective_kinds, kinds_difference, 1, "+.1f"),
)  # fmt: skip


def verdicts(outcomes: Sequence[Outcome], images: int) -> list[str]:
    """The section "What pays", as lines of Markdown; empty where no choice was left out in any variant."""
    of = {one.name: one for one in outcomes}
    base = outcomes[0]
    of[BUILT] = base
    seeds = [one for one in outcomes if one is base or one.name.startswith(AGAIN)]
    chosen = [choice for choice in _choices(of) if choice.having in of and choice.without in of]
    if not chosen:
        return []
    many = len(SCALES) * len(chosen)
    lines = [
        "",
        "## What pays",
        "",
        f"Each choice of the recipe beside the same run without it, on the same {images} scenes: the difference that "
        "the choice makes, with its 95 % interval (paired bootstrap over images). *Pays* and *hurts*: the interval "
        "excludes zero; where the two runs have different banks of instructions, the value without the choice must "
        f"also lie outside the range of the {len(seeds)} seeds of the run as built. Everything else is *no difference "
        f"found*, which does not say that there is none. Of {many} comparisons, about {round(0.05 * many)} would "
        "exclude zero by chance alone.",
        "",
        f"| choice | {' | '.join(scale.says for scale in SCALES)} |",
        "|---" * (len(SCALES) + 1) + "|",
    ]
    for choice in chosen:
        this, that = of[choice.having], of[choice.without]
        cells = [_cell(scale, this, that, seeds) for scale in SCALES]
        lines.append(f"| {choice.says} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        "- right rows of 100 images: how many right rows the same images give.",
        "- effective kinds: the number of equally frequent kinds of instructions with the entropy of the final rows.",
    ]


def _choices(names: Mapping[str, Outcome]) -> list[Choice]:
    fixed = [choice for choice in CHOICES if choice.without in names]
    known = {choice.without for choice in fixed}
    more = []
    for name in names:
        if name in known or name == BUILT or name.startswith((AGAIN, "match: ")):
            continue
        if name.startswith(WITHOUT):
            more.append(Choice(f"the filter's rule {name.removeprefix(WITHOUT)}", name))
        elif name.endswith(" exemplars"):
            more.append(Choice(f"exemplars as built, instead of {name.removesuffix(' exemplars')}", name))
        else:
            start = next((start for start in _OTHER if name.startswith(start)), "")
            more.append(Choice(f"{_OTHER[start]}{name.removeprefix('captions: ')}" if start else f"not: {name}", name))
    return [*fixed, *more]


def verdict(scale: Scale, this: Outcome, that: Outcome, seeds: Sequence[Outcome]) -> str:
    """``pays``, ``hurts`` or ``no difference found``."""
    found = scale.difference(this, that)
    among = [scale.value(one) for one in seeds]
    beyond = not min(among) <= scale.value(that) <= max(among)
    if excludes_zero(found) and (beyond or this.bank_digest == that.bank_digest):
        return "pays" if (found.low or 0) > 0 else "hurts"
    return "no difference found"


def _cell(scale: Scale, this: Outcome, that: Outcome, seeds: Sequence[Outcome]) -> str:
    found = scale.difference(this, that).scaled(scale.factor, 0)
    if found.value is None:
        return "none"
    said = verdict(scale, this, that, seeds)
    value = f"{found.value:{scale.form}}"
    if found.low is not None and found.high is not None:
        value += f" ({found.low:{scale.form}} to {found.high:{scale.form}})"
    return f"{value} {said}" if said == "no difference found" else f"{value} **{said}**"
