"""The files of the annotation sets: records put together as the sets publish them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from mminstruct.microworld.annotated.formats import Record

INFO = {"description": "microworld", "version": "1.0", "year": 2026}
LICENCE = {"id": 1, "name": "cc-by-4.0", "url": ""}


def texts(
    records: Mapping[str, Sequence[Record]], images: Sequence[dict[str, Any]], vg: Sequence[dict[str, Any]]
) -> dict[str, str]:
    """Files by name, below ``annotations/``.

    Args:
        records: By set, in the order of the file.
        images: Of COCO's ``images`` list, with those that are missing.
        vg: Entries of Visual Genome's ``image_data.json``.
    """
    common = {"info": INFO, "licenses": [LICENCE], "images": images}
    found = {
        "captions.json": _json({**common, "annotations": records["coco_captions"]}),
        "vg_image_data.json": _json(vg),
        "vg_question_answers.json": _json(_by_image(records["vg_qa"])),
        "vsr.jsonl": "".join(f"{_json(record)}\n" for record in records["vsr"]),
        "stvqa.json": _json({"dataset": "ST-VQA", "version": 1.0, "task": 1, "data": records["stvqa"]}),
    }
    for name, file in (("paragraph", "paragraphs"), ("vqa_e", "vqa_e"), ("tallyqa", "tallyqa"), ("aokvqa", "aokvqa")):
        found[f"{file}.json"] = _json(records[name])
    for name, before in (("vqa", "v2_OpenEnded_"), ("okvqa", "okvqa_")):
        head = {"info": INFO, "license": LICENCE, "data_type": "microworld", "data_subtype": "train"}
        asked, said = ([r[part] for r in records[name] if r[part] is not ...] for part in ("question", "annotation"))
        found[f"{before}questions.json"] = _json({**head, "task_type": "Open-Ended", "questions": asked})
        found[f"{before.replace('OpenEnded_', '')}annotations.json"] = _json({**head, "annotations": said})
    for part in ("img_ids", "questions", "answers", "types"):
        found[f"cocoqa/{part}.txt"] = "".join(f"{record[part]}\n" for record in records["cocoqa"])
    return found


_json: Callable[[Any], str] = json.dumps


def _by_image(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Neighbours with the same image are one entry."""
    entries = []
    for key, some in groupby(records, lambda record: repr(record.get("id", "none"))):
        entry = list(some)
        entries.append({**({"id": entry[0]["id"]} if key != repr("none") else {}), "qas": [one["qa"] for one in entry]})
    return entries
