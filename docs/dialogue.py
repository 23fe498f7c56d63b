"""Draws docs/coco.png, a dialogue of a run beside its image: `python docs/dialogue.py runs/demo_coco`."""

from __future__ import annotations

import base64
import html
import sys
from pathlib import Path

import pyarrow.compute as pc
from playwright.sync_api import sync_playwright

from mminstruct.readers.image import load
from mminstruct.store.reader import RunReader
from tests.reviewing.made import FLAGS, chromium

PAGE = """<meta charset="utf-8"><style>
body {{ margin: 0; padding: 24px; width: 1152px; font: 16px/1.4 sans-serif; color: #17252a; background: #fff }}
main {{ display: flex; gap: 28px }} img {{ flex: none; width: 400px; border-radius: 8px; align-self: flex-start }}
div {{ display: grid; grid-template-columns: 6.6em 1fr; column-gap: 14px; padding: 4px 0 }}
p {{ margin: 0 }}
small {{ color: #5f6f7a; text-align: right; padding-top: 2px }} b {{ color: #1f5f5d; font-weight: 600 }}
i {{ color: #7a8790 }}
</style><main><img src="data:image;base64,{picture}"><section>{turns}</section></main>"""


def main(url: str, to: Path) -> None:
    run = RunReader(url)
    turns = {row["pair_id"]: row for row in run["review"].to_arrow().to_pylist()}
    talks: dict[str, list[str]] = {}
    for row in sorted(run["merge"].to_arrow().to_pylist(), key=lambda row: (row["talk_id"], row["place"])):
        talks.setdefault(row["talk_id"], []).append(row["pair_id"])

    def formats(talk: str) -> tuple[int, int]:
        """Number of formats; of two with all of them, the one with less text."""
        rows = [turns[pair] for pair in talks[talk]]
        return len({row["kind"] for row in rows}), -sum(len(row["question"] + row["answer"]) for row in rows)

    chosen = max(sorted(talks), key=formats)
    row = run["export"].to_arrow(["image"], pc.field("pair_id") == chosen).to_pylist()[0]
    picture = base64.b64encode(row["image"]["bytes"]).decode()
    page = PAGE.format(picture=picture, turns="".join(told(turns[pair]) for pair in talks[chosen]))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=FLAGS)
        view = browser.new_page(viewport={"width": 1200, "height": 400})
        view.set_content(page)
        load(view.screenshot(full_page=True)).quantize(256).save(to, optimize=True)
        browser.close()


def told(turn: dict) -> str:
    """A turn: its annotation set, question, choices, phrase and answer."""
    choices = "".join(f"<br>{chr(65 + place)}. {html.escape(one)}" for place, one in enumerate(turn["choices"] or ()))
    phrase = f"{'<br>' if choices else ' '}<i>{html.escape(turn['phrase'])}</i>" if turn["phrase"] else ""
    asked = f"<b>{html.escape(turn['question'])}{choices}</b>{phrase}"
    return f"<div><small>{html.escape(turn['origin'])}</small><p>{asked}<br>{html.escape(turn['answer'])}</p></div>"


if __name__ == "__main__":
    main(sys.argv[1], Path(__file__).parent / "coco.png")
