from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mminstruct.training import llava as module
from mminstruct.training.config import Base, Train
from tests.models import tiny


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Llama without image support, and a CLIP tower."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    words = tiny.tokenizer()
    some = {"intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 64}
    text = LlamaConfig(vocab_size=len(words), num_key_value_heads=2, bos_token_id=0, eos_token_id=1, **some)
    LlamaForCausalLM(text).save_pretrained(folder / "llm")
    words.save_pretrained(folder / "llm")
    CLIPVisionModel(CLIPVisionConfig(image_size=32, patch_size=8, **some)).save_pretrained(folder / "vision")
    return folder / "llm", folder / "vision"


def test_a_llava_is_built_of_its_parts_as_published(parts: tuple[Path, Path], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlavaForConditionalGeneration

    llm, vision = parts
    made = module.assemble(str(llm), str(vision), tmp_path / "llava", dtype="float32")
    again = module.assemble(str(llm), str(vision), tmp_path / "again", dtype="float32")
    weights, same = (load_file(folder / "model.safetensors") for folder in (made, again))
    assert weights.keys() == same.keys()
    assert [name for name in weights if not torch.equal(weights[name], same[name])] == []
    model = LlavaForConditionalGeneration.from_pretrained(made)
    assert (model.config.vision_feature_layer, model.config.vision_feature_select_strategy) == (-2, "default")
    assert module.image_tokens(model) == 16
    assert model.lm_head.weight.shape[0] % 64 == 0
    tokenizer = AutoTokenizer.from_pretrained(made)
    ids = tokenizer("a red robot waves", return_tensors="pt")["input_ids"]
    before = AutoModelForCausalLM.from_pretrained(llm)(ids).logits
    assert torch.allclose(model(input_ids=ids).logits[..., : before.shape[-1]], before, atol=1e-5)
    assert tokenizer.convert_tokens_to_ids("<image>") == model.config.image_token_id
    assert any("vision_tower.vision_model." in name for name in weights)


def test_stage_1_learns_the_projector_alone_and_stage_2_the_language_model_too(llava: Path) -> None:
    import torch

    config = Train(out="", base=Base(model=str(llava)))
    config.train.tune_llm = False
    learns = []
    for tune in (False, True):
        config.train.tune_llm = tune
        model, processor = module.load(config.base, config, torch.float32)
        learns.append({name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad})
        assert processor.image_processor.do_pad
    assert learns[0] == {"multi_modal_projector"}
    assert learns[1] == {"multi_modal_projector", "language_model", "weight"}  # lm_head.weight
    config.train.optim.projector_lr = 1e-4
    rates = {group["lr"]: len(group["params"]) for group in module.groups(model, config)}
    assert rates[1e-4] == 4
    assert rates[2e-5] > 4


@pytest.mark.parametrize("projector", [True, False])
@pytest.mark.parametrize("vision", [True, False])
def test_what_is_said_to_learn_learns(llava: Path, vision: bool, projector: bool) -> None:
    import torch

    config = Train(out="", base=Base(model=str(llava)))
    config.train.tune_vision, config.train.tune_projector = vision, projector
    model, _ = module.load(config.base, config, torch.float32)
    for part, learns in (("vision_tower", vision), ("multi_modal_projector", projector), ("language_model", True)):
        assert {p.requires_grad for name, p in model.named_parameters() if part in name} == {learns}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_attention_and_checkpointing_are_the_models(llava: Path, attention: str, checkpointing: bool) -> None:
    import torch

    config = Train(out="", base=Base(model=str(llava)))
    config.train.attention, config.train.gradient_checkpointing = attention, checkpointing
    model, _ = module.load(config.base, config, torch.float32)
    assert model.config.text_config._attn_implementation == attention
    assert model.is_gradient_checkpointing is checkpointing


def test_what_is_no_llava_is_refused(parts: tuple[Path, Path]) -> None:
    config = Train(out="", base=Base(model=str(parts[0])))
    with pytest.raises(ValueError, match="is a llama, not a llava"):
        module.load(config.base, config, None)


def test_images_are_padded_to_a_square_whatever_the_checkpoint_says(llava: Path, tmp_path: Path) -> None:
    import json
    import shutil

    import torch

    cuts = Path(shutil.copytree(llava, tmp_path / "cuts"))
    settings = json.loads((cuts / "processor_config.json").read_text())
    settings["image_processor"]["do_pad"] = False
    (cuts / "processor_config.json").write_text(json.dumps(settings))
    config = Train(out="", base=Base(model=str(cuts)))
    _, processor = module.load(config.base, config, torch.float32)
    from PIL import Image

    wide = Image.new("RGB", (64, 16), "white")
    pixels = processor.image_processor(images=[wide], return_tensors="pt")["pixel_values"][0]
    assert pixels.shape == (3, 32, 32)
    assert pixels[:, 0].max() < pixels[:, 16].min()  # mean colour above and below, white in the middle


@pytest.fixture
def liger(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A replacement of liger-kernel 0.8.5, which needs Triton, with the same signature; it patches the given model.

    Returns:
        Names of the patched modules.
    """
    patched: list[str] = []

    def apply_liger_kernel_to_llava(
        cross_entropy: bool = False, fused_linear_cross_entropy: bool = True, model: Any = None, **kwargs: Any
    ) -> None:
        assert not fused_linear_cross_entropy
        if model is None or model.config.text_config.model_type != "llama":
            return
        for name, part in model.model.language_model.named_modules():
            if type(part).__name__ in ("LlamaRMSNorm", "LlamaMLP"):
                part.__dict__["forward"] = type(part).forward.__get__(part, type(part))
                patched.append(name)

    module_of = ModuleType("liger_kernel.transformers")
    module_of.apply_liger_kernel_to_llava = apply_liger_kernel_to_llava  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", module_of)
    return patched


@pytest.mark.parametrize("adapters", [0, 4])
def test_liger_patches_the_model_that_learns(
    parts: tuple[Path, Path], tmp_path: Path, liger: list[str], adapters: int
) -> None:
    import torch

    made = module.assemble(str(parts[0]), str(parts[1]), tmp_path / "llava", dtype="float32")
    config = Train(out="", base=Base(model=str(made)))
    config.train.gradient_checkpointing, config.train.liger, config.train.lora.r = False, True, adapters
    model, _ = module.load(config.base, config, torch.float32)
    assert len(liger) == 3 * 3 + 1  # two norms and an MLP in each of three layers, and the last norm
    assert len(module._own_methods(model)) == len(liger)


def test_liger_without_kernels_for_the_model_is_refused(
    parts: tuple[Path, Path], tmp_path: Path, liger: list[str]
) -> None:
    made = module.assemble(str(parts[0]), str(parts[1]), tmp_path / "llava", dtype="float32")
    from transformers import LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(made)
    model.config.text_config.model_type = "mamba"
    with pytest.raises(ValueError, match=r"Liger does not support mamba; set train\.liger=false"):
        module.with_liger(model)
    assert not liger
