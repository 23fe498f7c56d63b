"""Captions and answers by CogVLM and CogVLM2, from the published checkpoints and without their code.

vLLM 0.32 and transformers 5.19 do not support these models, and the published code needs transformers before 4.41, so
``cogvlm_net`` and ``cogvlm_vision`` implement the network. Prompts are those of the published
``build_conversation_input_ids``: bos, the image's tokens, ``Question: ... Answer:``.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import numpy as np

from mminstruct.models.cogvlm_net import Cache, Net, load, read
from mminstruct.models.cogvlm_step import Step
from mminstruct.models.cogvlm_vision import pixels
from mminstruct.models.model import Finish, Model, Reply, Sampling
from mminstruct.models.prefetch import Prefetcher
from mminstruct.models.sampling import Sampler
from mminstruct.models.transcript import Transcripts, Unanswerable, count_usage, error_reply, picture, source
from mminstruct.prompts import Message
from mminstruct.unit import asked

_TURNS = (
    "{%% for turn in messages %%}{%% for part in turn['content'] if part['type'] == 'text' %%}"
    "{%% if turn['role'] == 'user' %%}Question: {{ part['text'] }} %s"
    "{%% elif turn['role'] == 'assistant' %%} {{ part['text'] }}\n{%% endif %%}{%% endfor %%}{%% endfor %%}"
)
TEMPLATES = {
    "chat": _TURNS % "Answer:",
    "vqa": _TURNS % "Short answer:",
    "base": "{% if messages | length > 1 %}{{ raise_exception('base models take one question') }}{% endif %}"
    "{% for part in messages[0]['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}",
}
"""Published prompt formats; a checkpoint's config.json names the one that it was trained with."""

_Prompt = tuple[list[int], bytes | None]
"""Token ids of bos and text, and the encoded image."""


