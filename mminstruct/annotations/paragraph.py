"""Stanford's image paragraphs (``paragraphs_v1.json``): a list of images of Visual Genome, each in one paragraph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mminstruct.annotations.keys import vg_key
from mminstruct.annotations.record import Annotation, AnnotationFormat, Fault, each, number_of_image, text
from mminstruct.annotations.visual_genome import in_coco


class Paragraph(AnnotationFormat):
    """``[{image_id, url, paragraph}]``."""

    takes = ("images",)

    def read(self) -> Iterator[Annotation | Fault]:
        coco = in_coco(self.files.get("images"))

        def made(record: dict[str, Any]) -> Annotation:
            number = number_of_image(record, "image_id")
            said = text(record, "paragraph", "no_answer", "empty_answer")
            return Annotation(image=vg_key(number), coco=coco.get(vg_key(number)), kind="paragraph", answer=said)

        yield from each(self.files["path"].records(("image_id", "paragraph")), made)
