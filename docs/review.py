"""Draws docs/review-*.png, pictures of a review page: `python docs/review.py runs/demo`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from mminstruct.readers.image import load
from mminstruct.reviewing.write import write
from tests.reviewing.made import FLAGS, chromium

SIZES = {"light": (1280, 800), "dark": (1280, 800), "phone": (390, 844)}
PAUSE = 2300
"""Milliseconds between two decisions: the speed of a person."""


def main(run: str, to: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        write(run, folder, ["ana", "bo"])
        browser = play.chromium.launch(executable_path=chromium(), args=FLAGS)
        for name, (width, height) in SIZES.items():
            scheme = "dark" if name == "dark" else "light"
            page = browser.new_page(
                color_scheme=scheme, viewport={"width": width, "height": height}, has_touch=name == "phone"
            )
            page.goto(Path(folder, "ana.html").as_uri())
            for key in "aaaaaar" if name == "dark" else "aaaaa":
                page.wait_for_timeout(PAUSE if key == "a" else 0)
                page.keyboard.press(key)
            page.wait_for_timeout(300)
            load(page.screenshot()).quantize(256).save(to / f"review-{name}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(__file__).parent)