class Chatter:
    """``Chat`` by CogVLM, with one image per transcript or none.

    Options: ``tokenizer`` (name or folder, if the checkpoint has none: CogVLM 1 uses
    ``lmsys/vicuna-7b-v1.5``), ``tokenizer_revision``, ``template`` (chat, vqa, base; the checkpoint's own by default),
    ``batch_size`` (8), ``dtype`` (float32 on CPU, bfloat16 on GPU), ``device``, ``threads`` of this process,
    ``decoders`` (threads that decode and resize images, 2 on CPU, 8 on GPU), ``graphs`` (on with a GPU: decode by
    a CUDA graph).
    """

    def __init__(self, model: Model) -> None:
        import torch
        import transformers

        options = model.options
        if threads := options.get("threads"):
            torch.set_num_threads(int(threads))
        self._device = str(options.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = getattr(torch, options.get("dtype") or ("float32" if self._device == "cpu" else "bfloat16"))
        folder = _folder(model)
        self._config = read(folder)
        template = options.get("template", self._config.template)
        if template not in TEMPLATES:
            raise ValueError(f"{model.name}: options.template is {template!r}; use {', '.join(TEMPLATES)}")
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(**_tokenizer_source(model, folder))
        self._transcripts = Transcripts(self._tokenizer, template=TEMPLATES[template], parts=True)
        self._net = Net(self._config, load(folder, self._config, self._device, self._dtype))
        self._ends = sorted({*self._config.ends, self._tokenizer.eos_token_id} - {None})
        self._bos = self._tokenizer.bos_token_id
        if self._bos is None:
            raise ValueError(f"{model.name}: its tokenizer has no bos token, which starts every prompt of CogVLM")
        self._batch = int(options.get("batch_size", 8))
        self._graphs = self._device.startswith("cuda") and bool(options.get("graphs", True))
        self._sampling = model.sampling
        self._prefetch = Prefetcher(options, self._device)
        self._lock = threading.Lock()

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
        prompts: dict[int, _Prompt] = {}
        for row, transcript in enumerate(messages):
            try:
                prompts[row] = self._prompt(transcript)
            except Unanswerable as error:
                replies[row] = error_reply(error)
        count_usage(replies.values())
        order = sorted(prompts, key=lambda row: (-self._length(prompts[row]), row))
        groups = [order[start : start + self._batch] for start in range(0, len(order), self._batch)]
        seen = self._prefetch(lambda row: self._pixels(prompts[row][1]), groups)
        for rows, images in zip(groups, seen, strict=True):
            whole: dict[int, tuple[list[int], np.ndarray | None]] = {}
            for row, image in zip(rows, images, strict=True):
                if isinstance(image, Unanswerable):
                    replies[row] = error_reply(image)
                else:
                    whole[row] = prompts[row][0], image
            if whole:
                with self._lock:
                    made = self._generate(
                        list(whole.values()), [seeds[row] for row in whole], sampling or self._sampling
                    )
                replies |= dict(zip(whole, made, strict=True))
            count_usage(replies[row] for row in rows)
        return [replies[row] for row in range(len(messages))]

    def _prompt(self, transcript: list[Message]) -> _Prompt:
        """Token ids of bos and text, and the encoded image whose tokens go between them."""
        text, images = self._transcripts.read(transcript)
        if len(images) > 1:
            raise Unanswerable(f"CogVLM takes one image, not {len(images)}")
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        prompt = [self._bos, *ids], images[0] if images else None
        if (length := self._length(prompt)) >= self._config.context:
            raise Unanswerable(f"the prompt has {length} tokens, the model's context only {self._config.context}")
        return prompt

    def _length(self, prompt: tuple[list[int], Any]) -> int:
        ids, image = prompt
        return len(ids) + (0 if image is None else self._config.tower.tokens)

    def _pixels(self, image: bytes | None) -> np.ndarray | None:
        return None if image is None else pixels(picture(image), self._config.tower)

    def _generate(
        self, prompts: list[tuple[list[int], np.ndarray | None]], seeds: list[int], sampling: Sampling
    ) -> list[Reply]:
        """Replies of one batch."""
        import torch

        lengths = [self._length(prompt) for prompt in prompts]
        budgets = [min(sampling.max_tokens, self._config.context - length) for length in lengths]
        draw = Sampler(seeds, 0, sampling.temperature, sampling.top_p) if sampling.temperature > 0 else None
        limits_B, ends_E = (torch.tensor(some, device=self._device) for some in (budgets, self._ends))
        # a graph is captured and repeated on the streams of the current device
        here = torch.cuda.device(self._device) if self._graphs else contextlib.nullcontext()
        with torch.inference_mode(), here:
            cache = Cache(self._config, len(prompts), max(lengths) + max(budgets), self._dtype, self._device)
            logits_BV, real_BK, next_B1 = self._net.begin(prompts, cache)
            decode: Step | None = None
            made_BS = next_B1[:, :0]
            done_B = limits_B < 1
            while True:
                token_B1 = (logits_BV if draw is None else draw(made_BS, logits_BV)).argmax(-1, keepdim=True)
                made_BS = torch.cat((made_BS, token_B1), dim=1)
                done_B = done_B | torch.isin(token_B1[:, 0], ends_E) | (limits_B <= made_BS.shape[1])
                if bool(done_B.all()):
                    break
                decode = decode or Step(self._net, cache, real_BK, next_B1, graph=self._graphs)
                logits_BV = decode(token_B1)
        rows = zip(made_BS.tolist(), budgets, lengths, strict=True)
        return [self._reply(ids[:budget], length) for ids, budget, length in rows]

    def _reply(self, ids: list[int], tokens_in: int) -> Reply:
        end = next((place for place, token in enumerate(ids) if token in self._ends), None)
        kept = ids if end is None else ids[:end]
        finish: Finish = "length" if end is None else "stop"
        return Reply(self._transcripts.text(kept), finish, tokens_in, len(kept) + (end is not None))


def _folder(model: Model) -> Path:
    """The folder of a checkpoint's files, downloaded from the hub if it is not local."""
    where = source(model)
    place = where["pretrained_model_name_or_path"]
    if where["local_files_only"]:
        return Path(place)
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            place, revision=where["revision"], allow_patterns=["*.json", "*.safetensors", "*.model", "*.jinja"]
        )
    )


def _tokenizer_source(model: Model, folder: Path) -> dict[str, Any]:
    """Arguments of the tokenizer's ``from_pretrained``."""
    name, own = model.options.get("tokenizer"), [folder / file for file in ("tokenizer.json", "tokenizer.model")]
    if name is None and not any(file.is_file() for file in own):
        raise ValueError(
            f"{model.name} has no tokenizer: set options.tokenizer (CogVLM 1: lmsys/vicuna-7b-v1.5, or a folder)"
        )
    return {
        "pretrained_model_name_or_path": name or str(folder),
        "revision": model.options.get("tokenizer_revision"),
        "local_files_only": name is None or Path(name).is_dir(),
        "trust_remote_code": False,
    }
