"""Trains the language model, a Mixtral of four experts, on the prompts that the stages send."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from lab.teach.loop import Learner, Losses, quick_attention, teach
from lab.teach.words import coded, load_tokenizer, make_tokenizer
from mminstruct.microworld.families import Split, lessons
from mminstruct.microworld.scene import Scene, draw_scene
from mminstruct.prompts import Message, render

TOKENS = 4096
"""Tokens of a batch, including padding."""
PROMPT_SHARE = 0.06
"""Share of prompt tokens that also get a loss; copying is learned there first."""

PROMPTS = Path(__file__).parents[2] / "conf" / "prompts"
SEEDS = Path(__file__).parents[2] / "conf" / "seeds.yaml"
ROLES = {"fuse": 22, "fuse_capsfusion": 4, "instruct": 26, "summarize": 4, "answer": 36, "exemplify": 8}
"""Weights of the prompts. fuse is mostly verbatim copying, which every other role needs too."""
COPIES = 0.08
"""Extra lessons, as a share, that only repeat random tokens: the fastest way to learn exact copying. Not on resume."""

Coded = tuple[list[int], list[int]]


def build(vocabulary: int) -> Any:
    """A Mixtral with 5.4 million parameters, 3 million of them active per token."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    model = MixtralForCausalLM(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 1, 2
    return model


def packed(pairs: Sequence[Coded], tokens: int = TOKENS) -> Iterator[list[Coded]]:
    """Batches of pairs of similar length; rows times the longest row is at most *tokens*."""
    batch: list[Coded] = []
    for pair in sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1])):
        if batch and (len(batch) + 1) * (len(pair[0]) + len(pair[1])) > tokens:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def tensors(batch: Sequence[Coded], rng: random.Random, prompt_share: float = PROMPT_SHARE) -> tuple[Tensor, Tensor]:
    """Token ids and labels, both (rows, longest). Labels are shifted to where they are predicted; -100 has no loss."""
    longest = max(len(prompt) + len(target) for prompt, target in batch)
    ids, labels = torch.full((len(batch), longest), 2), torch.full((len(batch), longest), -100)
    for row, (prompt, target) in enumerate(batch):
        whole = prompt + target
        ids[row, : len(whole)] = torch.tensor(whole)
        labels[row, : len(whole) - 1] = torch.tensor(whole[1:])
        hidden = torch.tensor([rng.random() > prompt_share for _ in range(len(prompt) - 1)])
        labels[row, : len(prompt) - 1][hidden] = -100
    return ids, labels


class Lessons(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches of lessons on training scenes."""

    def __init__(self, folder: Path, start: int = 0, pool: int = 2048, copies: float = COPIES) -> None:
        self.folder, self.start, self.pool, self.copies = folder, start, pool, copies

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        torch.set_num_threads(1)
        tokenizer = load_tokenizer(self.folder)
        rng = random.Random(f"lessons {self.start}")
        stream = training_lessons(rng)
        while True:
            pairs = [coded(tokenizer, messages, target) for messages, target in itertools.islice(stream, self.pool)]
            pairs += [_copy(len(tokenizer), rng) for _ in range(int(self.copies * self.pool))]
            batches = list(packed([pair for pair in pairs if len(pair[0]) + len(pair[1]) <= 1024]))
            rng.shuffle(batches)
            for batch in batches:
                yield tensors(batch, rng)


def _copy(vocabulary: int, rng: random.Random) -> Coded:
    row = [rng.randrange(4, vocabulary) for _ in range(rng.randint(10, 50))]
    return [0, *row, 1], [*row, 1]


def lesson_values(
    role: str, scene: Scene, rng: random.Random, split: Split, shots: int = 0
) -> tuple[dict[str, Any], str]:
    """Variables of the prompt of *role* for *scene*, and the target answer."""
    if role in ("fuse", "fuse_capsfusion"):
        values: dict[str, Any] = lessons.fuse_example(scene, rng)
        return values, values.pop("target")
    if role == "instruct":
        return lessons.instruct_example(scene, rng, split, seed_instructions())
    if role == "summarize":
        members, target = lessons.summarize_example(rng, split)
        return {"members": members}, target
    values, target = lessons.answer_example(scene, rng, split, shots)
    if role == "exemplify":
        del values["examples"]
    return values, target


@functools.cache
def seed_instructions() -> tuple[str, ...]:
    """The seed instructions of the instruct stage, in the order of their file."""
    kinds = yaml.safe_load(SEEDS.read_text("utf-8"))
    return tuple(text for texts in kinds.values() for text in texts)


def render_prompt(role: str, values: dict[str, Any]) -> list[Message]:
    """The chat that a stage sends."""
    return render(_prompt(role), **values)


@functools.cache
def _prompt(role: str) -> str:
    return (PROMPTS / f"{role}.md").read_text("utf-8")


def training_lessons(rng: random.Random) -> Iterator[tuple[list[Message], str]]:
    """Endless chats and target answers, on scenes 0 to 99,999 of world 0."""
    roles, weights = zip(*ROLES.items(), strict=True)
    while True:
        role = rng.choices(roles, weights)[0]
        shots = rng.choices((0, 1, 2, 3), (12, 7, 2, 4))[0] if role == "answer" else 0
        values, target = lesson_values(role, draw_scene(rng.randrange(100_000)), rng, "train", shots)
        yield render_prompt(role, values), target


def cost_of(model: Any) -> Any:
    """Cross-entropy of the labelled tokens, plus Mixtral's load-balancing loss."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    def cost(batch: tuple[Tensor, Tensor]) -> Losses:
        device = model.lm_head.weight.device
        ids, labels = batch[0].to(device), batch[1].to(device)
        out = model.model(input_ids=ids, output_router_logits=True)
        learned = labels.view(-1) != -100  # a softmax over all tokens would cost as much as two layers
        logits = model.lm_head(out.last_hidden_state.reshape(-1, model.config.hidden_size)[learned]).float()
        loss = F.cross_entropy(logits, labels.view(-1)[learned])
        balance = load_balancing_loss_func(tuple(r.float() for r in out.router_logits), 4, 2)
        return {"loss": loss + 0.01 * balance, "cross_entropy": loss, "balance": balance}  # type: ignore[dict-item]

    return cost


def tokenizer_for(folder: Path) -> Any:
    """The tokenizer in *folder*; if there is none, one is trained on lessons and saved there."""
    if not (folder / "tokenizer.json").exists():
        rng = random.Random("words")
        chats = itertools.islice(training_lessons(rng), 20_000)
        texts = ("\n".join([*(str(m["content"]) for m in messages), target]) for messages, target in chats)
        make_tokenizer(texts).save_pretrained(folder)
    return load_tokenizer(folder)


def train(work: Path, minutes: float, device: str = "cpu", resume: bool = False) -> dict[str, float]:
    """Train; save model and tokenizer to ``work/llm`` and the checkpoint to ``work/llm.pt``."""
    tokenizer = tokenizer_for(work / "llm")
    model = build(len(tokenizer)).to(device)
    if resume:
        model.load_state_dict(type(model).from_pretrained(work / "llm").state_dict())
    if device == "cpu":
        model.set_attn_implementation(quick_attention())
    learner = Learner(model, rate=1.2e-3 if resume else 4e-3)

    def batches(steps: int) -> Iterable[tuple[Tensor, Tensor]]:
        stream = Lessons(work / "llm", steps, copies=0.0 if resume else COPIES)
        return DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=32)

    curve = teach(learner, batches, cost_of(model), minutes=minutes, name="llm", work=work, resume=resume)
    model.bfloat16().save_pretrained(work / "llm")
    return curve[-1]
