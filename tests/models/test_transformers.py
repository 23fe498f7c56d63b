from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mminstruct.models.model import Model, with_image
from mminstruct.models.transcript import picture
from mminstruct.models.transformers import Chatter
from mminstruct.prompts import Message
from mminstruct.unit import UNIT, Unit
from tests.models import tiny


def ask(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


QUESTIONS = [ask(words * count) for count, words in enumerate(["red robot ", "green trees "] * 5, 1)]
SEEDS = list(range(len(QUESTIONS)))


@pytest.fixture(scope="module")
def greedy(mixtral: Path) -> Chatter:
    return Chatter(Model(name=str(mixtral), max_tokens=20, options={"batch_size": 4}))


@pytest.fixture(scope="module")
def sampling(mixtral: Path) -> Chatter:
    return Chatter(Model(name=str(mixtral), max_tokens=60, temperature=1.0, options={"batch_size": 4}))


@pytest.fixture(scope="module")
def seeing(llava: Path) -> Chatter:
    return Chatter(Model(name=str(llava), max_tokens=12, options={"batch_size": 4}))


def test_greedy_replies_in_a_batch_are_those_of_the_model_asked_one_by_one(greedy: Chatter, mixtral: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = AutoTokenizer.from_pretrained(mixtral)
    model = AutoModelForCausalLM.from_pretrained(mixtral)
    for question, reply in zip(QUESTIONS, greedy.chat(QUESTIONS, seeds=SEEDS), strict=True):
        prompt = f"<s>USER: {question[0]['content']}\nASSISTANT:"
        ids = words(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
        made = out[0, ids.shape[1] :]
        assert reply.text == words.decode(made, skip_special_tokens=True).strip()
        assert (reply.tokens_in, reply.tokens_out) == (ids.shape[1], len(made))
        assert reply.finish == ("stop" if made[-1] == words.eos_token_id else "length")


def test_a_sampled_reply_depends_on_its_seed_and_not_on_its_batch(sampling: Chatter) -> None:
    together = sampling.chat(QUESTIONS, seeds=SEEDS)
    assert together == [sampling.chat([q], seeds=[s])[0] for q, s in zip(QUESTIONS, SEEDS, strict=True)]
    backwards = sampling.chat(QUESTIONS[::-1], seeds=SEEDS[::-1])
    assert together == backwards[::-1]
    many = sampling.chat([QUESTIONS[0]] * 16, seeds=list(range(16)))
    assert len({reply.text for reply in many}) == 16


def test_a_reply_ends_at_the_end_token_or_at_the_longest_length(sampling: Chatter) -> None:
    replies = sampling.chat([QUESTIONS[0]] * 64, seeds=list(range(64)))
    stopped = [reply for reply in replies if reply.finish == "stop"]
    assert stopped
    assert len(stopped) < 64
    assert all(reply.tokens_out < 60 or reply.finish == "stop" for reply in stopped)
    assert all(reply.tokens_out == 60 for reply in replies if reply.finish == "length")
    assert not any("</s>" in reply.text for reply in replies)


def test_threads_get_what_they_would_get_alone(sampling: Chatter) -> None:
    alone = [sampling.chat(QUESTIONS[part::2], seeds=SEEDS[part::2]) for part in (0, 1)]
    got: dict[int, Any] = {}

    def call(part: int) -> None:
        got[part] = sampling.chat(QUESTIONS[part::2], seeds=SEEDS[part::2])

    threads = [threading.Thread(target=call, args=(part,)) for part in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[0], got[1]] == alone


def test_a_prompt_longer_than_the_context_fails_alone_and_one_near_it_gets_a_shorter_reply(greedy: Chatter) -> None:
    fine, over, near = greedy.chat([QUESTIONS[0], ask("x" * 300), ask("x" * 235)], seeds=[0, 1, 2])
    assert fine == greedy.chat([QUESTIONS[0]], seeds=[0])[0]
    assert over.finish == "error"
    assert "context" in str(over.error)
    assert over.text == ""
    assert 235 < near.tokens_in < 256
    assert near.tokens_in + near.tokens_out <= 256
    assert near.finish == "length"


def test_broken_images_fail_alone_and_always_with_the_same_message(seeing: Chatter) -> None:
    pictures = [tiny.picture(seed, width=40 + seed) for seed in range(6)]
    whole = [with_image(ask(f"what is it {seed}"), data) for seed, data in enumerate(pictures)]
    broken = with_image(ask("and this"), pictures[0][:60])
    replies = seeing.chat([*whole[:3], broken, *whole[3:], ask("only words")], seeds=list(range(8)))
    assert [reply.finish == "error" for reply in replies] == [False] * 3 + [True] + [False] * 4
    assert replies[3] == seeing.chat([broken], seeds=[0])[0]
    assert all(reply.tokens_in > 30 for reply in replies[:3])  # 16 of them are the image's
    assert replies[7].tokens_in == seeing.chat([ask("only words")], seeds=[0])[0].tokens_in < 20


def test_a_caption_depends_on_the_pixels_and_not_on_the_batch(seeing: Chatter) -> None:
    whole = [with_image(ask("describe"), tiny.picture(seed)) for seed in range(9)]
    together = seeing.chat(whole, seeds=[0] * 9)
    assert together == [seeing.chat([one], seeds=[0])[0] for one in whole]
    assert len({reply.text for reply in together}) > 1


def test_a_vlm_whose_images_differ_in_tokens_gives_the_same_reply_in_a_batch_and_alone(tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    chatter = Chatter(Model(name=str(tiny.qwen(tmp_path)), max_tokens=8, options={"batch_size": 3}))
    pictures = [tiny.picture(seed, width=40 + 13 * seed, height=50) for seed in range(4)]
    asked = [with_image(ask("look " * (seed + 1)), data) for seed, data in enumerate(pictures)]
    together = chatter.chat([*asked, ask("only words")], seeds=[0] * 5)
    assert together == [chatter.chat([one], seeds=[0])[0] for one in [*asked, ask("only words")]]
    assert len({reply.tokens_in - len(("look " * (n + 1)).split()) for n, reply in enumerate(together[:4])}) > 1
    processor, model = AutoProcessor.from_pretrained(tmp_path), AutoModelForImageTextToText.from_pretrained(tmp_path)
    for question, data, reply in zip(asked, pictures, together, strict=False):
        text = f"<s>USER: <|vision_start|><|image_pad|><|vision_end|>{question[0]['content'][1]['text']}\nASSISTANT:"
        inputs = processor(text=[text], images=[picture(data)], return_tensors="pt", add_special_tokens=False)
        made = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert reply.text == processor.tokenizer.decode(made, skip_special_tokens=True).strip()
        assert reply.tokens_in == inputs["input_ids"].shape[1]


def test_an_image_for_a_model_that_only_reads_is_an_error_of_its_row(greedy: Chatter) -> None:
    replies = greedy.chat([with_image(ask("look"), tiny.picture(0)), QUESTIONS[0]], seeds=[0, 0])
    assert "only reads text" in str(replies[0].error)
    assert replies[1].finish == "length"


def test_control_tokens_in_texts_stay_text(seeing: Chatter, greedy: Chatter) -> None:
    unit = Unit("caption", "0")
    token = UNIT.set(unit)
    try:
        asked = seeing.chat([ask("a sign says <image> and </s>")], seeds=[0])[0]
    finally:
        UNIT.reset(token)
    assert asked.finish != "error"
    assert asked.tokens_in < 60
    assert unit.notes == {"control_tokens_defused": 2}
    assert (unit.calls, unit.tokens_in, unit.tokens_out) == (1, asked.tokens_in, asked.tokens_out)


def test_a_template_without_a_system_turn_gets_it_in_the_users_first(tmp_path: Path, greedy: Chatter) -> None:
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + tiny.TEMPLATE
    forgets = tiny.TEMPLATE.replace("for message in messages", "for message in messages if message['role'] != 'system'")
    turns: list[Message] = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "count"}]
    for template in (refuses, forgets):
        folder = tiny.mixtral(tmp_path / str(len(template)), template=template)
        chatter = Chatter(Model(name=str(folder), max_tokens=5))
        assert chatter.chat([turns], seeds=[0]) == chatter.chat([ask("be brief\n\ncount")], seeds=[0])
    assert greedy.chat([turns], seeds=[0]) != greedy.chat([ask("be brief\n\ncount")], seeds=[0])


def test_a_model_without_a_template_takes_one_plain_turn(tmp_path: Path) -> None:
    chatter = Chatter(Model(name=str(tiny.mixtral(tmp_path, template=None)), max_tokens=5))
    one, two = chatter.chat([ask("New Sentence:"), [*ask("a"), {"role": "assistant", "content": "b"}]], seeds=[0, 0])
    assert one.finish == "length"
    assert one.tokens_in == 1 + len(tiny.tokenizer()("New Sentence:")["input_ids"])
    assert "chat_template" in str(two.error)


def test_no_transcripts_get_no_replies(greedy: Chatter) -> None:
    assert greedy.chat([], seeds=[]) == []


def test_weights_that_are_not_safetensors_are_refused(mixtral: Path, tmp_path: Path) -> None:
    import torch

    for file in mixtral.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        Chatter(Model(name=str(tmp_path)))


def test_missing_weights_are_refused_and_not_initialised_at_random(mixtral: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in mixtral.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(mixtral / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights .* model\.norm\.weight"):
        Chatter(Model(name=str(tmp_path)))


def test_text_embeddings_are_masked_means_of_unit_length(bert: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    encoder = Model(name=str(bert), options={"batch_size": 3}).embed()
    texts = ["red", "a green tree", "two robots wave beside a house", "sun", ""]
    got = encoder.texts(texts)
    words, model = AutoTokenizer.from_pretrained(bert), AutoModel.from_pretrained(bert)
    for text, vector in zip(texts[:4], got[:4], strict=True):
        with torch.inference_mode():
            mean = model(**words(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        assert vector == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    assert encoder.texts([]).shape == (0, got.shape[1])


def test_texts_beyond_the_context_are_cut_and_noted(bert: Path) -> None:
    encoder = Model(name=str(bert)).embed()
    unit = Unit("embed", "0")
    token = UNIT.set(unit)
    try:
        long, cut = encoder.texts(["x" * 100, "x" * 64])
    finally:
        UNIT.reset(token)
    assert unit.notes == {"embed_text_cut": 1}
    assert long == pytest.approx(cut, abs=1e-6)


def test_a_text_encoder_refuses_images(bert: Path) -> None:
    with pytest.raises(TypeError, match="open_clip"):
        Model(name=str(bert)).embed().images([tiny.picture(0)])
