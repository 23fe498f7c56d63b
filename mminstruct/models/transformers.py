"""Chat models and text embeddings in this process, by Hugging Face transformers.

For small models, laptops and tests; use ``vllm`` for large ones. A call is split into batches by its own contents,
never batched with another thread's. Padding and batch shape change the last bits of the logits, so only equal batches
are sure to give equal tokens. Equal calls therefore give equal replies on one machine with the same number of threads;
a row in another batch nearly always gets the same reply.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from mminstruct.models.decoding import decoded, plain
from mminstruct.models.kernels import empty_cache, grouped_attention, sorted_experts
from mminstruct.models.model import Finish, Model, Reply, Sampling
from mminstruct.models.prefetch import Prefetcher
from mminstruct.models.prefixes import Path, batches, computed, padded, prefilled
from mminstruct.models.sampling import Sampler
from mminstruct.models.transcript import Transcripts, Unanswerable, count_usage, error_reply, picture, source
from mminstruct.prompts import Message
from mminstruct.unit import answered, asked, note

_PICTURES = 16
"""Prompts with images of one forward pass."""


class Chatter:
    """``Chat`` by ``decoding.decoded``, or by ``generate()`` for nets that it cannot serve.

    Options: ``batch_size`` (64; 16 for models that see, on GPU), ``dtype`` (float32 on CPU, bfloat16 on GPU),
    ``device``, ``threads`` of this process, ``decoders`` (threads that decode images, 2 on CPU, 8 on GPU), ``context``
    (tokens), ``chat_template`` (text or path), ``trust_remote_code`` (off).
    """

    def __init__(self, model: Model) -> None:
        import transformers

        self._model = model
        where, options = source(model), model.options
        config = transformers.AutoConfig.from_pretrained(**where)
        self._sees = type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        auto = transformers.AutoModelForImageTextToText if self._sees else transformers.AutoModelForCausalLM
        self._device = _device(options)
        self._net = _net(auto, model, self._device)
        if self._sees:
            self._processor: Any = transformers.AutoProcessor.from_pretrained(**where)
            self._tokenizer = self._processor.tokenizer
            template = options.get("chat_template") or self._processor.chat_template
        else:
            self._processor = self._tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
            template = options.get("chat_template")
        self._transcripts = Transcripts(self._tokenizer, template=template, parts=self._sees)
        ends = self._net.generation_config.eos_token_id
        ends = self._tokenizer.eos_token_id if ends is None else ends
        self._ends: list[int] = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        pad = self._tokenizer.pad_token_id
        if pad is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.convert_ids_to_tokens(0)
            pad = self._tokenizer.pad_token_id
        self._tokenizer.padding_side = "left"
        # replaces the checkpoint's own sampling (temperature, penalties): only the fields of Model count
        self._net.generation_config = transformers.GenerationConfig(
            do_sample=False, pad_token_id=pad, eos_token_id=self._ends or None
        )
        if self._device == "cpu":
            self._net.set_experts_implementation(sorted_experts())
            if self._net.config._attn_implementation == "sdpa":
                self._net.set_attn_implementation(grouped_attention())
        text = config.get_text_config()
        self._context = int(options.get("context") or getattr(text, "max_position_embeddings", 0) or 2**31)
        self._batch = int(options.get("batch_size") or (64 if self._device == "cpu" or not self._sees else _PICTURES))
        self._plain = plain(self._net)
        self._prefetch = Prefetcher(options, self._device)
        self._lock = threading.Lock()
        self._sampling = model.sampling  # of the call that holds the lock

    def chat(
        self,
        messages: list[list[Message]],
        *,
        seeds: list[int],
        schema: dict[str, Any] | None = None,
        sampling: Sampling | None = None,
    ) -> list[Reply]:
        """See ``Chat``; *schema* is not enforced here."""
        asked(len(messages))
        replies: dict[int, Reply] = {}
        prompts: dict[int, tuple[str, list[bytes]]] = {}
        for row, transcript in enumerate(messages):
            try:
                prompts[row] = self._transcripts.read(transcript)
            except Unanswerable as error:
                replies[row] = error_reply(error)
        count_usage(replies.values())
        with self._lock:
            self._sampling = sampling or self._model.sampling
            if prompts:
                rows, texts = list(prompts), [text for text, _ in prompts.values()]
                ids = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
                if self._sees:
                    lengths = dict(zip(rows, map(len, ids), strict=True))  # image tokens are not counted
                    replies |= self._answer_images(prompts, lengths, seeds)
                else:
                    replies |= self._answer_texts(dict(zip(rows, ids, strict=True)), seeds)
        return [replies[row] for row in range(len(messages))]

    def _answer_texts(self, prompts: dict[int, list[int]], seeds: list[int]) -> dict[int, Reply]:
        """Replies to prompts without images."""
        replies = {row: self._too_long(len(ids)) for row, ids in prompts.items() if len(ids) >= self._context}
        replies |= {row: Reply("", "error", error="the prompt is empty") for row, ids in prompts.items() if not ids}
        count_usage(replies.values())
        rows = [row for row in prompts if row not in replies]
        ids = [prompts[row] for row in rows]
        pad = self._tokenizer.pad_token_id
        for some in batches(ids, self._batch, share=self._plain):
            counts = {rows[place]: len(ids[place]) for place in some}
            if self._plain:
                paths = prefilled(self._net, [ids[place][:-1] for place in some], pad)
                last = [ids[place][-1] for place in some]
                replies |= self._decode(paths, last, counts, seeds)
            else:
                ids_BT, mask_BT = padded([ids[place] for place in some], pad, self._device)
                replies |= self._generate({"input_ids": ids_BT, "attention_mask": mask_BT}, counts, seeds)
        return replies

    def _answer_images(
        self, prompts: dict[int, tuple[str, list[bytes]]], lengths: dict[int, int], seeds: list[int]
    ) -> dict[int, Reply]:
        """Replies to prompts with or without images, prefilled in small groups and decoded in larger batches.

        In a group all rows have images or none has; a row with a broken image fails alone.
        """
        order = sorted(prompts, key=lambda row: (bool(prompts[row][1]), -lengths[row], row))
        groups = list(_batches(order, min(self._batch, _PICTURES), lambda row: bool(prompts[row][1])))
        pictures = self._prefetch(lambda row: [picture(data) for data in prompts[row][1]], groups)
        replies: dict[int, Reply] = {}
        ready: list[tuple[int, Path, int, int]] = []
        for some, images in zip(groups, pictures, strict=True):
            seen: dict[int, tuple[str, list[Image.Image]]] = {}
            for row, own in zip(some, images, strict=True):
                if isinstance(own, Unanswerable):
                    replies[row] = error_reply(own)
                else:
                    seen[row] = prompts[row][0], own
            for counts, inputs in self._process(seen, replies):
                if self._plain and self._words_last(inputs):
                    ready += self._prefill(inputs, counts)
                else:
                    replies |= self._generate({**inputs, "past_key_values": empty_cache(self._net)}, counts, seeds)
            while len(ready) >= self._batch or (ready and some is groups[-1]):
                rows, paths, last, own_counts = zip(*ready[: self._batch], strict=True)
                del ready[: self._batch]
                counts = dict(zip(rows, own_counts, strict=True))
                replies |= self._decode(list(paths), list(last), counts, seeds)
        count_usage(reply for reply in replies.values() if reply.finish == "error")  # the others are counted as made
        return replies

    def _process(
        self, seen: dict[int, tuple[str, list[Image.Image]]], replies: dict[int, Reply]
    ) -> Iterator[tuple[dict[int, int], dict[str, Any]]]:
        """Rows with their numbers of tokens, and their inputs; a prompt that the processor refuses, or that is too
        long, fails alone: its error is put into *replies*.
        """
        if not seen:
            return
        texts, images = [text for text, _ in seen.values()], [some for _, some in seen.values()]
        extra = {"images": images} if any(images) else {}
        try:
            inputs = self._processor(text=texts, padding=True, return_tensors="pt", add_special_tokens=False, **extra)
        except Exception as error:  # processors can raise anything
            if len(seen) == 1:
                said = Unanswerable(f"the model's processor refuses the prompt: {type(error).__name__}: {error}")
                replies |= {row: error_reply(said) for row in seen}
                return
            for row in seen:
                yield from self._process({row: seen[row]}, replies)
            return
        tokens = dict(zip(seen, inputs["attention_mask"].sum(dim=1).tolist(), strict=True))
        long = {row: self._too_long(count) for row, count in tokens.items() if count >= self._context}
        if long:
            replies |= long
            yield from self._process({row: some for row, some in seen.items() if row not in long}, replies)
            return
        inputs = inputs.to(self._device)
        inputs.pop("token_type_ids", None)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self._net.dtype)
        yield tokens, dict(inputs)

    def _words_last(self, inputs: dict[str, Any]) -> bool:
        """Whether no prompt ends with a token of an image, so that the last tokens can be decoded."""
        ids_BT = inputs["input_ids"]
        return ids_BT.shape[1] > 1 and not (ids_BT[:, -1] == getattr(self._net.config, "image_token_id", -1)).any()

    def _prefill(self, inputs: dict[str, Any], counts: dict[int, int]) -> list[tuple[int, Path, int, int]]:
        """Row, path, last token and number of tokens of each prompt of *inputs*."""
        ids_BT, mask_BT = inputs.pop("input_ids"), inputs.pop("attention_mask")
        cut = {name: x[:, :-1] if x.shape == ids_BT.shape else x for name, x in inputs.items()}
        paths = computed(self._net, empty_cache(self._net), mask_BT[:, :-1], input_ids=ids_BT[:, :-1], **cut)
        return list(zip(counts, paths, ids_BT[:, -1].tolist(), counts.values(), strict=True))

    def _too_long(self, tokens: int) -> Reply:
        return Reply("", "error", error=f"the prompt has {tokens} tokens, the model's context only {self._context}")

    def _budgets(self, counts: Iterable[int]) -> list[int]:
        return [min(self._sampling.max_tokens, self._context - count) for count in counts]

    def _sampler(self, rows: Iterable[int], seeds: list[int], start: int) -> Sampler | None:
        if self._sampling.temperature == 0:
            return None
        return Sampler([seeds[row] for row in rows], start, self._sampling.temperature, self._sampling.top_p)

    def _decode(
        self, paths: list[Path | None], last: list[int], counts: dict[int, int], seeds: list[int]
    ) -> dict[int, Reply]:
        """Replies to prefilled rows; *counts* has their numbers, in the same order, and prompt lengths."""
        sampler = self._sampler(counts, seeds, 0)
        made = decoded(self._net, paths, last, self._budgets(counts.values()), set(self._ends), sampler)
        found = {row: self._reply(ids, count) for (row, count), ids in zip(counts.items(), made, strict=True)}
        count_usage(found.values())
        return found

    def _generate(self, inputs: dict[str, Any], tokens: dict[int, int], seeds: list[int]) -> dict[int, Reply]:
        """Replies to the rows of *inputs*; *tokens* has their numbers, in the same order, and prompt lengths."""
        import torch
        import transformers

        start = inputs["input_ids"].shape[1]
        budgets = self._budgets(tokens.values())
        limits_B = torch.tensor(budgets, device=self._device)

        def over_budget(ids_BT: Any, _: Any, **__: Any) -> Any:
            return limits_B <= ids_BT.shape[1] - start

        sampler = self._sampler(tokens, seeds, start)
        with torch.inference_mode():
            out_BT = self._net.generate(
                **inputs,
                max_new_tokens=max(budgets),
                logits_processor=transformers.LogitsProcessorList([sampler] if sampler else []),
                stopping_criteria=transformers.StoppingCriteriaList([over_budget]),
            )
        found = {
            row: self._reply(ids[:budget], tokens[row])
            for row, ids, budget in zip(tokens, out_BT[:, start:].tolist(), budgets, strict=True)
        }
        count_usage(found.values())
        return found

    def _reply(self, ids: list[int], tokens_in: int) -> Reply:
        end = next((place for place, token in enumerate(ids) if token in self._ends), None)
        kept = ids if end is None else ids[:end]
        finish: Finish = "length" if end is None else "stop"
        return Reply(self._transcripts.text(kept), finish, tokens_in, len(kept) + (end is not None))


class Encoder:
    """``Embed`` of texts: the mean of the last hidden states over a text's tokens, normalised.

    Options: ``batch_size`` (64), ``dtype``, ``device``, ``threads``, ``trust_remote_code`` as for ``Chatter``.
    """

    def __init__(self, model: Model) -> None:
        import transformers

        where, options = source(model), model.options
        self._name, self._device = model.name, _device(options)
        self._net = _net(transformers.AutoModel, model, self._device, spare="pooler.")  # the mean needs none
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        positions = getattr(self._net.config, "max_position_embeddings", None) or 2**31
        self._context = min(int(self._tokenizer.model_max_length), int(positions))
        self._batch = int(options.get("batch_size", 64))
        self._lock = threading.Lock()

    def texts(self, texts: list[str]) -> np.ndarray:
        """See ``Embed``; a text longer than the context is cut and noted as ``embed_text_cut``."""
        import torch

        asked(len(texts))
        vectors_ND = np.zeros((len(texts), self._net.config.hidden_size), np.float32)
        with self._lock, torch.inference_mode():
            whole = self._tokenizer(texts, verbose=False)["input_ids"] if texts else []
            note("embed_text_cut", sum(len(ids) > self._context for ids in whole))
            order = sorted(range(len(texts)), key=lambda row: (-min(len(whole[row]), self._context), row))
            for rows in _batches(order, self._batch):
                inputs = self._tokenizer(
                    [texts[row] for row in rows],
                    padding=True,
                    padding_side="right",
                    truncation=True,
                    max_length=self._context,
                    return_tensors="pt",
                ).to(self._device)
                states_BTD = self._net(**inputs).last_hidden_state.float()
                mask_BT1 = inputs["attention_mask"][..., None].to(states_BTD.dtype)
                mean_BD = (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp_min(1)
                vectors_ND[rows] = torch.nn.functional.normalize(mean_BD, dim=-1).cpu().numpy()
                answered(len(rows))
        return vectors_ND

    def images(self, images: list[bytes]) -> np.ndarray:
        """Always raises TypeError: the model embeds no images."""
        raise TypeError(f"{self._name} embeds texts only: set backend: open_clip and name a CLIP model for images")


def _device(options: dict[str, Any]) -> str:
    import torch

    if threads := options.get("threads"):
        torch.set_num_threads(int(threads))
    return str(options.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))


def _net(auto: Any, model: Model, device: str, *, spare: str | None = None) -> Any:
    """Load the network.

    Raises:
        ValueError: if weights are missing whose names do not start with *spare*; transformers would initialise them at
            random.
    """
    import torch
    from transformers.utils import logging

    dtype = getattr(torch, model.options.get("dtype") or ("float32" if device == "cpu" else "bfloat16"))
    loud = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        net, facts = auto.from_pretrained(**source(model), dtype=dtype, use_safetensors=True, output_loading_info=True)
    finally:
        logging.set_verbosity(loud)
        logging.enable_progress_bar()
    missing = sorted(name for name in facts["missing_keys"] if spare is None or not name.startswith(spare))
    if missing:
        raise ValueError(f"{model.name} lacks {len(missing)} weights of {type(net).__name__}, the first: {missing[0]}")
    return net.eval().to(device)


def _batches(order: list[int], size: int, kind: Any = None) -> Iterator[list[int]]:
    """Split *order* into lists of at most *size* rows, each of one *kind*."""
    some: list[int] = []
    for row in order:
        if some and (len(some) == size or (kind is not None and kind(row) != kind(some[0]))):
            yield some
            some = []
        some.append(row)
    if some:
        yield some
