"""Which images of Visual Genome are images of COCO, by ``image_data.json``."""

from __future__ import annotations

from mminstruct.annotations.files import SetFile
from mminstruct.annotations.keys import coco_key, vg_key
from mminstruct.annotations.record import whole
from mminstruct.unit import note


def in_coco(file: SetFile | None) -> dict[str, str]:
    """Key in Visual Genome -> key in COCO, of the images that are in both; empty without a file.

    Records that cannot be read, or that give an image two numbers, are counted (``image_data_bad``).

    Args:
        file: ``[{image_id, coco_id, ...}]``; ``coco_id`` is null for images that are not of COCO.
    """
    found: dict[int, int | None] = {}
    for _, record in file.records(("coco_id",)) if file else ():
        fields = record if isinstance(record, dict) else {}
        number = whole(fields.get("image_id", fields.get("id")))
        given = fields.get("coco_id")
        coco = whole(given)
        if number is None or (coco is None and given is not None):
            note("image_data_bad")
        elif coco is not None and found.setdefault(number, coco) != coco:
            note("image_data_bad")
            found[number] = None
    return {vg_key(number): coco_key(coco) for number, coco in found.items() if coco is not None}
