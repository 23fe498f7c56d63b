"""What ``test_agreement`` has a process of its own do: vLLM binds the threads and memory of its whole process.

Called as ``python -m tests.lab.agreement_run``; prints one JSON object as the last line: replies by model.
"""

from __future__ import annotations

import io
import json
import random

from lab.teach.captioner import PROMPT
from lab.teach.llm import ROLES, lesson_values, render_prompt
from mminstruct.microworld.drawing.render import render
from mminstruct.microworld.scene import draw_scene
from mminstruct.models.model import Model, with_image
from mminstruct.prompts import Message
from mminstruct.prompts import render as render_chat

WORLD = 4000
EACH = {"llm": 27, "captioner": 38}
"""Prompts of every role, and pictures: 200 in all."""


def rows(model: str) -> list[list[Message]]:
    """Prompts of all roles, or pictures with the caption prompt, of a world that nobody was taught on."""
    if model == "captioner":
        prompt, pictures = list(render_chat(PROMPT.read_text("utf-8"))), []
        for index in range(EACH[model]):
            packed = io.BytesIO()
            render(draw_scene(index, WORLD)).image.save(packed, "PNG")
            pictures.append(with_image(prompt, packed.getvalue()))
        return pictures
    made = []
    for role in ROLES:
        for index in range(EACH[model]):
            rng = random.Random(f"agreement {role} {index}")
            shots = index % 3 if role == "answer" else 0
            values, _ = lesson_values(role, draw_scene(index, WORLD), rng, ("train", "test")[index % 2], shots)
            made.append(render_prompt(role, values))
    return made


def replies(model: str, backend: str) -> list[str]:
    """Greedy replies of the shipped *model* to its rows, cut after 48 tokens."""
    context = {"max_model_len": 1024} if backend == "vllm" else {}
    chatter = Model(name=f"micro:{model}", max_tokens=48, temperature=0.0, backend=backend, options=context).chat()
    asked = rows(model)
    said = [reply.text for reply in chatter.chat(asked, seeds=list(range(len(asked))))]
    getattr(chatter, "close", lambda: None)()
    return said


if __name__ == "__main__":
    print(json.dumps({model: replies(model, "vllm") for model in EACH}))
