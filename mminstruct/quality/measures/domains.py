"""Measures of the recipe ``domains``: its questions against the descriptions they were asked from, and the scenes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import special

from mminstruct.microworld.language import facts_of
from mminstruct.microworld.questions.domains import DOMAINS, fitting
from mminstruct.microworld.questions.grammar import KINDS_ASKED, Judged, judge_turn
from mminstruct.microworld.questions.world import World, world_from
from mminstruct.quality import planted_questions
from mminstruct.quality.measure import Measure, share
from mminstruct.quality.run import JudgedRun

Row = dict[str, Any]
TURN = ("pair_id", "image_id", "kind", "domain", "question", "choices", "right", "answer", "origin")
_ABOUT = {
    "counts and comparisons": ("numerical_calculation", "image_comparison"),
    "positions and relations": ("object_localization", "object_relation", "spatial_relationship"),
    "written words": ("ocr",),
}
"""Domains whose answers depend on what a captioner gets wrong most often."""
_CELL = 20
"""Least number of rows of a domain and a kind for a share of templates."""
_MOST = 0.25
"""Largest share of one template in such a cell."""


def retrieve(run: JudgedRun) -> list[Measure]:
    """Whether the domain of an image suits its scene; beside it, a domain drawn at random."""
    suited, chance = [], []
    for row in run.rows("retrieve", "image_id", "domain"):
        if row["image_id"] in run.truth and row["domain"] in DOMAINS:
            names = fitting(run.truth[row["image_id"]].scene)
            suited.append((row["domain"] in names, 1))
            chance.append((len(names), len(DOMAINS)))
    return [
        *share("retrieve", "domains that suit the scene", suited, 0.90),
        *share("retrieve", "... a random one would", chance),
    ]


def transcribe(run: JudgedRun) -> list[Measure]:
    """Words that were read, of those on signs."""
    found, said = [], []
    for row in run.rows("transcribe", "image_id", "words"):
        if row["image_id"] in run.truth:
            words, true = set(row["words"]), set(facts_of(run.truth[row["image_id"]].scene).words)
            found.append((len(words & true), len(true)))
            said.append((len(words & true), len(words)))
    return [
        *share("transcribe", "words on signs that were read", found, 0.90),
        *share("transcribe", "words read that are there", said),
    ]


@dataclass(frozen=True, slots=True)
class Turned:
    """A row with what the grammar says of it."""

    row: Row
    by_description: Judged
    by_scene: Judged

    @property
    def image(self) -> str:
        return str(self.row["image_id"])


def _shares(stage: str, name: str, found: Iterable[tuple[str, bool]], aim: float | None = None) -> list[Measure]:
    """Share of the cases that hold, clustered by image."""
    of_image: dict[str, list[bool]] = {}
    for image, good in found:
        of_image.setdefault(image, []).append(good)
    return share(stage, name, [(sum(some), len(some)) for some in of_image.values()], aim)


def turned(run: JudgedRun, table: str, only: frozenset[str] | None = None) -> list[Turned]:
    """The rows of *table* without a fault about images of known truth, with *only* these pairs if it is given."""
    schema = run.schemas[table].names
    columns = [*TURN, *(["fault"] if "fault" in schema else [])]
    worlds = descriptions(run)
    return [
        Turned(row, judge_turn(row, worlds[row["image_id"]]), judge_turn(row, run.truth[row["image_id"]].scene))
        for row in run.rows(table, *columns)
        if row["image_id"] in run.truth and row["image_id"] in worlds and row.get("fault") is None
        and (only is None or row["pair_id"] in only)
    ]  # fmt: skip


def descriptions(run: JudgedRun) -> dict[str, World]:
    """What the asker was told, by image_id."""
    words = {row["image_id"]: row["words"] for row in run.rows("transcribe", "image_id", "words")}
    alt = {row["image_id"]: row["alt_text"] or "" for row in run.rows("ingest", "image_id", "alt_text")}
    return {key: world_from(said, words.get(key, ()), alt.get(key, "")) for key, said in run.captions.items()}


def ask(run: JudgedRun) -> list[Measure]:
    """Whether questions can be read, are known, and are right; counts, relations and words apart."""
    kinds = [kind for kind, n in run.manifests["ask"]["config"].get("number", {}).items() if n] or list(KINDS_ASKED)
    unasked = {drop["id"] for drop in run.dropped("ask") if drop["reason"].startswith("needs_")}
    rows = run.rows("ask", "image_id", "kind", "fault")
    asked = {row["image_id"] for row in run.rows("caption", "image_id")} - unasked
    made = {(row["image_id"], row["kind"]) for row in rows}
    known = [one for one in turned(run, "ask") if one.row["domain"] in DOMAINS]
    judged = [one for one in known if one.by_description.known]
    return [
        *_shares("ask", "replies that give a question",
                 ((image, (image, kind) in made) for image in sorted(asked) for kind in kinds), 0.98),
        *_shares("ask", "questions without a fault", ((row["image_id"], row["fault"] is None) for row in rows), 0.95),
        *_shares("ask", "questions that the grammar knows; others are not judged",
                 ((one.image, one.by_description.known) for one in known), 0.90),
        *_right("ask", judged),
        *_shares("ask", "choices with three false distractors, by the description",
                 ((o.image, o.by_description.unique) for o in judged if o.row["kind"] == "choice"), 0.95),
        *_shares("ask", "... by the scene",
                 ((o.image, o.by_scene.unique) for o in judged if o.row["kind"] == "choice")),
        *_shares("ask", "judgements that are answered by Yes",
                 ((one.image, one.row["answer"] == "Yes") for one in known if one.row["kind"] == "judgement")),
    ]  # fmt: skip


def _right(stage: str, judged: Sequence[Turned]) -> list[Measure]:
    """Right answers by the description and by the scene, together and by kind and topic."""
    short = [one for one in judged if one.row["kind"] != "long"]

    def by(name: str, some: Sequence[Turned], aims: tuple[float | None, float | None] = (None, None)) -> list[Measure]:
        return [
            *_shares(stage, f"{name}: right by the description",
                     ((one.image, one.by_description.right) for one in some), aims[0]),
            *_shares(stage, f"{name}: right by the scene", ((one.image, one.by_scene.right) for one in some), aims[1]),
        ]  # fmt: skip

    found = by("judgement, choice, short", short, (0.95, 0.80))
    for kind in KINDS_ASKED:
        found += by(kind, [one for one in judged if one.row["kind"] == kind])
    for name, domains in _ABOUT.items():
        found += by(name, [one for one in short if one.row["domain"] in domains])
    return found


def converse(run: JudgedRun) -> list[Measure]:
    """Rounds of conversations, by the description and by the scene."""
    rows = [row for row in run.rows("converse", "image_id", "origin", "fault") if row["origin"] == "converse"]
    images = sorted({row["image_id"] for row in run.rows("ask", "image_id", "fault") if row["fault"] is None})
    talked = {row["image_id"] for row in rows}
    some = [one for one in turned(run, "converse") if one.row["origin"] == "converse"]
    judged = [one for one in some if one.by_description.known]
    return [
        *_shares("converse", "images with a conversation", ((image, image in talked) for image in images), 0.98),
        *_shares("converse", "rounds without a fault", ((r["image_id"], r["fault"] is None) for r in rows), 0.95),
        *_shares("converse", "rounds that the grammar knows; others are not judged",
                 ((one.image, one.by_description.known) for one in some), 0.90),
        *_shares("converse", "rounds right by the description",
                 ((one.image, one.by_description.right) for one in judged)),
        *_shares("converse", "rounds right by the scene", ((one.image, one.by_scene.right) for one in judged)),
    ]  # fmt: skip


def verify(run: JudgedRun) -> list[Measure]:
    """What the verifier keeps and drops: of the run's rows, and of rows with planted faults."""
    kept = {row["pair_id"] for row in run.rows("verify", "pair_id")}
    judged = [one for one in turned(run, "converse") if one.by_description.known]
    right = [one for one in judged if one.by_description.right and one.by_description.unique]
    wrong = [one for one in judged if not one.by_description.right]
    found = [
        *_shares("verify", "rows of the run right by the description: kept",
                 ((one.image, one.row["pair_id"] in kept) for one in right)),
        *_shares("verify", "rows of the run wrong by the description: dropped",
                 ((one.image, one.row["pair_id"] not in kept) for one in wrong)),
        *_shares("verify", "rows right by the scene, before",
                 ((one.image, one.by_scene.right) for one in judged)),
        *_shares("verify", "rows right by the scene, after",
                 ((one.image, one.by_scene.right) for one in judged if one.row["pair_id"] in kept)),
    ]  # fmt: skip
    model = run.model("verify")
    if model is not None:
        found += planted_questions.measures(run, model, [one.row for one in right], descriptions(run))
    return found


