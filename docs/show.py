"""Draws docs/rows.png, rows of a run's dataset: `python docs/show.py runs/demo`."""

from __future__ import annotations

import sys
import textwrap

from PIL import Image, ImageDraw, ImageFont

from mminstruct.readers.image import load
from mminstruct.store.reader import RunReader

ROWS, SIDE, WIDTH = 6, 190, 720


def main(run: str, to: str) -> None:
    data = RunReader(run)["export"].to_arrow().to_pylist()
    chosen: list[dict] = []
    for row in data[:: max(1, len(data) // (4 * ROWS))]:  # spread over the table, nothing twice
        if not any(row[key] == other[key] for other in chosen for key in ("image_id", "instruction_id")):
            chosen.append(row)
    chosen = chosen[:ROWS]
    sheet = Image.new("RGB", (WIDTH * 2, (SIDE + 16) * ((len(chosen) + 1) // 2) + 16), "white")
    pen = ImageDraw.Draw(sheet)
    bold, plain = ImageFont.load_default(size=16), ImageFont.load_default(size=15)
    for number, row in enumerate(chosen):
        x, y = 16 + number % 2 * WIDTH, 16 + number // 2 * (SIDE + 16)
        sheet.paste(load(row["image"]["bytes"]).resize((SIDE, SIDE)), (x, y))
        question, answer = (turn["value"].removeprefix("<image>\n") for turn in row["conversations"])
        x += SIDE + 14
        for line in textwrap.wrap(question, 56):
            pen.text((x, y), line, "#2b7a78", bold, stroke_width=0.4)
            y += 20
        y += 6
        lines = [piece for line in answer.splitlines() for piece in textwrap.wrap(line, 62) or [""]]
        for line in lines[:8]:
            pen.text((x, y), line, "#17252a", plain)
            y += 19
    sheet.save(to, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "docs/rows.png")
