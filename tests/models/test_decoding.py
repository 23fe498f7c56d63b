from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.models.decoding import Sampler, batches, uniforms
from mminstruct.models.model import Model
from mminstruct.models.transformers import Chatter
from mminstruct.prompts import Message


def test_uniforms_are_uniform_over_seeds_and_over_steps() -> None:
    over_seeds = uniforms(np.arange(20000, dtype=np.uint64), 0)
    over_steps = np.array([uniforms(np.array([7], np.uint64), step)[0] for step in range(5000)])
    for drawn in (over_seeds, over_steps):
        assert drawn.min() >= 0
        assert drawn.max() < 1
        counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
        assert ((counts - len(drawn) / 20) ** 2 / (len(drawn) / 20)).sum() < 43.8  # chi-square, 19 degrees, 0.1 %
        assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 4 / len(drawn) ** 0.5


@pytest.mark.parametrize(("top_p", "kept"), [(1.0, [0.5, 0.3, 0.15, 0.05]), (0.7, [0.625, 0.375, 0, 0])])
def test_tokens_are_sampled_with_the_models_probabilities(top_p: float, kept: list[float]) -> None:
    import torch

    draws, shuffle = 20000, [2, 0, 3, 1]
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])[shuffle]) * 2  # at temperature 2
    alone = Sampler(list(range(draws)), 3, 2.0, top_p)(torch.zeros(draws, 5), logits.expand(draws, 4).clone())
    assert torch.equal((alone == 0).sum(1), torch.ones(draws, dtype=torch.long))
    shares = torch.bincount(alone.argmax(1), minlength=4) / draws
    assert shares.tolist() == pytest.approx([kept[place] for place in shuffle], abs=0.015)


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=60), max_size=40), st.integers(1, 9), st.booleans())
def test_every_prompt_is_in_one_batch_and_has_the_prefix_of_its_group(
    prompts: list[list[int]], size: int, share: bool
) -> None:
    made = batches(prompts, size, share=share)
    assert sorted(row for batch in made for group in batch for row in group.rows) == list(range(len(prompts)))
    for batch in made:
        assert 0 < sum(len(group.rows) for group in batch) <= size
        for group in batch:
            assert len({tuple(prompts[row][: group.shared]) for row in group.rows}) == 1
            assert all(len(prompts[row]) > group.shared for row in group.rows)
            assert share or not group.shared


def test_prompts_with_long_common_prefixes_are_grouped_by_them() -> None:
    system = list(range(30))
    prompts = [system + [kind + 50] * 100 + [row + 100] for row in range(4) for kind in range(5)]
    alone = system + [99] * 100
    groups = [group for batch in batches([*prompts, alone], 64) for group in batch]
    assert sorted((len(group.rows), group.shared) for group in groups) == [(1, 0)] + [(4, 130)] * 5
    loose = [system + [row] * 40 for row in range(8)]
    assert [(len(group.rows), group.shared) for batch in batches(loose, 64) for group in batch] == [(8, 30)]


def test_a_shared_prefix_changes_no_reply(mixtral: Path) -> None:
    def ask(kind: str, row: int) -> list[Message]:
        return [
            {"role": "system", "content": f"you are a {kind} and say what you see, at length and word by word"},
            {"role": "user", "content": "go on " * (row + 1)},
        ]

    questions = [ask(kind, row) for row in range(7) for kind in ("robot", "gardener", "lamp")]
    questions.append([{"role": "user", "content": "and you"}])
    seeds = list(range(len(questions)))
    chatter = Chatter(Model(name=str(mixtral), max_tokens=30, temperature=0.9, top_p=0.95))
    together = chatter.chat(questions, seeds=seeds)
    assert together == [chatter.chat([q], seeds=[s])[0] for q, s in zip(questions, seeds, strict=True)]
    assert len({reply.text for reply in together}) == len(questions)


def test_attention_by_groups_gives_the_logits_of_plain_attention(mixtral: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from mminstruct.models.decoding import empty_cache, grouped_attention

    net = AutoModelForCausalLM.from_pretrained(mixtral).eval()
    ids = torch.arange(3, 43).reshape(2, 20)
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    got = []
    for name in ("eager", grouped_attention()):
        net.set_attn_implementation(name)
        cache = empty_cache(net)
        with torch.inference_mode():
            steps = []
            for at, end in ((0, 15), (15, 16), (16, 17), (17, 20)):
                positions = (mask[:, :end].cumsum(-1) - 1).clamp_min(0)[:, at:]
                out = net(
                    input_ids=ids[:, at:end],
                    attention_mask=mask[:, :end],
                    position_ids=positions,
                    past_key_values=cache,
                )
                steps.append(out.logits)
        got.append(torch.cat(steps, dim=1)[:, 7:])
    assert torch.allclose(got[0], got[1], atol=1e-4)
    assert not torch.allclose(got[0][0], got[0][1], atol=1e-1)
