"""Tracing an image, an instruction or a pair through the tables of a run."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.cli import main
from mminstruct.stage import Drop
from mminstruct.status.trace import Places, as_text, trace
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store
from tests.store.test_reader import begin
from tests.store.test_reader import put as put_rows

IMAGES = ["aaaa000000000001", "aaaa000000000002", "bbbb000000000003"]
RAW = ["cccc000000000001", "cccc000000000002"]
BANK = ["dddd000000000001", "dddd000000000002"]
PAIRS = ["eeee000000000001", "eeee000000000002", "ffff000000000003"]


def row(schema: pa.Schema, **values: object) -> dict[str, Any]:
    """A row with *values*, and a dummy for every other column that may not be null."""
    plain = {pa.string(): "x", pa.large_binary(): b"x", pa.float32(): 0.5, pa.bool_(): True}
    made = {f.name: [] if pa.types.is_list(f.type) else plain.get(f.type, 7) for f in schema if not f.nullable}
    return {**made, **values}


def put(
    run: Path, name: str, rows: list[dict[str, Any]], drops: list[Drop] | None = None, unit: str = "a-0000"
) -> None:
    store, schema = Store(str(run)), schemas.TABLES[name]
    order = list(schemas.TABLES).index(name)
    facts = {
        "config": {"prompt": f"## user\nprompt of {name}"} if name == "answer" else {},
        "inputs": {},
        "order": order,
    }
    store.create(json.dumps(facts).encode(), name, "manifest.json")
    table = store.table(name)
    part = table.put(unit, pa.Table.from_pylist([row(schema, **r) for r in rows], schema=schema))
    counts = {drop.reason: 1 for drop in drops or []}
    receipt = Receipt(
        key=unit,
        parts=[part],
        rows_in=len(rows) + len(counts),
        kept=len(rows),
        dropped=counts,
        drops=table.put_drops(unit, drops or []),
    )
    table.commit(receipt)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three images: the first has two pairs, one of which the filter drops; the second has no caption."""
    put(
        tmp_path, "ingest",
        [{"image_id": image, "member": f"{i}.jpg", "shard": "a.tar"} for i, image in enumerate(IMAGES)],
        [Drop("broken.jpg", "truncated", "at byte 12")],
    )  # fmt: skip
    put(tmp_path, "caption", [{"image_id": IMAGES[0], "caption": "A cat."}], [Drop(IMAGES[1], "empty_reply")])
    put(
        tmp_path,
        "instruct",
        [{"image_id": IMAGES[0], "instruction_id": raw, "instruction": f"Ask {raw}"} for raw in RAW],
    )
    put(tmp_path, "embed", [{"instruction_id": raw, "embedding": [0.25]} for raw in RAW])
    put(tmp_path, "cluster", [{"instruction_id": raw, "cluster": i} for i, raw in enumerate(RAW)])
    put(
        tmp_path,
        "summarize",
        [{"instruction_id": bank, "cluster": i, "instruction": f"Bank {i}"} for i, bank in enumerate(BANK)],
    )
    pairs = [(PAIRS[0], IMAGES[0], BANK[0]), (PAIRS[1], IMAGES[0], BANK[1]), (PAIRS[2], IMAGES[2], BANK[1])]
    ids = [dict(zip(("pair_id", "image_id", "instruction_id"), pair, strict=True)) for pair in pairs]
    put(tmp_path, "match", ids)
    put(tmp_path, "exemplify", [{**ids[2], "pair_id": "9999000000000009", "answer": "Exemplary."}])
    put(tmp_path, "answer", [{**some, "answer": f"Answer {i}"} for i, some in enumerate(ids)])
    put(tmp_path, "filter", [ids[0], ids[2]], [Drop(PAIRS[1], "refusal", "I cannot")])
    image = {"bytes": b"x", "path": "x.jpg"}
    put(tmp_path, "export", [{**some, "image": image, "conversations": []} for some in (ids[0], ids[2])])
    return tmp_path


