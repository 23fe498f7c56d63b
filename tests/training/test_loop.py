"""ZeRO on two workers: losses, recovery from failures, the saved model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mminstruct.training.config import Training
from mminstruct.training.data import Collator, Records
from mminstruct.training.objective import summed_loss
from mminstruct.training.plan import Plan, shares

pytestmark = pytest.mark.slow
Trained = tuple[Path, dict[str, Any]]


def losses(rows: list[dict[str, Any]]) -> list[float]:
    return [row["loss"] for row in rows if "loss" in row]


def test_a_killed_run_goes_on_as_if_nothing_had_happened(trained: Trained) -> None:
    _, made = trained
    assert len(losses(made["killed"])) == 5
    assert losses(made["gone on"]) == pytest.approx(losses(made["whole"]), rel=1e-6)
    assert losses(made["whole"])[-1] < 0.9 * losses(made["whole"])[0]


def test_workers_that_see_no_image_hold_nobody_up(trained: Trained) -> None:
    folder, made = trained
    records = Records(folder / "whole" / "train" / "records.arrow")
    config = Training(group=False, micro_batch=1)
    config.optim.batch = 4
    plan = Plan(records, config, 0)
    seen = []
    for step in range(6):
        parts = [shares(plan.step(step), rank, 2, 1, 4) for rank in range(2)]
        seen += [(bool(records.seen_N[a].any()), bool(records.seen_N[b].any())) for a, b in zip(*parts, strict=True)]
    assert (True, False) in seen or (False, True) in seen  # one of the two sees an image
    assert (False, False) in seen
    assert len(losses(made["whole"])) == 6


@pytest.mark.parametrize("other", ["zero 0", "zero 2"])
def test_all_stages_of_zero_learn_the_same(trained: Trained, other: str) -> None:
    _, made = trained
    assert losses(made[other]) == pytest.approx(losses(made["whole"]), rel=1e-4)


def test_packed_micro_batches_learn_the_same(trained: Trained) -> None:
    _, made = trained
    assert losses(made["packed"]) == pytest.approx(losses(made["whole"])[:2], rel=1e-4)


@pytest.mark.parametrize("run", ["fewer", "fewer-2"], ids=["ZeRO-3", "ZeRO-2"])
def test_one_worker_goes_on_where_two_were(trained: Trained, run: str) -> None:
    _, made = trained
    assert losses(made[run]) == pytest.approx(losses(made["whole"]), rel=1e-4)


def test_a_loss_that_is_no_number_stops_the_run_with_the_rows_named(trained: Trained) -> None:
    folder, made = trained
    rows = json.loads((folder / "data" / "train.json").read_text())
    guilty = {row["id"] for row in rows if " sun" in " ".join(turn["value"] for turn in row["conversations"])}
    named = made["poisoned"].partition("rows: ")[2].partition(";")[0].split(", ")
    assert set(named) <= guilty
    assert "is not finite" in made["poisoned"]
    assert not (folder / "poisoned" / "train" / "done.json").exists()


def test_a_full_disk_leaves_the_checkpoint_before_it(trained: Trained) -> None:
    _, made = trained
    assert "step-00000004 could not be written" in made["full"]
    assert made["left"] == ["step-00000002"]
    assert losses(made["after full"]) == pytest.approx(losses(made["whole"]), rel=1e-4)


@pytest.mark.parametrize("run", ["whole", "lora"])
def test_the_model_left_is_the_model_learned(trained: Trained, llava: Path, run: str) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    folder, made = trained
    left = folder / run / "train" / "model"
    model = LlavaForConditionalGeneration.from_pretrained(left, dtype=torch.float32)
    records = Records(folder / run / "train" / "held_out.arrow")
    config = Training(template="own", max_length=200)
    collate = Collator(AutoProcessor.from_pretrained(left), config, str(folder / "data"), 16)
    batch = collate([records[place] for place in range(len(records))])
    with torch.no_grad():
        loss = summed_loss(model, batch, "cpu", torch.float32).item() / batch.learned
    held_out = [row["eval_loss"] for row in made[run] if "eval_loss" in row][-1]
    assert loss == pytest.approx(held_out, rel=1e-4)
    before, after = load_file(llava / "model.safetensors"), load_file(left / "model.safetensors")
    assert before.keys() == after.keys()  # llava-hf's layout, as vLLM requires
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in changed if "vision_tower" in name]
    assert [name for name in changed if "multi_modal_projector" in name]
    assert [name for name in changed if "language_model" in name]


def samples(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "train" / "samples.jsonl").read_text().splitlines()]


def test_samples_of_a_fixed_probe_come_with_each_evaluation(trained: Trained) -> None:
    folder, _ = trained
    rows = samples(folder / "whole")
    assert [(row["step"], row["id"]) for row in rows] == [(6, "row-0"), (6, "row-1")]
    assert all(row["wanted"] for row in rows)


def test_zero_3_gathers_the_weights_once_for_all_answers_of_a_probe(trained: Trained) -> None:
    folder, made = trained
    # some weights are still whole after the loss on the held-out rows; partitions are padded
    assert all(0.5 < times < 1.02 for times in made["gathered once"])
    assert min(made["gathered per token"]) > 5
    assert samples(folder / "once") == samples(folder / "per token")
    assert losses(made["once"]) == pytest.approx(losses(made["whole"])[:2], rel=1e-4)  # training goes on as before


def test_the_curve_tells_speed_memory_and_time_left(trained: Trained) -> None:
    _, made = trained
    row = made["whole"][2]
    assert row["tokens_per_second"] == pytest.approx(row["tokens"] / row["seconds"], rel=1e-3)
    assert row["memory_gb"] > 0.01
    assert (row["step"], row["of"], row["mfu"]) == (3, 6, None)
    assert row["eta_seconds"] > 0


ASK = """
import json, sys
from mminstruct.models.model import Model, with_image
from tests.models import tiny
rows = [with_image([{"role": "user", "content": f"what of {word}?"}], tiny.picture(n)) for n, word in enumerate(("red", "old"))]
options = {"max_model_len": 256, "max_num_seqs": 8} if sys.argv[2] == "vllm" else {}
chat = Model(name=sys.argv[1], backend=sys.argv[2], max_tokens=12, options=options).chat()
print(json.dumps([reply.text for reply in chat.chat(rows, seeds=[0, 1])]))
"""


def test_the_model_left_answers_alike_in_transformers_and_vllm(trained: Trained) -> None:
    folder, _ = trained
    said = []
    for backend in ("transformers", "vllm"):
        done = subprocess.run(
            [sys.executable, "-c", ASK, str(folder / "whole" / "train" / "model"), backend],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"},
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        said.append(json.loads(done.stdout.splitlines()[-1]))
    assert said[0] == said[1]
    assert all(said[0])


@pytest.mark.parametrize("stage", [2, 3])
def test_a_flipped_bit_in_an_optimizer_file_is_named_and_the_checkpoint_before_it_is_taken(
    trained: Trained, stage: int
) -> None:
    _, made = trained
    whole = made["whole"] if stage == 3 else made["zero 2"]
    assert losses(made[f"bent {stage}"]) == pytest.approx(losses(whole), rel=1e-4)
    said = [line for line in made["told"] if "step-00000004 is damaged" in line]
    assert len(said) == 2
    assert all("optim_states.pt has changed" in line and "resumes from step 2" in line for line in said)


def test_a_checkpoint_that_would_run_a_command_is_refused_and_runs_nothing(trained: Trained) -> None:
    _, made = trained
    assert "contains more than tensors and is not loaded: " in made["strange"]
    assert "system" in made["strange"]
    assert not made["ran"]
