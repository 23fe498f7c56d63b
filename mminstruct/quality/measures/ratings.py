"""Calibration of ratings by models: what share of the pairs with a rating is right."""

from __future__ import annotations

from mminstruct.microworld.oracle import judge_answer, judge_pair
from mminstruct.quality.measure import Measure, share
from mminstruct.quality.run import JudgedRun
from mminstruct.stages.review import KIND


def rate(run: JudgedRun) -> list[Measure]:
    """Share of pairs that have a rating of ``image_correspondence``; and for each rating, how many of them are right.

    Only answers to instructions are judged: the truth of other questions is not known here.
    """
    right: dict[str, tuple[str, bool]] = {}
    for row in run.rows("review", "pair_id", "image_id", "kind", "question", "answer"):
        if row["kind"] == KIND and row["image_id"] in run.truth:
            scene = run.truth[row["image_id"]].scene
            good = judge_pair(row["question"], scene) and judge_answer(row["answer"], row["question"], scene).ok
            right[row["pair_id"]] = (row["image_id"], good)
    rated: dict[str, list[bool]] = {}
    judged: dict[int, dict[str, list[bool]]] = {}
    for row in run.rows("rate", "pair_id", "image_correspondence"):
        if row["pair_id"] in right:
            image, good = right[row["pair_id"]]
            rating = row["image_correspondence"]
            rated.setdefault(image, []).append(rating is not None)
            if rating is not None:
                judged.setdefault(rating, {}).setdefault(image, []).append(good)
    found = share("rate", "pairs with a rating of image_correspondence", _counted(rated))
    for rating, images in sorted(judged.items()):
        found += share("rate", f"right pairs of those rated {rating}", _counted(images))
    return found


def _counted(found: dict[str, list[bool]]) -> list[tuple[int, int]]:
    return [(sum(some), len(some)) for some in found.values()]
