"""The tokenizer of all embedded models, and its chat template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

VOCABULARY = 2048
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
IMAGE = "<image>"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}SYSTEM:\n{% elif message['role'] == 'user' %}USER:\n"
    "{% else %}ASSISTANT:\n{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:\n{% endif %}"
)
"""Role, line break, text, line break. The byte-level pre-tokenizer never joins a line break and a letter, so prompt and
answer have the same tokens whether they are tokenised together or separately."""


def make_tokenizer(texts: Iterable[str]) -> Any:
    """Byte-level BPE trained on *texts*; it encodes any text, and adds no special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    inner.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    inner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[*SPECIAL.values(), IMAGE],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        model_input_names=["input_ids", "attention_mask"],
        extra_special_tokens={"image_token": IMAGE},
        **SPECIAL,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def load_tokenizer(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)


def coded(tokenizer: Any, messages: Sequence[Any], target: str) -> tuple[list[int], list[int]]:
    """Token ids of the prompt, and of the answer with its end token."""
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return ids, tokenizer(target, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
