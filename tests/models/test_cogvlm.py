"""CogVLM against numbers of its published code (see cogvlm_published.py), and its backend on tiny checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mminstruct.models.cogvlm import Chatter
from mminstruct.models.cogvlm_net import Cache, Config, Net, load
from mminstruct.models.cogvlm_step import Step
from mminstruct.models.cogvlm_vision import features, pixels
from mminstruct.models.model import Model, Sampling, with_image
from mminstruct.models.transcript import picture
from mminstruct.prompts import Message
from tests.models import tiny
from tests.models.cogvlm_published import NUMBERS, config, numbers, sights

VERSIONS = ["v1", "v2"]
PUBLISHED: dict[str, Any] = json.loads(NUMBERS.read_text())


def ask(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def network(version: str) -> Net:
    import torch

    made = Config.of(config(version))
    return Net(made, {name: torch.from_numpy(numbers(name, shape)) for name, shape in made.shapes().items()})


def checkpoint(folder: Path, version: str, **facts: Any) -> Path:
    """A folder as on the hub: weights in two files, including the rotary frequencies of CogVLM 1."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    words = tiny.tokenizer(template=None)
    words.save_pretrained(folder)
    made = config(version) | {"vocab_size": len(words), "eos_token_id": words.eos_token_id}
    made |= {"max_position_embeddings": 96, **facts}
    (folder / "config.json").write_text(json.dumps(made))
    weights = {name: torch.from_numpy(numbers(name, shape)) for name, shape in Config.of(made).shapes().items()}
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    names = sorted(weights)
    for part, some in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in some}, folder / f"model-{part + 1:05d}-of-00002.safetensors")
    return folder


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def greedy(folder: Path) -> Chatter:
    return Chatter(Model(name=str(folder), backend="cogvlm", max_tokens=12, options={"batch_size": 3}))


PICTURES = [tiny.picture(seed, width=40 + 9 * seed) for seed in range(7)]
QUESTIONS = [with_image(ask("what is it " * (1 + n % 3)), data) for n, data in enumerate(PICTURES)]


@pytest.mark.parametrize("version", VERSIONS)
def test_weights_have_the_published_names_and_shapes(version: str) -> None:
    theirs = {name: tuple(shape) for name, shape in PUBLISHED[version]["names"].items() if "inv_freq" not in name}
    assert Config.of(config(version)).shapes() == theirs


@pytest.mark.parametrize("version", VERSIONS)
def test_images_become_the_tokens_of_the_published_code(version: str) -> None:
    import torch

    net = network(version)
    made = features(torch.from_numpy(sights(version)), net.weights, net.config.tower)
    assert made.shape[1] == net.config.tower.tokens
    assert made[:, :, :5].numpy() == pytest.approx(np.array(PUBLISHED[version]["features"]), abs=2e-5)


def prompt(version: str, number: int) -> tuple[list[int], np.ndarray | None]:
    """One of the prompts whose logits were recorded."""
    ids = PUBLISHED[version]["rows"][number]["ids"]
    return [token for token in ids if token], sights(version)[number] if 0 in ids else None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_prompts_and_replies_have_the_logits_of_the_published_code(version: str, number: int) -> None:
    import torch

    net, row = network(version), PUBLISHED[version]["rows"][number]
    cache = Cache(net.config, 1, 64, torch.float32, "cpu")
    logits, real, place = net.begin([prompt(version, number)], cache)
    assert real is None
    assert logits[0].numpy() == pytest.approx(np.array(row["logits"]), abs=1e-4)
    for step, token in enumerate(row["said"]):
        assert int(logits.argmax()) == token
        logits = net.logits(net.embed(torch.tensor([[token]])), place + step, cache)
    assert logits[0].numpy() == pytest.approx(np.array(row["last"]), abs=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_of_a_padded_batch_have_the_logits_of_the_published_code_too(version: str) -> None:
    import torch

    net, rows = network(version), PUBLISHED[version]["rows"]
    cache = Cache(net.config, 3, 64, torch.float32, "cpu")
    logits, real, place = net.begin([prompt(version, number) for number in range(3)], cache)
    assert real.sum(1).tolist() == [len(row["ids"]) for row in rows]
    assert logits.numpy() == pytest.approx(np.array([row["logits"] for row in rows]), abs=1e-4)
    for step in range(len(rows[0]["said"])):
        real = torch.nn.functional.pad(real, (0, 1), value=True)
        said = torch.tensor([[row["said"][step]] for row in rows])
        logits = net.logits(net.embed(said), place + step, cache, mask=real[:, None, None])
    assert logits.numpy() == pytest.approx(np.array([row["last"] for row in rows]), abs=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 0]], ids=["padded", "of one length"])