def test_a_pair_is_followed_from_its_member_to_the_dataset(run: Path) -> None:
    found = trace(str(run), PAIRS[0])
    assert (found.kind, found.id, found.left) == ("pair_id", PAIRS[0], [])
    assert list(found.rows) == ["ingest", "caption", "summarize", "match", "answer", "filter", "export"]
    assert [(r["shard"], r["member"]) for r in found.rows["ingest"]] == [("a.tar", "0.jpg")]
    assert [r["instruction"] for r in found.rows["summarize"]] == ["Bank 0"]
    assert [r["answer"] for r in found.rows["answer"]] == ["Answer 0"]


def test_a_pair_shows_the_exemplars_of_its_instruction(run: Path) -> None:
    assert [r["answer"] for r in trace(str(run), PAIRS[1]).rows["exemplify"]] == ["Exemplary."]


def test_an_image_is_followed_with_all_its_pairs_and_where_they_left(run: Path) -> None:
    found = trace(str(run), IMAGES[0])
    assert {r["pair_id"] for r in found.rows["match"]} == {PAIRS[0], PAIRS[1]}
    assert {r["instruction_id"] for r in found.rows["instruct"]} == set(RAW)
    assert [r["pair_id"] for r in found.rows["export"]] == [PAIRS[0]]
    assert [(drop["table"], drop["id"], drop["reason"]) for drop in found.left] == [("filter", PAIRS[1], "refusal")]


def test_a_raw_instruction_is_followed_through_its_cluster_to_what_came_of_it(run: Path) -> None:
    found = trace(str(run), RAW[1])
    assert found.kind == "instruction_id"
    assert [r["cluster"] for r in found.rows["cluster"]] == [1]
    assert [r["instruction"] for r in found.rows["summarize"]] == ["Bank 1"]
    assert {r["pair_id"] for r in found.rows["answer"]} == {PAIRS[1], PAIRS[2]}


def test_a_bank_instruction_is_followed_to_its_pairs_only(run: Path) -> None:
    found = trace(str(run), BANK[0])
    assert "cluster" not in found.rows
    assert [r["pair_id"] for r in found.rows["match"]] == [PAIRS[0]]


def test_a_members_name_finds_its_image(run: Path) -> None:
    assert trace(str(run), "2.jpg").id == IMAGES[2]


def test_a_member_that_never_became_an_image_says_where_it_left(run: Path) -> None:
    found = trace(str(run), "broken.jpg")
    assert (found.kind, found.rows) == ("member", {})
    assert as_text(found).endswith("LEFT at ingest, unit a-0000: truncated (at byte 12)")


def test_an_image_without_a_caption_says_where_it_left(run: Path) -> None:
    found = trace(str(run), IMAGES[1])
    assert list(found.rows) == ["ingest"]
    assert as_text(found).endswith("LEFT at caption, unit a-0000: empty_reply")


def test_a_whole_id_is_not_taken_for_the_beginning_of_another(tmp_path: Path) -> None:
    put(tmp_path, "pick", [{"question_id": name, "image_id": IMAGES[0]} for name in ("1000", "10001", "10002")])
    put(tmp_path, "respond", [{"question_id": "1000", "contestant": name} for name in "ab"])
    found = trace(str(tmp_path), "1000")
    assert (found.kind, found.id) == ("question_id", "1000")
    assert [r["contestant"] for r in found.rows["respond"]] == ["a", "b"]


def test_a_unique_prefix_is_enough(run: Path) -> None:
    assert trace(str(run), "bbbb").id == IMAGES[2]


def test_an_ambiguous_prefix_is_refused_with_what_it_fits(run: Path) -> None:
    with pytest.raises(LookupError, match=rf"aaaa fits 2 ids.*{IMAGES[0]} \(image_id\), {IMAGES[1]} \(image_id\)"):
        trace(str(run), "aaaa")


def test_a_members_name_in_two_shards_is_refused_with_both_images(run: Path) -> None:
    put(run, "ingest", [{"image_id": "abcd000000000009", "member": "0.jpg", "shard": "b.tar"}], unit="b-0000")
    with pytest.raises(LookupError, match=r"0\.jpg fits 2 ids"):
        trace(str(run), "0.jpg")


