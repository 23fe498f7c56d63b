"""Plants faults in questions that are right, and has the stage ``verify`` look for them with the run's own verifier.

Wrong answers: a judgement is flipped, the answer of a choice is another one, a number is one more or less, another
value is an answer of a few words, one statement of a long answer is false. Questions that need no image: about what is
known of every animal or kind of thing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.microworld.questions.forms import Asked
from mminstruct.microworld.questions.grammar import TEMPLATES, find, forms
from mminstruct.microworld.questions.planting import planted
from mminstruct.microworld.questions.queries import guess
from mminstruct.microworld.questions.sorts import SORTS
from mminstruct.microworld.questions.world import World
from mminstruct.models.model import Model
from mminstruct.quality.measure import Measure, share
from mminstruct.quality.run import JudgedRun
from mminstruct.stage import StageOutput, content_id, instruction_id, pair_id
from mminstruct.stages.verify import Verify

Row = dict[str, Any]

_EACH = 60
"""Rows of each kind that get a fault, and rows without one."""
_BLIND_TRIES = 3


def measures(run: JudgedRun, model: Model, right: Sequence[Row], worlds: Mapping[str, World]) -> list[Measure]:
    """What the verifier finds among planted faults.

    Args:
        run: Whose captions the verifier is given.
        model: The verifier.
        right: Rows that are right by the description.
        worlds: What the descriptions say, by image_id.
    """
    chosen = _some(right, "kept", {})
    bad = [wrong for row in _some(right, "wrong", {"choice": 2}) if (wrong := _wrong(row, worlds[row["image_id"]]))]
    kept = _verified(run, model, [*map(_fresh, chosen), *bad], blind_votes=0)
    found = [
        *share("verify", "planted wrong answers found", [(row["pair_id"] not in kept, 1) for row in bad], 0.90),
        *(measure for kind in ("judgement", "choice", "short", "long") for measure in share(
            "verify", f"... {kind}", [(row["pair_id"] not in kept, 1) for row in bad if row["kind"] == kind])),
        *share("verify", "right rows kept", [(row["pair_id"] in kept, 1) for row in map(_fresh, chosen)], 0.95),
    ]  # fmt: skip
    known = [row for key, world in sorted(worlds.items()) if (row := _needs_no_image(key, world))][:_EACH]
    others = [_fresh(row) for row in _some(right, "blind", {}) if row["kind"] == "choice" and not _guessed(row)]
    kept = _verified(run, model, [*known, *others], blind_votes=_BLIND_TRIES)
    marked = {pair for pair, row in kept.items() if row["blind"] == 1.0}
    return [
        *found,
        *share("verify", "planted questions that need no image: marked",
               [(row["pair_id"] in marked, 1) for row in known if row["pair_id"] in kept], 0.80),
        *share("verify", "other choices: not marked",
               [(row["pair_id"] not in marked, 1) for row in others if row["pair_id"] in kept], 0.95),
    ]  # fmt: skip


def _verified(run: JudgedRun, model: Model, rows: Sequence[Row], blind_votes: int) -> dict[str, Row]:
    """The rows that ``verify`` keeps, by pair_id, with its columns."""
    if not rows:
        return {}
    config = run.manifests["verify"]["config"]
    stage = Verify(model=model, prompt=config["prompt"], blind_votes=blind_votes, on_blind="mark")
    captions = pa.Table.from_pylist([{"image_id": key, "caption": text} for key, text in run.captions.items()])
    asked = pa.Table.from_pylist(list(rows), schema=schemas.CONVERSE)
    ingest = pa.Table.from_pylist(run.rows("ingest", "image_id", "alt_text"))
    made = stage.load()(converse=asked, caption=captions, ingest=ingest)
    assert isinstance(made, StageOutput)
    return {row["pair_id"]: row for row in made.table.to_pylist()}


def _some(rows: Sequence[Row], what: str, times: Mapping[str, int]) -> list[Row]:
    """Up to ``_EACH`` rows of each kind, chosen by a digest."""
    ordered = sorted(rows, key=lambda row: content_id("planted", what, row["pair_id"]))
    return [row for kind in ("judgement", "choice", "short", "long")
            for row in [row for row in ordered if row["kind"] == kind][: _EACH * times.get(kind, 1)]]  # fmt: skip


def _fresh(row: Row, **changed: Any) -> Row:
    """*row* as ``converse`` writes it, outside of any conversation; a changed one has a pair_id of its own."""
    made = {**row, **changed}
    if changed:
        made["pair_id"] = content_id("planted", row["pair_id"], *map(str, changed.values()))
    asked = instruction_id(str(made["question"]))
    return {name: made.get(name) for name in schemas.CONVERSE.names} | {
        "instruction_id": asked,
        "talk": None,
        "turn": None,
    }


def _wrong(row: Row, world: World) -> Row | None:
    """*row* with an answer that is false of *world*; None where there is none."""
    rng = random.Random(f"wrong {row['pair_id']}")
    if row["kind"] == "judgement":
        return _fresh(row, answer="No" if row["answer"] == "Yes" else "Yes")
    if row["kind"] == "choice":
        place = rng.choice([n for n in range(len(row["choices"])) if n != row["right"]])
        return _fresh(row, answer="ABCD"[place], right=place)
    if row["kind"] == "long":
        changed = planted(row["answer"], world, rng)
        return _fresh(row, answer=changed[0]) if changed else None
    found = find(row["question"], row["kind"], row["domain"])
    if found is None or found[0].query is None:
        return None
    form, slots = found
    assert form.query is not None
    true = form.query.answers(world, slots)
    false = form.query.wrong(world, slots, true) if true else []
    if form.query.sort == "number":
        sort = list(SORTS["number"].ways)
        false = [value for value in false if abs(sort.index(value) - sort.index(min(true))) == 1]
    return _fresh(row, answer=SORTS[form.query.sort].say(rng.choice(false))) if false else None


def _needs_no_image(image: str, world: World) -> Row | None:
    """A choice question about *world* that common knowledge answers."""
    rng = random.Random(f"no image {image}")
    able = [asked for domain in TEMPLATES for form in forms(domain, "choice")
            if (asked := form.ask(world, rng)) is not None and _guess(asked)]  # fmt: skip
    if not able:
        return None
    asked = rng.choice(able)
    return _fresh({
        "pair_id": pair_id(image, asked.question), "image_id": image, "kind": "choice", "domain": asked.form.domain,
        "question": asked.question, "choices": list(asked.choices), "right": asked.right, "answer": asked.answer,
        "origin": "ask",
    })  # fmt: skip


def _guess(asked: Asked) -> bool:
    """Whether the right choice is what one would guess without the image."""
    query = asked.form.query
    best = guess(query, asked.slots) if query else None
    return query is not None and best is not None and SORTS[query.sort].read(asked.choices[0]) == best


def _guessed(row: Row) -> bool:
    found = find(row["question"], "choice", row["domain"])
    return found is not None and found[0].query is not None and guess(found[0].query, found[1]) is not None
