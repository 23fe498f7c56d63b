from __future__ import annotations

from pathlib import Path

import pytest

from mminstruct.training import llava as module
from mminstruct.training.config import Base, Train
from tests.models import tiny


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Llama that knows no image, and a CLIP tower."""
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
