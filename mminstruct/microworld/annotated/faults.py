"""Faults of records, by the reason for which a reader must leave the record out."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from mminstruct.microworld.annotated.formats import Record

_IMAGE = {
    "coco_captions": "image_id", "paragraph": "image_id", "vqa_e": "img_id", "tallyqa": "image", "vsr": "image",
    "aokvqa": "image_id", "stvqa": "file_path",
}  # fmt: skip
_TEXT = {"coco_captions": "caption", "paragraph": "paragraph", "vsr": "caption", "cocoqa": "questions"}
"""The field of the question, or of the description; ``question`` where not named."""
_ANSWERS = {"vqa_e": "answers", "stvqa": "answers", "tallyqa": "answer", "coco_captions": "caption",
            "paragraph": "paragraph", "vsr": "label", "aokvqa": "correct_choice_idx", "cocoqa": "answers"}  # fmt: skip
_TOO_LONG = 4000
"""Words of a text that is too long."""
_TOKENS = ("<image>", "<|im_end|>", "</s>", "<|endoftext|>", "[/INST]")
_PRIVATE = (
    "Write to anna.meyer@gmail.com", "call (212) 867-5309", "my phone is +44 20 7946 0958",
    "ask j_smith82@yahoo.co.uk",
)  # fmt: skip


class _Edit:
    """The objects of a record that have its image, its question and its answers."""

    def __init__(self, name: str, record: Record) -> None:
        self.name, self.record = name, record
        joined = name in ("vqa", "okvqa")
        self.asked: dict[str, Any] = record["question"] if joined else record["qa"] if name == "vg_qa" else record
        self.said: dict[str, Any] = record["annotation"] if joined else self.asked

    @property
    def text(self) -> str:
        return _TEXT.get(self.name, "question")

    def image(self, value: object) -> None:
        """Give the image this value; ``...`` takes the field away."""
        fields = [(self.asked, "image_id"), (self.said, "image_id")]
        if self.name == "vg_qa":
            fields = [(self.record, "id"), (self.asked, "image_id")]
        elif self.name == "cocoqa":
            fields = [(self.record, "img_ids")]
        elif self.name in _IMAGE:
            fields = [(self.record, _IMAGE[self.name])]
        for of, key in fields:
            _put(of, key, value)
        if value is ... and self.name == "tallyqa":
            self.record.pop("image_id", None)

    def answer(self, value: object) -> None:
        """Give all answers this value; ``...`` takes the fields away."""
        key = _ANSWERS.get(self.name, "answer")
        if self.name in ("vqa", "okvqa") and value is not ...:
            for one in self.said["answers"]:
                one |= {name: value for name in ("answer", "raw_answer") if name in one}
        elif self.name in ("vqa", "okvqa"):
            del self.said["answers"]
        else:
            _put(
                self.said,
                key,
                [value] * len(self.said[key]) if isinstance(self.said[key], list) and value is not ... else value,
            )
        if "multiple_choice_answer" in self.said:
            _put(self.said, "multiple_choice_answer", value)

    def reword(self) -> None:
        """Write the question in lower case, so that it is as true as before whichever of two is kept."""
        self.asked[self.text] = self.asked[self.text].lower().rstrip("?")

    def add(self, words: str) -> None:
        self.asked[self.text] = f"{self.asked[self.text].rstrip('.?! ')} {words}"


def _put(of: dict[str, Any], key: str, value: object) -> None:
    if value is ...:
        of.pop(key, None)
    else:
        of[key] = value


def _no_majority(edit: _Edit, rng: random.Random) -> None:
    """Ten people, ten answers."""
    said = ["red", "blue", "yes", "no", "seven", "a dog", "left", "nothing", "maybe", "wood"]
    if edit.name == "vqa_e":
        edit.said["answers"] = said
    else:
        for one, answer in zip(edit.said["answers"], said, strict=True):
            one |= {name: answer for name in ("answer", "raw_answer") if name in one}
    if "multiple_choice_answer" in edit.said:
        edit.said["multiple_choice_answer"] = rng.choice(said)


def _no_partner(edit: _Edit, rng: random.Random) -> None:
    edit.record[rng.choice(("question", "annotation"))] = ...


def _votes_disagree(edit: _Edit, rng: random.Random) -> None:
    edit.record["label"] = 1 - edit.record["label"]


def _set(key: str, *values: object) -> Callable[[_Edit, random.Random], None]:
    return lambda edit, rng: _put(edit.record, key, rng.choice(values))


def _bad_choices(edit: _Edit, rng: random.Random) -> None:
    texts = edit.record["choices"]
    edit.record["choices"] = rng.choice((texts[:3], [*texts, "none"], [texts[0], texts[0], *texts[2:]],
                                         [*texts[:3], " "]))  # fmt: skip
    edit.record["correct_choice_idx"] = 0


_OBJECTS = "paragraph vqa vqa_e okvqa tallyqa vsr aokvqa vg_qa stvqa"
_ALL = f"coco_captions cocoqa {_OBJECTS}"
FAULTS: dict[str, tuple[str, Callable[[_Edit, random.Random], None]]] = {
    "bad_record": (_OBJECTS, lambda edit, rng: None),
    "no_image_id": (f"{_OBJECTS} cocoqa", lambda edit, rng: edit.image("" if edit.name == "cocoqa" else ...)),
    "bad_image_id": (
        "coco_captions paragraph vqa vqa_e okvqa aokvqa vg_qa cocoqa",
        lambda edit, rng: edit.image(
            rng.choice(("-3", "nine")) if edit.name == "cocoqa" else rng.choice((True, -7, 2.5, "nine", float("nan")))
        ),
    ),
    "no_question": (
        "vqa vqa_e okvqa tallyqa vsr aokvqa vg_qa cocoqa stvqa",
        lambda edit, rng: _put(edit.asked, edit.text, "" if edit.name == "cocoqa" else rng.choice((..., "", "  "))),
    ),
    "no_answer": (f"coco_captions {_OBJECTS}", lambda edit, rng: edit.answer(...)),
    "empty_answer": (
        "coco_captions paragraph vqa vqa_e okvqa vg_qa cocoqa stvqa",
        lambda edit, rng: edit.answer(rng.choice(("", "  "))),
    ),
    "dup_question_id": ("vqa okvqa tallyqa aokvqa vg_qa stvqa", lambda edit, rng: edit.reword()),
    "dup_annotation": ("coco_captions paragraph vqa vqa_e okvqa vsr cocoqa", lambda edit, rng: None),
    "no_majority": ("vqa vqa_e okvqa", _no_majority),
    "no_partner": ("vqa okvqa", _no_partner),
    "bad_label": ("vsr", _set("label", 2, -1, "maybe")),
    "bad_count": ("tallyqa", _set("answer", -1, 2.5, "several", True)),
    "bad_choices": ("aokvqa", _bad_choices),
    "bad_choice_index": ("aokvqa", _set("correct_choice_idx", 4, -1, "first")),
    "no_rationale": ("aokvqa", _set("rationales", ..., [], ["", " "])),
    "bad_explanation": ("vqa_e", _set("explanation", ..., [], [" ", 0.9], 0.9)),
    "votes_disagree": ("vsr", _votes_disagree),
    "too_long": (_ALL, lambda edit, rng: edit.add("and then " * (_TOO_LONG // 2))),
    "special_token": (_ALL, lambda edit, rng: edit.add(rng.choice(_TOKENS))),
    "private": (_ALL, lambda edit, rng: edit.add(rng.choice(_PRIVATE))),
}  # fmt: skip
"""By name: the sets whose format can have the fault, and what it does to a record.

A record of captions keeps its ids, so that COCO's own reader loads the file in spite of the faults. A whole copy is a
``dup_annotation`` where records have no id of a question; where they have one, two with the same id are a
``dup_question_id``, whether they are copies or not.
"""
_SCRAP = ("lost", 7, None, ["lost"])
"""What stands where an object should be."""
_JOINED = ("vqa", "okvqa")


def spoil(fault: str, name: str, record: Record, rng: random.Random) -> Record:
    """A copy of *record*, one of set *name*, with *fault*. In joined sets a part that is not written is ``...``."""
    spoilt = copy.deepcopy(record)
    if fault == "bad_record":
        if name in _JOINED:
            part = rng.choice(("question", "annotation"))
            return {"question": ..., "annotation": ..., part: rng.choice(_SCRAP)}
        return {**spoilt, "qa": rng.choice(_SCRAP)} if name == "vg_qa" else rng.choice(_SCRAP)
    FAULTS[fault][1](_Edit(name, spoilt), rng)
    if name in _JOINED and fault.startswith("dup_"):
        spoilt["annotation" if fault == "dup_question_id" else "question"] = ...
    return spoilt
