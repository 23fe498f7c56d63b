"""Annotation files in the ten published formats, about six photographs, as their authors write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mminstruct.annotations.sets import AnnotationSet
from tests.readers.hostile import written

IMAGES = {
    9: "COCO_train2014_000000000009.jpg",
    25: "COCO_train2014_000000000025.jpg",
    30: "COCO_train2014_000000000030.jpg",
    42: "COCO_val2014_000000000042.jpg",
    49: "COCO_train2014_000000000049.jpg",
    61: "COCO_train2014_000000000061.jpg",
}
GENOME = {2410408: 61, 107990: 30, 5: None}
"""Images of Visual Genome, and their numbers in COCO."""
COUNT = 30
Lists = dict[str, list[Any]]
"""The lists of a set's files by name; ``records`` is the only list of a file, or the lines of the four of COCO-QA."""

_COCO = list(IMAGES)
_VG = list(GENOME)
_THINGS = ["roof", "flower", "woman", "flag", "uniform", "petal", "temple", "tree", "rocket", "helmet"]


def _answers(thing: str, other: str) -> list[dict[str, Any]]:
    return [
        {"answer": thing if n < 7 else other, "answer_confidence": "yes", "answer_id": n + 1} for n in range(10)
    ]  # fmt: skip


def _image_data() -> list[Any]:
    return [{"image_id": vg, "coco_id": coco, "url": f"VG_100K/{vg}.jpg", "width": 8} for vg, coco in GENOME.items()]


def good(format: str) -> Lists:
    """``COUNT`` records that can be used, no two of them equal."""
    return {name: [make(n) for n in range(COUNT)] for name, make in _RECORDS[format].items()} | {
        name: make() for name, make in _BESIDE.get(format, {}).items()
    }


def thing(n: int) -> str:
    return _THINGS[n % 10]


_RECORDS: dict[str, dict[str, Callable[[int], Any]]] = {
    "coco_captions": {
        "annotations": lambda n: {"id": 700 + n, "image_id": _COCO[n % 6], "caption": f"A {thing(n)} in picture {n}."}
    },
    "vqa": {
        "questions": lambda n: {
            "question_id": 9000 + n, "image_id": _COCO[n % 6], "question": f"What is number {n} beside?",
        },
        "annotations": lambda n: {
            "question_id": 9000 + n, "image_id": _COCO[n % 6], "question_type": "what is", "answer_type": "other",
            "multiple_choice_answer": thing(n), "answers": _answers(thing(n), "sky"),
        },
    },
    "vqa_e": {
        "records": lambda n: {
            "img_id": _COCO[n % 6], "question": f"Is number {n} there?", "multiple_choice_answer": "yes",
            "answers": ["yes"] * 8 + ["no"] * 2, "explanation": [f"there is a {thing(n)}", 0.91],
            "question_type": "is", "answer_type": "yes/no",
        }
    },
    "tallyqa": {
        "records": lambda n: {
            "image": "VG_100K_2/2410408.jpg" if n % 6 == 5 else f"train2014/{IMAGES[_COCO[n % 6]]}",
            "image_id": 92410408 if n % 6 == 5 else _COCO[n % 6], "question": f"How many {thing(n)}s, try {n}?",
            "question_id": 30_000_000 + n, "answer": n % 4, "issimple": True, "data_source": "imported_genome",
        }
    },
    "vsr": {
        "records": lambda n: {
            "image": f"{_COCO[n % 6]:012}.jpg", "image_link": f"train2017/{_COCO[n % 6]:012}.jpg",
            "caption": f"The {thing(n)} is left of the thing {n}.", "label": n % 2, "relation": "left of",
            "annotator_id": 31, "vote_true_validator_id": [2, 6] if n % 2 else [],
            "vote_false_validator_id": [] if n % 2 else [1, 4],
        }
    },
    "aokvqa": {
        "records": lambda n: {
            "split": "train", "image_id": _COCO[n % 6], "question_id": f"22MexNkBPpdZGX6sxbx{n:03}",
            "question": f"What is the use of number {n}?", "choices": [f"{thing(n)}", "rain", "sport", "trade"],
            "correct_choice_idx": n % 4, "direct_answers": ["rain"] * 10, "difficult_direct_answer": False,
            "rationales": [f"A {thing(n)} is for that.", "It is seen.", "People use it so."],
        }
    },
    "vg_qa": {
        "records": lambda n: {
            "id": _VG[n % 3],
            "qas": [
                {
                    "qa_id": 986_000 + n, "image_id": _VG[n % 3], "question": f"Where is thing {n}?",
                    "answer": f"On the {thing(n)}.", "a_objects": [], "q_objects": [],
                }
            ],
        }
    },
    "paragraph": {
        "records": lambda n: {
            "image_id": _VG[n % 3], "url": f"VG_100K/{_VG[n % 3]}.jpg",
            "paragraph": f"There is a {thing(n)}. Behind it are {n + 2} trees. The sky is clear.",
        }
    },
    "cocoqa": {"records": lambda n: [str(_COCO[n % 6]), f"what is under the roof {n}", thing(n), str(n % 4)]},
    "stvqa": {
        "data": lambda n: {
            "question_id": 400 + n, "question": f"What does sign {n} say?", "answers": ["stop", "stop sign"][: n % 2 + 1],
            "file_path": "visual_genome/2410408.jpg" if n % 6 == 5 else f"coco-text/{IMAGES[_COCO[n % 6]]}",
            "set_name": "train", "dataset_name": "coco-text",
        }
    },
}  # fmt: skip
_BESIDE: dict[str, dict[str, Callable[[], list[Any]]]] = {
    "coco_captions": {
        "images": lambda: [{"id": n, "file_name": name, "license": 3, "height": 4} for n, name in IMAGES.items()],
        "licenses": lambda: [{"id": 3, "name": "Attribution-NonCommercial-NoDerivs License", "url": "by-nc-nd"}],
    },
    "vg_qa": {"image_data": _image_data},
    "paragraph": {"image_data": _image_data},
    "tallyqa": {"image_data": _image_data},
    "stvqa": {"image_data": _image_data},
}


