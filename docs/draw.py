"""Draws a recipe's stages from the recipe itself. Solid arrows are read part by part, dashed ones whole.

`python docs/draw.py > docs/pipeline.svg`, `python docs/draw.py coco > docs/coco.svg`, and so for domains
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from html import escape

from mminstruct.recipes import RECIPES

WHAT = {
    "ingest": "images of any source", "caption": "captioner", "fuse": "caption + alt-text",
    "instruct": "seeds in context",
    "embed": "text encoder", "cluster": "k-means", "summarize": "one per cluster", "match": "CLIP + prices",
    "exemplify": "strong LLM", "answer": "exemplars first", "filter": "named rules", "decide": "people",
    "review": "final texts", "rate": "optional: scores",
    "select": "dedup, hold-out", "merge": "dialogues", "export": "conversations",
    "annotate": "published sets", "template": "format phrases",
    "retrieve": "CLIP: one domain", "transcribe": "words in images", "ask": "4 kinds, templates",
    "converse": "more rounds", "verify": "second model",
}  # fmt: skip
WIDTH, HEIGHT, ACROSS, DOWN, ROW = 128, 52, 164, 176, 5


def main(chosen: str = "mm_instruct") -> str:
    recipe = RECIPES[chosen]
    hints = typing.get_type_hints(recipe)
    stages = {field.name: hints[field.name] for field in dataclasses.fields(recipe)}
    places = {}
    for number, name in enumerate(stages):
        row, column = divmod(number, ROW)
        places[name] = (24 + column * ACROSS, 44 + row * DOWN)
    lines = []
    for name, stage in stages.items():
        for argument, read in {**stage.reads, **recipe.wires.get(name, {})}.items():
            if read is not None:
                lines.append(arrow(places[read.of or argument], places[name], read.mode))
    boxes = [box(name, *places[name]) for name in stages]
    width, height = 24 + ROW * ACROSS, 44 + ((len(stages) - 1) // ROW) * DOWN + HEIGHT + 40
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0 L8 4 L0 8 z" fill="#5f6f7a"/></marker></defs>',
            *lines, *boxes, "</svg>\n",
        ]
    )  # fmt: skip


def box(name: str, x: int, y: int) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="9" fill="#e8f3f1" stroke="#2b7a78"/>'
        f'<g text-anchor="middle">'
        f'<text x="{x + WIDTH / 2}" y="{y + 22}" font-size="15" font-weight="bold">{name}</text>'
        f'<text x="{x + WIDTH / 2}" y="{y + 40}" font-size="11" fill="#5f6f7a">{escape(WHAT.get(name, ""))}</text></g>'
    )


def arrow(a: tuple[int, int], b: tuple[int, int], mode: str) -> str:
    dash = ' stroke-dasharray="5 4"' if mode == "whole" else ""
    style = f'fill="none" stroke="#5f6f7a" stroke-width="1.3" marker-end="url(#tip)" opacity="0.75"{dash}'
    (ax, ay), (bx, by) = a, b
    if ay == by and bx - ax == ACROSS:
        return f'<path d="M{ax + WIDTH} {ay + HEIGHT / 2} L{bx - 2} {by + HEIGHT / 2}" {style}/>'
    if ay == by:  # over the boxes between
        lift = 12 + (bx - ax) // ACROSS * 7
        start, end = ax + WIDTH * 0.6, bx + WIDTH * 0.4
        return f'<path d="M{start} {ay} C{start} {ay - lift} {end} {by - lift} {end} {by - 2}" {style}/>'
    start, end = ax + WIDTH / 2 + (bx - ax) * 0.05, bx + WIDTH / 2 + (ax - bx) * 0.05
    middle = ay + HEIGHT + (by - ay - HEIGHT) / 2
    return f'<path d="M{start} {ay + HEIGHT} C{start} {middle} {end} {middle} {end} {by - 2}" {style}/>'


if __name__ == "__main__":
    print(main(*sys.argv[1:]), end="")
