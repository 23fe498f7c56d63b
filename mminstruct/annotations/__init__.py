"""Annotations of images by people: the formats in which published sets come, each read as a stream of records."""

from __future__ import annotations

import inspect

from mminstruct import plugin
from mminstruct.annotations.aokvqa import AOkvqa
from mminstruct.annotations.coco_captions import CocoCaptions
from mminstruct.annotations.cocoqa import CocoQA
from mminstruct.annotations.files import SetFile
from mminstruct.annotations.paragraph import Paragraph
from mminstruct.annotations.record import Annotation, AnnotationFormat, Fault, each
from mminstruct.annotations.stvqa import StVQA
from mminstruct.annotations.tallyqa import TallyQA
from mminstruct.annotations.vg_qa import VgQA
from mminstruct.annotations.vqa import Vqa
from mminstruct.annotations.vqa_e import VqaE
from mminstruct.annotations.vsr import Vsr

__all__ = ["FORMATS", "Annotation", "AnnotationFormat", "Fault", "SetFile", "each", "format_class"]

FORMATS: dict[str, type[AnnotationFormat]] = {
    "coco_captions": CocoCaptions,
    "vqa": Vqa,
    "vqa_e": VqaE,
    "tallyqa": TallyQA,
    "vsr": Vsr,
    "aokvqa": AOkvqa,
    "vg_qa": VgQA,
    "paragraph": Paragraph,
    "cocoqa": CocoQA,
    "stvqa": StVQA,
}
"""Formats by the name that ``recipe.annotate.sets.NAME.format`` takes."""


def format_class(name: str) -> type[AnnotationFormat]:
    """The format that *name* means: an entry of ``FORMATS``, or ``package.module:Class`` from outside the package.

    Raises:
        ValueError: no such entry, module or class, or the class is no complete ``AnnotationFormat``.
    """
    if not plugin.is_outside(name):
        if name in FORMATS:
            return FORMATS[name]
        raise ValueError(f"format={name}: take one of {', '.join(FORMATS)}, or your own as package.module:Class")
    found = plugin.load(name, "format")
    if not (inspect.isclass(found) and issubclass(found, AnnotationFormat)):
        raise ValueError(f"format={name} is no subclass of mminstruct.annotations.AnnotationFormat")
    if missing := sorted(found.__abstractmethods__):
        raise ValueError(f"format={name} does not implement {', '.join(missing)}")
    return found