def save(folder: Path, format: str, lists: Lists, **fields: Any) -> AnnotationSet:
    """Write the files of a set, and return the configuration that reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "annotations.json"
    if format == "cocoqa":
        path = folder
        for place, name in enumerate(("img_ids", "questions", "answers", "types")):
            (folder / f"{name}.txt").write_text("".join(f"{record[place]}\n" for record in lists["records"]))
    elif format == "vsr":
        path.write_text("".join(f"{written(record)}\n" for record in lists["records"]))
    elif "records" in lists:
        path.write_text(written(lists["records"]))
    elif format == "vqa":
        licence = {"name": "Creative Commons Attribution 4.0 International License", "url": "by/4.0"}
        head = {"info": {"version": "2.0"}, "license": licence}
        (folder / "questions.json").write_text(written({**head, "questions": lists["questions"]}))
        path.write_text(written({**head, "data_subtype": "train2014", "annotations": lists["annotations"]}))
        fields["questions"] = str(folder / "questions.json")
    else:
        path.write_text(written({"info": {"year": 2014}, **lists}))
    if "image_data" in lists:
        (folder / "image_data.json").write_text(json.dumps(lists["image_data"]))
        fields["images"] = str(folder / "image_data.json")
    return AnnotationSet(format=format, path=str(path), **fields)


@dataclass(frozen=True)
class Planted:
    """A record that must be dropped: the one numbered ``of``, changed and added at the end of its list."""

    format: str
    reason: str
    change: Any
    """Fields to set (``...`` removes one), or another record."""
    found: str
    """A part of the drop's detail."""
    list: str = "records"
    new: bool = True
    """Whether the added record has an id of its own."""
    of: int = 3


_IDS = {"coco_captions": "id", "vqa": "question_id", "tallyqa": "question_id", "stvqa": "question_id"}

