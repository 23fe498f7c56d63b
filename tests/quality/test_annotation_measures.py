"""Measures of a run that merges annotations: each planted miss lowers its own measure, and no other."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import pytest

from mminstruct.microworld import shards
from mminstruct.quality.measure import Measure
from mminstruct.quality.measures import MEASURES, measured
from mminstruct.quality.run import JudgedRun
from mminstruct.quality.truth import AnnotationTruth, read_annotation_truth, read_truth
from mminstruct.stage import Drop
from tests.quality.perfect import PerfectRun, Row

TITLES = ("annotate", "template", "merge", "export")
KINDS = {"coco_captions": "caption", "paragraph": "paragraph", "vqa_e": "explained", "tallyqa": "number",
         "vsr": "judgement", "aokvqa": "choice_explained"}  # fmt: skip
PHRASES = {kind: f"Answer as {kind}." for kind in (*KINDS.values(), "short")}


@dataclass
class PerfectCoco(PerfectRun):
    """A run in which each annotation became what the truth says."""

    def __post_init__(self) -> None:
        self.annotations = read_annotation_truth([self.source])
        by_file = {f"{known.scene.index:012d}.jpg": key for key, known in self.known.items()}
        chosen = {one["question_id"]: one for one in json.loads((self.source / "annotations/aokvqa.json").read_text())
                  if isinstance(one, dict) and "question_id" in one}  # fmt: skip
        self.configs = {"template": {"phrases": PHRASES}, "merge": {"turns": 2}}
        for name in ("ingest", "annotate", "template", "review", "select", "merge", "export"):
            self.rows[name], self.drops[name] = [], []
        self.rows["ingest"] = [{"image_id": key, "image": b""} for key in self.known]
        kept: dict[str, dict[bool, list[Row]]] = {}
        groups: Counter[str] = Counter()
        for number, one in enumerate(self.annotations):
            if one.fault not in (None, "no_image"):
                self.drops["annotate"].append(
                    Drop(one.place or one.where[0], str(one.fault), f"{one.set}, {one.where[0]}: bad")
                )
                continue
            kind = KINDS.get(one.set, "short")
            index = int(one.image.split(".")[0])
            key = f"vg:{2_300_000 + index}" if one.set in ("vg_qa", "paragraph") else f"coco:{index}"
            row = {"annotation_id": f"a{number}", "set": one.set, "image_key": key, "coco_key": f"coco:{index}",
                   "kind": kind, "question": one.question, "answer": one.answer,
                   "place": one.place or f"{key} {number}"}  # fmt: skip
            self.rows["annotate"].append(row)
            if one.fault:
                self.drops["template"].append(Drop(row["annotation_id"], "no_image", f"{one.set}: no image is {key}"))
                continue
            record = chosen[one.place] if kind == "choice_explained" else {}
            right = record.get("correct_choice_idx")
            letter = "" if right is None else "ABCD"[right]
            answer = {"explained": f"{one.answer}. I see it.", "choice_explained": f"{letter}. I see it."}
            image, described = by_file[one.image], kind in ("caption", "paragraph")
            turn = {"pair_id": f"p{number}", "image_id": image, "kind": kind, "origin": one.set,
                    "question": PHRASES[kind] if described else one.question, "choices": record.get("choices"),
                    "right": right, "answer": answer.get(kind, one.answer),
                    "phrase": None if described else PHRASES[kind]}  # fmt: skip
            self.rows["template"].append({**turn, "annotation_id": row["annotation_id"]})
            self.rows["review"].append(turn)
            self.rows["select"].append({"pair_id": turn["pair_id"], "image_id": image, "split": "train"})
            groups[one.group or ""] += 1
            again = one.expected == "one_of_group" and groups[one.group or ""] > 1
            if one.expected in ("contradiction", "dup_question") or again:
                reason = "dup_question" if again else one.expected
                self.drops["merge"].append(Drop(turn["pair_id"], reason, "another"))
            else:
                kept.setdefault(image, {}).setdefault(kind == "short", []).append(turn)
        for some in kept.values():
            pairs = zip_longest(some.get(True, []), some.get(False, []))
            for talk in ([turn for turn in pair if turn] for pair in pairs):
                self._merge(talk)

    def _merge(self, talk: list[Row]) -> None:
        for place, turn in enumerate(talk):
            self.rows["merge"].append(
                {"pair_id": turn["pair_id"], "talk_id": f"t{talk[0]['pair_id']}", "place": place,
                 "image_id": turn["image_id"], "split": "train", "phrased": True}
            )  # fmt: skip
        said = chain.from_iterable(
            [{"from": "human", "value": " ".join(filter(None, (turn["question"], turn["phrase"])))},
             {"from": "gpt", "value": turn["answer"]}]
            for turn in talk
        )  # fmt: skip
        turns = [dict.fromkeys(("instruction_id", "kind", "domain", "origin"), "") | {"pair_id": turn["pair_id"]}
                 for turn in talk]  # fmt: skip
        self.rows["export"].append({"conversations": list(said), "turns": turns, "image": {"bytes": b"", "path": ""}})


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> PerfectCoco:
    folder = shards.write("coco", tmp_path_factory.mktemp("world"), images=16, seed=4242)
    return PerfectCoco(folder, read_truth([folder]))


def judged(run: PerfectCoco, folder: Path) -> JudgedRun:
    return JudgedRun(run.write(folder / "run"), run.known, annotations=run.annotations)


def measures_of(run: PerfectCoco, folder: Path) -> dict[str, Measure]:
    found = [measure for title in TITLES for measure in MEASURES[title].measure(judged(run, folder))]
    return {f"{measure.stage}: {measure.name}": measure for measure in found}


@pytest.fixture(scope="module")
def faultless(perfect: PerfectCoco, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measure]:
    return measures_of(perfect, tmp_path_factory.mktemp("faultless"))


def test_a_run_without_a_miss_has_full_marks(faultless: dict[str, Measure]) -> None:
    assert {name: measure.value for name, measure in faultless.items() if measure.value != 1.0} == {}
    assert {measure.stage for measure in faultless.values()} == set(TITLES)
    assert sum(measure.met is True for measure in faultless.values()) >= 30
    assert all(measure.n > 0 for measure in faultless.values())


def drop_of(run: PerfectCoco, table: str, reason: str) -> Drop:
    found = next(drop for drop in run.drops[table] if drop.reason == reason)
    run.drops[table].remove(found)
    return found


def misnamed(run: PerfectCoco) -> None:
    found = drop_of(run, "annotate", "no_question")
    run.drops["annotate"].append(Drop(found.id, "bad_record", found.detail))


def sound_dropped(run: PerfectCoco) -> None:
    row = next(row for row in run.rows["annotate"] if row["set"] == "vqa")
    run.rows["annotate"].remove(row)
    run.drops["annotate"].append(Drop(row["place"], "too_long", "vqa, question 1: long"))
    run.rows["template"] = [made for made in run.rows["template"] if made["annotation_id"] != row["annotation_id"]]
    gone = f"p{row['annotation_id'][1:]}"
    run.rows["merge"] = [made for made in run.rows["merge"] if made["pair_id"] != gone]
    run.drops["merge"] = [drop for drop in run.drops["merge"] if drop.id != gone]
    run.rows["select"] = [made for made in run.rows["select"] if made["pair_id"] != gone]


def lost_record(run: PerfectCoco) -> None:
    drop_of(run, "annotate", "private")


def wrong_turn(run: PerfectCoco) -> None:
    row = next(row for row in run.rows["template"] if row["kind"] == "number")
    row["answer"] = "nine"


def wrong_letter(run: PerfectCoco) -> None:
    row = next(row for row in run.rows["template"] if row["kind"] == "choice_explained")
    row["answer"] = f"{'ABCD'[row['right'] - 1]}. I see it."


def image_unnamed(run: PerfectCoco) -> None:
    found = drop_of(run, "template", "no_image")
    run.drops["template"].append(Drop(found.id, "image_ambiguous", found.detail))


def contradiction_kept(run: PerfectCoco) -> None:
    found = drop_of(run, "merge", "contradiction")
    run.drops["merge"].append(Drop(found.id, "quota_origin", "enough"))


def harmless_contradicted(run: PerfectCoco) -> None:
    row = run.rows["merge"].pop()
    run.drops["merge"].append(Drop(row["pair_id"], "contradiction", "another"))


def repeated_kept(run: PerfectCoco) -> None:
    found = drop_of(run, "merge", "dup_question")
    run.drops["merge"].append(Drop(found.id, "quota_origin", "enough"))


def neighbours(run: PerfectCoco) -> None:
    talks = {row["talk_id"] for row in run.rows["merge"] if row["place"] == 1}
    shorts = [row for row in run.rows["template"] if row["kind"] == "short"]
    there = {row["pair_id"]: row for row in run.rows["merge"]}
    extra = [there[row["pair_id"]] for row in shorts if row["pair_id"] in there][:20]
    for row, talk in zip(extra, sorted(talks)[::-1], strict=False):
        row["talk_id"], row["place"] = talk, -1
    run.configs["merge"] = {"turns": 3}


def too_long(run: PerfectCoco) -> None:
    run.configs["merge"] = {"turns": 1}


def lost_pair(run: PerfectCoco) -> None:
    run.rows["merge"].pop()


def phrase_lost(run: PerfectCoco) -> None:
    said = next(row for row in run.rows["export"])["conversations"]
    said[0]["value"] = said[0]["value"].removesuffix(PHRASES["short"])


MISSES: dict[str, tuple[Callable[[PerfectCoco], None], set[str]]] = {
    "misnamed": (misnamed, {"annotate: planted no_question dropped by name", "annotate: drops that were planted"}),
    "sound dropped": (sound_dropped, {"annotate: sound annotations kept", "annotate: drops that were planted"}),
    "lost record": (lost_record, {"annotate: planted private dropped by name", "annotate: sets whose sum closes"}),
    "wrong turn": (wrong_turn, {"template: true of the scene, where the annotation is"}),
    "wrong letter": (wrong_letter, {"template: true of the scene, where the annotation is"}),
    "image unnamed": (image_unnamed, {"template: annotations of missing images dropped by name",
                                      "template: drops that were planted"}),
    "contradiction kept": (contradiction_kept, {"merge: planted contradictions dropped: recall"}),
    "harmless contradicted": (harmless_contradicted, {"merge: planted contradictions dropped: precision"}),
    "repeated kept": (repeated_kept, {"merge: near-equal questions merged"}),
    "neighbours": (neighbours, {"merge: conversations without neighbours of one format"}),
    "too long": (too_long, {"merge: conversations within the limit of turns"}),
    "lost pair": (lost_pair, {"merge: sets whose sum closes"}),
    "phrase lost": (phrase_lost, {"export: questions with the phrase of their set"}),
}  # fmt: skip


@pytest.mark.parametrize("miss", MISSES)
def test_a_miss_lowers_its_own_measure_and_no_other_that_is_aimed_at(
    miss: str, perfect: PerfectCoco, faultless: dict[str, Measure], tmp_path: Path
) -> None:
    spoil, expected = MISSES[miss]
    run = copy.deepcopy(perfect)
    spoil(run)
    found = measures_of(run, tmp_path)
    aimed = {name for name, measure in faultless.items() if measure.aim is not None}
    assert {name for name in aimed if found[name].value < faultless[name].value} == expected


def test_without_the_truth_of_annotations_only_what_needs_none_is_measured(
    perfect: PerfectCoco, tmp_path: Path
) -> None:
    run = JudgedRun(perfect.write(tmp_path / "run"), perfect.known)
    found, _ = measured(run)
    assert {measure.stage for measure in found} == {"export"}


def test_a_line_of_truth_is_read_with_all_its_fields(perfect: PerfectCoco) -> None:
    assert all(isinstance(one, AnnotationTruth) and one.where for one in perfect.annotations)
    kinds: set[Any] = {one.expected for one in perfect.annotations if one.fault is None}
    assert kinds == {"kept", "contradiction", "dup_question", "one_of_group"}
