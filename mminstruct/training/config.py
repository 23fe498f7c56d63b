"""Configuration of ``mminstruct train``: model, data, hyperparameters, workers. YAML gives the values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mminstruct.models.model import weights
from mminstruct.stage import files, runtime, where

_REQUIRED = "???"
"""OmegaConf's mark of a value that must be given; training itself does not need OmegaConf."""

OFFLOADS = ("none", "optimizer", "all")
PRECISIONS = ("auto", "bf16", "fp32")
TEMPLATES = ("v1", "plain", "own")
TRACKERS = ("tensorboard", "wandb", "mlflow")


@dataclass(kw_only=True)
class Base:
    """The model that training starts from: a LLaVA, or a language model and a vision tower to build one from."""

    model: str | None = files(None, read=weights)
    """Hub id or folder of a LLaVA in llava-hf's layout, such as an earlier stage's ``OUT/train/model``."""
    llm: str | None = files(None, read=weights)
    """Hub id or folder of a language model (LLaVA-1.5: lmsys/vicuna-7b-v1.5)."""
    vision: str | None = files(None, read=weights)
    """Hub id or folder of a CLIP vision tower (LLaVA-1.5: openai/clip-vit-large-patch14-336)."""
    revision: str | None = None
    """Commit or tag of *model* on the hub."""


@dataclass(kw_only=True)
class Data:
    """Conversations in LLaVA's JSON: from ``mminstruct export``, from ``mminstruct mix``, or LLaVA's own files."""

    path: str = where(_REQUIRED)
    """JSON or JSONL file of the training set."""
    images: str | None = where(None)
    """Folder that image paths are relative to; the JSON's own by default."""
    eval: str | None = where(None)
    """JSON of the held-out set; each evaluation computes its loss and asks ``probe`` of its questions."""
    probe: int = 8
    """Number of questions that the model answers at each evaluation; always the same ones."""


@dataclass(kw_only=True)
class Optim:
    """AdamW with a cosine schedule, as in LLaVA-1.5 (2310.03744, table 9)."""

    lr: float = 2e-5
    projector_lr: float | None = None
    """Learning rate of the projector; *lr* by default."""
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    warmup: float = 0.03
    """Fraction of all steps with linear warmup, 0 to below 1."""
    clip: float = 1.0
    """Maximum gradient norm; 0 turns clipping off."""
    batch: int = 128
    """Conversations per step, over all workers."""
    epochs: float = 1.0
    steps: int | None = None
    """Total number of steps; replaces epochs."""


@dataclass(kw_only=True)
class Lora:
    """Low-rank adapters on the language model's linear layers; off if *r* is 0."""

    r: int = 0
    alpha: int = 256
    dropout: float = 0.05


@dataclass(kw_only=True)
class Zero:
    """DeepSpeed's ZeRO: what is partitioned over workers. Use the lowest stage that fits; higher ones are slower."""

    stage: int = 3
    """0: nothing; 1: optimizer states; 2: gradients too; 3: weights too."""
    offload: str = runtime("none")
    """What is moved to host memory: none, optimizer, or all (weights too, stage 3 only)."""
    options: dict[str, Any] = runtime(factory=dict)
    """DeepSpeed configuration that overrides ours."""


@dataclass(kw_only=True)
class Training:
    """Hyperparameters: the config group ``train``."""

    template: str = "v1"
    """Chat template: v1 (LLaVA-1.5), plain (stage 1), own (the base model's), or Jinja text."""
    max_length: int = 2048
    """Maximum tokens of a conversation, image included; longer ones are truncated."""
    tune_llm: bool = True
    """Whether the language model is trained; with *lora.r* its adapters are trained instead."""
    tune_projector: bool = True
    """Whether the projector (vision features to the language model) is trained."""
    tune_vision: bool = False
    """Whether the vision tower is trained; refused with *lora.r*, with which it would stay frozen."""
    optim: Optim = field(default_factory=Optim)
    lora: Lora = field(default_factory=Lora)
    zero: Zero = field(default_factory=Zero)
    precision: str = "auto"
    """auto: bf16 on GPUs, fp32 on CPU."""
    group: bool = True
    """Whether a batch has rows of one modality and similar length, as upstream's ``group_by_modality_length``."""
    micro_batch: int = runtime(16)
    """Conversations per forward pass of a worker; gradients are accumulated up to *optim.batch*."""
    packing: bool = runtime(False)
    """Concatenate a micro-batch's conversations into one row without padding; the loss is the same. For GPUs with
    attention=flash_attention_2, which then does not attend across conversations."""
    gradient_checkpointing: bool = runtime(True)
    """Whether activations are recomputed in the backward pass: less memory, more compute."""
    attention: str | None = runtime(None)
    """Attention implementation of transformers: sdpa, eager, flash_attention_2; its own choice by default."""
    liger: bool = runtime(False)
    """Whether to use Liger's kernels for norms, rotary embedding and SwiGLU. NVIDIA GPUs only; refused if Liger does
    not support the language model."""
    save_every: int = runtime(500)
    """Steps between checkpoints; the last step always writes one."""
    keep: int = runtime(2)
    """Number of checkpoints to keep."""
    eval_every: int = runtime(500)
    """Steps between evaluations; the last step always has one."""
    loaders: int = runtime(4)
    """Threads per worker that load and tokenize data."""