def test_an_unknown_id_is_one_line_and_exit_code_1(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", str(run), "0123456789abcdef"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("mminstruct trace: 0123456789abcdef: no table of this run has this id")
    assert said.count("\n") == 1


def test_a_folder_without_a_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run here"):
        trace(str(tmp_path), "aaaa")


def test_no_bytes_and_no_vectors_are_shown(run: Path) -> None:
    for wanted in (IMAGES[0], RAW[0], PAIRS[0]):
        assert not [
            r for rows in trace(str(run), wanted).rows.values() for r in rows if {"image", "embedding"} & set(r)
        ]


def test_at_most_twenty_rows_of_a_table_are_shown(run: Path) -> None:
    many = [{"pair_id": f"1111{i:012x}", "image_id": IMAGES[0], "instruction_id": BANK[0]} for i in range(50)]
    put(run, "match", many, unit="b-0000")
    assert len(trace(str(run), BANK[0]).rows["match"]) == 20


def test_the_command_prints_every_text_whole_with_its_prompts(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", str(run), PAIRS[0]]) == 0
    said = capsys.readouterr().out
    assert "    caption: A cat.\n" in said
    assert "prompt of answer\n    ## user\n    prompt of answer" in said


def test_the_command_gives_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", str(run), PAIRS[1], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["left"][0]["detail"]) == ("pair_id", "I cannot")
    assert found["prompts"] == {"answer": "## user\nprompt of answer"}


TALK = schemas.table(
    "A dialogue about an image, of a recipe that is not ours.",
    schemas.column("talk_id", pa.string(), "", tag="id"),
    schemas.column("image_id", pa.string(), "", tag="parent"),
    schemas.column("turns", pa.list_(pa.struct([pa.field("pair_id", pa.string())])), ""),
    schemas.column("pixels", pa.large_binary(), "", tag="heavy"),
)
RATED = schemas.table(
    "Ratings of dialogues.",
    schemas.column("talk_id", pa.string(), "", tag="parent"),
    schemas.column("rating", pa.int32(), ""),
)


@pytest.fixture
def talks(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tables of a custom recipe: a dialogue of two pairs, a dialogue of one, and their ratings."""
    monkeypatch.setattr(schemas, "TABLES", {**schemas.TABLES, "talk": TALK, "rated": RATED})
    one, two = "7777000000000001", "7777000000000002"
    held = {one: PAIRS[:2], two: PAIRS[2:]}
    images = {one: IMAGES[0], two: IMAGES[2]}
    put(run, "talk", [
        {"talk_id": talk, "image_id": images[talk], "turns": [{"pair_id": pair} for pair in pairs], "pixels": b"x"}
        for talk, pairs in held.items()
    ])  # fmt: skip
    put(run, "rated", [{"talk_id": talk, "rating": 4} for talk in held])
    monkeypatch.undo()
    for name, schema in (("talk", TALK), ("rated", RATED)):
        file = run / name / "manifest.json"
        kept = {"arrow": base64.b64encode(schema.serialize()).decode()}
        file.write_text(json.dumps(json.loads(file.read_text()) | kept))
    return run


def test_tables_of_any_recipe_are_followed_by_the_tags_of_their_columns(talks: Path) -> None:
    found = trace(str(talks), "7777000000000001")
    assert found.kind == "talk_id"
    assert [row["image_id"] for row in found.rows["ingest"]] == [IMAGES[0]]
    assert [row["rating"] for row in found.rows["rated"]] == [4]
    assert "pixels" not in found.rows["talk"][0]


def test_an_image_reaches_the_tables_that_know_it_only_by_its_dialogue(talks: Path) -> None:
    found = trace(str(talks), IMAGES[2])
    assert [row["talk_id"] for row in found.rows["rated"]] == ["7777000000000002"]


def test_a_pair_reaches_the_dialogue_that_it_is_a_turn_of_and_no_other(talks: Path) -> None:
    found = trace(str(talks), PAIRS[1])
    assert [row["talk_id"] for row in found.rows["talk"]] == ["7777000000000001"]
    assert [row["rating"] for row in found.rows["rated"]] == [4]
    assert [row["pair_id"] for row in found.rows["match"]] == [PAIRS[1]]


def test_a_dropped_row_without_a_table_is_named_as_its_stage_names_it(run: Path) -> None:
    file = run / "caption" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"takes": "page"}))
    put(run, "caption", [], [Drop("page 7", "blank")], unit="b-0000")
    assert (trace(str(run), "page 7").kind, trace(str(run), "broken.jpg").kind) == ("page", "member")


def test_a_dialogue_that_has_the_column_of_its_pairs_is_reached_from_each_of_them(tmp_path: Path) -> None:
    turns = pa.list_(pa.struct([pa.field("pair_id", pa.string())]))
    talk = schemas.table(
        "Dialogues.", schemas.column("pair_id", pa.string(), "", tag="id"), schemas.column("turns", turns, "")
    )
    store = begin(tmp_path, "talk", talk, order=0)
    rows = {"1234000000000001": PAIRS[:2], PAIRS[2]: PAIRS[2:]}
    put_rows(
        store,
        "talk",
        talk,
        [{"pair_id": id_, "turns": [{"pair_id": one} for one in held]} for id_, held in rows.items()],
    )
    other = schemas.table("Pairs.", schemas.column("pair_id", pa.string(), "", tag="id"))
    put_rows(begin(tmp_path, "pair", other, order=1), "pair", other, [{"pair_id": one} for one in PAIRS])
    assert [row["pair_id"] for row in trace(str(tmp_path), PAIRS[1]).rows["talk"]] == ["1234000000000001"]
    assert [row["pair_id"] for row in trace(str(tmp_path), PAIRS[2]).rows["talk"]] == [PAIRS[2]]


CHAIN = {"ingest": ("", "member"), "caption": ("ingest", "image_id"), "match": ("ingest", "image_id"),
         "answer": ("match", "pair_id"), "filter": ("answer", "pair_id")}  # fmt: skip
"""Table -> the input that its units read by part, and the column that identifies the rows."""
MANY = 12


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """12 parts of two images each; the first is also in the last part. Each has a pair; the filter drops every third."""
    for order, (name, (before, key)) in enumerate(CHAIN.items()):
        facts = {"config": {}, "inputs": {before: "x"} if before else {}, "primary": before or None, "row_key": key}
        Store(str(tmp_path)).create(json.dumps({**facts, "order": order}).encode(), name, "manifest.json")
    for number in range(MANY):
        unit = f"a-{number:04d}"
        images = [f"{number:04x}000000000001", f"{number:04x}000000000002"] + ["0000000000000001"] * (
            number == MANY - 1
        )
        ids = [{"image_id": image, "instruction_id": BANK[0], "pair_id": f"{place:x}{number:03x}" + image[4:]}
               for place, image in enumerate(images)]  # fmt: skip
        lost = [one for place, one in enumerate(ids) if (number + place) % 3 == 0]
        names = [{"image_id": image, "member": f"{image}.jpg", "shard": "a.tar"} for image in images]
        put(tmp_path, "ingest", names, unit=unit)
        put(tmp_path, "caption", [{"image_id": image} for image in images[1:]], [Drop(images[0], "empty_reply")], unit)
        put(tmp_path, "match", ids, unit=unit)
        put(tmp_path, "answer", ids, unit=unit)
        put(tmp_path, "filter", [one for one in ids if one not in lost],
            [Drop(one["pair_id"], "refusal") for one in lost], unit)  # fmt: skip
    return tmp_path


WANTED = ["0000000000000001", "0005000000000002", "0005000000000001", "0003000000000001", f"000b{'0' * 11}1", "0005000000000001.jpg",
          "1003000000000002", BANK[0]]  # fmt: skip


@pytest.mark.parametrize("wanted", WANTED)
def test_a_trace_that_reads_few_parts_says_what_one_that_reads_all_does(
    chain: Path, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = trace(str(chain), wanted)
    assert found.rows
    monkeypatch.setattr(Places, "before", lambda *_: None)
    monkeypatch.setattr(Places, "_first", lambda *_: (None, ""))
    assert trace(str(chain), wanted) == found


def test_an_image_is_looked_for_in_one_table_and_followed_by_its_parts_key(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[str] = Counter()
    real = Store.read

    def counted(store: Store, *pieces: str, **where: int | None) -> bytes | None:
        read[pieces[0]] += pieces[-1].endswith(".parquet")
        return real(store, *pieces, **where)

    monkeypatch.setattr(Store, "read", counted)
    found = trace(str(chain), "0005000000000001")
    assert [row["table"] for row in found.left] == ["caption"]
    assert read["ingest"] >= MANY
    assert read["caption"] < MANY / 2
    assert read["answer"] < MANY / 2
    assert read["filter"] < MANY / 2
