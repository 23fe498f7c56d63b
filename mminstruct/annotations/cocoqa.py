"""COCO-QA: a folder with four text files, whose lines of the same number are one record."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from mminstruct.annotations.keys import coco_key
from mminstruct.annotations.record import Annotation, AnnotationFormat, Fault, number_of_image, shown, text
from mminstruct.readers.text import Unreadable


class CocoQA(AnnotationFormat):
    """``img_ids.txt``, ``questions.txt``, ``answers.txt`` and ``types.txt`` (0 object to 3 location)."""

    members = ("img_ids.txt", "questions.txt", "answers.txt", "types.txt")

    def read(self) -> Iterator[Annotation | Fault]:
        files = [self.files[f"path/{name}"] for name in self.members]
        count = 0
        for count, line in enumerate(zip_longest(*(file.lines() for file in files)), 1):
            if None in line:
                short, long = line.index(None), next(index for index, one in enumerate(line) if one is not None)
                raise Unreadable(
                    f"{files[short].what} has {count - 1} lines and {files[long].what} has more: the lines of the four"
                    " files belong together; download them again"
                )
            try:
                one: Annotation | Fault = _made(*line)
            except Fault as fault:
                one = fault
            one.where = f"line {count}"
            yield one
        if not count:
            raise Unreadable(f"{files[0].what} is empty: download it again")


def _made(image: str, question: str, answer: str, type_: str) -> Annotation:
    record = {"img_id": image.strip(), "question": question, "answer": answer}
    number = number_of_image(record, "img_id")
    question = text(record, "question", "no_question")
    answer = text(record, "answer", "empty_answer")
    if type_.strip() not in ("0", "1", "2", "3"):
        raise Fault("bad_record", f"its type is {shown(type_)}, should be 0 to 3")
    return Annotation(image=coco_key(number), kind="short", question=question, answer=answer)
