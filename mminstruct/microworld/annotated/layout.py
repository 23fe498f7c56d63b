"""The ``coco`` layout: COCO's images and instances, and annotation sets of ten formats with planted faults.

``images/`` has ``000000000012.jpg``, ``annotations/`` the files that each set publishes:

| set | format | files |
|---|---|---|
| coco_captions | coco_captions | captions.json |
| paragraph | paragraph | paragraphs.json, images in vg_image_data.json |
| vqa | vqa | v2_OpenEnded_questions.json, v2_annotations.json |
| vqa_e | vqa_e | vqa_e.json |
| okvqa | vqa | okvqa_questions.json, okvqa_annotations.json |
| tallyqa | tallyqa | tallyqa.json, images in vg_image_data.json |
| vsr | vsr | vsr.jsonl |
| aokvqa | aokvqa | aokvqa.json |
| vg_qa | vg_qa | vg_question_answers.json, images in vg_image_data.json |
| cocoqa | cocoqa | cocoqa/img_ids.txt, questions.txt, answers.txt, types.txt |
| stvqa | stvqa | stvqa.json, images in vg_image_data.json |

``instances.json`` is COCO's. Every annotation has a line in ``_truth/annotations.jsonl``:

- ``set``; ``place``: its own id, null where the format has none;
- ``where``: its number in the file from 1, ``record 7``; in COCO-QA ``line 7``; in VQA v2 those of its ``question`` and
  its ``annotation``; of a double, the numbers of both, since either may be dropped;
- ``image``: the file name, also of images that are missing; ``question`` and ``answer``, before a fault;
- ``true``: whether it is true of the scene;
- ``planted``: the name of its fault, ``contradiction``, ``near_equal`` or null;
- ``group``: that of annotations with near-equal questions, or null;
- ``expected``: ``kept``, ``one_of_group`` (any one of them is kept), or the reason for which it is dropped.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mminstruct.microworld.annotated.annotators import KEPT, Note, annotate, is_of_visual_genome
from mminstruct.microworld.annotated.faults import FAULTS, spoil
from mminstruct.microworld.annotated.files import INFO, LICENCE, texts
from mminstruct.microworld.annotated.formats import FORMATS, Record, coco_file, image_data
from mminstruct.microworld.annotated.relations import plant
from mminstruct.microworld.catalogue import CANVAS, KINDS, KINDS_AT
from mminstruct.microworld.drawn import draw, masks, shape, write_truth
from mminstruct.microworld.scene import Scene, draw_scene

_FAULTS = 30 / 400
"""Bad records of each kind to an image."""


def write_coco(
    folder: str | Path, indices: Sequence[int], seed: int = 0, per_shard: int = 1000, workers: int = 1,
    level: str = "easy",
) -> Path:  # fmt: skip
    """``images/``, and ``annotations/`` with instances and the annotation sets."""
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = KINDS_AT[level]
    scenes: list[Scene] = []
    things: list[dict[str, Any]] = []
    lines = []
    for drawn in draw(indices, seed, workers, level):
        number, scene = drawn.scene.index, drawn.scene
        file = coco_file(scene)
        (folder / "images" / file).write_bytes(drawn.jpeg)
        scenes.append(scene)
        for k, mask in masks(drawn.rendered):
            kind = scene.groups[drawn.rendered.owners[k - 1]].kind
            things.append({"id": number * 100 + k, "image_id": number, "category_id": names.index(kind) + 1,
                           "iscrowd": 0, **shape(mask)})  # fmt: skip
        lines.append(drawn.truth(f"images/{file}"))
    kinds = [{"id": k, "name": name, "supercategory": KINDS[name].category} for k, name in enumerate(names, 1)]
    instances = {"info": INFO, "licenses": [LICENCE], "images": [_image(scene) for scene in scenes],
                 "annotations": things, "categories": kinds}  # fmt: skip
    files, truth = annotation_files(scenes, seed)
    for name, text in {"instances.json": json.dumps(instances), **files}.items():
        path = folder / "annotations" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    write_truth(folder, lines)
    write_truth(folder, truth, "annotations.jsonl")
    return folder


def annotation_files(scenes: Sequence[Scene], seed: int) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The files of all sets about *scenes*, by name below ``annotations/``; and their lines of truth."""
    rng = random.Random(f"mminstruct annotations {seed}/{scenes[0].index}/{len(scenes)}")
    sound = plant([note for scene in scenes for note in annotate(scene)], len(scenes), rng)
    lost = _of_missing_images(scenes, seed, rng)
    numbers: Counter[tuple[str, int]] = Counter()
    written = [_write(note, numbers, rng) for note in (*sound, *lost)]
    written += _spoilt([one for one in written if one.note.expected == KEPT and not one.note.group], numbers,
                       len(scenes), rng)  # fmt: skip
    written.sort(key=lambda one: one.note.scene.index)
    absent = list({note.scene.index: note.scene for note in lost}.values())
    vg = [image_data(scene) for scene in scenes if is_of_visual_genome(scene)]
    vg += [image_data(scene, in_coco=scene.index % 2 == 0) for scene in absent]
    records = {name: [one.record for one in written if one.note.set == name] for name in FORMATS}
    return texts(records, [_image(scene) for scene in (*scenes, *absent)], vg), _truth(written)


