"""Measures of conversations merged from annotations, against the relations planted among the annotations."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

from mminstruct.quality.measure import Measure, share
from mminstruct.quality.measures.annotated import counted, known
from mminstruct.quality.run import JudgedRun
from mminstruct.quality.truth import AnnotationTruth

CONTRADICTION, DUPLICATE, NEAR_EQUAL = "contradiction", "dup_question", "near_equal"
_KINDS = {
    "coco_captions": "caption", "paragraph": "paragraph", "vqa": "short", "okvqa": "short", "vqa_e": "explained",
    "tallyqa": "number", "vsr": "judgement", "aokvqa": "choice_explained", "vg_qa": "short", "cocoqa": "short",
    "stvqa": "short",
}  # fmt: skip
"""Kind of each set of the layout ``coco``."""
_STAGES = ("template", "filter", "review", "select", "merge")


def merge(run: JudgedRun) -> list[Measure]:
    """Contradictions and repeated questions found, formats mixed, lengths kept, and every annotation accounted for.

    A group counts where all of it reached the stage: a repetition whose other half fell before is none.
    """
    if not run.annotations:
        return []
    truth = known(run)
    made = run.rows("template", "pair_id", "annotation_id", "origin")
    of_pair = {row["pair_id"]: truth[row["annotation_id"]] for row in made if row["annotation_id"] in truth}
    kind = {row["pair_id"]: row["kind"] for row in run.rows("template", "pair_id", "kind")}
    reached = {row["pair_id"] for row in run.rows("select", "pair_id")}
    reason = {drop["id"]: drop["reason"] for drop in run.dropped("merge")}
    sizes = Counter(one.group for one in run.annotations if one.group)
    groups: dict[str, list[tuple[str, AnnotationTruth]]] = {}
    for pair in sorted(reached & of_pair.keys()):
        if (group := of_pair[pair].group) is not None:
            groups.setdefault(group, []).append((pair, of_pair[pair]))
    whole = [some for group, some in groups.items() if len(some) == sizes[group]]
    recall = [(reason.get(pair) == CONTRADICTION, 1) for some in whole for pair, one in some
              if one.expected == CONTRADICTION]  # fmt: skip
    precise = [(pair in of_pair and of_pair[pair].expected == CONTRADICTION, 1)
               for pair, why in reason.items() if why == CONTRADICTION]  # fmt: skip
    merged = [(_is_merged(some, reason), 1) for some in whole if some[0][1].planted == NEAR_EQUAL]
    repeated = [(pair in of_pair and of_pair[pair].expected in (DUPLICATE, "one_of_group"), 1)
                for pair, why in reason.items() if why == DUPLICATE]  # fmt: skip
    talks: dict[str, list[tuple[int, str]]] = {}
    for row in run.rows("merge", "talk_id", "place", "pair_id"):
        talks.setdefault(row["talk_id"], []).append((row["place"], kind.get(row["pair_id"], "")))
    kinds = [[name for _, name in sorted(talk)] for talk in talks.values()]
    mixed = [talk for talk in kinds if len(set(talk)) > 1]
    able = [talk for talk in mixed if max(Counter(talk).values()) <= math.ceil(len(talk) / 2)]
    most = run.manifests["merge"]["config"].get("turns")
    return [
        *share("merge", "planted contradictions dropped: recall", recall, 0.95),
        *share("merge", "planted contradictions dropped: precision", precise, 0.98),
        *share("merge", "near-equal questions merged", merged, 0.95),
        *share("merge", "questions dropped as repeated that are", repeated),
        *share("merge", "conversations without neighbours of one format", ((_apart(talk), 1) for talk in mixed), 0.95),
        *share("merge", "... of those whose formats allow it", ((_apart(talk), 1) for talk in able)),
        *(share("merge", "conversations within the limit of turns", ((len(t) <= most, 1) for t in kinds), 1.0)
          if most else ()),
        *_sums(run),
    ]  # fmt: skip


def export(run: JudgedRun) -> list[Measure]:
    """Whether every question is of its set's kind and shown with that kind's phrase, or with none where none is due."""
    phrases = run.manifests["template"]["config"].get("phrases", {})
    turns = {row["pair_id"]: row for row in run.rows("review", "pair_id", "kind", "question", "phrase", "origin")}
    phrased = {row["pair_id"]: row["phrased"] for row in run.rows("merge", "pair_id", "phrased")}
    right: dict[str, list[bool]] = {}
    for number, row in enumerate(run.rows("export", "conversations", "turns")):
        asked = [said["value"] for said in row["conversations"] if said["from"] == "human"]
        for text, pair in zip(asked, (turn["pair_id"] for turn in row["turns"]), strict=True):
            turn = turns[pair]
            phrase = phrases.get(turn["kind"])
            due = phrase is not None and (turn["phrase"] is None or phrased.get(pair, True))
            good = (
                turn["kind"] == _KINDS.get(turn["origin"], turn["kind"])
                and phrase in (turn["phrase"], turn["question"])
                and text.endswith(str(phrase)) == due
            )
            right.setdefault(str(number), []).append(good)
    return share("export", "questions with the phrase of their set", counted(right), 1.0)


def _is_merged(some: list[tuple[str, AnnotationTruth]], reason: dict[str, str]) -> bool:
    """Whether one is left, the expected one where it is known; that one may leave later for another reason."""
    left = [one for pair, one in some if reason.get(pair) not in (DUPLICATE, CONTRADICTION)]
    return (
        len(left) == 1
        and left[0].expected in ("kept", "one_of_group")
        and not any(reason.get(pair) == CONTRADICTION for pair, _ in some)
    )


def _apart(talk: list[str]) -> bool:
    return all(one != other for one, other in pairwise(talk))


def _sums(run: JudgedRun) -> list[Measure]:
    """Whether the rows of each set are all in a conversation, or dropped once."""
    of_row = {row["annotation_id"]: row["set"] for row in run.rows("annotate", "annotation_id", "set")}
    of_row |= {row["pair_id"]: row["origin"] for row in run.rows("template", "pair_id", "origin")}
    ends = Counter(of_row.get(row["pair_id"]) for row in run.rows("merge", "pair_id"))
    for stage in _STAGES:
        if stage in run.manifests:
            ends += Counter(of_row.get(drop["id"]) for drop in run.dropped(stage))
    begins = Counter(row["set"] for row in run.rows("annotate", "set"))
    return share("merge", "sets whose sum closes", ((ends[name] == begins[name], 1) for name in sorted(begins)), 1.0)
