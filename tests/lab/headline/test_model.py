from __future__ import annotations

import pytest
import torch

from lab.headline.model import Learner, Net, Size, Tensors, costs, fresh, llama, repeated
from lab.teach.words import EOS, PAD

SIZE = Size(width=64, layers=2, inner=128, vocabulary=48, tower=16, head=32)
SEEN = 5


def several(models: int) -> Tensors:
    """Different models; their embeddings are large, so that no two scores are near."""
    made = [fresh(SIZE, seed) for seed in range(models)]
    return {name: torch.cat([one[name] for one in made]) * (40 if name == "embed" else 1) for name in made[0]}


def rows(models: int, number: int = 3, length: int = 14) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 48, (models, number, length), generator=chance)
    at = torch.arange(6, length - 1).expand(models, number, -1).clone()
    at[:, 1, 4:] = -1
    return ids, torch.randn(models, number, SEEN, 16, generator=chance), at


def test_the_language_model_is_the_llama_of_transformers() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    p = several(1)
    config = LlamaConfig(
        vocab_size=48, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, head_dim=32,
        num_key_value_heads=2, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    theirs = LlamaForCausalLM(config).eval()
    theirs.load_state_dict(llama(p))
    ids, states, at = rows(1)
    net = Net(p, SIZE)
    shown = torch.tensor([[True, False, True]])
    ours = net.scores(ids, states, shown, at)
    inputs = net.embedded(ids)[0]
    seen = net.projected(states)[0]
    inputs[[0, 2], 1 : 1 + SEEN] = seen[[0, 2]]
    with torch.no_grad():
        expected = theirs(inputs_embeds=inputs).logits
    there = at[0] >= 0
    torch.testing.assert_close(
        ours[0][there], expected.gather(1, at[0].clamp(min=0)[..., None].expand(-1, -1, 48))[there]
    )


def test_models_side_by_side_learn_what_each_learns_alone() -> None:
    p = several(3)
    ids, states, at = rows(3)
    shown = torch.ones(3, 3, dtype=torch.bool)

    def after(part: slice) -> Tensors:
        learner = Learner({name: tensor[part] for name, tensor in p.items()}, "cpu", rate=1e-2)
        for leaf in learner.p.values():
            leaf.data = leaf.data.float()
        for _ in range(2):
            total, count = costs(
                Net(learner.p, SIZE).scores(ids[part], states[part], shown[part], at[part]), ids[part], at[part]
            )
            (total.sum(1) / count.sum(1)).sum().backward()
            learner.step(1.0)
        return learner.full

    together = after(slice(0, 3))
    for model in range(3):
        alone = after(slice(model, model + 1))
        for name, tensor in alone.items():
            moved = (tensor - p[name][model : model + 1]).norm()
            assert moved > 0, name
            # Muon's products are in bfloat16 where the processor has it
            assert (together[name][model : model + 1] - tensor).norm() < 0.02 * moved, name


def test_the_optimizer_is_muon_for_matrices_and_adam_for_the_rest() -> None:
    was, ours = several(1), Learner(several(1), "cpu", rate=1e-2)
    adams = ("embed", "norm", "project2.bias")
    leaves = {name: torch.nn.Parameter(was[name][0].clone()) for name in ("project1", "project2", *adams)}
    leaves |= {f"down {k}": torch.nn.Parameter(was["down"][0, k].clone()) for k in range(2)}
    muon = torch.optim.Muon([leaf for name, leaf in leaves.items() if name not in adams], lr=5e-3, weight_decay=0.02,
                            adjust_lr_fn="match_rms_adamw")  # fmt: skip
    adam = torch.optim.Adam([leaves[name] for name in adams], lr=5e-3, betas=(0.9, 0.98))
    for step in range(3):
        for leaf in ours.p.values():
            leaf.grad = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(step)).to(leaf.dtype)
        for name, leaf in leaves.items():
            base, _, layer = name.partition(" ")
            grad = ours.p[base].grad
            assert grad is not None
            leaf.grad = (grad[0, int(layer)] if layer else grad[0]).clone()
        muon.step()
        adam.step()
        ours.step(0.5)
    for name, leaf in leaves.items():
        base, _, layer = name.partition(" ")
        at = (0, int(layer)) if layer else (0,)
        moved, known = ours.full[base][at] - was[base][at], leaf.detach() - was[base][at]
        assert known.norm() > 0
        assert (moved - known).norm() < 0.03 * known.norm(), name  # torch's Muon computes in bfloat16


def test_answers_from_a_cache_are_those_of_whole_rows_whatever_the_padding() -> None:
    p = several(2)
    net = Net(p, SIZE)
    ids, states, _ = rows(2, number=3, length=9)
    pads = torch.tensor([0, 1, 3])
    for row, pad in enumerate(pads.tolist()):
        ids[:, row, :pad] = PAD
    made = net.answers(ids, states, pads.expand(2, -1), new=7)
    assert made.shape == (2, 3, 7)
    different = set()
    for model in range(2):
        alone = Net({name: tensor[model : model + 1] for name, tensor in p.items()}, SIZE)
        for row, pad in enumerate(pads.tolist()):
            whole = ids[model, row, pad:].tolist()
            for token in made[model, row].tolist():
                at = torch.tensor([[[len(whole) - 1]]])
                shown = torch.ones(1, 1, dtype=torch.bool)
                some = states[model : model + 1, row : row + 1]
                scores = alone.scores(torch.tensor([[whole]]), some, shown, at)
                assert int(scores.argmax()) == token
                if token == EOS:
                    break
                whole.append(token)
            different.add(tuple(whole))
    assert len(different) == 6


def test_a_row_counts_only_its_learned_tokens() -> None:
    ids, _, at = rows(1)
    scores = torch.zeros(1, 3, at.shape[2], 48)
    total, count = costs(scores, ids, at)
    assert count.tolist() == [[7, 4, 7]]
    torch.testing.assert_close(total, count * torch.log(torch.tensor(48.0)))
    assert repeated({"x": torch.ones(1, 2)}, 3)["x"].shape == (3, 2)


@pytest.mark.parametrize("shown", [True, False])
def test_a_picture_changes_scores_only_where_it_is_shown(shown: bool) -> None:
    ids, states, at = rows(1)
    net = Net(several(1), SIZE)
    flags = torch.full((1, 3), shown)
    same = torch.equal(net.scores(ids, states, flags, at), net.scores(ids, states + 1, flags, at))
    assert same is not shown
