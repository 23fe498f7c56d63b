from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mminstruct import microworld
from mminstruct.export import FORMATS, CardFacts, ExportError, format_of, llava, save, shards
from mminstruct.export.proof import Check, ContentDigest, Target
from mminstruct.export.row import Image, InvalidRow, Row, normal
from mminstruct.training import data
from mminstruct.training.config import Training
from tests.export.conftest import UNSOUND, Given, jpeg, row, saved, turns
from tests.models import tiny
from tests.readers import hostile

TOKENIZER = str(Path(microworld.__file__).parent / "weights" / "captioner")


def sum_of(rows: list[Row]) -> ContentDigest:
    made = ContentDigest()
    deque(made.through(rows), maxlen=0)
    return made


def given(made: list[dict[str, Any]]) -> list[Row]:
    return list(Given(made).rows("train"))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_row_is_named_and_nothing_is_left_behind(name: str, format: str, tmp_path: Path) -> None:
    change, said = UNSOUND[name]
    with pytest.raises(ExportError, match="row p004") as error:
        saved([row(0), row(4, **change)], format, tmp_path / "out")
    assert said in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_read_back_is_what_was_written(format: str, sound: list[dict[str, Any]], tmp_path: Path) -> None:
    facts = saved(sound, format, tmp_path / "out")
    assert facts.rows == {"train": 198, "test": 32}
    back = list(format_of(format).read(tmp_path / "out", "train"))
    for ours, theirs in zip(given(sound), back, strict=True):
        assert [(t["from"], normal(t["value"])) for t in ours.turns] == [
            (t["from"], normal(t["value"])) for t in theirs.turns
        ]
        assert ours.provenance() == theirs.provenance()
        assert [image.read() for image in ours.images] == [image.read() for image in theirs.images]


