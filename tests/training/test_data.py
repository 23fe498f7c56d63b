from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mminstruct.training.config import Training
from mminstruct.training.data import Collator, Records, read, save, summary
from tests.training import sets


def records(folder: Path) -> Records:
    table, _ = read(str(sets.write(folder / "data")), None)
    (folder / "records.arrow").write_bytes(save(table))
    return Records(folder / "records.arrow")


def test_rows_that_cannot_be_trained_on_leave_with_a_reason_and_the_sums_close(tmp_path: Path) -> None:
    good = {"id": 7, "conversations": [{"from": "human", "value": "a", "text": "stray"}, {"from": "gpt", "value": "b"}]}
    asked = {"conversations": [{"from": "human", "value": "<image>a"}, {"from": "gpt", "value": "b"}]}
    two = {"conversations": [{"from": "human", "value": "<image><image>a"}, {"from": "gpt", "value": "b"}]}
    (tmp_path / "0.png").write_bytes(b"")
    rows: list[Any] = [
        good,
        {**asked, "id": "seen", "image": "0.png", "model": "stray"},
        {**asked, "id": "gone", "image": "no.png"},
        {**two, "id": "two", "image": ["0.png", "1.png"]},
        {"id": "bare"},
        {"id": "upside down", "conversations": good["conversations"][::-1]},  # type: ignore[index]
        {"id": "mute", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": " "}]},
        "no record",
    ]
    (tmp_path / "mix.json").write_text(json.dumps(rows))
    (tmp_path / "export.json").write_text('{"digests": "x"}')
    table, facts = read(str(tmp_path / "mix.json"), None)
    assert table["id"].to_pylist() == ["7", "seen"]
    assert facts["dropped"] == {
        "image_missing": 1,
        "several_images": 1,
        "no_conversation": 1,
        "turns": 1,
        "empty": 1,
        "not_json": 1,
    }
    assert facts["taken"] == len(rows) == facts["kept"] + sum(facts["dropped"].values())
    assert facts["examples"]["image_missing"] == [f"gone: {tmp_path / 'no.png'} is not there"]
    said = summary(facts)
    assert said.startswith(f"2 of {len(rows)} conversations; dropped 1 x empty (mute: turn 1 is empty); ")
    assert "dropped 1 x not_json (line 8: it is a JSON str, should be an object)" in said
    assert facts["beside"]["export.json"] == {"digests": "x"}
    (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert read(str(tmp_path / "lines.jsonl"), None)[0] == table


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "[]"])
def test_a_file_without_conversations_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.json"):
        read(str(tmp_path / "bad.json"), None)
    with pytest.raises(ValueError, match="no such file"):
        read(str(tmp_path / "none.json"), None)


def collator(llava: Path, folder: Path, **more: Any) -> Collator:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(llava)
    return Collator(processor, Training(template="own", max_length=200, **more), str(folder), 16)


def test_a_batch_without_images_has_a_stand_in_that_teaches_nothing(llava: Path, tmp_path: Path) -> None:
    import torch
    from transformers import LlavaForConditionalGeneration

    from mminstruct.training.objective import summed_loss

    found = records(tmp_path)
    batch = collator(llava, tmp_path / "data")([found[13], found[14]])
    assert (batch.images, batch.pixels.shape[0]) == (0, 1)
    model = LlavaForConditionalGeneration.from_pretrained(llava)
    loss = summed_loss(model, batch, "cpu", torch.float32)
    loss.backward()
    assert all(not p.grad.any() for p in model.model.multi_modal_projector.parameters() if p.grad is not None)
    ids_BT = batch.ids.masked_fill(batch.ids == model.config.image_token_id, 2)  # <pad>
    bare = model(input_ids=ids_BT, labels=batch.labels, num_items_in_batch=1).loss
    assert loss.item() == pytest.approx(bare.item(), rel=1e-5)


def test_packed_rows_cost_what_they_cost_apart(llava: Path, tmp_path: Path) -> None:
    import torch
    from transformers import LlavaForConditionalGeneration

    from mminstruct.training.objective import summed_loss

    found = records(tmp_path)
    rows = [found[place] for place in (0, 1, 13, 4, 15)]
    model = LlavaForConditionalGeneration.from_pretrained(llava)
    grads, losses = [], []
    for packing in (False, True):
        batch = collator(llava, tmp_path / "data", packing=packing)(rows)
        assert batch.images == 3
        model.zero_grad()
        loss = summed_loss(model, batch, "cpu", torch.float32)
        loss.backward()
        losses.append(loss.item())
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert batch.ids.shape[0] == 1
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert torch.allclose(grads[0], grads[1], atol=1e-3, rtol=1e-3)


def test_a_row_whose_image_does_not_open_is_named_and_not_learned_from(llava: Path, tmp_path: Path) -> None:
    found = records(tmp_path)
    (tmp_path / "data" / "1.png").write_bytes(b"\x89PNG broken")
    batch = collator(llava, tmp_path / "data")([found[0], found[1]])
    assert (batch.broken, batch.images, batch.ids.shape[0]) == (["row-1"], 1, 1)
    none = collator(llava, tmp_path / "data")([found[1]])
    assert (none.broken, none.learned, none.pixels.shape[0]) == (["row-1"], 0, 1)