PLANTED = [
    Planted("coco_captions", "no_image_id", {"image_id": None}, "no `image_id`", "annotations"),
    Planted("coco_captions", "bad_image_id", {"image_id": True}, "`image_id` is True", "annotations"),
    Planted("coco_captions", "bad_image_id", {"image_id": 77}, "`images` has no image 77", "annotations"),
    Planted("coco_captions", "empty_answer", {"caption": " \n"}, "`caption` is", "annotations"),
    Planted("coco_captions", "no_answer", {"caption": ...}, "no `caption`", "annotations"),
    Planted("coco_captions", "dup_annotation", {}, "id 703 is there twice", "annotations", new=False),
    Planted("coco_captions", "private", {"caption": "Mail ana@example.org."}, "ana@example.org", "annotations"),
    Planted("vqa", "no_question", {"question": ""}, "`question` is ''", "questions"),
    Planted("vqa", "no_question", {"question": "?"}, "the question is '?'", "questions"),
    Planted("vqa", "no_partner", {"question_id": 1}, "question id 1 has no annotation", "questions", new=False),
    Planted("vqa", "no_partner", {"question_id": 2}, "question id 2 has no question", "annotations", new=False),
    Planted("vqa", "bad_image_id", {"image_id": float("nan")}, "`image_id` is nan", "questions"),
    Planted("vqa", "dup_question_id", {}, "question id 9003 is there twice", "questions", new=False),
    Planted("vqa", "dup_annotation", {}, "annotation id 9003 is there twice", "annotations", new=False),
    Planted("vqa_e", "no_majority", {"answers": ["no"] * 8 + ["yes"] * 2}, "20% of the annotators say 'yes'"),
    Planted("vqa_e", "bad_explanation", {"explanation": ["", 0.5]}, "`explanation` is ['', 0.5]"),
    Planted("vqa_e", "no_rationale", {"explanation": ["...", 0.5]}, "the rationale is '...'"),
    Planted("tallyqa", "bad_count", {"answer": 2.5}, "`answer` is 2.5"),
    Planted("tallyqa", "bad_image_id", {"image": 92410408}, "`image` is 92410408"),
    Planted("vsr", "bad_record", ["a", "list"], "JSON list"),
    Planted("vsr", "bad_label", {"label": 2}, "`label` is 2"),
    Planted("vsr", "votes_disagree", {"vote_false_validator_id": [1, 4, 5]}, "2 say true and 3 say false"),
    Planted("aokvqa", "bad_choices", {"choices": ["rain", "Rain", "sport", "trade"]}, "'Rain'"),
    Planted("aokvqa", "bad_choices", {"choices": ["rain", "the rain.", "sport", "trade"]}, "the rain."),
    Planted("aokvqa", "bad_choice_index", {"correct_choice_idx": 4}, "`correct_choice_idx` is 4"),
    Planted("aokvqa", "no_rationale", {"rationales": []}, "`rationales` is []"),
    Planted("aokvqa", "no_rationale", {"rationales": [".", " "]}, "`rationales` is ['.', ' ']"),
    Planted("vg_qa", "bad_image_id", {"id": -3, "qas": [{"qa_id": 1, "question": "Who?", "answer": "Me."}]}, "is -3"),
    Planted("paragraph", "too_long", {"paragraph": "It is long. " * 300}, "characters, at most 3000"),
    Planted("cocoqa", "no_question", ["9", "", "roof", "0"], "`question` is ''"),
    Planted("stvqa", "special_token", {"answers": ["<image>"]}, "<image>", "data"),
    Planted("stvqa", "bad_image_id", {"file_path": "icdar/img_12.jpg"}, "neither in coco-text", "data"),
]
"""Records with one fault each; every reason of ``annotations.record.REASONS`` occurs."""


def planted(lists: Lists, fault: Planted) -> Lists:
    """*lists* with the fault at the end of its list; questions of VQA keep their partners."""
    lists = {name: list(some) for name, some in lists.items()}
    if not isinstance(fault.change, dict):
        lists[fault.list].append(fault.change)
        return lists
    own = _IDS.get(fault.format) or ("question_id" if fault.format == "aokvqa" else "")
    number = 50_000 + len(lists[fault.list])
    beside = fault.format == "vqa" and fault.new
    for name in ("questions", "annotations") if beside else (fault.list,):
        record = {**lists[name][fault.of], **(fault.change if name == fault.list else {})}
        if own and fault.new:
            record[own] = number
        lists[name].append({field: value for field, value in record.items() if value is not ...})
    return lists
