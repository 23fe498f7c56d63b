from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.quality.diversity.sets import TextSet, bank, read
from mminstruct.quality.run import RunTables
from mminstruct.stage import content_id
from tests.quality.perfect import PerfectRun
from tests.stages.doubles import turn

ASKED = ["Write a haiku about this photo.", "What is odd here, and why?", 'Plan a trip, "by boat",\nto this café.']


def table(path: Path, texts: list[str]) -> None:
    """VisIT-Bench's columns."""
    rows = [{"instruction_category": "art", "image": f"{n}.jpg", "instruction": text} for n, text in enumerate(texts)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def jsonl(path: Path, texts: list[str]) -> None:
    """LLaVA-Bench; MM-Instruct's questions have a caption, too."""
    rows = [
        {"question_id": n, "image": f"{n:03}.jpg", "category": "conv", "text": text} for n, text in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def mm_vet(path: Path, texts: list[str]) -> None:
    rows = {
        f"v1_{n}": {"imagename": f"v1_{n}.png", "question": text, "answer": "1<OR>one", "capability": ["rec", "math"]}
        for n, text in enumerate(texts)
    }
    path.write_text(json.dumps(rows, indent=4))


def llava(path: Path, texts: list[str]) -> None:
    turns = [[{"from": "human", "value": f"<image>\n{text}"}, {"from": "gpt", "value": "So."}] for text in texts]
    path.write_text(json.dumps([{"id": f"{n}", "image": "a.jpg", "conversations": one} for n, one in enumerate(turns)]))


def seeds(path: Path, texts: list[str]) -> None:
    path.write_text(yaml.safe_dump({"poetry": texts[:1], "none yet": None, "other": texts[1:]}, allow_unicode=False))


def lines(path: Path, texts: list[str]) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(text.replace("\n", " ") for text in texts).encode())


WRITERS: dict[str, Callable[[Path, list[str]], None]] = {
    "a.csv": table, "a.tsv": table, "a.parquet": table, "a.jsonl": jsonl, "a.json": jsonl, "mm-vet.json": mm_vet,
    "llava.json": llava, "a.yaml": seeds, "a.YML": seeds, "a.txt": lines,
}  # fmt: skip


def adds_up(one: TextSet) -> bool:
    return one.entries == len(one.texts) + one.repeats + sum(one.unused.values()) and all(one.texts)


@pytest.mark.parametrize("name", WRITERS)
def test_every_published_form_has_the_same_texts_in_any_order(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    found = []
    for texts in (ASKED, [*reversed(ASKED), ASKED[1].upper()]):
        WRITERS[name](path, texts)
        found.append(read(str(path)))
    assert {" ".join(text.split()) for text in found[0].texts} == {" ".join(text.split()) for text in ASKED}
    assert (found[0].entries, found[0].repeats, found[0].unused) == (3, 0, {})
    assert (found[1].entries, found[1].repeats) == (4, 1)
    assert [text.casefold() for text in found[1].texts] == [text.casefold() for text in found[0].texts]


def test_of_99_rows_with_33_questions_33_are_taken(tmp_path: Path) -> None:
    jsonl(tmp_path / "q.json", [f"Describe thing {n % 33}." for n in range(99)])
    found = read(str(tmp_path / "q.json"))
    assert (len(found.texts), found.repeats) == (33, 66)


def test_an_entry_without_a_text_is_counted_by_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"text": "What?"}\n{"text": 7}\n{"text": ""}\n{"text": "<image>"}\n{"a": 1, "a": 2}\n[3]\n')
    found = read(str(path))
    assert found.texts == ("What?",)
    assert found.unused == {"malformed": 1, "no_question": 2, "unreadable": 2}
    assert adds_up(found)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("notes.docx", "Write.", "no known form. Known are a table"),
        ("a.csv", "prompt,image\nWrite.,1\n", "columns 'prompt', 'image'; rename the one to be read: instruction"),
        ("a.yaml", "- Write a poem.\n", "kind of task: "),
        ("a.yaml", "poetry: [unclosed\n", "no valid YAML"),
        ("a.json", "{}", "holds no instruction .1 no_question"),
        ("a.json", "[1]", "no JSON objects"),
        ("a.json", '{"v1_0": {"question": ""}}', "holds no instruction .1 no_question"),
        ("a.txt", "\n \n", "holds no instruction .it has no entries"),
        ("a.parquet", "no table", "no whole Parquet file"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_can(name: str, data: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(data)
    with pytest.raises(ValueError, match=said):
        read(str(tmp_path / name))


def test_nothing_at_a_path_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(str(tmp_path / "a.txt"))


PIECES = st.sampled_from(
    ["{", "}", "[", "]", ":", ",", '"', "\n", " ", "- ", "text", "instruction", '"question": "a"', "&x ", "*x", "? ",
     "\\ud800", "\ufeff", "\x00", "1e999", "<image>", "!!python/name:os.system ", "\t", "é", "\u2028"]
)  # fmt: skip
ENDINGS = st.sampled_from([".csv", ".tsv", ".parquet", ".json", ".jsonl", ".yaml", ".txt"])


@settings(max_examples=200)
@given(ENDINGS, st.binary(max_size=60) | st.lists(PIECES, max_size=25).map(lambda some: "".join(some).encode()))
def test_any_file_is_read_with_every_entry_counted_or_refused(
    tmp_path_factory: pytest.TempPathFactory, ending: str, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / f"a{ending}"
    path.write_bytes(data)
    try:
        found = read(str(path))
    except ValueError as error:
        found, said = None, str(error)
    if found is None:
        assert str(path) in said
        return
    assert adds_up(found)
    assert len({content_id(text) for text in found.texts}) == len(found.texts)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["from", "value"]), inner),
    max_leaves=5,
)
ENTRIES = st.dictionaries(
    st.sampled_from(["instruction", "question", "text", "image", "conversations", "question_id", "category"]), VALUES
)


@settings(max_examples=60)
@given(st.lists(ENTRIES, min_size=1, max_size=5), st.booleans())
def test_every_json_entry_is_a_text_a_repeat_or_unused(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, object]], named: bool
) -> None:
    path = tmp_path_factory.mktemp("json") / "q.json"
    good = [*entries, {"text": "One more."}]
    path.write_text(json.dumps({f"v1_{n}": one for n, one in enumerate(good)} if named else good))
    found = read(str(path))
    assert found.entries == len(good)
    assert adds_up(found)


def test_the_bank_of_a_run_is_its_summaries_and_without_them_its_questions(tmp_path: Path) -> None:
    empty = PerfectRun(tmp_path, {})
    empty.rows["summarize"] = [
        {"instruction_id": "1", "instruction": "Sing.", "cluster": 0, "size": 1, "members": []}
    ]  # fmt: skip
    assert bank(RunTables(empty.write(tmp_path / "with"))).texts == ("Sing.",)
    empty.rows = {"review": [_row("a+1", "Is it red?"), _row("b+1", "Is it red?"), _row("c+2", "How many?")]}
    run = RunTables(empty.write(tmp_path / "without"))
    found = bank(run)
    assert (sorted(found.texts), found.entries, found.form) == (["How many?", "Is it red?"], 3, "table review")
    assert read(run.url) == found
    empty.rows = {"ingest": []}
    neither = RunTables(empty.write(tmp_path / "neither"))
    with pytest.raises(ValueError, match="no instructions yet"):
        bank(neither)


def _row(pair: str, question: str) -> dict[str, object]:
    return {**turn(pair, question), "decision": "unseen", "people": 0, "was": None}
