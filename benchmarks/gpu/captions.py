"""Captions by CogVLM and by a LLaVA in transformers, at published dimensions."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.gpu import material
from benchmarks.gpu.section import NotRun, Section
from mminstruct.models.model import Model, Sampling


def cogvlm(section: Section) -> None:
    """Decoding with and without a CUDA graph; a token can take no less than reading the weights and the cache once."""
    import torch

    from mminstruct.models import cogvlm as backend

    tiny = section.smoke
    if section.cuda and torch.cuda.mem_get_info()[0] < 60 * 2**30:
        raise NotRun("CogVLM needs 60 GiB of free GPU memory here")
    facts = material.TINY_COGVLM if tiny else material.COGVLM
    (section.work / "config.json").write_text(json.dumps(facts))

    def load(_: Any, config: Any, device: str, dtype: Any) -> dict[str, Any]:
        held = {name: torch.empty(shape, device=device, dtype=dtype) for name, shape in config.shapes().items()}
        for name, tensor in held.items():
            material.fill(name, tensor)
        return held

    backend.load = load  # type: ignore[assignment]
    asked = material.questions(material.jpegs(3 if tiny else 32, 640, 480))
    options = {"tokenizer": str(material.embedded("captioner"))}
    chat: Any = Model(name=str(section.work), backend="cogvlm", options=options).chat()
    chat._ends = [-1]  # every reply is as long as it may be
    long = 8 if tiny else 128
    prompt = chat._length(chat._prompt(asked[0]))
    weights = chat._net.weights
    read = sum(t.numel() for name, t in weights.items() if "language_" in name or name == "lm_head.weight")
    for size in (1, 3) if tiny else (1, 8, 32):
        took: dict[bool, tuple[float, float]] = {}
        for graphs in (False, True):
            with section.part(f"batch {size}, {'a graph' if graphs else 'no graph'}"):
                section.wants(20)
                chat._batch, chat._graphs = size, graphs and section.cuda

                def say(tokens: int, size: int = size) -> list[Any]:
                    made = chat.chat(asked[:size], seeds=[0] * size, sampling=Sampling(0.0, 1.0, tokens))
                    return list(made)

                first = section.seconds_of(lambda: say(2), 1)
                whole = section.seconds_of(lambda: say(long), 1, 0)
                took[graphs] = whole, (whole - first) / (long - 2)
        if len(took) < 2:
            continue
        cached = 2 * size * (prompt + long / 2) * facts["num_hidden_layers"] * facts["hidden_size"]
        floor = 2 * (read + cached) / section.ceilings["memory"] / 1e12
        section.add(
            f"a token at batch {size}", 1e3 * took[True][1], "ms", before=1e3 * took[False][1], ceiling=1e3 * floor,
            note="before: options.graphs=false",
        )  # fmt: skip
        section.add(f"captions of {long} tokens at batch {size}", size / took[True][0], "images/s",
                    before=size / took[False][0], note=section.memory())  # fmt: skip

    with section.part("agreement"):
        section.wants(10)
        _agree(section, chat, asked[: 3 if tiny else 8])


def _agree(section: Section, chat: Any, asked: list[Any]) -> None:
    """Logits of 16 tokens by three ways of decoding: a growing cache, fixed shapes, and their graph."""
    import torch
    from torch.nn.functional import pad

    from mminstruct.models.cogvlm_net import Cache
    from mminstruct.models.cogvlm_step import Step

    net = chat._net
    prompts = [(ids, chat._pixels(image)) for ids, image in map(chat._prompt, asked)]
    room = max(map(chat._length, prompts)) + 16
    with torch.inference_mode():
        caches = [Cache(net.config, len(prompts), room, chat._dtype, section.device) for _ in range(3)]
        logits_BV, real_BK, next_B1 = net.begin(prompts, caches[0])
        fixed, graph = (
            Step(net, cache, *net.begin(prompts, cache)[1:], graph=section.cuda and cache is caches[2])
            for cache in caches[1:]
        )
        far, same = [0.0, 0.0], [0, 0]
        for step in range(16):
            token_B1 = logits_BV.argmax(-1, keepdim=True)
            real_BK = None if real_BK is None else pad(real_BK, (0, 1), value=True)
            mask = None if real_BK is None else real_BK[:, None, None]
            logits_BV = net.logits(net.embed(token_B1), next_B1 + step, caches[0], mask=mask)
            sides = [fixed(token_B1).clone(), graph(token_B1).clone()]
            for side, (some_BV, other_BV) in enumerate(((sides[0], logits_BV), (sides[1], sides[0]))):
                far[side] = max(far[side], float((some_BV - other_BV).abs().max() / other_BV.abs().max()))
                same[side] += int((some_BV.argmax(-1) == other_BV.argmax(-1)).sum())
    for side, what in enumerate(("fixed shapes / growing cache", "a graph / none")):
        section.add(f"{what}: largest difference of a logit", far[side], note="of the largest logit")
        section.add(f"{what}: equal tokens of {16 * len(prompts)}", same[side], ceiling=16 * len(prompts))


def llava(section: Section) -> None:
    """The backend ``transformers`` beside a bare ``generate`` of the same prompts."""
    import torch
    import transformers

    from mminstruct.models.transcript import picture

    tiny = section.smoke
    base = material.llava_folder(section.work / "base", "tiny" if tiny else "7b")
    transformers.AutoModelForImageTextToText.from_pretrained = material.random_llava(base, section.device)
    chat: Any = Model(name=str(base)).chat()
    chat._net.generation_config.eos_token_id, chat._ends = None, []
    long = 8 if tiny else 128
    asked = material.questions(material.jpegs(4 if tiny else 64, 640, 480))
    weights = 2 * sum(p.numel() for name, p in chat._net.named_parameters() if "tower" not in name)
    for size in (2, 4) if tiny else (16, 64):
        with section.part(f"batch {size}"):
            section.wants(20)
            chat._batch, some = size, asked[:size]
            said = Sampling(0.0, 1.0, long)
            seconds = section.seconds_of(lambda: chat.chat(some, seeds=[0] * len(some), sampling=said), 1)  # noqa: B023
            prompts = [chat._transcripts.read(row) for row in some]
            images = [[picture(data) for data in seen] for _, seen in prompts]
            inputs = chat._processor(
                text=[text for text, _ in prompts], images=images, padding=True, return_tensors="pt",
                add_special_tokens=False,
            ).to(section.device)  # fmt: skip
            inputs["pixel_values"] = inputs["pixel_values"].to(chat._net.dtype)

            def bare(**more: Any) -> None:
                with torch.inference_mode():
                    chat._net.generate(**inputs, max_new_tokens=long, do_sample=False, **more)  # noqa: B023

            alone = section.seconds_of(bare, 1, 0)
            floor = long * weights / section.ceilings["memory"] / 1e12
            section.add(f"captions of {long} tokens at batch {size}", size / seconds, "images/s", ceiling=size / floor,
                        note=f"ceiling: weights read once per token; {section.memory() or 'CPU'}")  # fmt: skip
            section.add(f"our time / bare generate, batch {size}", seconds / alone, note="1: nothing is lost around it")
