from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.models.decoding import decoded, plain
from mminstruct.models.kernels import empty_cache, grouped_attention, sorted_experts
from mminstruct.models.model import Model
from mminstruct.models.prefixes import Node, batches, levels, prefilled
from mminstruct.models.sampling import Sampler, uniforms
from mminstruct.models.transformers import Chatter
from mminstruct.prompts import Message
from tests.models import tiny


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
    for prompt, path in zip(prompts, prefilled(net, prompts, 2), strict=True):
        with torch.inference_mode():
            plainly = net(torch.tensor([prompt])).past_key_values
        assert path is not None
        for both, expected in zip(path, plainly.layers, strict=True):
            for got, want in zip(both, (expected.keys, expected.values), strict=True):
                assert got.shape == want[0].shape
                assert torch.allclose(got, want[0], atol=1e-4)


@pytest.fixture(scope="module")
def nets() -> dict[str, Any]:
    """Random nets with one kind of layer each that decoding has to get right."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        DeepseekV3Config,
        GemmaConfig,
        GPT2Config,
        GPTNeoConfig,
        LlamaConfig,
        MistralConfig,
        MixtralConfig,
        PegasusConfig,
    )

    size: dict[str, Any] = {
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "initializer_range": 0.4,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    configs = {
        "llama": LlamaConfig(**size),
        "gemma": GemmaConfig(**size),  # tied embeddings, norms that add one
        "mixtral": MixtralConfig(**size, num_local_experts=5, num_experts_per_tok=3),
        "gpt2": GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.4),
        "deepseek": DeepseekV3Config(  # values are narrower than keys
            **{name: value for name, value in size.items() if name not in ("head_dim", "num_key_value_heads")},
            num_key_value_heads=4,
            n_routed_experts=4,
            n_group=1,
            topk_group=1,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            first_k_dense_replace=1,
            kv_lora_rank=16,
            q_lora_rank=None,
            qk_rope_head_dim=8,
            qk_nope_head_dim=16,
            v_head_dim=12,
        ),
        "mistral, sliding": MistralConfig(**size, sliding_window=8),
        "gpt-neo": GPTNeoConfig(
            vocab_size=60,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            window_size=8,
            attention_types=[[["global", "local"], 1]],
        ),
        "pegasus": PegasusConfig(
            vocab_size=60,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            decoder_ffn_dim=48,
            decoder_attention_heads=4,
            is_decoder=True,
            is_encoder_decoder=False,
        ),
    }
    made = {}
    for name, config in configs.items():
        torch.manual_seed(3)
        made[name] = AutoModelForCausalLM.from_config(config).eval()
    return made


def one_by_one(net: Any, prompt: list[int], budget: int, ends: set[int]) -> list[int]:
    """Greedy tokens without any cache."""
    import torch

    made: list[int] = []
    while len(made) < budget and not (made and made[-1] in ends):
        with torch.inference_mode():
            made.append(int(net(torch.tensor([prompt + made]), use_cache=False).logits[0, -1].argmax()))
    return made


@pytest.mark.parametrize("kind", ["llama", "gemma", "mixtral", "gpt2", "deepseek"])
def test_each_row_gets_the_tokens_that_its_prompt_gets_alone_without_a_cache(nets: dict[str, Any], kind: str) -> None:
    net = nets[kind]
    assert plain(net)
    if kind == "mixtral":
        net.set_experts_implementation("eager")
    chance = random.Random(5)
    start = [chance.randrange(3, 60) for _ in range(20)]
    prompts = [chance.choice([start, []]) + [chance.randrange(3, 60) for _ in range(1 + row % 7)] for row in range(24)]
    budgets = [1 + 5 * (row % 6) for row in range(24)]
    free = [one_by_one(net, prompt, budget, set()) for prompt, budget in zip(prompts, budgets, strict=True)]
    ends = {free[-1][-1], free[4][len(free[4]) // 2], free[10][3]}  # tokens that come, so that rows end early
    alone = [one_by_one(net, prompt, budget, ends) for prompt, budget in zip(prompts, budgets, strict=True)]
    assert len({len(made) for made in alone}) > 5
    assert any(len(made) < budget for made, budget in zip(alone, budgets, strict=True))
    if kind == "mixtral":
        net.set_experts_implementation(sorted_experts())
    paths = prefilled(net, [prompt[:-1] for prompt in prompts], 2)
    assert any(path is None for path in paths)
    assert decoded(net, paths, [prompt[-1] for prompt in prompts], budgets, ends, None) == alone


def test_sampled_rows_keep_their_seeds_while_others_end(nets: dict[str, Any]) -> None:
    net, seeds = nets["llama"], list(range(16))
    prompts = [[3 + row % 4, 9] for row in seeds]
    budgets = [2 + 3 * (row % 5) for row in seeds]

    def tokens(rows: list[int]) -> list[list[int]]:
        paths = prefilled(net, [prompts[row][:-1] for row in rows], 2)
        sampler = Sampler([seeds[row] for row in rows], 0, 1.0, 0.9)
        return decoded(net, paths, [prompts[row][-1] for row in rows], [budgets[row] for row in rows], {1, 7}, sampler)

    together = tokens(seeds)
    assert together == [tokens([row])[0] for row in seeds]
    assert len({tuple(made) for made in together}) > 12


def test_nets_with_other_caches_or_own_positions_are_left_to_generate(nets: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, Blip2ForConditionalGeneration

    assert empty_cache(nets["mistral, sliding"]) is None
    assert not plain(nets["mistral, sliding"])
    assert empty_cache(nets["gpt-neo"]) is not None
    assert not plain(nets["gpt-neo"])  # a window of its last tokens, over a cache of all
    assert empty_cache(nets["pegasus"]) is not None
    assert not plain(nets["pegasus"])  # it takes no positions
    assert not plain(Blip2ForConditionalGeneration.__new__(Blip2ForConditionalGeneration))  # its generate() is its own
    seeing = AutoModelForImageTextToText.from_pretrained(tiny.qwen(tmp_path))
    assert empty_cache(seeing) is not None
    assert not plain(seeing)  # positions of images have three axes


def test_sorted_experts_compute_the_bits_of_the_plain_ones(nets: dict[str, Any]) -> None:
    import torch

    net = nets["mixtral"]
    ids = torch.arange(3, 43).reshape(2, 20)
    logits = []
    for name in ("eager", sorted_experts()):
        net.set_experts_implementation(name)
        with torch.inference_mode():
            logits.append(net(ids).logits)
    assert torch.equal(*logits)


def test_attention_by_groups_gives_the_logits_of_plain_attention(mixtral: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

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
