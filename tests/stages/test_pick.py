from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.bench.sets import answers, answers_digest
from mminstruct.readers.image import Rules, normalise
from mminstruct.stage import Drop, content_id, instruction_id, pair_id
from mminstruct.stages.pick import QUESTIONS, Pick
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store
from tests.bench.pictures import images, lines, picture

PUBLISHED = [
    {"question_id": n, "image": f"{n}.jpg", "text": f"Write a poem about scene {n}.", "caption": f"Scene {n}.",
     "category": "vllm_instruction_following"}
    for n in range(6)
]  # fmt: skip


def run(path: str, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, Drop]]:
    """Rows and drops of a whole set; checks the row counts of each part."""
    stage = Pick(path=path, **fields)
    stage.check()
    assert list(stage.shards()) == [QUESTIONS]
    rows, drops = [], []
    for part in stage.load()(QUESTIONS):
        assert part.rows_in == part.output.table.num_rows + len(part.output.drops)  # type: ignore[union-attr]
        assert part.output.table.schema == schemas.PICK  # type: ignore[union-attr]
        rows += part.output.table.to_pylist()  # type: ignore[union-attr]
        drops += part.output.drops  # type: ignore[union-attr]
    return rows, {drop.id: drop for drop in drops}


def a_run(folder: Path, test: int = 3, train: int = 3, *, old: bool = False, by: str = "instruction") -> str:
    """A folder with the tables of a run: images 0 to 2 are its test split, the next ones its train split.

    Args:
        old: As in an earlier version, without the tables merge and review.
        by: ``holdout.by`` of the run.
    """
    store = Store(str(folder))
    names = ("ingest", "fuse", "select", *(("summarize", "export") if old else ("review", "merge")))
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(test + train):
        text, split = f"Task number {seed} of quite another sort.", "test" if seed < test else "train"
        data = picture(seed)
        ids = {"image_id": content_id(data), "instruction_id": instruction_id(text)}
        ids["pair_id"] = pair_id(ids["image_id"], ids["instruction_id"])
        turns = [{"from": "human", "value": f"<image>\n{text}"}, {"from": "gpt", "value": f"Answer {seed}."}]
        rows: dict[str, dict[str, Any]] = {
            "ingest": {"image": data, "phash": normalise(data, Rules()).phash},
            "fuse": {"description": f"Picture {seed}.", "fused": False},
            "summarize": {"instruction": text, "cluster": seed, "size": 1, "members": [text]},
            "select": {"split": split},
            "export": {"conversations": turns, "split": split},
            "review": {"question": text, "answer": f"Answer {seed}.", "kind": ("long", "short", "caption")[seed % 3]},
            "merge": {"talk_id": ids["pair_id"], "place": 0, "split": split, "phrased": True},
        }
        for name in tables:
            tables[name].append(ids | rows[name])
        if not old:  # the second turn of a dialogue about the same image
            more = {**ids, "pair_id": f"{seed:016x}", "instruction_id": "more"}
            tables["review"].append(
                more | {"question": "And then?", "answer": "More.", "kind": "short", "phrase": "Say."}
            )
            tables["merge"].append(more | {"talk_id": ids["pair_id"], "place": 1, "split": split, "phrased": True})
    for name, rows_ in tables.items():
        schema = schemas.TABLES[name]
        columns = {field.name: pa.array([row.get(field.name) for row in rows_], field.type) for field in schema}
        config = {"holdout": {"by": by}} if name == "select" and not old else {}
        facts = {"config": config, "inputs": {}, "primary": None, "order": names.index(name)}
        store.create(json.dumps(facts).encode(), name, "manifest.json")
        part = store.table(name).put("part", pa.table(columns))
        store.table(name).commit(Receipt(key="part", parts=[part], rows_in=len(rows_), kept=len(rows_), dropped={}))
    return str(folder)


def test_the_published_files_are_read_as_they_are(tmp_path: Path) -> None:
    rows, drops = run(lines(tmp_path / "q.json", PUBLISHED), images=images(tmp_path / "images", 6), rows=4)
    assert drops == {}
    assert [row["question_id"] for row in rows] == [str(n) for n in range(6)]
    assert [row["image_id"] for row in rows] == [content_id(picture(n)) for n in range(6)]
    assert rows[2]["question"] == "Write a poem about scene 2."
    assert rows[2]["caption"] == "Scene 2."
    assert {row["kind"] for row in rows} == {"poetry"}  # one category for all is not informative


