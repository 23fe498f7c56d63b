"""Measures of annotations and of the questions made from them, against the truth of a world in the layout ``coco``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mminstruct.microworld.annotated.questions import is_true
from mminstruct.quality.measure import Measure, share
from mminstruct.quality.run import JudgedRun
from mminstruct.quality.truth import AnnotationTruth, row_key

_NO_IMAGE = "no_image"


def annotate(run: JudgedRun) -> list[Measure]:
    """Whether exactly the planted faults are dropped, each by its name, and every record is accounted for."""
    if not run.annotations:
        return []
    faults = [one for one in run.annotations if one.fault not in (None, _NO_IMAGE)]
    drops = [(*_of_set(drop), drop["reason"]) for drop in run.dropped("annotate")]
    by_place = {(one.set, name, str(one.fault)) for one in faults for name in _names(one)}
    planted = [(any((set_, name, reason) in by_place for name in names), 1) for set_, names, reason in drops]
    gone = {(set_, name, reason) for set_, names, reason in drops for name in names}
    there = known(run)
    found = []
    for reason in sorted({str(one.fault) for one in faults}):
        mine = [any((one.set, name, reason) in gone for name in _names(one)) for one in faults if one.fault == reason]
        found += share("annotate", f"planted {reason} dropped by name", ((good, 1) for good in mine), 1.0)
    rows = Counter(row["set"] for row in run.rows("annotate", "set"))
    left = Counter(set_ for set_, _, _ in drops)
    lines = Counter(one.set for one in run.annotations)
    sound = {one.key for one in run.annotations if one.fault in (None, _NO_IMAGE)}
    kept = {one.key for one in there.values()}
    return [
        *found,
        *share("annotate", "drops that were planted", planted, 1.0),
        *share("annotate", "sound annotations kept", ((key in kept, 1) for key in sorted(sound)), 1.0),
        *share("annotate", "sets whose sum closes", ((rows[n] + left[n] == lines[n], 1) for n in sorted(lines)), 1.0),
    ]


def template(run: JudgedRun) -> list[Measure]:
    """Whether questions and answers are true where the annotation is, and missing images are named."""
    there = known(run)
    if not run.annotations:
        return []
    columns = ("image_id", "kind", "question", "choices", "right", "answer", "annotation_id")
    true: dict[str, list[bool]] = {}
    for row in run.rows("template", *columns):
        one = there.get(row["annotation_id"])
        if one is not None and one.true and row["image_id"] in run.truth:
            scene = run.truth[row["image_id"]].scene
            good = is_true(scene, row["kind"], row["question"], row["answer"], row["choices"], row["right"])
            true.setdefault(row["image_id"], []).append(good)
    left = {drop["id"]: drop["reason"] for drop in run.dropped("template")}
    missing = [(left.get(id_) == _NO_IMAGE, 1) for id_, one in there.items() if one.fault == _NO_IMAGE]
    planted = [(id_ in there and there[id_].fault == reason, 1) for id_, reason in left.items()]
    return [
        *share("template", "true of the scene, where the annotation is", counted(true), 1.0),
        *share("template", "annotations of missing images dropped by name", missing, 1.0),
        *share("template", "drops that were planted", planted, 1.0),
    ]


def known(run: JudgedRun) -> dict[str, AnnotationTruth]:
    """The truth of each row of ``annotate``, by annotation_id. Rows without one are left out.

    Of two annotations with one id of their own, which only faults have, the sound one is meant.
    """
    truth = {one.key: one for one in sorted(run.annotations, key=lambda one: one.fault not in (None, _NO_IMAGE))[::-1]}
    columns = ("annotation_id", "set", "image_key", "coco_key", "question", "answer", "place")
    found = {}
    for row in run.rows("annotate", *columns):
        one = next((truth[key] for key in row_key(row) if key in truth), None)
        if one is not None:
            found[row["annotation_id"]] = one
    return found


def counted(found: Mapping[str, Sequence[bool]]) -> list[tuple[int, int]]:
    return [(sum(some), len(some)) for some in found.values()]


def _names(one: AnnotationTruth) -> tuple[str, ...]:
    return one.where if one.place is None else (one.place, *one.where)


def _of_set(drop: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The set of a drop, and the names of its record; its detail is ``SET, record 7: ...``."""
    head, _, _ = str(drop["detail"]).partition(":")
    set_, _, where = head.partition(", ")
    return set_, (drop["id"], where)
