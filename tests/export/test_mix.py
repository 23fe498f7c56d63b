from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlcroissant
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.checksum import seal, unseal
from mminstruct.cli import main
from mminstruct.export import ExportError
from mminstruct.export.mix import Mix, Source, load, mix, shares
from mminstruct.store.deletion import delete
from tests.export.conftest import jpeg, row, saved, turns
from tests.export.test_llava import upstream
from tests.export.test_write import make


def talk(n: int) -> dict[str, Any]:
    """A text-only row as in mix665k's ShareGPT part, stray keys and all."""
    first = {
        "from": "human",
        "value": f"Question {n}?",
        "text": "",
        "markdown": {"answer": "x", "index": n, "type": "m"},
    }
    return {"id": f"c{n % 30}", "model": "", "conversations": [first, {"from": "gpt", "value": f"Answer {n}."}]}


def seen(n: int) -> dict[str, Any]:
    """A row of LLaVA's; two have one image."""
    return {
        "id": f"{n // 2:012d}",
        "image": f"coco/train2017/{n // 2:03d}.jpg",
        "conversations": turns(
            ("human", f"What is {n}?\n<image>"), ("gpt", "A dot."), ("human", "Sure?"), ("gpt", "Yes.")
        ),
    }


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder of sources: 60 LLaVA rows with images, 40 of ShareGPT, a run of 20 rows."""
    (tmp_path / "data" / "coco" / "train2017").mkdir(parents=True)
    for n in range(30):
        (tmp_path / "data" / "coco" / "train2017" / f"{n:03d}.jpg").write_bytes(jpeg(n))
    (tmp_path / "llava.json").write_text(json.dumps([seen(n) for n in range(60)]))
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(talk(n)) + "\n" for n in range(40)))
    make(tmp_path / "run")
    return tmp_path


def recipe(world: Path, sources: dict[str, dict[str, Any]], **more: Any) -> Path:
    """A file of a mixture; the sources' paths are from the world's folder."""
    placed = {
        name: {**source, **{key: str(world / source[key]) for key in ("path", "images") if key in source}}
        for name, source in sources.items()
    }
    path = world / "mix.yaml"
    path.write_text(json.dumps({"sources": placed, **more}))
    return path


LLAVA = {"path": "llava.json", "images": "data", "licence": "CC BY 4.0"}
CHAT = {"path": "chat.jsonl"}
RUN = {"path": "run"}


def mixed(world: Path, sources: dict[str, dict[str, Any]], name: str = "out", **more: Any) -> list[dict[str, Any]]:
    mix(recipe(world, sources, **more), "llava", world / name)
    return upstream(world / name, "train")


def facts(world: Path, name: str = "out") -> dict[str, Any]:
    return dict(json.loads((world / name / "export.json").read_text(encoding="utf-8")))


def test_a_mixture_is_what_upstream_s_loader_takes_and_says_what_came_from_where(world: Path) -> None:
    rows = mixed(world, {"llava": LLAVA, "chat": {**CHAT, "count": 10}, "ours": RUN})
    assert len(rows) == 60 + 10 + 18  # the run's hold-out stays out
    assert {row["source"] for row in rows} == {"llava", "chat", "ours"}
    assert len({row["id"] for row in rows}) == len(rows)
    assert sum("image" not in row for row in rows) == 10
    told = {one["source"]: one for one in facts(world)["mixture"]}
    assert told["chat"] == {
        "source": "chat",
        "in": 40,
        "unsound": {},
        "left": 30,
        "taken": 10,
        "rows": 10,
        "mended": {},
    }
    assert facts(world)["shares"]["llava"]["images"] == 60
    assert facts(world)["shares"]["llava"]["licences"] == {"CC BY 4.0": 60}
    card = (world / "out" / "README.md").read_text(encoding="utf-8")
    assert "| chat | 40 | 0 | 30 | 10 | 10 |" in card
    assert "| llava | CC BY 4.0 | 60 |" in card
    assert "rows of several sources" in card
    assert "CLIP" not in card
    assert [path.name for path in world.iterdir() if path.name.startswith(".")] == []


def test_its_croissant_does_not_claim_that_all_was_generated(world: Path) -> None:
    mix(recipe(world, {"chat": CHAT, "llava": {**LLAVA, "count": 5}}), "hf", world / "hf")
    read = mlcroissant.Dataset(str(world / "hf" / "croissant.json"))
    assert read.metadata.ctx.issues.errors == set()
    facts = json.loads((world / "hf" / "croissant.json").read_text(encoding="utf-8"))
    assert facts["rai:dataCollection"].startswith("Images of chat, llava; rows of several sources")
    assert facts["citeAs"] == f"{facts['name']}, made with mminstruct"
    assert facts["license"] == ["CC BY 4.0", "unknown"]


def test_images_are_linked_once_however_many_rows_and_sources_have_them(world: Path) -> None:
    (world / "twin.json").write_text(json.dumps([{**seen(4), "id": "twin"}]))
    mixed(world, {"llava": LLAVA, "twin": {**LLAVA, "path": "twin.json"}})
    images = list((world / "out" / "images").rglob("*.jpg"))
    assert len(images) == 30
    assert all(path.stat().st_nlink == 2 for path in images)


def test_neither_the_order_of_rows_nor_of_sources_changes_a_byte(world: Path) -> None:
    sources = {"llava": {**LLAVA, "count": 25}, "chat": {**CHAT, "count": 15}}
    mixed(world, sources, "one")
    rows = [seen(n) for n in range(60)]
    random.Random(1).shuffle(rows)
    (world / "llava.json").write_text(json.dumps(rows, indent=2))
    mixed(world, dict(reversed(sources.items())), "two")
    assert (world / "one" / "train.json").read_bytes() == (world / "two" / "train.json").read_bytes()
    mixed(world, sources, "other", seed=1)
    assert (world / "one" / "train.json").read_bytes() != (world / "other" / "train.json").read_bytes()


def test_sources_are_shuffled_together(world: Path) -> None:
    rows = mixed(world, {"llava": LLAVA, "chat": {**CHAT, "count": 20}})
    places = [place for place, row in enumerate(rows) if row["source"] == "chat"]
    assert min(places) < 20
    assert max(places) >= 60
    assert max(later - one for one, later in pairwise(places)) < 30


def test_more_of_a_source_are_the_same_rows_and_others(world: Path) -> None:
    few = {row["id"] for row in mixed(world, {"llava": {**LLAVA, "count": 10}}, "few")}
    many = {row["id"] for row in mixed(world, {"llava": {**LLAVA, "count": 30}}, "many")}
    assert few < many


def test_unsound_rows_are_left_out_by_reason_and_the_sums_close(world: Path) -> None:
    broken = [
        {**seen(0), "image": "coco/gone.jpg"},
        {**seen(1), "image": "../../etc/passwd"},
        {**seen(2), "conversations": []},
        {**seen(3), "conversations": turns(("human", "no image here"), ("gpt", "So."))},
        {**seen(4), "conversations": turns(("human", "<image>\nx"), ("gpt", "y</s>"))},
        {**seen(5), "image": "half.jpg"},
        {"id": "nothing"},
    ]
    (world / "data" / "half.jpg").write_bytes(jpeg(1)[:500])
    (world / "llava.json").write_text(json.dumps([seen(n) for n in range(10, 20)] + broken))
    assert len(mixed(world, {"llava": LLAVA})) == 10
    (told,) = facts(world)["mixture"]
    assert told["unsound"] == {
        "image_missing": 1,
        "image": 2,
        "turns": 1,
        "image_count": 1,
        "token": 1,
        "no_conversation": 1,
    }
    assert told["in"] == 17 == sum(told["unsound"].values()) + told["left"] + told["taken"]


def test_rows_with_more_images_than_the_format_takes_are_left_out_and_counted(world: Path) -> None:
    pair = {
        "images": [seen(n)["image"] for n in (0, 2)],
        "messages": turns(("human", "<image><image> Which?"), ("gpt", "Ho")),
    }
    (world / "pairs.jsonl").write_text(json.dumps({"id": "pair", **pair}) + "\n" + json.dumps(seen(9)))
    assert len(mixed(world, {"pairs": {**LLAVA, "path": "pairs.jsonl"}})) == 1
    assert facts(world)["mixture"][0]["unsound"] == {"several_images": 1}
    mix(recipe(world, {"pairs": {**LLAVA, "path": "pairs.jsonl"}}), "swift", world / "swift")
    assert facts(world, "swift")["rows"] == {"train": 2}


def test_weights_share_what_leaves_no_source_short(world: Path) -> None:
    rows = mixed(world, {"llava": {**LLAVA, "weight": 3}, "chat": {**CHAT, "weight": 1}, "ours": {**RUN, "count": 5}})
    counted = {name: sum(row["source"] == name for row in rows) for name in ("llava", "chat", "ours")}
    assert counted == {"llava": 60, "chat": 20, "ours": 5}


def test_rows_may_be_repeated_where_that_is_allowed(world: Path) -> None:
    with pytest.raises(ExportError, match=r"sources\.chat: 90 rows are requested, but there are 40 valid ones"):
        mixed(world, {"chat": {**CHAT, "count": 90}})
    rows = mixed(world, {"chat": {**CHAT, "count": 90, "repeat": True}})
    said = [row["conversations"][0]["value"] for row in rows]
    assert len(rows) == 90 == len({row["id"] for row in rows})
    assert {said.count(text) for text in set(said)} == {2, 3}
    assert facts(world)["shares"]["chat"]["rows"] == 90


def test_rows_of_one_id_or_even_the_same_are_all_kept_and_told_apart(world: Path) -> None:
    (world / "chat.jsonl").write_text("".join(json.dumps(talk(n)) + "\n" for n in (1, 1, 31, 2)))
    ids = sorted(row["id"] for row in mixed(world, {"chat": CHAT}))
    assert "chat/c2" in ids
    assert len({*ids}) == 4
    assert sum(one.endswith("#2") for one in ids) == 1


def test_an_export_of_any_format_is_a_source_and_loses_nothing(world: Path) -> None:
    made = [row(n) for n in range(12)]
    ids = sorted(f"all/{one['pair_id']}" for one in made if one["split"] == "train")
    for format in ("hf", "llava", "sharegpt", "swift", "webdataset", "openai-batch"):
        saved(made, format, world / format)
        rows = mixed(world, {"all": {"path": format}}, f"from-{format}")
        assert sorted(row["id"] for row in rows) == ids
        assert facts(world, f"from-{format}")["shares"]["all"]["licences"] == {"CC BY 4.0": len(ids)}


def test_deleted_rows_of_a_run_stay_out(world: Path) -> None:
    delete(str(world / "run"), ["00ab"], "asked for")
    rows = mixed(world, {"ours": RUN})
    assert len(rows) == 16
    assert facts(world)["mixture"][0]["unsound"] == {"deleted (asked for)": 2}


def test_a_mixture_warns_of_what_its_runs_and_exports_warn_of(world: Path) -> None:
    for file in (world / "run" / "export" / "_receipts").glob("*.json"):
        found = unseal(file.read_bytes(), "", "")
        file.write_bytes(seal(found | {"warnings": {"images are odd": [2, 5]}}))
    mixed(world, {"ours": {**RUN, "count": 3}, "chat": CHAT}, "one")
    assert facts(world, "one")["warnings"] == ["ours: export: 4 of 10 images are odd"]
    mixed(world, {"mixed": {"path": "one"}, "ours": {**RUN, "count": 0}}, "two")
    assert facts(world, "two")["warnings"] == ["mixed: ours: export: 4 of 10 images are odd"]


@pytest.mark.parametrize(
    ("sources", "more", "said"),
    [
        ({}, {}, "no sources"),
        ({"a": {"path": "llava.json", "wieght": 2}}, {}, "wieght"),
        ({"a": {"path": "llava.json", "weight": 2, "count": 1}}, {}, "not both"),
        ({"a": {"path": "llava.json", "weight": 0}}, {}, "above 0"),
        ({"a": {"path": "llava.json", "count": "many"}}, {}, "many"),
        ({"a": {"weight": 1}}, {}, "path"),
        ({"a": {"path": "chat.jsonl", "count": 9}}, {"rows": 10}, "rows: 10"),
        ({"a": {"path": "chat.jsonl", "weight": 9, "repeat": True}}, {}, "the total is unlimited"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused_in_a_line(
    world: Path, sources: dict[str, Any], more: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mix", str(recipe(world, sources, **more)), "--to", str(world / "out")]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1
    assert not (world / "out").exists()


@pytest.mark.parametrize("text", ["sources: [a: {", "- a\n- b\n", "sources: 7"])
def test_what_is_no_mixture_at_all_is_refused_in_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "mix.yaml").write_text(text)
    with pytest.raises(ExportError, match=r"mix\.yaml: ") as error:
        load(tmp_path / "mix.yaml")
    assert len(str(error.value).splitlines()) == 1


def test_a_source_that_is_not_there_is_named(world: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: there is no file, export or run"):
        mixed(world, {"a": {"path": "nowhere"}})


def test_a_mixture_without_a_sound_row_tells_what_became_of_each(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**seen(0), "conversations": turns(("human", "What?"), ("gpt", "A dot."))}, {"id": "x"}]
    (world / "bare.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows) + "{torn\n")
    sources = {"bare": {**LLAVA, "path": "bare.jsonl"}}
    assert main(["mix", str(recipe(world, sources)), "--to", str(world / "out")]) == 1
    told = capsys.readouterr().err
    assert "bare: 3 rows, 1 x image_count, 1 x no_conversation, 1 x not_json" in told
    assert "status" not in told
    with pytest.raises(ExportError, match=r"there are 0 valid ones \(1 x image_count, 1 x no_conversation"):
        mixed(world, {"bare": {**sources["bare"], "count": 2}})


def test_what_was_done_to_rows_is_counted_for_those_that_are_taken(world: Path) -> None:
    first = {"from": "gpt", "value": "Hello"}
    rows = [talk(0), {**talk(1), "conversations": [first, *talk(1)["conversations"]]},
            {**talk(2), "system": "Be short."}, {**seen(0), "conversations": [first, *talk(3)["conversations"]]}]  # fmt: skip
    (world / "chat.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    made = mixed(world, {"chat": {**CHAT, "images": "data"}})
    (told,) = facts(world)["mixture"]
    assert told["mended"] == {"first_turn_passed_over": 1, "system_folded": 1}
    assert told["unsound"] == {"image_count": 1}
    assert "Be short.\n\nQuestion 2?" in [row["conversations"][0]["value"] for row in made]
    assert "1 first_turn_passed_over, 1 system_folded |" in (world / "out" / "README.md").read_text(encoding="utf-8")


@settings(max_examples=200, deadline=None)
@given(
    there=st.lists(st.integers(0, 50), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.1, 10), min_size=4, max_size=4),
    rows=st.none() | st.integers(0, 40),
)
def test_shares_add_up_and_no_source_gives_more_than_it_has(
    there: list[int], weights: list[float], rows: int | None
) -> None:
    names = "abcd"[: len(there)]
    wanted = Mix(sources={n: Source(path=n, weight=w) for n, w in zip(names, weights, strict=False)}, rows=rows)
    sizes = dict(zip(names, there, strict=True))
    try:
        taken = shares(wanted, sizes)
    except ExportError:
        assert rows is not None
        return
    assert all(0 <= taken[name] <= sizes[name] for name in names)
    assert rows is None or sum(taken.values()) == rows
    scale = sum(weights[: len(there)])
    assert all(abs(taken[n] - sum(taken.values()) * w / scale) < 1 + 1e-6 for n, w in zip(names, weights, strict=False))


def test_the_file_in_the_docs_is_one_that_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (tmp_path / "mix.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    assert set(load(tmp_path / "mix.yaml").sources) == {"llava", "ours", "chat"}