def whole(run: JudgedRun) -> list[Measure]:
    """The final rows: right in every respect, and balanced."""
    reached = frozenset(row["pair_id"] for row in run.rows("select", "pair_id"))
    rows = [one for one in turned(run, "review", reached) if one.row["origin"] in ("ask", "converse")]
    judged = [one for one in rows if one.by_scene.known]
    of_domain: dict[str, list[bool]] = defaultdict(list)
    for one in rows:
        if one.row["kind"] == "judgement":
            of_domain[one.row["domain"]].append(one.row["answer"] == "Yes")
    even = [(abs(2 * sum(some) - len(some)) <= max(1.0, 0.04 * len(some)), 1) for some in of_domain.values()]
    choices = [one for one in rows if one.row["kind"] == "choice"]
    return [
        *_shares("domains", "rows right in every respect",
                 ((one.image, one.by_scene.right and one.by_scene.unique) for one in judged)),
        *_shares("domains", "rows that the grammar knows", ((one.image, one.by_scene.known) for one in rows)),
        *share("domains", "domains whose yes share is .50 ± .02, or within one row", even, 1.0),
        *_letters([one.row for one in choices]),
        *_shares("domains", "choices whose right one is not the longest",
                 ((one.image, not _longest(one.row)) for one in choices), 0.65),
        *_cells(judged),
    ]  # fmt: skip


