"""The tokenizers of the embedded models, and their chat template."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

VOCABULARY = 2048
EOS, PAD = 1, 2
"""Ids of the token that ends a text, and of the one that fills a row."""
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
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Files of a saved tokenizer."""

Coded = tuple[list[int], list[int]]
"""Token ids of a prompt, and of its answer with the end token."""


def train_tokenizer(texts: Iterable[str], path: Path, vocabulary: int = VOCABULARY) -> None:
    """Write byte-level BPE trained on *texts* to *path*; it encodes any text, and adds no special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    inner.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    inner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[*SPECIAL.values(), IMAGE],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    inner.save(str(path))


def make_tokenizer(texts: Iterable[str], folder: Path, like: Path) -> None:
    """Train the tokenizer of *folder* on *texts*, with the settings of the tokenizer in *like*."""
    copy_files(like, folder, TOKENIZER[1:])
    train_tokenizer(texts, folder / "tokenizer.new")
    (folder / "tokenizer.new").replace(folder / "tokenizer.json")


def copy_files(source: Path, folder: Path, names: Iterable[str]) -> None:
    """Copy the files *names* of *source* to *folder*, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, folder / name)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in *folder* as transformers has it."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)


def coded(tokenizer: Any, messages: Sequence[Any], target: str) -> Coded:
    """Token ids of a chat and its answer, by transformers."""
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return ids, tokenizer(target, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]


class Words:
    """The tokenizer in *folder* without transformers, which takes seconds to import and brings PyTorch along."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.inner = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.inner.no_padding()
        self.inner.no_truncation()

    def ids(self, texts: Iterable[str]) -> list[list[int]]:
        return [one.ids for one in self.inner.encode_batch(list(texts), add_special_tokens=False)]

    def text(self, ids: Sequence[int]) -> str:
        """What the ids up to the end token say."""
        row = list(ids)
        return str(self.inner.decode(row[: row.index(EOS)] if EOS in row else row, skip_special_tokens=True)).strip()

    def chat(self, messages: Sequence[Any]) -> str:
        """*messages* as ``TEMPLATE`` writes them, up to where the answer starts; contents are texts."""
        names = {"system": "SYSTEM:\n", "user": "USER:\n", "assistant": "ASSISTANT:\n"}
        turns = (
            f"{names[m['role']]}{m['content']}{SPECIAL['eos_token'] if m['role'] == 'assistant' else ''}\n"
            for m in messages
        )
        return f"{SPECIAL['bos_token']}{''.join(turns)}ASSISTANT:\n"

    def coded(self, lessons: Iterable[tuple[Sequence[Any], str]]) -> list[Coded]:
        """Token ids of chats and their answers, as ``coded`` gives them."""
        known = list(lessons)
        asked = self.ids(self.chat(messages) for messages, _ in known)
        said = self.ids(target for _, target in known)
        return [(ids, [*answer, EOS]) for ids, answer in zip(asked, said, strict=True)]


def row_of(ids: Sequence[int], length: int) -> list[int]:
    """*ids* and the end token in a row of *length*; ids that are too many are cut, without an end."""
    row = [*ids, EOS][:length]
    return row + [PAD] * (length - len(row))
