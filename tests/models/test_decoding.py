from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.models.decoding import Node, Sampler, batches, levels, prefilled, uniforms
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


PROMPTS = st.lists(st.lists(st.integers(0, 1), max_size=60), max_size=40)


@given(PROMPTS, st.integers(1, 9), st.booleans(), st.randoms())
def test_every_prompt_is_in_one_batch_and_the_order_of_prompts_changes_no_batch(
    prompts: list[list[int]], size: int, share: bool, chance: random.Random
) -> None:
    made = batches(prompts, size, share=share)
    assert sorted(row for batch in made for row in batch) == list(range(len(prompts)))
    assert all(0 < len(batch) <= size for batch in made)
    shuffled = chance.sample(prompts, len(prompts))
    again = batches(shuffled, size, share=share)
    assert [[prompts[row] for row in batch] for batch in made] == [[shuffled[row] for row in batch] for batch in again]


@given(PROMPTS)
def test_the_tree_of_prefixes_has_every_token_of_every_prompt_in_its_place(prompts: list[list[int]]) -> None:
    ends: dict[int, Node] = {}
    for depth, nodes in enumerate(levels(prompts)):
        for node in nodes:
            assert node.tokens
            assert bool(node.parent) == bool(depth)
            ends |= dict.fromkeys(node.rows, node)
    for row, prompt in enumerate(prompts):
        found: list[int] = []
        node = ends.get(row)
        while node:
            assert row in node.rows
            found = node.tokens + found
            node = node.parent
        assert found == prompt


def test_tokens_that_prompts_share_are_computed_once() -> None:
    system = list(range(30))
    kinds = [system + [kind + 50] * 100 for kind in range(5)]
    prompts = [kind + [row + 100] * 9 for row in range(4) for kind in kinds]
    sizes = [sorted((len(node.rows), len(node.tokens)) for node in nodes) for nodes in levels([*prompts, *prompts])]
    assert sizes == [[(40, 30)], [(8, 100)] * 5, [(1, 9)] * 40]
    assert [[(len(node.rows), len(node.tokens)) for node in nodes] for nodes in levels([[1, 2, 3], [1, 2, 4]])] == [
        [(1, 3), (1, 3)]
    ]


def ask(kind: str, row: int) -> list[Message]:
    return [
        {"role": "system", "content": f"you are a {kind} and say what you see, at length and word by word"},
        {"role": "user", "content": "go on " * (row + 1)},
    ]


QUESTIONS = [ask(kind, row) for row in range(7) for kind in ("robot", "gardener", "lamp")]
QUESTIONS += [[{"role": "user", "content": "and you"}], QUESTIONS[0], QUESTIONS[0]]


@pytest.mark.parametrize("sampling", [{"temperature": 0.9, "top_p": 0.95}, {}])
def test_neither_batch_nor_order_nor_shared_prefix_changes_a_reply(mixtral: Path, sampling: dict[str, Any]) -> None:
    seeds = list(range(len(QUESTIONS)))
    chatter = Chatter(Model(name=str(mixtral), max_tokens=30, **sampling))
    alone = [chatter.chat([q], seeds=[s])[0] for q, s in zip(QUESTIONS, seeds, strict=True)]
    assert len({reply.text for reply in alone}) > 3
    order = random.Random(0).sample(seeds, len(seeds))
    for size in (64, 5):
        chatter._batch = size
        assert chatter.chat(QUESTIONS, seeds=seeds) == alone
        mixed = chatter.chat([QUESTIONS[row] for row in order], seeds=[seeds[row] for row in order])
        assert mixed == [alone[row] for row in order]


def test_a_prefill_of_the_tree_has_the_keys_and_values_of_one_plain_pass(mixtral: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(mixtral).eval()
    start = [7 + row % 5 for row in range(40)]
    prompts = [start, [*start, 9, 9, 9], [*start, *start], [*start, *start, 4], [5], [6, 7], start]
    inputs = prefilled(net, prompts, 2)
    for row, prompt in enumerate(prompts):
        with torch.inference_mode():
            plain = net(torch.tensor([prompt])).past_key_values
        for layer, expected in zip(inputs["past_key_values"].layers, plain.layers, strict=True):
            for got, want in ((layer.keys, expected.keys), (layer.values, expected.values)):
                own = len(prompt) - 1
                assert torch.allclose(got[row, :, got.shape[2] - own :], want[0, :, :own], atol=1e-4)


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