@dataclass(kw_only=True)
class Workers:
    """The training processes."""

    kind: str = "ray"
    """ray, or local: this process alone, for debugging."""
    address: str | None = None
    """Of a running cluster; None joins the one that RAY_ADDRESS names, or starts one here."""
    count: int = 1
    """Number of processes; with GPUs, one per GPU."""
    cpus: float = 1.0
    """CPUs of each process."""
    gpu: bool = False
    """Whether each process has a GPU."""
    threads: int | None = None
    """PyTorch threads of each process, on CPU; None leaves it to PyTorch."""
    retries: int = 3
    """How often all workers restart from the last checkpoint after one died."""
    resources: dict[str, float] = field(default_factory=dict)
    """Ray custom resources of each process, to place it on certain nodes."""
    env: dict[str, Any] = field(default_factory=dict)
    """Ray runtime environment of the workers."""


@dataclass(kw_only=True)
class Train:
    """All of ``mminstruct train``."""

    out: str = _REQUIRED
    """The run's folder, a path or any fsspec URL; training writes to its subfolder ``train``."""
    base: Base = field(default_factory=Base)
    data: Data = field(default_factory=Data)
    seed: int = 0
    train: Training = field(default_factory=Training)
    workers: Workers = runtime(factory=Workers)
    trackers: list[str] = runtime(factory=lambda: ["tensorboard"])
    """Trackers besides metrics.jsonl: tensorboard, wandb, mlflow."""


def check(config: Train) -> None:
    """Check a configuration before anything is loaded.

    Raises:
        ValueError: with one line for each error and its fix.
    """
    t, w = config.train, config.workers
    faults = [
        said
        for wrong, said in (
            (
                bool(config.base.model) == bool(config.base.llm and config.base.vision),
                "base: set base.model, or base.llm and base.vision to build one",
            ),
            (bool(config.base.llm) != bool(config.base.vision), "base.llm and base.vision must be set together"),
            (t.zero.stage not in (0, 1, 2, 3), f"train.zero.stage={t.zero.stage}: must be 0, 1, 2 or 3"),
            (
                t.zero.offload not in OFFLOADS,
                f"train.zero.offload={t.zero.offload}: must be one of {', '.join(OFFLOADS)}",
            ),
            (t.zero.offload == "all" and t.zero.stage != 3, "train.zero.offload=all needs train.zero.stage=3"),
            (t.zero.offload != "none" and t.zero.stage == 0, "train.zero.offload needs train.zero.stage=1 or more"),
            (t.zero.offload != "none" and not w.gpu, "train.zero.offload is for GPUs: set workers.gpu=true"),
            (t.precision not in PRECISIONS, f"train.precision={t.precision}: must be one of {', '.join(PRECISIONS)}"),
            (t.liger and not w.gpu, "train.liger is for NVIDIA GPUs: set workers.gpu=true or train.liger=false"),
            (
                not (t.tune_llm or t.tune_projector or t.tune_vision or t.lora.r),
                "nothing would be trained: set train.tune_llm, train.tune_projector or train.tune_vision to true",
            ),
            (
                t.lora.r > 0 and not t.tune_llm,
                "train.tune_llm=false, but train.lora.r adapts the language model: set train.lora.r=0, or"
                " train.tune_llm=true",
            ),
            (
                t.lora.r > 0 and t.tune_vision,
                "train.tune_vision=true has no effect with train.lora.r: set train.tune_vision=false, or"
                " train.lora.r=0",
            ),
            (min(t.optim.batch, t.micro_batch) < 1, "train.optim.batch and train.micro_batch: must be 1 or more"),
            (t.optim.lr <= 0, f"train.optim.lr={t.optim.lr}: must be above 0"),
            (not 0 <= t.optim.warmup < 1, f"train.optim.warmup={t.optim.warmup}: must be 0 or more and below 1"),
            (len(t.optim.betas) != 2, "train.optim.betas: must be two numbers"),
            (t.optim.steps is None and t.optim.epochs <= 0, f"train.optim.epochs={t.optim.epochs}: must be above 0"),
            (t.optim.steps is not None and t.optim.steps < 1, f"train.optim.steps={t.optim.steps}: must be 1 or more"),
            (
                min(t.save_every, t.eval_every, t.keep, t.loaders) < 1,
                "train.save_every, train.eval_every, train.keep, train.loaders: must be 1 or more",
            ),
            (w.kind not in ("ray", "local"), f"workers.kind={w.kind}: must be ray or local"),
            (w.kind == "local" and w.count != 1, "workers.kind=local is one process: set workers.count=1"),
            (w.count < 1, f"workers.count={w.count}: must be 1 or more"),
            (not set(config.trackers) <= set(TRACKERS), f"trackers: may only contain {', '.join(TRACKERS)}"),
            (
                t.template not in TEMPLATES and "{" not in t.template,
                f"train.template={t.template}: must be one of {', '.join(TEMPLATES)}, or Jinja text",
            ),
            (t.template == "plain" and t.tune_llm, "train.template=plain is for stage 1: set train.tune_llm=false"),
        )
        if wrong
    ]
    if faults:
        raise ValueError("\n".join(faults))
