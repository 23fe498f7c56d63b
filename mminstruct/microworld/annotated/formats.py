"""The formats in which the sets are published: a record for each annotation, with the fields of the originals.

A record is what has one line of truth: an object of a list or of a file with JSON lines; for VQA v2 a question with its
annotation; for Visual Genome an entry with one of its ``qas``; for COCO-QA one line in each of four files.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mminstruct.microworld.annotated.annotators import Note, answers, choices, is_of_visual_genome, sure
from mminstruct.microworld.catalogue import CANVAS
from mminstruct.microworld.language import COUNTS
from mminstruct.microworld.scene import Scene

Record = Any
"""A dict unless a fault made it something else."""
_VG = 2_300_000
"""Added to the number of a scene, it is the number of the same image in Visual Genome."""
_COCOQA_TYPES = {"object": 0, "number": 1, "color": 2, "location": 3}
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Format:
    """How a set writes an annotation."""

    record: Callable[[Note, int, random.Random], Record]
    """Takes an annotation, its number among those of its set and image from 0, and the source of its noise."""
    own_id: Callable[[Record], Any] | None = None
    """The record's own id; None where the format has none."""
    counted: tuple[str, ...] = ("record",)
    """What its files are counted by: records, lines, or two halves that are joined."""


def coco_file(scene: Scene) -> str:
    return f"{scene.index:012d}.jpg"


def vg_id(scene: Scene) -> int:
    return _VG + scene.index


def image_data(scene: Scene, *, in_coco: bool = True) -> dict[str, Any]:
    """An entry of Visual Genome's ``image_data.json``."""
    return {
        "image_id": vg_id(scene),
        "url": f"https://microworld.invalid/VG_100K_2/{vg_id(scene)}.jpg",
        "width": CANVAS,
        "height": CANVAS,
        "coco_id": scene.index if in_coco else None,
        "flickr_id": None,
    }


def _caption(note: Note, number: int, rng: random.Random) -> Record:
    index = note.scene.index
    return {"id": index * 100 + number, "image_id": index, "caption": note.answer}


def _paragraph(note: Note, number: int, rng: random.Random) -> Record:
    return {"image_id": vg_id(note.scene), "url": image_data(note.scene)["url"], "paragraph": note.answer}


def _people(note: Note, rng: random.Random) -> list[dict[str, Any]]:
    said = answers(note, rng)
    return [
        {"answer": answer, "answer_confidence": sure(answer, note, rng), "answer_id": place}
        for place, answer in enumerate(said, 1)
    ]


def _begins(text: str) -> str:
    return " ".join(text.lower().rstrip("?").split()[:2])


def _vqa(note: Note, number: int, rng: random.Random) -> Record:
    assert note.question is not None
    ids = {"question_id": note.scene.index * 1000 + number, "image_id": note.scene.index}
    said = {"question_type": _begins(note.text), "multiple_choice_answer": note.answer, "answers": _people(note, rng)}
    annotation = {**ids, **said, "answer_type": note.question.sort}
    return {"question": {**ids, "question": note.text}, "annotation": annotation}


def _okvqa(note: Note, number: int, rng: random.Random) -> Record:
    """As VQA v2, without the majority's answer, and with each answer as it was written beside its normal form."""
    found = _vqa(note, number, rng)
    del found["annotation"]["multiple_choice_answer"]
    found["annotation"] |= {"answer_type": "other", "confidence": 3}
    for one in found["annotation"]["answers"]:
        one["raw_answer"], one["answer"] = one["answer"], one["answer"].lower().rstrip(".")
    return found


def _vqa_e(note: Note, number: int, rng: random.Random) -> Record:
    assert note.question is not None
    return {
        "img_id": note.scene.index,
        "question": note.text,
        "answers": answers(note, rng),
        "multiple_choice_answer": note.answer,
        "question_type": _begins(note.text),
        "answer_type": note.question.sort,
        "explanation": [rng.choice(note.question.why), round(rng.uniform(0.6, 1.0), 4)],
    }


def _named_as_vg(scene: Scene) -> bool:
    """One of three images that are in both collections: TallyQA and ST-VQA give it the name of Visual Genome."""
    return is_of_visual_genome(scene) and scene.index % 3 == 0