def _image(scene: Scene) -> dict[str, Any]:
    return {"id": scene.index, "file_name": coco_file(scene), "width": CANVAS, "height": CANVAS, "license": 1}


@dataclass(slots=True, eq=False)
class _Written:
    """An annotation with its record."""

    note: Note
    record: Record
    own_id: str | None
    double_of: _Written | None = None


def _write(note: Note, numbers: Counter[tuple[str, int]], rng: random.Random) -> _Written:
    key, format_ = (note.set, note.scene.index), FORMATS[note.set]
    record = format_.record(note, numbers[key], rng)
    numbers[key] += 1
    return _Written(note, record, None if format_.own_id is None else str(format_.own_id(record)))


def _of_missing_images(scenes: Sequence[Scene], seed: int, rng: random.Random) -> list[Note]:
    """Annotations of scenes that are not drawn, three of each."""
    wanted = _bad(len(scenes))
    after = max(scene.index for scene in scenes) + 1
    found = []
    for index in range(after, after + -(-wanted // 3)):
        notes = annotate(draw_scene(index, seed, scenes[0].level))
        found += rng.sample(notes, 3)
    return [replace(note, planted="no_image", expected="no_image") for note in found[:wanted]]


def _spoilt(
    sound: Sequence[_Written], numbers: Counter[tuple[str, int]], images: int, rng: random.Random
) -> list[_Written]:
    """Records with each fault, made from sound ones, in every set whose format can have it in turn."""
    of = {name: [one for one in sound if one.note.set == name] for name in FORMATS}
    found = []
    for fault, (names, _) in FAULTS.items():
        sets = [name for name in names.split() if of[name]]
        for k in range(_bad(images)):
            name = sets[k % len(sets)]
            base = rng.choice(of[name])
            known = replace(base.note, planted=fault, expected=fault, true=fault.startswith("dup_"))
            if fault.startswith("dup_"):  # the same id; each base once, so that one is the other's only double
                of[name].remove(base)
                one = _Written(known, base.record, base.own_id, base)
            else:
                one = _write(known, numbers, rng)
            one.record = spoil(fault, name, one.record, rng)
            found.append(one)
    return found


def _bad(images: int) -> int:
    return max(1, round(_FAULTS * images))


def _truth(written: Sequence[_Written]) -> list[dict[str, Any]]:
    """A line for each annotation, in the order of the files."""
    numbers: Counter[tuple[str, str]] = Counter()
    where: dict[int, list[str]] = {}
    for one in written:
        mine = where[id(one)] = []
        for what in FORMATS[one.note.set].counted:
            if not isinstance(one.record, dict) or one.record.get(what) is not ...:
                numbers[one.note.set, what] += 1
                mine.append(f"{what} {numbers[one.note.set, what]}")
    lines = []
    for one in sorted(written, key=lambda one: list(FORMATS).index(one.note.set)):
        note, double = one.note, one.double_of
        lines.append({
            "set": note.set, "place": one.own_id, "where": [*where[id(one)], *(where[id(double)] if double else ())],
            "image": coco_file(note.scene), "question": note.text or None, "answer": note.answer, "true": note.true,
            "planted": note.planted, "group": note.group, "expected": note.expected,
        })  # fmt: skip
    return lines