def _longest(row: Row) -> bool:
    right, others = row["choices"][row["right"]], [c for n, c in enumerate(row["choices"]) if n != row["right"]]
    return len(right) > max(map(len, others))


def _letters(rows: Sequence[Row]) -> list[Measure]:
    """The share of each letter among right choices, and the p-value of an even distribution."""
    if not rows:
        return []
    counts = Counter(row["right"] for row in rows)
    expected = len(rows) / 4
    chi2 = sum((counts[place] - expected) ** 2 / expected for place in range(4))
    p = float(special.chdtrc(3, chi2))
    shares = (share("domains", f"right choices with the letter {letter}", ((row["right"] == place, 1) for row in rows))
              for place, letter in enumerate("ABCD"))  # fmt: skip
    p_value = Measure("domains", "letters of right choices, p-value of equal shares", p, None, None, len(rows), 0.01)
    return [*(measure for found in shares for measure in found), p_value]


def _cells(judged: Sequence[Turned]) -> list[Measure]:
    """Cells of a domain and a kind in which no template has more than a quarter of the rows."""
    cells: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in judged:
        if one.by_scene.form is not None and one.row["origin"] == "ask":
            cells[one.row["domain"], one.row["kind"]][one.by_scene.form.text] += 1
    large = [texts for texts in cells.values() if texts.total() >= _CELL]
    rare = [(max(texts.values()) <= _MOST * texts.total(), 1) for texts in large]
    return share("domains", f"cells of {_CELL} rows or more without a template above {_MOST:.0%}", rare)


_ALT = {"ingest": ("image_id", "alt_text")}
_FAULT = (*TURN, "fault")
SECTIONS: Mapping[str, tuple[Callable[[JudgedRun], list[Measure]], Mapping[str, tuple[str, ...]]]] = {
    "retrieve": (retrieve, {"retrieve": ("image_id", "domain")}),
    "transcribe": (transcribe, {"transcribe": ("image_id", "words")}),
    "ask": (ask, {"ask": _FAULT, "caption": ("image_id", "caption"), **_ALT}),
    "converse": (converse, {"converse": _FAULT, "ask": _FAULT, **_ALT}),
    "verify": (verify, {"verify": ("pair_id",), "converse": _FAULT, **_ALT}),
    "domains": (whole, {"retrieve": ("image_id",), "select": ("pair_id",), "review": TURN, **_ALT}),
}
"""Measure and needed columns by section; the first table is one that only this recipe has."""