def test_decoding_in_fixed_shapes_has_the_logits_of_a_growing_cache(version: str, rows: list[int]) -> None:
    import torch

    net = network(version)
    prompts = [prompt(version, number) for number in rows]
    grown, fixed = (Cache(net.config, len(rows), 64, torch.float32, "cpu") for _ in range(2))
    logits, real, place = net.begin(prompts, grown)
    step = Step(net, fixed, *net.begin(prompts, fixed)[1:])
    for number in range(8):
        said = logits.argmax(-1, keepdim=True)
        real = None if real is None else torch.nn.functional.pad(real, (0, 1), value=True)
        mask = None if real is None else real[:, None, None]
        logits = net.logits(net.embed(said), place + number, grown, mask=mask)
        assert step(said).numpy() == pytest.approx(logits.numpy(), abs=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_attention_has_no_mask_over_a_prompt_and_repeats_no_keys(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    calls: list[tuple[int, bool, bool]] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def told(q: Any, k: Any, v: Any, *, attn_mask: Any = None, **rest: Any) -> Any:
        calls.append((k.shape[1], attn_mask is not None, rest.get("enable_gqa", False)))
        return attend(q, k, v, attn_mask=attn_mask, **rest)

    net = network(version)
    cache = Cache(net.config, 3, 64, torch.float32, "cpu")
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", told)
    logits, real, place = net.begin([prompt(version, number) for number in range(3)], cache)
    layers = net.config.num_hidden_layers
    assert [masked for _, masked, _ in calls[-layers:]] == [False] * layers  # a mask of padding costs the fast kernel
    step = Step(net, cache, real, place)
    step(logits.argmax(-1, keepdim=True))
    assert calls[-layers:] == [(net.config.kv_heads, True, False)] * layers


def test_an_image_is_squashed_to_a_square_and_normalised_as_torchvision_does_it() -> None:
    from torchvision import transforms

    published = transforms.Compose(
        [
            transforms.Resize((42, 42), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    image = picture(PICTURES[3])
    assert pixels(image, Config.of(config("v1")).tower) == pytest.approx(published(image).numpy(), abs=1e-6)


def test_greedy_replies_in_a_batch_are_those_of_single_prompts(greedy: Chatter, folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    words, made = AutoTokenizer.from_pretrained(folder), Config.of(json.loads((folder / "config.json").read_text()))
    net = Net(made, load(folder, made, "cpu", torch.float32))
    replies = greedy.chat(QUESTIONS, seeds=[0] * len(QUESTIONS))
    for number, (data, reply) in enumerate(zip(PICTURES, replies, strict=True)):
        text = f"Question: {'what is it ' * (1 + number % 3)} Answer:"
        ids = [words.bos_token_id, *words(text, add_special_tokens=False)["input_ids"]]
        said: list[int] = []
        while len(said) < 12 and words.eos_token_id not in said:
            prompt = [*ids, *said], pixels(picture(data), made.tower)  # everything recomputed: no cache, no padding
            logits, _, _ = net.begin([prompt], Cache(made, 1, 96, torch.float32, "cpu"))
            said.append(int(logits.argmax()))
        ended = said[-1] == words.eos_token_id
        assert reply.text == words.decode(said, skip_special_tokens=True).strip()
        assert (reply.tokens_in, reply.tokens_out) == (len(ids) + made.tower.tokens, len(said))
        assert reply.finish == ("stop" if ended else "length")


def test_a_sampled_reply_depends_on_its_seed_and_not_on_its_batch(greedy: Chatter) -> None:
    # few tokens: padding changes the last bits of logits, which rarely changes a sampled token
    seeds, warm = list(range(len(QUESTIONS))), Sampling(0.5, 1.0, 8)
    together = greedy.chat(QUESTIONS, seeds=seeds, sampling=warm)
    assert together == [greedy.chat([q], seeds=[s], sampling=warm)[0] for q, s in zip(QUESTIONS, seeds, strict=True)]
    many = greedy.chat([QUESTIONS[0]] * 8, seeds=list(range(8)), sampling=Sampling(1.5, 0.95, 20))
    assert len({reply.text for reply in many}) == 8
    flat = greedy.chat([ask("what")], seeds=[0], sampling=Sampling(1e9, 1.0, 12))[
        0
    ].text  # all tokens are equally likely
    assert len(set(flat)) > 6  # each token has its own random number, or tokens would repeat
    assert greedy.chat([QUESTIONS[0]], seeds=[0], sampling=Sampling(0.0, 1.0, 3))[0].tokens_out <= 3


def test_bad_transcripts_fail_alone(greedy: Chatter) -> None:
    broken = with_image(ask("what is it"), PICTURES[0][:60])
    two = with_image(with_image(ask("what"), PICTURES[0])[:1] + ask("and"), PICTURES[1])
    long = with_image(ask("x" * 120), PICTURES[0])
    replies = greedy.chat([QUESTIONS[0], broken, two, long, ask("only words")], seeds=[0] * 5)
    assert [reply.finish == "error" for reply in replies] == [False, True, True, True, False]
    assert ["broken image" in str(replies[1].error), "1 image(s) in a prompt" in str(replies[2].error)] == [True, True]
    assert "context only 96" in str(replies[3].error)
    assert replies[0] == greedy.chat([QUESTIONS[0]], seeds=[0])[0]
    assert greedy.chat([], seeds=[]) == []


def test_a_reply_ends_at_the_end_of_the_context(folder: Path, greedy: Chatter) -> None:
    reply = greedy.chat([with_image(ask("x" * 50), PICTURES[0])], seeds=[0], sampling=Sampling(0.0, 1.0, 500))[0]
    assert reply.tokens_in + reply.tokens_out <= 96
    assert reply.finish == "stop" or reply.tokens_in + reply.tokens_out == 96


@pytest.mark.parametrize(
    ("template", "turns", "text"),
    [
        ("chat", ["Look", "Red.", "Sure?"], "Question: Look Answer: Red.\nQuestion: Sure? Answer:"),
        ("vqa", ["Look"], "Question: Look Short answer:"),
        ("base", ["a photo of"], "a photo of"),
    ],
)
def test_prompts_have_the_published_formats(folder: Path, template: str, turns: list[str], text: str) -> None:
    chatter = Chatter(Model(name=str(folder), backend="cogvlm", options={"template": template}))
    roles = ["user", "assistant", "user"]
    messages: list[Message] = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]  # type: ignore[typeddict-item]
    assert chatter._transcripts.read(messages)[0] == text
    if template == "base":
        assert "one question" in str(chatter.chat([messages * 2], seeds=[0])[0].error)


def test_a_checkpoint_without_a_tokenizer_says_where_to_get_one(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if not file.name.startswith("tokenizer"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=r"options\.tokenizer .*vicuna"):
        Chatter(Model(name=str(tmp_path), backend="cogvlm"))
    borrowed = Model(name=str(tmp_path), backend="cogvlm", max_tokens=3, options={"tokenizer": str(folder)})
    assert borrowed.chat().chat([QUESTIONS[0]], seeds=[0])[0].finish in ("length", "stop")


def test_vicunas_tokenizer_gives_the_ids_of_sentencepiece(folder: Path, tmp_path: Path) -> None:
    import sentencepiece

    vicuna = tmp_path / "vicuna"  # its files, except the vocabulary
    vicuna.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["Question: what is it, a red robot? Answer: two trees. Short answer: 17"] * 50),
        model_prefix=str(vicuna / "tokenizer"), model_type="bpe", vocab_size=330, byte_fallback=True, hard_vocab_limit=False,
        split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
    )  # fmt: skip
    facts = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    facts |= {"add_bos_token": True, "add_eos_token": False, "legacy": False, "sp_model_kwargs": {}}  # type: ignore[dict-item]
    (vicuna / "tokenizer_config.json").write_text(json.dumps(facts))
    chatter = Chatter(Model(name=str(folder), backend="cogvlm", options={"tokenizer": str(vicuna)}))
    words = sentencepiece.SentencePieceProcessor(model_file=str(vicuna / "tokenizer.model"))
    turns: list[Message] = [
        *ask("What is  it,\na Röbot 🎈?"),
        {"role": "assistant", "content": "17 trees."},
        *ask("Sure?"),
    ]
    text = "Question: What is  it,\na Röbot 🎈? Answer: 17 trees.\nQuestion: Sure? Answer:"
    assert chatter._prompt(turns)[0] == [1, *words.encode(text)]
    assert words.eos_id() in chatter._ends


def test_weights_that_are_missing_unknown_or_of_wrong_shape_are_refused_by_name(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    held = checkpoint(tmp_path / "whole", "v2")
    made = Config.of(json.loads((held / "config.json").read_text()))
    weights: dict[str, Any] = {}
    for file in held.glob("*.safetensors"):
        weights |= load_file(file)
    bias = "model.layers.1.self_attn.vision_expert_query_key_value.bias"
    for change, words in (
        ({bias: None}, f"lacks 1 weights .*{bias}"),
        ({"model.extra": torch.ones(2)}, r"model.extra \(2,\): CogVLM has no such weight"),
        ({bias: torch.ones(2)}, rf"{bias} \(2,\): expected \(128,\)"),
    ):
        folder = tmp_path / words[:9].strip("\\(")
        folder.mkdir(exist_ok=True)
        save_file({k: v for k, v in {**weights, **change}.items() if v is not None}, folder / "model.safetensors")
        with pytest.raises(ValueError, match=words):
            load(folder, made, "cpu", torch.float32)
    with pytest.raises(ValueError, match="pickled weights are never read"):
        load(tmp_path, made, "cpu", torch.float32)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"architectures": ["CogVLMVideoForCausalLM"]}, "CogVLMVideoForCausalLM"),
        ({"hidden_act": "relu"}, "silu"),
        ({"vision_config": {"image_size": 9}}, "patch_size"),
        ({"vision_config": None}, "NoneType"),
    ],
)
def test_a_config_of_another_model_is_refused(facts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config.of(config("v2") | facts)


def test_half_precision_stays_close(folder: Path) -> None:
    import torch

    made = Config.of(json.loads((folder / "config.json").read_text()))
    prompt = [1, 7, 8, 9], pixels(picture(PICTURES[0]), made.tower)
    full, half = (
        Net(made, load(folder, made, "cpu", kind)).begin([prompt], Cache(made, 1, 64, kind, "cpu"))[0]
        for kind in (torch.float32, torch.bfloat16)
    )
    assert half.dtype == torch.float32
    assert float(torch.corrcoef(torch.stack((full[0], half[0])))[0, 1]) > 0.999
