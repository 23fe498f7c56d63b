"""Sheets of a run: which rows and texts are on them, and that nothing in a text becomes code."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mminstruct.cli import main
from mminstruct.files import Files
from mminstruct.reviewing import sheet
from mminstruct.reviewing.rows import pool, root, texts
from mminstruct.reviewing.shown import shown
from mminstruct.reviewing.write import OtherSheets, write
from mminstruct.stage import pair_id
from mminstruct.store import deletion
from mminstruct.store.reader import MissingTable, RunReader
from mminstruct.text.question import asked
from tests.report import runs
from tests.report.reading import read
from tests.reviewing import made, people

CHOICE = {"question": "Which fruit?", "choices": ["apple", "pear"], "right": 1, "answer": "B", "kind": "choice",
          "phrase": "Answer with the letter."}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    url = str(tmp_path_factory.mktemp("reviewed") / "run")
    special = [
        {"question": made.HOSTILE, "answer": made.HOSTILE},
        CHOICE,
        {"talk": "t", "turn": 0},
        {"talk": "t", "turn": 1},
    ]
    return url, made.run(url, 60, special, left_out=10)


Built = tuple[str, list[dict[str, Any]]]


def test_shown_is_the_digest_of_the_text_as_displayed() -> None:
    assert shown("Q?", ["a", "b"], "A") == shown(" Q?\n", ("a", "b"), "A ") == shown(asked("Q?", ["a", "b"]), None, "A")
    assert len({shown("Q?", ["a", "b"], "A"), shown("Q?", ["b", "a"], "A"), shown("Q?", None, "A"), shown("Q?A")}) == 4


def test_sheet_json_says_what_is_on_each_page_and_each_digest_is_of_the_texts_in_the_run(
    built: Built, tmp_path: Path
) -> None:
    url, rows = built
    write(url, str(tmp_path), ["bo", "ana"], rows=25)
    sheets = sheet.read(str(tmp_path))
    of = {row["pair_id"]: row for row in rows}
    assert (sheets.what, sheets.table, sheets.run, sheets.rank) == ("turns", "review", "ingest", 0)
    for person, one in sheets.sheets.items():
        page = made.data(tmp_path / f"{person}.html")
        assert page["sheet"] == one.sheet
        assert [(row["id"], row["shown"]) for row in page["rows"]] == [(row.id, row.shown) for row in one.rows]
        for row in page["rows"]:
            source = of[row["id"]]
            assert row["shown"] == shown(source["question"], source.get("choices"), source["answer"])
            assert (row["question"], row["answer"]) == (source["question"], source["answer"])
    assert sheets.sheets["ana"].sheet != sheets.sheets["bo"].sheet


def test_rows_that_were_not_selected_or_are_deleted_are_on_no_sheet(built: Built, tmp_path: Path) -> None:
    rows = made.run(str(tmp_path / "run"), 20, left_out=5)
    deletion.delete(str(tmp_path / "run"), [rows[0]["pair_id"], rows[1]["image_id"]], "asked to")
    found = pool(RunReader(str(tmp_path / "run")), "turns").groups["run"]
    gone = {row["pair_id"] for row in rows if row["image_id"] == rows[1]["image_id"]} | {rows[0]["pair_id"]}
    assert set(found) == {row["pair_id"] for row in rows[:15]} - gone


def test_the_same_call_writes_the_same_bytes_and_no_other_call_touches_the_folder(built: Built, tmp_path: Path) -> None:
    url, _ = built
    to, files = (
        tmp_path / "to",
        lambda: {file.name: file.read_bytes() for file in (tmp_path / "to").iterdir() if file.is_file()},
    )
    write(url, str(to), ["ana", "bo"], rows=20)
    before = files()
    (to / "decisions").mkdir()
    (to / "decisions" / "ana.jsonl").write_text("{}\n")
    write(url, str(to), ["bo", "ana"], rows=20)
    assert files() == before
    with pytest.raises(OtherSheets, match=r"decisions of people \(ana.jsonl\): take a new folder"):
        write(url, str(to), ["ana", "bo"], rows=21)
    assert files() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OtherSheets, match="has other files"):
        write(url, str(tmp_path / "mine"), ["ana"], rows=20)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_no_text_becomes_markup_and_only_the_pages_own_code_may_run(built: Built, tmp_path: Path) -> None:
    write(built[0], str(tmp_path), ["ana"], rows=52, overlap=0)
    text = (tmp_path / "ana.html").read_text(encoding="utf-8")
    page = read(text)
    assert page.tags["script"] == 2
    assert page.tags["img"] == 0
    assert page.unbalanced == []
    assert any(row["question"] == row["answer"] == made.HOSTILE for row in made.data(tmp_path / "ana.html")["rows"])
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (code,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'" in policy
    assert not re.search(r"https?://|\bfetch\b|XMLHttp|innerHTML|\beval\b", text)


def test_choices_phrases_and_earlier_turns_are_displayed_with_their_question(built: Built) -> None:
    url, rows = built
    items = pool(RunReader(url), "turns").items([row["pair_id"] for row in rows[1:4]])
    choice, first, second = (items[row["pair_id"]] for row in rows[1:4])
    assert (choice.choices, choice.right, choice.phrase) == (("apple", "pear"), 1, "Answer with the letter.")
    assert first.before == ()
    assert second.before == ((rows[2]["question"], rows[2]["answer"]),)


def test_a_quarter_of_the_matches_are_pairs_that_nobody_matched(built: Built, tmp_path: Path) -> None:
    url, rows = built
    write(url, str(tmp_path), ["ana"], what="match", rows=42)
    there = {(row["image_id"], row["instruction_id"]) for row in rows}
    sheets, page = sheet.read(str(tmp_path)), made.data(tmp_path / "ana.html")
    random = [row for row in sheets.sheets["ana"].rows if row.origin == "random"]
    assert len({row.id for row in random}) == 10
    matched = {pair_id(*pair) for pair in there}
    assert not {row.id for row in random} & ({row["pair_id"] for row in rows} | matched)
    assert "origin" not in json.dumps(page)
    assert all(row["answer"] == "" and row["picture"] is not None for row in page["rows"])
    assert list(page["axes"]) == ["fits"]


def test_instructions_of_the_run_seeds_and_common_questions_are_mixed(built: Built, tmp_path: Path) -> None:
    write(built[0], str(tmp_path), ["ana", "bo"], what="instructions", rows=40, overlap=1)
    ana, bo = sheet.read(str(tmp_path)).sheets.values()
    assert {row.id for row in ana.rows} == {row.id for row in bo.rows}
    counts = [len({row.id for row in ana.rows if row.origin == origin}) for origin in ("run", "seed", "vqa")]
    assert sum(counts) == 38
    assert abs(counts[0] - 19) <= 1
    assert all(row["picture"] is None for row in made.data(tmp_path / "ana.html")["rows"])


def test_no_random_pair_is_one_that_where_left_out(tmp_path: Path) -> None:
    url = str(tmp_path / "run")
    made.run(url, 8)
    images, texts = ([runs.digest(f"{word} {n}") for n in range(8)] for word in ("image", "q"))
    matched = {(images[n], texts[(n + more) % 8]): more for n in range(8) for more in range(4)}
    rows = [
        {"pair_id": pair_id(*both), "image_id": both[0], "instruction_id": both[1], "similarity": 0.5, "probability": more}
        for both, more in matched.items()
    ]  # fmt: skip
    shutil.rmtree(Path(url) / "match")
    runs.put(url, "match", rows, order=3)
    found = pool(RunReader(url), "match", where=["probability=0.0"])
    assert len(found.groups["run"]) == 8
    assert found.groups["random"]
    assert not {pair_id(*one) for one in matched} & set(found.groups["random"])


@pytest.mark.parametrize("what", ["turns", "match", "instructions"])
def test_rows_read_again_by_their_ids_are_displayed_as_before(what: str, built: Built) -> None:
    run = RunReader(built[0])
    found = pool(run, what)
    ids = found.groups["run"][:20]
    assert texts(run, what, ids) == found.items(ids)


def test_doubt_takes_the_least_similar_pairs_first(built: Built, tmp_path: Path) -> None:
    url, rows = built
    write(url, str(tmp_path), ["ana"], rows=10, order="doubt")
    ids = list(dict.fromkeys(row.id for row in sheet.read(str(tmp_path)).sheets["ana"].rows))
    assert ids == [row["pair_id"] for row in rows[: len(ids)]]


def test_answers_and_captions_of_a_run_from_before_there_was_a_review(tmp_path: Path) -> None:
    runs.build(str(tmp_path / "run"), [made.HOSTILE, "A blue square."])
    run = RunReader(str(tmp_path / "run"))
    answers = pool(run, "answers")
    assert {(one.question, one.answer) for one in answers.items(answers.groups["run"]).values()} == {
        ("Write a poem.", made.HOSTILE), ("Write a poem.", "A blue square.")
    }  # fmt: skip
    captions = pool(run, "captions")
    assert {one.answer for one in captions.items(captions.groups["run"]).values()} == {made.HOSTILE, "A blue square."}
    assert all(one.image for one in captions.items(captions.groups["run"]).values())
    with pytest.raises(
        MissingTable, match="--what turns; it has rows for --what match, instructions, answers, captions"
    ):
        pool(run, "turns")


def test_a_picture_that_cannot_be_decoded_is_said_and_its_row_stays(tmp_path: Path) -> None:
    url = str(tmp_path / "run")
    runs.put(url, "ingest", [made.INGEST | {"image_id": "i", "image": b"no image"}], order=0)
    runs.put(url, "caption", [{"image_id": "i", "caption": "A cat.", "tokens": 3}], order=1)
    assert root(RunReader(url)) is not None
    said = write(url, str(tmp_path / "to"), ["ana"], what="captions", rows=1)
    assert "1 pictures cannot be decoded" in said
    assert made.data(tmp_path / "to" / "ana.html")["pictures"] == [None]


def test_an_adjudicator_gets_the_rows_on_which_others_disagree(built: Built, tmp_path: Path) -> None:
    url, rows = built
    edit = {"decision": "edit", "question": "Q?", "answer": "A."}
    accept, reject, skip = ({"decision": word} for word in ("accept", "reject", "skip"))
    said = [  # what ana and bo say about the first rows
        (accept, reject), (accept, accept), (edit, edit | {"answer": "B."}), (edit, edit), (skip, reject),
        (accept, edit), (accept, reject),
    ]  # fmt: skip
    places = [people.row(row["pair_id"]) for row in rows[: len(said)]]
    of = people.sheets({"ana": places, "bo": places})
    ana, bo = ([people.line(of, who, n, **both[k]) for n, both in enumerate(said)] for k, who in enumerate(of.sheets))
    older = [line | {"at": "2026-11-25T09:00:00.000Z"} for line in bo[:-1]] + [bo[-1] | {"decision": "accept"}]
    older[1]["decision"] = "reject"  # taken back since
    bo[-1]["at"] = "2026-11-27T09:00:00.000Z"  # the older file has another word for the last row too
    here = people.lay(tmp_path, of, {"ana": people.text(ana) + b"{}\n", "bo": bo, "bo older": older})
    wanted = {rows[n]["pair_id"] for n in (0, 2, 6)}
    files = [str(here / f"{name}.jsonl") for name in ("ana", "bo", "bo older")]
    for n, paths in enumerate((files, files[::-1], [str(here)])):
        summary = write(url, str(tmp_path / f"to {n}"), ["judge"], disputed=paths)
        sheets = sheet.read(str(tmp_path / f"to {n}"))
        assert sheets.rank == 1
        assert {row.id for row in sheets.sheets["judge"].rows} == wanted
        assert "no decisions, left out: 1" in summary
    with pytest.raises(ValueError, match="do not disagree"):
        write(url, str(tmp_path / "none"), ["judge"], disputed=files[:1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--people", "a b"], "--people 'a b': take 1 to 32 letters"),
        (["--people", ","], "--people: name at least one"),
        (["--people", "ana,Ana"], "two names are equal"),
        (["--people", "ana", "--rows", "60"], "too few rows for 60 on each sheet of 1 person at overlap 0.2: 50 of 57 rows; take --rows 53"),
        (["--people", "ana", "--what", "captions"], "no table with rows for --what captions; it has rows for --what turns"),
        (["--people", "ana", "--where", "kind"], "write COLUMN=VALUE"),
        (["--people", "ana", "--where", "kin=x"], "no such column beside pair_id; there is answer, "),
        (["--people", "ana", "--where", "kind=x"], "no row has kind=x; most frequent are 'short' (49), 'choice' (1)"),
        (["--people", "ana", "--picture", "9"], "--picture 9: take 64 to 1024"),
        (["--people", "ana", "--what", "match", "--order", "doubt"], "--order doubt: rating sheets"),
        (["--people", "ana", "--disputed", "none.jsonl"], "--disputed none.jsonl: no such file or folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_with_the_reason(
    words: list[str], said: str, built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", built[0], "--to", str(tmp_path / "to"), *words]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert not (tmp_path / "to").exists()


def test_an_unknown_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", str(tmp_path / "none"), "--to", str(tmp_path / "to"), "--people", "ana"]) == 1
    assert "no run here" in capsys.readouterr().err


def test_where_takes_any_of_the_values_of_a_column_and_all_columns(built: Built, tmp_path: Path) -> None:
    run: Callable[..., list[str]] = lambda *where: pool(RunReader(built[0]), "turns", where=where).groups["run"]  # noqa: E731
    assert len(run("kind=choice")) == 1
    assert len(run("kind=choice", "kind=short")) == 50
    assert len(run("kind=choice", "split=train")) == 1


def test_a_damaged_file_of_sheets_is_named(built: Built, tmp_path: Path) -> None:
    write(built[0], str(tmp_path), ["ana"], rows=5)
    file = tmp_path / sheet.FILE
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(OSError, match=r"sheet.json is not what was written"):
        sheet.read(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="mminstruct review RUN --to DIR"):
        sheet.read(str(tmp_path / "none"))


def test_the_programs_of_the_docs_write_a_task_and_a_record_for_each_line(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, rows = built
    page = (Path(__file__).parents[2] / "docs" / "review.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [
        {"id": rows[n]["pair_id"], "place": n, "person": "ana", "seconds": 2.5, "decision": word, "answer": answer}
        for n, (word, answer) in enumerate([("accept", None), ("edit", "A."), ("reject", None)])
    ]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sheets" / "decisions").mkdir(parents=True)
    (tmp_path / "sheets" / "decisions" / "ana.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for block in blocks:
        exec(block.replace("runs/demo", url), {})
    tasks, records = (json.loads((tmp_path / name).read_text()) for name in ("label_studio.json", "argilla.json"))
    assert [task["data"]["text"] for task in tasks] == [row["answer"] for row in rows[:3]]
    results = [[one["value"] for one in task["annotations"][0]["result"]] for task in tasks]
    assert results == [[{"choices": ["accept"]}], [{"choices": ["edit"]}, {"text": ["A."]}], [{"choices": ["reject"]}]]
    assert [sorted(record["responses"]) for record in records] == [["decision"], ["answer", "decision"], ["decision"]]
    assert len({record["id"] for record in records}) == 3


@pytest.mark.slow
def test_a_run_on_s3_is_reviewed_in_a_folder_on_s3(bucket: str, tmp_path: Path) -> None:
    made.run(f"{bucket}/reviewed", 30)
    made.run(str(tmp_path / "run"), 30)
    how: dict[str, Any] = {"rows": 20, "overlap": 0.5}
    write(str(tmp_path / "run"), str(tmp_path / "to"), ["ana", "bo"], **how)
    for _ in range(2):
        said = write(f"{bucket}/reviewed", f"{bucket}/sheets", ["ana", "bo"], **how)
    assert f"{bucket}/sheets/ana.html: 20 rows" in said
    there = Files(f"{bucket}/sheets")
    for name in ("ana.html", "bo.html", sheet.FILE):
        assert there.read(name) == (tmp_path / "to" / name).read_bytes()
    with pytest.raises(OtherSheets, match=r"s3://.*/sheets has other sheets"):
        write(f"{bucket}/reviewed", f"{bucket}/sheets", ["ana"], **how)
    assert sheet.read(f"{bucket}/sheets") == sheet.read(str(tmp_path / "to"))
