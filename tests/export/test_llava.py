from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mminstruct.export import ExportError, llava
from mminstruct.export import row as rows
from tests.export.conftest import Given, jpeg, row, saved, turns


def upstream(folder: Path, split: str) -> list[dict[str, Any]]:
    """The list, as LLaVA-1.5's train.py takes it; fails where that would, or where it would learn nothing.

    Rules of LazySupervisedDataset, preprocess_multimodal and preprocess_v1, with words for tokens.
    """
    loaded: list[dict[str, Any]] = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
    lengths = [sum(len(turn["value"].split()) for turn in record["conversations"]) for record in loaded]
    assert all(length != 0 for length in lengths), "the sampler by modality and length refuses empty conversations"
    for record in loaded:
        turned = copy.deepcopy(record["conversations"])
        if "image" in record:
            with Image.open(folder / record["image"]) as image:
                assert image.convert("RGB").size
            for turn in turned:
                if "<image>" in turn["value"]:
                    turn["value"] = ("<image>\n" + turn["value"].replace("<image>", "").strip()).strip()
        assert sum(turn["value"].count("<image>") for turn in turned) == ("image" in record)
        prompt = "A chat."
        for place, turn in enumerate(turned):
            assert turn["from"] == ("human", "gpt")[place % 2]
            prompt += f" USER: {turn['value']}" if place % 2 == 0 else f" ASSISTANT: {turn['value']}</s>"
        rounds = [said for said in prompt.split("</s>") if said]
        assert len(rounds) == len(turned) // 2
        assert all(len(said.split(" ASSISTANT: ")) == 2 for said in rounds), "nothing is learnt beyond this round"
    return loaded


def test_upstream_s_loader_takes_it(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    facts = saved(sound, "llava", tmp_path / "out")
    train, test = (upstream(tmp_path / "out", split) for split in ("train", "test"))
    assert facts.rows == {"train": len(train), "test": len(test)} == {"train": 198, "test": 32}
    provenance = {"image_id": "00ab", "instruction_id": "t0", "source": "drawn", "licence": "CC BY 4.0"}
    provenance |= {"turns": sound[0]["turns"]}
    assert train[0] == {
        "id": "p000",
        "image": "images/00/00ab.jpg",
        "conversations": sound[0]["conversations"],
        **provenance,
    }
    assert (tmp_path / "out" / train[0]["image"]).read_bytes() == sound[0]["image"]["bytes"]
    assert json.loads((tmp_path / "out" / "export.json").read_text())["digests"] == facts.digests


def test_conversations_about_one_image_share_its_file(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    saved(sound, "llava", tmp_path / "out")
    assert len(list((tmp_path / "out" / "images").rglob("*.jpg"))) == 115  # two rows an image


def test_text_alone_has_no_image_key_which_upstream_would_open(tmp_path: Path) -> None:
    llava.write(iter([rows.Row(id="a", turns=turns(("human", "Hi"), ("gpt", "Ho")))]), tmp_path, "train")
    assert "image" not in upstream(tmp_path, "train")[0]


def test_several_images_are_refused(tmp_path: Path) -> None:
    two = tuple(rows.Image(f"{n}.jpg", data=jpeg(n)) for n in (1, 2))
    with pytest.raises(rows.InvalidRow, match="2 images"):
        llava.write(
            iter([rows.Row(id="a", turns=turns(("human", "<image><image>"), ("gpt", "Ho")), images=two)]), tmp_path, "t"
        )


def test_a_run_without_a_test_split_has_no_test_list(tmp_path: Path) -> None:
    assert saved([row(0)], "llava", tmp_path / "out").rows == {"train": 1}
    assert not (tmp_path / "out" / "test.json").exists()


def test_a_png_stays_a_png(tmp_path: Path) -> None:
    saved([row(0, image={"bytes": jpeg(1, "PNG"), "path": "77.png"})], "llava", tmp_path / "out")
    with Image.open(tmp_path / "out" / "images" / "77" / "77.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("path", ["../out.jpg", "/etc/x.jpg", "a/b.jpg", ".hidden.jpg", ""])
def test_a_name_that_is_a_path_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="row p001"):
        saved([row(1, image={"bytes": jpeg(1), "path": path})], "llava", tmp_path / "out")


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    both = [row(1, image={"bytes": jpeg(n), "path": "x.jpg"}, pair_id=f"p{n}") for n in (1, 2)]
    with pytest.raises(ExportError, match="row p2"):
        saved(both, "llava", tmp_path / "out")


def test_a_file_of_ours_is_linked_and_a_name_taken_by_another_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "there.jpg").write_bytes(jpeg(1))
    one = next(Given([row(0)]).rows("train"))
    linked = rows.Row(id="a", turns=one.turns, images=(rows.Image("x.jpg", path=tmp_path / "there.jpg"),))
    (tmp_path / "out").mkdir()
    llava.write(iter([linked, linked]), tmp_path / "out", "train")
    assert (tmp_path / "out" / "images" / "x." / "x.jpg").samefile(tmp_path / "there.jpg")
    (tmp_path / "other.jpg").write_bytes(jpeg(2))
    other = rows.Row(id="b", turns=one.turns, images=(rows.Image("x.jpg", path=tmp_path / "other.jpg"),))
    with pytest.raises(rows.InvalidRow, match="another image"):
        llava.write(iter([linked, other]), tmp_path / "out", "train")