def _tallyqa(note: Note, number: int, rng: random.Random) -> Record:
    assert note.question is not None
    scene, simple = note.scene, not note.question.key.startswith("total")
    vg = _named_as_vg(scene)
    return {
        "image": f"VG_100K_2/{vg_id(scene)}.jpg" if vg else f"train2014/COCO_train2014_{coco_file(scene)}",
        "image_id": int(f"9{vg_id(scene)}") if vg else scene.index,
        "question": note.text,
        "question_id": 30_000_000 + scene.index * 100 + number,
        "answer": COUNTS.index(note.answer),
        "issimple": simple,
        "data_source": "imported_genome" if vg else "imported_vqa" if simple else "amt",
    }


def _vsr(note: Note, number: int, rng: random.Random) -> Record:
    assert note.question is not None
    against = rng.choice((0, 0, 1, 2))
    voters = rng.sample(range(1, 25), 3 + against)
    label = int(note.answer == "yes")
    agree, disagree = voters[:3], voters[3:]
    return {
        "image": coco_file(note.scene),
        "image_link": f"https://microworld.invalid/train2017/{coco_file(note.scene)}",
        "caption": note.text,
        "label": label,
        "relation": note.question.relation,
        "annotator_id": rng.randrange(1, 25),
        "vote_true_validator_id": agree if label else disagree,
        "vote_false_validator_id": disagree if label else agree,
    }


def _aokvqa(note: Note, number: int, rng: random.Random) -> Record:
    assert note.question is not None
    texts, right = choices(note.question, rng)
    digest = int.from_bytes(hashlib.sha256(f"{note.scene.index}/{number}".encode()).digest()[:16], "big")
    return {
        "split": "train",
        "image_id": note.scene.index,
        "question_id": "".join(_BASE62[digest // 62**place % 62] for place in range(22)),
        "question": note.text,
        "choices": texts,
        "correct_choice_idx": right,
        "direct_answers": answers(note, rng),
        "difficult_direct_answer": note.agree < 4,
        "rationales": rng.sample(note.question.why, 3),
    }


def _vg_qa(note: Note, number: int, rng: random.Random) -> Record:
    vg = vg_id(note.scene)
    qa = {"qa_id": 900_000 + note.scene.index * 100 + number, "image_id": vg, "question": note.text,
          "answer": f"{note.answer.capitalize()}.", "a_objects": [], "q_objects": []}  # fmt: skip
    return {"id": vg, "qa": qa}


def _cocoqa(note: Note, number: int, rng: random.Random) -> Record:
    """The four lines, in lower case and with a space before the question mark, as COCO-QA has them."""
    assert note.question is not None
    text = note.text.lower().rstrip("?")
    return {"img_ids": str(note.scene.index), "questions": f"{text} ?", "answers": note.answer,
            "types": str(_COCOQA_TYPES[note.question.about])}  # fmt: skip


def _stvqa(note: Note, number: int, rng: random.Random) -> Record:
    vg = _named_as_vg(note.scene)
    collection = "visual_genome" if vg else "coco-text"
    name = f"{vg_id(note.scene)}.jpg" if vg else f"COCO_train2014_{coco_file(note.scene)}"
    return {
        "question_id": note.scene.index * 100 + number,
        "question": note.text,
        "question_tokens": note.text.lower().rstrip("?").split(),
        "answers": [note.answer],
        "file_path": f"{collection}/{name}",
        "file_name": name,
        "dataset": collection,
        "set_name": "train",
        "image_height": CANVAS,
        "image_width": CANVAS,
    }


_JOINED = ("question", "annotation")
FORMATS: dict[str, Format] = {
    "coco_captions": Format(_caption, lambda record: record["id"]),
    "paragraph": Format(_paragraph),
    "vqa": Format(_vqa, lambda record: record["annotation"]["question_id"], _JOINED),
    "vqa_e": Format(_vqa_e),
    "okvqa": Format(_okvqa, lambda record: record["annotation"]["question_id"], _JOINED),
    "tallyqa": Format(_tallyqa, lambda record: record["question_id"]),
    "vsr": Format(_vsr),
    "aokvqa": Format(_aokvqa, lambda record: record["question_id"]),
    "vg_qa": Format(_vg_qa, lambda record: record["qa"]["qa_id"]),
    "cocoqa": Format(_cocoqa, None, ("line",)),
    "stvqa": Format(_stvqa, lambda record: record["question_id"]),
}
"""By the name of the set."""
