"""The model to train: loading a LLaVA or building one from parts, its trainable parameters, and saving it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mminstruct.models.model import Model
from mminstruct.models.transcript import source
from mminstruct.training.config import Base, Lora, Train
from mminstruct.training.template import IMAGE, TEMPLATES, V1

_LLAVA_HF = ("vision_tower.", "vision_tower.vision_model.")
"""Prefixes of the tower's weights: as transformers 5 writes them for a model built from its configuration, and as in
llava-hf's checkpoints and vLLM."""


def assemble(llm: str, vision: str, to: str | Path, *, seed: int = 0, dtype: str = "bfloat16") -> Path:
    """Build a LLaVA-1.5 from a language model and a CLIP tower, with a new projector, and save it to the folder *to*.

    As published (2310.03744): a two-layer GELU projector on the patches of the tower's second-to-last layer, images
    padded to squares. ``<image>`` (and ``<pad>`` if missing) is added to the vocabulary, whose size is padded to a
    multiple of 64.
    """
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoTokenizer,
        CLIPVisionModel,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.llava.image_processing_llava import LlavaImageProcessor

    kind = getattr(torch, dtype)
    tokenizer = AutoTokenizer.from_pretrained(llm)
    tokenizer.add_tokens([IMAGE], special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    with _quiet():
        text = AutoModelForCausalLM.from_pretrained(llm, dtype=kind)
        tower = CLIPVisionModel.from_pretrained(vision, dtype=kind)
        torch.manual_seed(seed)  # new embeddings are drawn around the mean of the old ones
        text.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64)
    seen = AutoConfig.from_pretrained(vision)
    seen = getattr(seen, "vision_config", seen)
    patches = (seen.image_size // seen.patch_size) ** 2
    config = LlavaConfig(
        vision_config=seen,
        text_config=text.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=patches,
        projector_hidden_act="gelu",
        tie_word_embeddings=bool(text.config.tie_word_embeddings),
    )
    config.text_config.pad_token_id = tokenizer.pad_token_id
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config).to(kind)
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.lm_head.load_state_dict(text.lm_head.state_dict())
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    side = seen.image_size
    images = LlavaImageProcessor(do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=seen.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=V1,
    )
    to = Path(to)
    with _quiet():
        model.save_pretrained(to)
    processor.save_pretrained(to)
    as_llava_hf(to)
    return to


