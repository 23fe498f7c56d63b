from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import rounds
from lab.rounds import Learned

SCENES = 20


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return rounds.draw(tmp_path_factory.mktemp("built"), SCENES)


def _rows(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "train.json").read_text())
    assert all((folder / row["image"]).is_file() for row in rows)
    return rows


def _pairs(row: dict[str, Any]) -> list[tuple[str, str]]:
    said = [turn["value"].replace("<image>", "").strip() for turn in row["conversations"]]
    return list(zip(said[::2], said[1::2], strict=True))


def test_the_drawn_sets_differ_in_phrases_and_conversations_only(built: dict[str, Path]) -> None:
    def bare(text: str) -> str:
        return re.sub(r" (Answer the question with a|Please answer yes or no about).*", "", text)

    split, merged = _rows(built["split"]), _rows(built["merged"])
    assert len(merged) == SCENES
    told = {
        name: sorted((row["image"], bare(text), said) for row in rows for text, said in _pairs(row))
        for name, rows in (("split", split), ("merged", merged))
    }
    assert told["split"] == told["merged"]
    assert all(len(_pairs(row)) <= 12 for row in merged)
    opened = {rounds._TOLD, rounds._SUMMARY}
    assert all((bare(text) != text) != (text in opened) for row in merged for text, _ in _pairs(row))
    for row in split:
        texts = [text for text, _ in _pairs(row)]
        assert (bare(texts[0]) != texts[0]) != (texts[0] in opened)  # LLaVA-1.5's mix says the phrase once
        assert not any(bare(text) != text or text in opened for text in texts[1:])


def test_a_grouped_export_is_cut_where_the_kind_changes(built: dict[str, Path], tmp_path: Path) -> None:
    row = _rows(built["merged"])[0]
    kinds = ["caption", "paragraph", "short", "short", "number"]
    turns = [{"pair_id": str(n), "kind": kind} for n, kind in enumerate(kinds)]
    (tmp_path / "images").symlink_to(built["merged"] / "images")
    grouped = {**row, "conversations": row["conversations"][:10], "turns": turns}
    (tmp_path / "train.json").write_text(json.dumps([grouped]))
    some = _rows(rounds.apart(tmp_path, tmp_path / "apart"))
    assert [len(_pairs(one)) for one in some] == [1, 1, 2, 1]
    assert [pair for one in some for pair in _pairs(one)] == _pairs(grouped)
    assert [one["conversations"][0]["value"].count("<image>") for one in some] == [1, 1, 1, 1]
    assert len({one["id"] for one in some}) == 4


@pytest.mark.slow
def test_the_larger_set_is_cut_by_whole_conversations_whatever_their_order(
    built: dict[str, Path], tmp_path: Path
) -> None:
    merged = _rows(built["merged"])
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    (fewer / "images").symlink_to(built["merged"] / "images")
    (fewer / "train.json").write_text(json.dumps(merged[:10][::-1]))
    sets = rounds.equal({"split": built["split"], "merged": fewer}, tmp_path / "cut")
    assert sets["merged"].conversations == 10
    assert sets["split"].conversations < len(_rows(built["split"]))
    assert 0.99 * sets["merged"].tokens <= sets["split"].tokens <= sets["merged"].tokens
    kept = json.loads(sets["split"].path.read_text())
    whole = {row["id"]: row for row in _rows(built["split"])}
    assert len(kept) == sets["split"].conversations
    assert all(row["conversations"] == whole[row["id"]]["conversations"] for row in kept)
    (fewer / "train.json").write_text(json.dumps(merged[:10]))
    again = rounds.equal({"split": built["split"], "merged": fewer}, tmp_path / "again")
    assert again["split"].path.read_bytes() == sets["split"].path.read_bytes()
    assert again["merged"].path.read_bytes() == sets["merged"].path.read_bytes()