def test_without_images_captions_stand_in_and_the_row_says_so(tmp_path: Path) -> None:
    rows, drops = run(lines(tmp_path / "q.json", PUBLISHED))
    assert drops == {}
    assert {row["image"] for row in rows} == {None}
    assert {row["image_id"] for row in rows} == {""}


def test_a_question_with_nothing_to_see_leaves_and_says_which_image_is_missing(tmp_path: Path) -> None:
    entries = [{k: v for k, v in one.items() if k != "caption"} for one in PUBLISHED]
    rows, drops = run(lines(tmp_path / "q.json", entries), images=images(tmp_path / "images", 5))
    assert len(rows) == 5
    assert drops["5"].reason == "nothing_to_see"
    assert "5.jpg" in str(drops["5"].detail)


def test_a_broken_image_leaves_unless_a_caption_stands_in(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", 6)
    (Path(folder) / "0.jpg").write_bytes(picture(0)[:200])
    (Path(folder) / "1.jpg").write_bytes(b"no image")
    entries = [dict(PUBLISHED[0], caption=None), *PUBLISHED[1:]]
    rows, drops = run(lines(tmp_path / "q.json", entries), images=folder)
    assert drops["0"].reason == "image_unreadable"
    assert next(row for row in rows if row["question_id"] == "1")["image"] is None


def test_entries_that_are_no_questions_leave_by_name_and_take_no_other_with_them(tmp_path: Path) -> None:
    bad = ["{torn", "[1, 2]", {"text": "No id."}, dict(PUBLISHED[0], question_id=8, text=""), PUBLISHED[1],
           dict(PUBLISHED[0], question_id=9, text=["x"])]  # fmt: skip
    rows, drops = run(lines(tmp_path / "q.jsonl", [*PUBLISHED, *bad]))
    assert len(rows) == 6
    assert Counter(drop.reason for drop in drops.values()) == {
        "not_json": 2, "no_id": 1, "no_question": 1, "duplicate_id": 1, "malformed": 1
    }  # fmt: skip


def test_captions_of_llava_bench_are_joined_by_image(tmp_path: Path) -> None:
    asked = [
        {"question_id": 7, "image": "a.jpg", "category": "conv", "text": "What is it?"},
        {"question_id": 8, "image": "b.jpg", "category": "detail", "text": "Say more."},
    ]
    captions = [{"id": 1, "image": "b.jpg", "caption": "Bee."}, {"id": 2, "image": "a.jpg", "captions": ["Ay.", "Ah."]}]
    rows, _ = run(lines(tmp_path / "q.jsonl", asked), captions=lines(tmp_path / "context.jsonl", captions))
    assert [(row["caption"], row["kind"]) for row in rows] == [("Ay.\nAh.", "conv"), ("Bee.", "detail")]


def test_an_export_in_llavas_format_is_a_set_of_questions_with_references(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nDescribe it."}, {"from": "gpt", "value": "A cat."}]
    path = tmp_path / "test.json"
    path.write_text(json.dumps([{"id": "p1", "image": "images/0.jpg", "conversations": turns}]))
    images(tmp_path / "images", 1)
    (row,), _ = run(str(path), images=str(tmp_path))
    assert (row["question"], row["reference"], row["kind"]) == ("Describe it.", "A cat.", "description")
    assert row["image"] == picture(0)


def test_a_choice_is_even_over_kinds_and_instructions_and_does_not_hang_on_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    texts = ["Write a poem.", "Write a haiku.", "Tell a story.", "List the tags.", "Explain why."]
    entries = [
        {"question_id": f"{text}{n}", "text": text, "caption": "x"}
        for text in texts
        for n in range(9 if "poem" in text else 4)
    ]
    rows, drops = run(lines(tmp_path / "q.jsonl", entries), questions=9)
    kinds = Counter(row["kind"] for row in rows)
    assert sorted(kinds.values()) == [2, 2, 2, 3]
    poems = [row["question"] for row in rows if row["kind"] == "poetry"]
    assert len(set(poems)) == 2
    assert {drop.reason for drop in drops.values()} == {"not_chosen"}
    assert len(rows) + len(drops) == len(entries)
    again, _ = run(lines(tmp_path / "r.jsonl", entries[::-1]), questions=9)
    assert {row["question_id"] for row in again} == {row["question_id"] for row in rows}
    other, _ = run(lines(tmp_path / "q.jsonl", entries), questions=9, seed=1)
    assert {row["question_id"] for row in other} != {row["question_id"] for row in rows}


@pytest.mark.parametrize("old", [False, True])
def test_a_run_gives_its_hold_out_and_nothing_that_it_trained_on(tmp_path: Path, old: bool) -> None:
    rows, drops = run(a_run(tmp_path / "run", old=old))
    assert drops == {}
    assert [row["question"] for row in rows] == [f"Task number {n} of quite another sort." for n in range(3)]
    assert [row["image"] for row in rows] == [picture(n) for n in range(3)]
    assert [row["caption"] for row in rows] == ["Picture 0.", "Picture 1.", "Picture 2."]
    assert rows[0]["reference"] == "Answer 0."
    if not old:  # an old run has no kinds: they are inferred from the wording
        assert [row["kind"] for row in rows] == ["long", "short", "caption"]


def test_any_turn_of_a_run_s_dialogues_and_any_split_may_be_asked(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run")
    rows, _ = run(folder, turns="last")
    assert {row["question"] for row in rows} == {"And then? Say."}
    assert {row["kind"] for row in rows} == {"description"} or len({row["kind"] for row in rows}) == 1
    rows, _ = run(folder, turns="all", split="any")
    assert len(rows) == 12
    before = {row["question"]: row["earlier"] for row in rows if row["kind"] != "short" or row["earlier"]}
    assert json.loads(before.pop("And then? Say.") or "[]")[0].startswith("Task number ")
    assert set(before.values()) == {None}
    rows, drops = run(folder, split="train")
    assert {row["earlier"] for row in rows} == {None}
    assert [row["reference"] for row in rows] == ["Answer 3.", "Answer 4.", "Answer 5."]
    assert drops == {}


def test_where_domains_are_held_out_a_question_may_be_one_that_was_trained_on(tmp_path: Path) -> None:
    _, drops = run(a_run(tmp_path / "words"), turns="last")
    assert drops == {}
    rows, drops = run(a_run(tmp_path / "domains", by="domain"), turns="all")
    assert len(rows) == 6
    assert drops == {}


def test_a_build_s_pairs_are_answers_to_the_questions_picked_from_it(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run")
    rows, _ = run(folder)
    given = answers(folder, None)
    assert [given[row["question_id"]].text for row in rows] == ["Answer 0.", "Answer 1.", "Answer 2."]
    assert answers_digest(folder).startswith("1 parts of answers, digest ")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"image": "4.jpg"}, "trained_image"),
        ({"image": "near.jpg"}, "trained_image"),
        ({"text": "Please do task number 4 of quite another sort."}, "trained_instruction"),
        ({"text": "TASK number 4 of quite another sort"}, "trained_instruction"),
    ],
)
def test_what_a_contestant_was_trained_on_is_not_asked(tmp_path: Path, changed: dict[str, str], reason: str) -> None:
    folder = images(tmp_path / "images", 12)
    (tmp_path / "images" / "near.jpg").write_bytes(picture(4, quality=60))
    asked = [{"question_id": n, "image": f"{n}.jpg", "text": f"Sing song {n}."} for n in (9, 10)]
    path = lines(tmp_path / "q.jsonl", [*asked, asked[0] | {"question_id": 11} | changed])
    rows, drops = run(path, images=folder, trained=[a_run(tmp_path / "run")], ngram=5)
    assert [row["question_id"] for row in rows] == ["9", "10"]
    assert drops["11"].reason == reason


def test_a_set_that_changed_under_its_name_is_another_one(tmp_path: Path) -> None:
    path = lines(tmp_path / "q.jsonl", PUBLISHED)
    stage = Pick(path=path, images=images(tmp_path / "images", 3))
    before = stage.shards()
    assert stage.shards() == before
    (tmp_path / "images" / "0.jpg").write_bytes(picture(77, 80))
    with_image = stage.shards()
    assert with_image != before
    lines(Path(path), PUBLISHED[:5])
    assert stage.shards() != with_image


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows=0"):
        Pick(path="x", rows=0).check()
    with pytest.raises(ValueError, match="turns=some: take first, all, last"):
        Pick(path="x", turns="some").check()
    with pytest.raises(ValueError, match=r"kinds\.x"):
        Pick(path="x", kinds={"x": "("}).check()
    with pytest.raises(ValueError, match="no JSON objects"):
        run(lines(tmp_path / "empty.jsonl", []))
    with pytest.raises(ValueError, match="trained"):
        run(lines(tmp_path / "q.jsonl", PUBLISHED), trained=[a_run(tmp_path / "run", train=0)])
