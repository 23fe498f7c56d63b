"""Run by ``test_vllm`` in a separate process, because vLLM binds the threads and memory of its whole process.

Called as ``python -m tests.models.engine_run LLAVA MIXTRAL``; prints one JSON object as the last line.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from typing import Any

from mminstruct.models.model import Model, Reply, with_image
from mminstruct.models.vllm import Chatter, EngineDead
from mminstruct.prompts import Message
from tests.models import tiny

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"score": {"type": "integer", "enum": [1, 2, 3]}, "why": {"type": "string", "maxLength": 8}},
    "required": ["score", "why"],
    "additionalProperties": False,
}


def ask(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def seen() -> list[list[Message]]:
    """Nine images and two texts."""
    images = [with_image(ask(f"describe {seed}"), tiny.picture(seed, width=40 + seed)) for seed in range(9)]
    return [*images, ask("red robot"), ask("a sign says <image> and </s>")]


def options(folder: str, temperature: float = 0.0) -> Model:
    context = {"max_model_len": 256, "max_num_seqs": 8}
    return Model(name=folder, max_tokens=20, temperature=temperature, backend="vllm", options=context)


def plain(replies: list[Reply]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(reply) for reply in replies]


def main(llava: str, mixtral: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    chatter = Chatter(options(llava))
    rows = seen()
    made["greedy"] = plain(chatter.chat(rows, seeds=list(range(len(rows)))))
    bad = [with_image(ask("look"), b"no image"), ask("x" * 400)]
    made["with bad rows"] = plain(chatter.chat([rows[0], *bad, rows[9]], seeds=[0] * 4))
    chatter._model.temperature = 1.0
    made["sampled"] = plain(chatter.chat([rows[9]] * 12, seeds=list(range(12))))
    units: dict[int, list[dict[str, Any]]] = {}

    def unit(number: int) -> None:
        units[number] = plain(chatter.chat([rows[9]] * 3, seeds=[3 * number + row for row in range(3)]))

    threads = [threading.Thread(target=unit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made["in threads"] = [reply for number in range(4) for reply in units[number]]
    chatter._model.max_tokens = 60
    made["schema"] = plain(chatter.chat([rows[9], rows[0]], seeds=[1, 2], schema=SCHEMA))
    made["broken schema"] = plain(chatter.chat([rows[9]], seeds=[1], schema={"type": "no such type"}))
    chatter._model.max_tokens = 20
    chatter.close()
    chatter.close()

    dying = Chatter(options(mixtral, temperature=1.0))
    made["mixtral"] = plain(dying.chat([rows[9]] * 8, seeds=list(range(8))))

    def die(*_: Any, **__: Any) -> None:
        raise RuntimeError("the device fell off the bus")

    dying._engine.engine_core.engine_core.model_executor.execute_model = die
    for when in ("dies", "is dead"):
        try:
            dying.chat([rows[9]] * 20, seeds=list(range(20)))
        except EngineDead as error:
            made[when] = str(error)
    return made


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
