"""Requests for OpenAI's Batch API and compatible ones: each conversation without its last answer.

A file holds at most 50,000 requests and 200 MB, the limits of the API. ``SPLIT-answers.jsonl`` holds the last answers
by ``custom_id``, because replies come back in any order.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mminstruct.export.records import own, provenance
from mminstruct.export.row import Image, Row
from mminstruct.export.shards import shards
from mminstruct.readers.conversation import Turn

FILES = "{split}-[0-9]*.jsonl"
USE = "upload each `train-00000.jsonl` with purpose `batch`; replies join `train-answers.jsonl` by `custom_id`"
NEEDS_MODEL = True
FILE_BYTES = 200_000_000
FILE_REQUESTS = 50_000
_TYPES = {"jpg": "jpeg"}


def write(
    rows: Iterator[Row],
    folder: Path,
    split: str,
    *,
    model: str,
    file_bytes: int = FILE_BYTES,
    file_requests: int = FILE_REQUESTS,
) -> None:
    """*model* is the model that the requests name; a batch has only one."""
    with open(folder / f"{split}-answers.jsonl", "w", encoding="utf-8") as answers:

        def requests() -> Iterator[tuple[int, bytes]]:
            for row in rows:
                body = {"model": model, "messages": _messages(row)}
                request = {"custom_id": row.id, "method": "POST", "url": "/v1/chat/completions", "body": body}
                names = [image.name for image in row.images]
                answer = {"custom_id": row.id, "answer": row.turns[-1]["value"], "images": names, **row.provenance()}
                answers.write(json.dumps(answer, ensure_ascii=False) + "\n")
                line = json.dumps(request, ensure_ascii=False).encode() + b"\n"
                yield len(line), line

        for number, lines in shards(requests(), file_bytes, file_requests):
            with open(folder / f"{split}-{number:05d}.jsonl", "wb") as file:
                file.writelines(lines)


def _messages(row: Row) -> list[dict[str, Any]]:
    images = iter(row.images)
    return [
        {"role": "assistant", "content": turn["value"]}
        if turn["from"] == "gpt"
        else {"role": "user", "content": _parts(turn["value"], images)}
        for turn in row.turns[:-1]
    ]


def _parts(text: str, images: Iterator[Image]) -> list[dict[str, Any]]:
    """The text as message parts, with an image in place of each ``<image>``."""
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(text.split("<image>")):
        if number:
            image = next(images)
            ending = Path(image.name).suffix[1:]
            url = f"data:image/{_TYPES.get(ending, ending)};base64,{base64.b64encode(image.read()).decode()}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        if piece.strip():
            parts.append({"type": "text", "text": piece.strip()})
    return parts


def read(folder: Path, split: str) -> Iterator[Row]:
    answers = own(folder / f"{split}-answers.jsonl")
    for path in sorted(folder.glob(FILES.format(split=split))):
        for request in own(path):
            answer = next(answers)
            if answer["custom_id"] != request["custom_id"]:
                raise ValueError(f"{path}: {request['custom_id']} is matched with the answer of {answer['custom_id']}")
            turns: list[Turn] = []
            images: list[Image] = []
            for message in request["body"]["messages"]:
                texts = []
                for part in message["content"] if message["role"] == "user" else ():
                    if part["type"] == "image_url":
                        data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                        images.append(Image(answer["images"][len(images)], data=data))
                    texts.append(part.get("text", "<image>"))
                said = "\n".join(texts) if texts else message["content"]
                turns.append({"from": "human" if message["role"] == "user" else "gpt", "value": said})
            turns.append({"from": "gpt", "value": answer["answer"]})
            yield Row(id=request["custom_id"], turns=turns, images=tuple(images), **provenance(answer))