@pytest.mark.slow
def test_a_dialogue_longer_than_the_context_is_refused(built: dict[str, Path], tmp_path: Path) -> None:
    long = [("What is it?", "dog " * 300), ("And now?", "cat " * 300), ("Still?", "yes " * 600)]
    (tmp_path / "train.json").write_text(json.dumps([rounds.conversation("long", "images/000000000000.jpg", long)]))
    (tmp_path / "images").symlink_to(built["split"] / "images")
    with pytest.raises(ValueError, match=r"long is .* tokens longer than the 1024"):
        rounds.equal({"split": built["split"], "merged": tmp_path}, tmp_path / "cut")


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 40)), min_size=2, max_size=2), st.integers(50, 2000))
def test_batches_have_equal_learned_tokens_or_are_refused(sizes: list[tuple[int, int]], tokens: int) -> None:
    sets = {str(n): Learned(Path(), count, count * mean) for n, (count, mean) in enumerate(sizes)}

    def far(counts: dict[str, int]) -> bool:
        steps = [count * sets[name].mean for name, count in counts.items()]
        return max(steps) > 1.01 * min(steps)

    try:
        assert not far(rounds.batches(sets, tokens))
    except ValueError:
        one, other = sorted(sets.values(), key=lambda some: some.mean)
        for long in range(1, round(4 * tokens / other.mean)):
            assert far(dict(zip(sorted(sets, key=lambda name: sets[name].mean),
                                (max(1, round(long * other.mean / one.mean)), long), strict=True)))  # fmt: skip


def test_the_exam_asks_each_kind_once_a_scene_that_no_training_drew(tmp_path: Path) -> None:
    asked = rounds.exam(tmp_path, 6)
    assert [one["kind"] for one in asked] == 6 * list(rounds.KINDS)
    assert len({one["question_id"] for one in asked}) == 18
    assert len({one["image"] for one in asked}) == 6
    told, new, short = ([one["question"] for one in asked if one["kind"] == kind] for kind in rounds.KINDS)
    assert set(told) == {rounds._TOLD}
    assert set(new) <= set(rounds._NEW)
    assert all(text.endswith(rounds._PHRASE) for text in short)


def test_a_model_that_collapses_after_a_short_turn_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    asked = rounds.exam(tmp_path, 12)
    long = "A brown dog sleeps beside two red chairs in the garden."
    answers = [
        {"question_id": one["question_id"], "contestant": f"{name}@{history}" if history else name,
         "answer": "Dog." if one["kind"] == "short" or (name == "split" and history == "phrase") else long}
        for one in asked for name in ("merged", "split") for history in ("", "phrase", "mixed")
    ]  # fmt: skip
    for kind in rounds.KINDS[:2]:
        found = rounds.measured([one for one in asked if one["kind"] == kind], answers)
        gap = {one.history: one.measures["collapse"] for one in found.differences}
        assert gap["phrase"].value == -1
        assert gap["phrase"].high is not None
        assert gap["phrase"].high < -0.4
        assert gap["mixed"].value == 0
    short = rounds.measured([one for one in asked if one["kind"] == "short"], answers)
    assert {one.measures["form"].after.value for one in short.changes} == {1.0}
    assert all("collapse" not in one.measures for one in short.changes)


@pytest.mark.slow
def test_the_experiment_trains_two_models_from_one_base_and_ends_in_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--work", str(tmp_path), "--images", "12", "--steps", "2", "--tokens", "90", "--scenes", "2", "workers.kind=local", "workers.count=1", "trackers=[]"]  # fmt: skip
    assert rounds.main(words) == 0
    table = capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    split, merged = (result["trained"][name] for name in ("split", "merged"))
    assert split["steps"] == merged["steps"] == 2
    assert split["learned"] == pytest.approx(merged["learned"], rel=0.01)
    assert split["batch"] > 4 * merged["batch"]
    assert set(result["kinds"]) == set(rounds.KINDS)
    for found in result["kinds"].values():
        assert {(one["contestant"], one["history"]) for one in found["changes"]} == {
            (name, history) for name in ("split", "merged") for history in rounds.HISTORIES
        }
        assert {one["history"] for one in found["differences"]} == set(rounds.HISTORIES)
    assert table.count("| merged - split |") > len(rounds.KINDS)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert len(answers) == 2 * 3 * 2 * 3
    mixed = [row for row in answers if row["contestant"] == "merged@mixed"]
    assert all(len(json.loads(row["earlier"])) == 4 for row in mixed)
    before = (tmp_path / "result.json").read_bytes()
    assert rounds.main(words) == 0  # what is trained is not trained again
    assert (tmp_path / "result.json").read_bytes() == before
