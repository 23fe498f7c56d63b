"""The page in a real Chromium: people decide by keys alone, nothing is sent, nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from mminstruct.reviewing.words import REASONS
from mminstruct.reviewing.write import write
from tests.reviewing import made

pytestmark = pytest.mark.slow

CHOICE = {
    "question": "Which fruit?",
    "choices": ["apple", "pear", "fig"],
    "right": 1,
    "answer": "B",
    "phrase": "Answer with the letter.",
}
NO_PICKER = "delete window.showSaveFilePicker"
"""As in Firefox and Safari: the file is downloaded."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        one = play.chromium.launch(executable_path=made.chromium(), args=made.FLAGS)
        yield one
        one.close()


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of 300 turns, of 40 doubtful turns whose first are special, of matches and of instructions."""
    folder = tmp_path_factory.mktemp("sheets")
    special = [CHOICE, {"question": made.HOSTILE, "answer": made.HOSTILE}, {"answer": "One.\nTwo."}]
    made.run(str(folder / "run"), 320, special)
    write(str(folder / "run"), str(folder / "turns"), ["ana"], rows=300)
    write(str(folder / "run"), str(folder / "special"), ["ana", "bo"], rows=40, overlap=1, order="doubt")
    write(str(folder / "run"), str(folder / "match"), ["ana"], rows=20, what="match")
    write(str(folder / "run"), str(folder / "instructions"), ["ana"], rows=20, what="instructions")
    return folder


class Opened:
    """A page in a browser profile of its own; no test may end with an error of its script or a request."""

    def __init__(self, browser: Browser, file: Path, **how: Any) -> None:
        self.context: BrowserContext = browser.new_context(accept_downloads=True, **how)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.file = file
        self.page: Page = self.open()

    def open(self, script: str = NO_PICKER) -> Page:
        page = self.context.new_page()
        page.add_init_script(script)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("request", lambda one: self.requests.append(one.url[:80]))
        page.goto(self.file.as_uri())
        return page

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, where: str) -> str:
        return self.page.locator(where).inner_text()

    def place(self) -> int:
        return int(self.text("#place").split()[0])

    def saved(self) -> list[dict[str, Any]]:
        """Press s, and read the file as another program would."""
        with self.page.expect_download() as got:
            self.press("s")
        assert got.value.suggested_filename.endswith(".jsonl")
        data = Path(got.value.path()).read_bytes()
        assert data.endswith(b"}\n")
        return [json.loads(line) for line in data.decode("utf-8").split("\n")[:-1]]

    def close(self) -> None:
        self.context.close()
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith((self.file.as_uri()[:70], "data:", "blob:"))] == []


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Opened]]:
    some: list[Opened] = []

    def open_one(file: Path, **how: Any) -> Opened:
        some.append(Opened(browser, file, **how))
        return some[-1]

    yield open_one
    for one in some:
        one.close()


def test_300_rows_by_keys_alone_with_a_reload_in_the_middle_and_the_file_says_what_was_decided(
    sheets: Path, opened: Callable[..., Opened]
) -> None:
    file = sheets / "turns" / "ana.html"
    one, rows = opened(file), made.data(file)["rows"]
    wanted = []
    for number, row in enumerate(rows):
        if number == 150:
            one.page.reload()
            assert one.place() == 151
            assert "150 rows done" in one.text("#said")
        if number % 10 == 3:
            reason = number // 10 % 7
            one.press("r", str(reason + 1))
            wanted.append((row["id"], "reject", list(REASONS)[reason], None))
        elif number % 10 == 5:
            one.press(" ")
            wanted.append((row["id"], "skip", None, None))
        elif number % 10 == 7:
            one.press("e", "!", "Enter")
            wanted.append((row["id"], "edit", None, f"{row['answer']}!"))
        else:
            one.press("a")
            wanted.append((row["id"], "accept", None, None))
    assert "All 300 rows are done" in one.text("#said")
    lines = one.saved()
    assert [(line["id"], line["decision"], line["reason"], line["answer"]) for line in lines] == wanted
    assert [line["place"] for line in lines] == list(range(300))
    assert [line["shown"] for line in lines] == [row["shown"] for row in rows]
    assert all(
        line["seconds"] >= 0 and line["at"].endswith("Z") and line["rating"] is line["axis"] is None for line in lines
    )
    assert {tuple(line) for line in lines} == {
        ("sheet", "person", "id", "shown", "decision", "rating", "reason", "question", "answer", "choices", "right",
         "seconds", "at", "page", "place", "axis")
    }  # fmt: skip
    assert one.text("#state") == "Saved"


def test_undo_takes_back_the_last_decisions_one_by_one_also_after_a_reload(
    sheets: Path, opened: Callable[..., Opened]
) -> None:
    one = opened(sheets / "turns" / "ana.html")
    one.press("a", "r", "2", "a")
    one.press("k", "k", "r", "1")  # another word about row 2
    assert one.place() == 4
    one.press("u")
    assert one.place() == 2
    assert "Not in the picture" in one.text("#verdict")
    one.page.reload()
    one.press("u", "u", "u", "u")
    assert one.place() == 1
    assert "Nothing to undo" in one.text("#said")
    assert "0 done" in one.text("#pace")
    one.press("s")
    assert "Nothing to save" in one.text("#said")


def test_keys_with_a_modifier_or_held_down_or_unknown_decide_nothing(
    sheets: Path, opened: Callable[..., Opened]
) -> None:
    one = opened(sheets / "turns" / "ana.html")
    one.press("Control+a", "Alt+a", "Meta+a", "x", "5", "Enter", "r", "9", "Escape", "r", "r")
    assert "0 done" in one.text("#pace")
    one.page.keyboard.down("a")
    for _ in range(5):
        one.page.keyboard.down("a")  # repeats of a key held down
    one.page.keyboard.up("a")
    assert "1 done" in one.text("#pace")
    one.press("j", "ArrowRight", "k", "ArrowLeft", "ArrowLeft")
    assert one.place() == 1
    assert one.text("#verdict") == "Accepted"


def test_an_edit_begins_in_the_answer_reaches_every_field_and_must_stay_sound(
    sheets: Path, opened: Callable[..., Opened]
) -> None:
    one = opened(sheets / "special" / "ana.html")
    assert one.text("#question") == "Which fruit?"
    assert [item.split("\n")[:2] for item in one.page.locator("#choices li").all_inner_texts()] == [
        ["A.", "apple"],
        ["B.", "pear"],
        ["C.", "fig"],
    ]
    one.press("e", "Control+a", "p", "Enter")
    assert "letter of a choice, A to C" in one.text("#edit .hint")
    one.press("Control+a", "Backspace", "Enter")
    assert "No field may be empty" in one.text("#edit .hint")
    one.press("Escape")
    assert one.page.locator("#edit").is_hidden()
    one.press(
        "e",
        "Control+a",
        "C",
        "Tab",
        "End",
        "!",
        "Tab",
        "Tab",
        "Tab",
        "Control+a",
        "d",
        "a",
        "t",
        "e",
        "Tab",
        "Shift+Tab",
        "s",
        "Enter",
    )
    one.press("k")
    assert one.text("#question") == "Which fruit?!"
    assert one.text("#verdict") == "Edited"
    one.press("j", "j", "e", "Enter")  # an edit without a change
    edit, accept = one.saved()
    assert [edit[name] for name in ("decision", "question", "answer", "choices", "right")] == [
        "edit", "Which fruit?!", "C", ["apple", "pear", "dates"], 2
    ]  # fmt: skip
    assert [accept[name] for name in ("decision", "answer", "place")] == ["accept", None, 2]


def test_hostile_texts_are_displayed_as_they_are_and_do_nothing(sheets: Path, opened: Callable[..., Opened]) -> None:
    one = opened(sheets / "special" / "ana.html")
    one.press("j")
    for where in ("#question", "#answer"):
        assert one.page.locator(where).evaluate("one => one.textContent") == made.HOSTILE
        assert one.page.locator(f"{where} *").count() == 0
    one.press("e", "Enter", "k", "e")
    assert one.page.evaluate("window.hit") is None
    assert one.page.locator("script").count() == 2
    assert one.page.locator("img").count() == 1  # the picture


def test_a_policy_of_the_page_stops_what_would_be_sent(sheets: Path, opened: Callable[..., Opened]) -> None:
    one = opened(sheets / "turns" / "ana.html")
    found = one.page.evaluate(
        """async () => {
          const stopped = [];
          document.addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
          await fetch("http://127.0.0.1:9/x").catch(() => {});
          const image = new Image(); image.src = "http://127.0.0.1:9/x.png";
          const script = document.createElement("script"); script.textContent = "window.hit = 3"; document.body.append(script);
          await new Promise((done) => setTimeout(done, 200));
          return [stopped.sort(), window.hit ?? null];
        }"""
    )
    assert found == [["connect-src", "img-src", "script-src-elem"], None]
    one.errors.clear()  # the three reports of the policy
    one.requests.clear()


def test_a_saved_file_is_taken_back_on_another_machine_by_button_and_by_drop(
    sheets: Path, opened: Callable[..., Opened], tmp_path: Path
) -> None:
    first = opened(sheets / "special" / "ana.html")
    first.press("a", "r", "3", "e", "!", "Enter", " ")
    lines = first.saved()
    file = tmp_path / "ana.jsonl"
    changes = ({"decision": "no"}, {"decision": "rate"}, {"answer": None}, {"choices": "abc"}, {"choices": 3})
    unsound = [lines[2] | {"at": "2999"} | change for change in changes]
    file.write_text(
        "\ufeff" + "\r\n".join(json.dumps(line) for line in lines + unsound) + '\r\n{"cut', encoding="utf-8"
    )
    second = opened(sheets / "special" / "ana.html")
    second.press("a")  # later than that of the file
    second.page.locator("#file").set_input_files(file)
    second.page.wait_for_function("document.getElementById('said').textContent.includes('taken')")
    assert "3 decisions taken, 1 were here already; 6 lines are not of this sheet (first: line 5)" in second.text(
        "#said"
    )
    assert second.place() == 5
    assert [line | {"at": "", "seconds": 0} for line in second.saved()] == [
        line | {"at": "", "seconds": 0} for line in lines
    ]
    other = opened(sheets / "special" / "bo.html")
    other.page.evaluate(
        """text => {
          const moved = new DataTransfer(); moved.items.add(new File([text], "ana.jsonl"));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: moved, bubbles: true, cancelable: true }));
        }""",
        file.read_text(encoding="utf-8"),
    )
    other.page.wait_for_function("document.getElementById('said').textContent.includes('taken')")
    assert "0 decisions taken" in other.text("#said")
    assert "0 done" in other.text("#pace")


def test_where_the_browser_can_write_files_s_writes_the_same_file_again(
    sheets: Path, opened: Callable[..., Opened]
) -> None:
    one = opened(sheets / "special" / "ana.html")
    one.page = one.open(
        """window.asked = 0; window.written = [];
        window.showSaveFilePicker = async (how) => { window.asked += 1; if (window.asked === 1) throw new DOMException("", "AbortError");
          return { name: how.suggestedName, createWritable: async () => ({ write: async (text) => window.written.push(text), close: async () => {} }) }; };"""
    )
    one.press("a", "s")
    one.page.wait_for_function("document.getElementById('said').textContent === 'Not saved'")
    assert one.text("#state") == "Not saved to a file yet"
    one.press("s")
    one.page.wait_for_function("document.getElementById('said').textContent.startsWith('Saved 1')")
    one.press("a", "s")
    one.page.wait_for_function("document.getElementById('said').textContent.startsWith('Saved 2')")
    assert one.page.evaluate("window.asked") == 2
    assert [text.count("\n") for text in one.page.evaluate("window.written")] == [1, 2]


def test_leaving_with_decisions_in_no_file_asks_first(sheets: Path, opened: Callable[..., Opened]) -> None:
    one, asked = opened(sheets / "special" / "ana.html"), []
    one.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    one.press("a")
    one.saved()
    one.page.reload()
    assert asked == []
    one.press("a")
    one.page.reload()
    assert asked == ["beforeunload"]
    assert one.place() == 3


def test_ratings_go_through_every_axis_and_on_to_the_next_row(sheets: Path, opened: Callable[..., Opened]) -> None:
    one = opened(sheets / "match" / "ana.html")
    one.press("4", "a", "6", "7", "1", " ", "u", "5")
    assert [(line["decision"], line["rating"], line["axis"], line["place"]) for line in one.saved()] == [
        ("rate", 4, "fits", 0), ("rate", 1, "fits", 1), ("rate", 5, "fits", 2)
    ]  # fmt: skip
    three = opened(sheets / "instructions" / "ana.html")
    three.press("4", "2", "5", "3", "u", "1", " ")
    assert [(line["decision"], line["rating"], line["axis"], line["place"]) for line in three.saved()] == [
        ("rate", 4, "grounded", 0), ("rate", 2, "new", 0), ("rate", 5, "useful", 0),
        ("rate", 1, "grounded", 1), ("skip", None, "new", 1), ("skip", None, "useful", 1),
    ]  # fmt: skip
    assert three.place() == 3
    for _ in range(3):
        three.page.wait_for_timeout(500)
        three.press("2")
    seconds = [line["seconds"] for line in three.saved()]
    assert min(seconds[-3:]) >= 0.4
    assert sum(seconds) <= three.page.evaluate("performance.now()") / 1000 + 0.1  # no time counts for two axes
    three.press("u", "u", "u", "u")
    assert three.place() == 2
    assert len(three.saved()) == 4


def test_everything_has_a_name_for_a_screen_reader_and_single_keys_can_be_switched_off(
    sheets: Path, opened: Callable[..., Opened]
) -> None:
    one = opened(sheets / "special" / "ana.html")
    tree = one.page.locator("body").aria_snapshot()
    for name in (
        'heading "Turns ana" [level=1]', 'progressbar "Rows done"', 'figure "Picture"', 'img "Picture of row 1"',
        'heading "Which fruit?" [level=2]', 'list "Choices"', 'region "Answer"', 'button "Accept"', 'button "Edit"',
        'button "Reject"', 'button "Skip"', 'button "Save"', 'button "Help"', 'button "Undo"', 'button "Previous row"',
        'button "Next row"', 'button "Zoom"', "status",
    ):  # fmt: skip
        assert name in tree, f"{name} is not in\n{tree}"
    assert "button\n" not in tree
    one.press("e")
    fields = one.page.locator("#edit").aria_snapshot()
    for name in ("Question", "Choice A", "Choice C", "Answer"):
        assert f'textbox "{name}"' in fields
    one.press("Escape", "r")
    reasons = one.page.locator("#reasons").aria_snapshot()
    assert 'group "Reason for the rejection"' in reasons
    assert all(f'button "{label}"' in reasons for label in REASONS.values())
    one.press("Escape", "?")
    assert 'dialog "How to review"' in one.page.locator("body").aria_snapshot()
    one.page.get_by_role("checkbox").uncheck()
    one.press("Escape", "a", " ")
    assert "0 done" in one.text("#pace")
    one.page.get_by_role("button", name="Accept").focus()
    one.press("Enter")
    assert "1 done" in one.text("#pace")


@pytest.mark.parametrize("size", [(390, 844), (640, 400)], ids=["phone", "twice the size"])
def test_on_a_narrow_screen_nothing_is_cut_and_buttons_do_what_keys_do(
    size: tuple[int, int], sheets: Path, opened: Callable[..., Opened]
) -> None:
    for what in ("special", "match", "instructions"):
        one = opened(sheets / what / "ana.html", viewport={"width": size[0], "height": size[1]}, has_touch=True)
        for keys in ([], ["e"], ["Escape", "r"], ["Escape"]):
            one.press(*keys)
            assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    one = opened(sheets / "special" / "ana.html", viewport={"width": size[0], "height": size[1]}, has_touch=True)
    one.page.get_by_role("button", name="Accept").tap()
    one.page.get_by_role("button", name="Reject").tap()
    one.page.get_by_role("button", name="Ambiguous").tap()
    one.page.get_by_role("button", name="Skip").tap()
    one.page.get_by_role("button", name="Undo").tap()
    assert [(line["decision"], line["reason"]) for line in one.saved()] == [("accept", None), ("reject", "ambiguous")]