@pytest.mark.parametrize("format", FORMATS)
def test_a_row_that_is_there_twice_is_refused(format: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="row p001 occurs more than once"):
        saved([row(1), row(2), row(1)], format, tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [
        {"turns": turns(("human", "<image>\nWrite line 1."), ("gpt", "another answer"))},
        {"images": (Image("00ab.jpg", data=jpeg(9)),)},
        {"id": "p9"},
        {"licence": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_export_that_reads_back_other_rows_is_refused(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = llava.read

    def read(folder: Path, split: str) -> Iterator[Row]:
        yield from (replace(one, **change) if one.id == "p001" else one for one in reads(folder, split))

    monkeypatch.setattr(llava, "read", read)
    with pytest.raises(ExportError, match="or their content differs"):
        saved([row(0), row(1)], "llava", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_lost_row_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llava, "read", lambda folder, split: iter(given([row(0)])))
    with pytest.raises(ExportError, match="1 rows read back of 2"):
        saved([row(0), row(1)], "llava", tmp_path / "out")


def test_the_sum_does_not_depend_on_order(sound: list[dict[str, Any]]) -> None:
    rows = given(sound)
    digest = sum_of(rows).digest
    random.Random(0).shuffle(rows)
    assert sum_of(rows).digest == digest
    assert sum_of(rows[1:]).digest != digest


def test_white_space_beside_an_image_is_no_difference() -> None:
    assert normal("<image>\nWhat?") == normal(" <image> What?\n") == normal("<image>What?")
    assert normal("a b") != normal("a  b")


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no rows"):
        saved([], "llava", tmp_path / "out")


def test_a_split_whose_rows_are_gone_has_no_file(tmp_path: Path) -> None:
    assert saved([row(0)], "sharegpt", tmp_path / "out").rows == {"train": 1}
    assert not (tmp_path / "out" / "test.jsonl").exists()


def test_only_an_export_is_replaced_and_only_where_that_is_allowed(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(ExportError, match="not empty and is not an export"):
            saved(sound, "hf", tmp_path / "out", overwrite=overwrite)
    (tmp_path / "out" / "export.json").write_text("{}")
    with pytest.raises(ExportError, match="replace it with --overwrite"):
        saved(sound, "hf", tmp_path / "out")
    with pytest.raises(ExportError, match="row p004"):
        saved([row(4, **UNSOUND["no turns"][0])], "hf", tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
    saved(sound, "hf", tmp_path / "out", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert not (tmp_path / "out" / "mine.txt").exists()


def test_tokens_are_measured_and_the_share_that_is_cut_is_told(tmp_path: Path) -> None:
    target = Target(tokenizer=TOKENIZER, image_tokens=16, max_length=120)
    long = turns(("human", "<image>\nTell."), ("gpt", "A red ball. " * 40))
    check = Check(target)
    facts = CardFacts(name="out", target=target.facts())
    save(Given([row(0), row(2, conversations=long)], check), facts, "llava", tmp_path / "out")
    share = check.shares["drawn"]
    assert (share.rows, share.truncated) == (2, 1)
    assert share.longest > 160
    assert share.tokens > share.longest + 16
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"| {share.tokens:,} | {share.longest:,} | 1 |" in card
    assert "an image counted as 16" in card
    assert json.loads((tmp_path / "out" / "export.json").read_text())["target"]["max_length"] == 120


def test_a_row_with_nothing_to_learn_within_the_limit_is_refused() -> None:
    question = turns(("human", "<image>\n" + "Tell me of a red ball. " * 30), ("gpt", "Yes."))
    (one,) = given([row(0, conversations=question)])
    assert Target(tokenizer=TOKENIZER, image_tokens=16, max_length=400).measure(one) > 100
    with pytest.raises(InvalidRow, match="nothing to learn") as error:
        Check(Target(tokenizer=TOKENIZER, image_tokens=16, max_length=100))(one)
    assert (error.value.reason, error.value.row) == ("mask", "p000")


def test_rows_are_measured_as_the_trainer_reads_them(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    from transformers import AutoProcessor

    saved([sound[0], sound[8]], "llava", tmp_path / "out")
    text = Row(id="text", turns=turns(("human", "Hello"), ("gpt", "Hello.")))
    llava.write(iter([*given([sound[0], sound[8]]), text]), tmp_path / "out", "train")
    table, _ = data.read(str(tmp_path / "out" / "train.json"), None)
    processor = AutoProcessor.from_pretrained(TOKENIZER)
    for longest in (300, 170):  # the second cuts the answers of two
        collate = data.Collator(processor, Training(template="own", max_length=longest), str(tmp_path / "out"), 145)
        target = Target(tokenizer=TOKENIZER, image_tokens=145, max_length=longest)
        for ours, theirs in zip(llava.read(tmp_path / "out", "train"), table.to_pylist(), strict=True):
            batch = collate([theirs])
            if batch.learned:
                assert target.measure(ours) == batch.tokens + batch.cut
            else:
                with pytest.raises(InvalidRow, match="nothing to learn"):
                    target.measure(ours)


def test_a_tokenizer_without_the_image_token_gets_it(tmp_path: Path) -> None:
    tiny.tokenizer().save_pretrained(tmp_path)
    (one,) = given([row(0)])
    few, more = (Target(tokenizer=str(tmp_path), template="v1", image_tokens=n).measure(one) for n in (16, 24))
    assert more == few + 8


@pytest.mark.parametrize("template", ["{{ messages[9].content }}", "{{ raise_exception('no images here') }}"])
def test_a_template_that_fails_is_named_with_the_row(template: str) -> None:
    (one,) = given([row(0)])
    with pytest.raises(InvalidRow) as error:
        Check(Target(tokenizer=TOKENIZER, template=template))(one)
    assert (error.value.reason, error.value.row) == ("template", "p000")


def test_several_images_are_not_measured_as_one() -> None:
    two = tuple(Image(f"{n}.jpg", data=jpeg(n)) for n in (1, 2))
    talk = turns(("human", "<image> or <image>?"), ("gpt", "Ho"))
    with pytest.raises(InvalidRow, match="2 images"):
        Target(tokenizer=TOKENIZER).measure(Row(id="a", turns=talk, images=two))


def test_an_image_that_does_not_fit_is_the_template_s_refusal() -> None:
    (one,) = given([row(0)])
    with pytest.raises(InvalidRow) as error:
        Target(tokenizer=TOKENIZER, image_tokens=576, max_length=100).measure(one)
    assert error.value.reason == "template"


def test_shards_are_cut_by_weight_and_number_and_lose_nothing() -> None:
    weighed = [(n % 5 + 1, n) for n in range(40)] + [(100, 40), (1, 41)]
    cut = [list(items) for _, items in shards.shards(weighed, 10, 4)]
    weight = dict(zip([item for _, item in weighed], [weight for weight, _ in weighed], strict=True))
    assert [item for shard in cut for item in shard] == list(range(42))
    assert all(len(shard) <= 4 and (len(shard) == 1 or sum(weight[i] for i in shard) <= 10) for shard in cut)
    assert [40] in cut


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_is_read_back_whatever_its_text_holds(format: str, tmp_path: Path) -> None:
    odd = f"So{hostile.ODD}{hostile.BREAKS} it is.".replace("\ufffd", "")  # which no export takes: it was a letter once
    said = turns(("human", f"<image>\nWhy{hostile.BREAKS}?"), ("gpt", odd), ("human", "And?"), ("gpt", "So."))
    assert saved([row(0), row(2, conversations=said)], format, tmp_path / "out").rows == {"train": 2}
    if format == "llava":
        table, _ = data.read(str(tmp_path / "out" / "train.json"), None)
        assert table["conversations"].to_pylist()[1] == said


def test_rows_of_another_trainer_s_file_are_trained_on_as_they_are_mixed(tmp_path: Path) -> None:
    said = turns(("human", f"Why{hostile.BREAKS}?"), ("gpt", "So."))
    lines = "".join(json.dumps({"id": n, "conversations": said}, ensure_ascii=False) + "\r\n" for n in range(3))
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    table, facts = data.read(str(tmp_path / "x.jsonl"), None)
    assert (table.num_rows, facts["taken"]) == (3, 3)
    assert table["conversations"].to_pylist() == [said] * 3
