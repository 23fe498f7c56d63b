"""Measures how long the review page takes from a key to the next row painted, in a real Chromium.

    python -m benchmarks.review [--rows 300] [--picture 256]

The run is drawn: texts of the microworld, one picture a row. A key's time goes from its event to the frame after the
next row was laid out (``requestAnimationFrame`` and one task more), so it includes up to 16.7 ms until the next frame.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from mminstruct.microworld.drawing.render import render
from mminstruct.microworld.families import lessons
from mminstruct.microworld.scene import draw_scene
from mminstruct.reviewing.write import write
from tests.report import runs
from tests.reviewing import made

WATCH = """
window.times = []; window.script = [];
let begun = 0;
document.addEventListener("keydown", (event) => {
  const start = event.timeStamp;
  begun = performance.now();
  requestAnimationFrame(() => {
    const after = new MessageChannel();
    after.port1.onmessage = () => window.times.push(performance.now() - start);
    after.port2.postMessage(0);
  });
}, true);
addEventListener("keydown", () => window.script.push(performance.now() - begun));
delete window.showSaveFilePicker;
"""


def run(url: str, rows: int) -> None:
    """A run with *rows* turns, each about a drawn image of its own."""
    images, turns = [], []
    for number in range(rows):
        scene = draw_scene(number, 1000)
        image = runs.digest(f"image {number}")
        buffer = io.BytesIO()
        render(scene).image.save(buffer, "JPEG", quality=92)
        images.append(made.INGEST | {"image_id": image, "image": buffer.getvalue()})
        values, answer = lessons.answer_example(scene, random.Random(number), "train")
        turns.append(made.turn(number, image, question=values["instruction"], answer=answer))
    runs.put(url, "ingest", images, order=0)
    runs.put(url, "review", turns, order=1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--picture", type=int, default=256)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        run(f"{folder}/run", given.rows + 20)
        start = time.perf_counter()
        print(write(f"{folder}/run", f"{folder}/to", ["ana"], rows=given.rows, picture=given.picture))
        print(f"written in {time.perf_counter() - start:.1f} s")
        browser = play.chromium.launch(executable_path=made.chromium(), args=made.FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.add_init_script(WATCH)
        requests: list[str] = []
        page.on("request", lambda one: requests.append(one.url) if one.url.startswith(("http", "ws")) else None)
        page.goto(Path(f"{folder}/to/ana.html").as_uri())
        for _ in range(given.rows):
            page.keyboard.press("a")
        page.wait_for_timeout(500)
        times, script = (sorted(page.evaluate(f"window.{name}")) for name in ("times", "script"))
        browser.close()
    cut = statistics.quantiles(times, n=100)
    print(
        f"{len(times)} keys, from key to the next row painted: median {statistics.median(times):.1f} ms,"
        f" 95 % within {cut[94]:.1f} ms, longest {times[-1]:.1f} ms; of it script: median"
        f" {statistics.median(script):.2f} ms, longest {script[-1]:.1f} ms; {len(requests)} requests"
    )


if __name__ == "__main__":
    main()