def as_llava_hf(folder: Path) -> None:
    """Rename a tower's weights as in llava-hf's checkpoints; transformers then keeps these names."""
    from safetensors.torch import load_file, save_file

    bare, whole = _LLAVA_HF

    def named(name: str) -> str:
        return name.replace(bare, whole) if bare in name and whole not in name else name

    for file in sorted(folder.glob("*.safetensors")):
        tensors = load_file(file)
        if any(named(name) != name for name in tensors):
            save_file({named(name): tensor for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    for file in folder.glob("*.safetensors.index.json"):
        index = json.loads(file.read_text())
        index["weight_map"] = {named(name): place for name, place in index["weight_map"].items()}
        file.write_text(json.dumps(index, indent=2))


def load(base: Base, config: Train, dtype: Any) -> tuple[Any, Any]:
    """Model and processor; only parameters that are trained require gradients.

    For ZeRO-3 the caller must hold an ``HfDeepSpeedConfig``; every worker then holds a part of the weights.

    Raises:
        ValueError: the files are not a LLaVA, or lack weights.
    """
    import transformers

    t = config.train
    where = source(Model(name=str(base.model), revision=base.revision))
    known = transformers.AutoConfig.from_pretrained(**where)
    if known.model_type != "llava":
        raise ValueError(f"base.model={base.model} is a {known.model_type}, not a llava: use one in llava-hf's layout")
    extra = {"attn_implementation": t.attention} if t.attention else {}
    with _quiet():
        model, facts = transformers.LlavaForConditionalGeneration.from_pretrained(
            **where, dtype=dtype, use_safetensors=True, output_loading_info=True, **extra
        )
    if facts["missing_keys"]:
        raise ValueError(f"base.model={base.model} lacks weights, such as {sorted(facts['missing_keys'])[0]}")
    if t.liger:
        with_liger(model)
    processor = transformers.AutoProcessor.from_pretrained(**where)
    processor.image_processor.do_pad = True  # LLaVA-1.5 pads to a square; transformers crops by default
    processor.tokenizer.padding_side = "right"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    model.model.vision_tower.requires_grad_(t.tune_vision)
    model.model.multi_modal_projector.requires_grad_(t.tune_projector)
    model.model.language_model.requires_grad_(t.tune_llm and not t.lora.r)
    model.lm_head.requires_grad_(t.tune_llm and not t.lora.r)
    if t.lora.r:
        model = with_lora(model, t.lora, projector=t.tune_projector)
    if t.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model, processor


def with_liger(model: Any) -> None:
    """Patch *model* with Liger's kernels; call it before adapters wrap its modules.

    Raises:
        ValueError: Liger does not support this language model.
    """
    from liger_kernel.transformers import apply_liger_kernel_to_llava

    before = _own_methods(model)
    # without model= it patches only the loss (liger-kernel 0.8.5, monkey_patch.py). The loss is our own: it computes
    # logits only where there are labels, which saves more memory than the fused one
    apply_liger_kernel_to_llava(fused_linear_cross_entropy=False, model=model)
    if _own_methods(model) == before:
        kind = model.config.text_config.model_type
        raise ValueError(f"train.liger=true: Liger does not support {kind}; set train.liger=false")


def _own_methods(model: Any) -> dict[str, int]:
    """Modules whose ``forward`` is an instance attribute, by name: Liger patches a loaded model in this way."""
    return {name: id(vars(module)["forward"]) for name, module in model.named_modules() if "forward" in vars(module)}


def with_lora(model: Any, lora: Lora, *, projector: bool) -> Any:
    """*model* with adapters on all linear layers of its language model except the output, as in LLaVA's script."""
    import peft

    settings = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=r".*language_model\..*\.(q|k|v|o|gate|up|down)_proj",
        modules_to_save=["multi_modal_projector"] if projector else None,
        task_type="CAUSAL_LM",
    )
    # adapters in the model's precision: ZeRO-3 refuses mixed precisions
    return peft.get_peft_model(model, settings, autocast_adapter_dtype=False)


def image_tokens(model: Any) -> int:
    """Number of tokens per image, of a model or of a configuration."""
    config = getattr(model, "config", model)
    count = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    return int(count) + int(config.vision_feature_select_strategy == "full")


def groups(model: Any, config: Train) -> list[dict[str, Any]]:
    """Trainable parameters as optimizer groups; the projector has its own group if it has its own learning rate."""
    optim = config.train.optim
    own = optim.projector_lr if optim.projector_lr is not None else optim.lr
    rates: dict[float, list[Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rates.setdefault(own if "multi_modal_projector" in name else optim.lr, []).append(parameter)
    return [{"params": some, "lr": rate} for rate, some in rates.items()]


def save(model: Any, processor: Any, weights: dict[str, Any] | None, config: Train, to: Path) -> None:
    """Save the whole model, with adapters merged, to *to* in llava-hf's layout, for transformers and vLLM.

    Args:
        weights: all weights, gathered; None if *model* holds them itself.
    """
    template = config.train.template
    if template != "plain" and template != "own":
        processor.chat_template = TEMPLATES.get(template, template)
    processor.chat_template = processor.chat_template or V1
    if config.train.lora.r:
        model = _merged(model, weights, config)
        weights = None
    with _quiet():
        model.save_pretrained(to, **({} if weights is None else {"state_dict": weights}))
    processor.save_pretrained(to)
    as_llava_hf(to)


def _merged(model: Any, weights: dict[str, Any] | None, config: Train) -> Any:
    """A copy of the base model with *model*'s adapters merged, in this process's memory."""
    import peft
    import torch
    import transformers

    learned = {
        name: p.detach().to("cpu", copy=True)
        for name, p in (weights or dict(model.named_parameters())).items()
        if "lora_" in name or "modules_to_save" in name
    }
    with _quiet(), _without_zero3():
        base = transformers.LlavaForConditionalGeneration.from_pretrained(
            **source(Model(name=str(config.base.model), revision=config.base.revision)),
            dtype=next(iter(learned.values())).dtype,
            use_safetensors=True,
        )
        whole = with_lora(base, config.train.lora, projector=config.train.tune_projector)
        _, strange = whole.load_state_dict(learned, strict=False)
        if strange:
            raise ValueError(f"adapters do not fit their base model: unexpected weight {strange[0]}")
        with torch.no_grad():
            merged: Any = whole.merge_and_unload()
    assert isinstance(whole, peft.PeftModel)
    return merged


@contextlib.contextmanager
def _without_zero3() -> Iterator[None]:
    """Load unpartitioned weights during a ZeRO-3 run."""
    from transformers.integrations import deepspeed

    before = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed._hf_deepspeed_config_weak_ref = None
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars and warnings."""
    from transformers.utils import logging

    loud = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(loud)
        logging.enable_progress_bar()
