"""What a training run is: which model, on which conversations, learning how. YAML gives the values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from mminstruct.models.model import weights
from mminstruct.stage import files, runtime, where

OFFLOADS = ("none", "optimizer", "all")
PRECISIONS = ("auto", "bf16", "fp32")
TEMPLATES = ("v1", "plain", "own")
TRACKERS = ("tensorboard", "wandb", "mlflow")


@dataclass(kw_only=True)
class Base:
    """The model that training starts from: a LLaVA, or a language model and a vision tower to build one of."""

    model: str | None = files(None, read=weights)
    """Hub id or folder of a LLaVA in llava-hf's layout; what an earlier stage left in ``OUT/train/model`` is one."""
    llm: str | None = files(None, read=weights)
    """Hub id or folder of a language model (LLaVA-1.5: lmsys/vicuna-7b-v1.5)."""
    vision: str | None = files(None, read=weights)
    """Hub id or folder of a CLIP vision tower (LLaVA-1.5: openai/clip-vit-large-patch14-336)."""
    revision: str | None = None
    """Commit or tag on the hub, of *model*."""


@dataclass(kw_only=True)
class Data:
    """Conversations in LLaVA's JSON: an export of ours, ``mminstruct mix``'s, or upstream's own files."""

    path: str = where(MISSING)
    """JSON or JSONL of training."""
    images: str | None = where(None)
    """Folder that paths of images start from; the JSON's own by default."""
    eval: str | None = where(None)
    """JSON of what is held out: its loss is measured, and ``probe`` of its questions are asked, at each evaluation."""
    probe: int = 8
    """Questions that the model answers at each evaluation, always the same."""


@dataclass(kw_only=True)
class Optim:
    """AdamW with a cosine schedule, as LLaVA-1.5 has it (2310.03744, table 9)."""

    lr: float = 2e-5
    projector_lr: float | None = None
    """Of the projector; *lr* by default."""
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    warmup: float = 0.03
    """Share of all steps over which the rate rises from nothing."""
    clip: float = 1.0
    """Largest norm of a step's gradient; 0 clips nothing."""
    batch: int = 128
    """Conversations in one step, over all workers."""
    epochs: float = 1.0
    steps: int | None = None
    """Steps in all, instead of epochs."""


@dataclass(kw_only=True)
class Lora:
    """Low-rank adapters on the language model's linear maps; off where *r* is 0."""

    r: int = 0
    alpha: int = 256
    dropout: float = 0.05


@dataclass(kw_only=True)
class Zero:
    """DeepSpeed's ZeRO: what is split over the workers. Take the lowest that fits: each costs speed."""

    stage: int = 3
    """0: nothing; 1: optimizer states; 2: gradients too; 3: weights too."""
    offload: str = runtime("none")
    """To the host's memory: none, optimizer, or all (weights too, stage 3 only)."""
    options: dict[str, Any] = runtime(factory=dict)
    """More of DeepSpeed's configuration, laid over ours."""


@dataclass(kw_only=True)
class Training:
    """How a model learns: the group ``train``."""

    template: str = "v1"
    """Conversation as text: v1 (LLaVA-1.5's), plain (stage 1), own (the base's own chat template), or Jinja text."""
    max_length: int = 2048
    """Tokens of a conversation, image included; the rest is cut off."""
    tune_llm: bool = True
    """Whether the language model learns; with *lora.r* its adapters do instead."""
    tune_projector: bool = True
    """Whether the map from the vision tower's features to the language model learns."""
    tune_vision: bool = False
    """Whether the vision tower learns; refused with *lora.r*, beside which it would stay as it is."""
    optim: Optim = field(default_factory=Optim)
    lora: Lora = field(default_factory=Lora)
    zero: Zero = field(default_factory=Zero)
    precision: str = "auto"
    """auto: bf16 on GPUs, fp32 on CPU."""
    group: bool = True
    """Batches of one modality and of like length, as upstream's ``group_by_modality_length``."""
    micro_batch: int = runtime(16)
    """Conversations that one worker computes at once; gradients add up to *optim.batch*."""
    packing: bool = runtime(False)
    """Lay a micro-batch's conversations end to end in one row, without padding; the loss is the same. For GPUs with
    attention=flash_attention_2, which then never looks across their borders."""
    gradient_checkpointing: bool = runtime(True)
    """Whether activations are computed again on the way back instead of kept: less memory, more computing."""
    attention: str | None = runtime(None)
    """transformers' name: sdpa, eager, flash_attention_2; its own choice by default."""
    liger: bool = runtime(False)
    """Liger's kernels for norms, rotary embedding and SwiGLU, where it has them for the language model (else refused);
    NVIDIA GPUs only."""
    save_every: int = runtime(500)
    """Steps between checkpoints; one is kept at the end in any case."""
    keep: int = runtime(2)
    """Checkpoints that stay."""
    eval_every: int = runtime(500)
    """Steps between evaluations; the last step has one in any case."""
    loaders: int = runtime(4)
    """Threads of each worker that read and tokenise."""


@dataclass(kw_only=True)
class Workers:
    """Who trains: processes of a Ray cluster, or this one."""

    kind: str = "ray"
    """ray, or local: this process alone, for debugging."""
    address: str | None = None
    """Of a running cluster; None joins the one that RAY_ADDRESS names, or starts one here."""
    count: int = 1
    """Processes; with GPUs, one for each."""
    cpus: float = 1.0
    """CPUs of each."""
    gpu: bool = False
    """Whether each has a GPU."""
    threads: int | None = None
    """PyTorch's threads in each, on CPU; None leaves it to PyTorch."""
    retries: int = 3
    """How often a dead worker may bring all back to the last checkpoint."""
    resources: dict[str, float] = field(default_factory=dict)
    """Custom resources of each, to place workers on a kind of node."""
    env: dict[str, Any] = field(default_factory=dict)
    """Ray runtime environment of the workers."""


@dataclass(kw_only=True)
class Train:
    """All of ``mminstruct train``."""

    out: str = MISSING
    """The run's folder, a path or any fsspec URL; training lives in its subfolder ``train``."""
    base: Base = field(default_factory=Base)
    data: Data = field(default_factory=Data)
    seed: int = 0
    train: Training = field(default_factory=Training)
    workers: Workers = runtime(factory=Workers)
    trackers: list[str] = runtime(factory=lambda: ["tensorboard"])
    """Where curves go besides metrics.jsonl: tensorboard, wandb, mlflow."""


def check(config: Train) -> None:
    """Refuse what cannot work, before anything is loaded.

    Raises:
        ValueError: with one line for each fault and how to mend it.
    """
    t, w = config.train, config.workers
    faults = [
        said
        for wrong, said in (
            (
                bool(config.base.model) == bool(config.base.llm and config.base.vision),
                "base: set base.model, or base.llm and base.vision to build one of",
            ),
            (bool(config.base.llm) != bool(config.base.vision), "base.llm and base.vision belong together"),
            (t.zero.stage not in (0, 1, 2, 3), f"train.zero.stage={t.zero.stage}: take 0, 1, 2 or 3"),
            (t.zero.offload not in OFFLOADS, f"train.zero.offload={t.zero.offload}: take {', '.join(OFFLOADS)}"),
            (t.zero.offload == "all" and t.zero.stage != 3, "train.zero.offload=all needs train.zero.stage=3"),
            (t.zero.offload != "none" and t.zero.stage == 0, "train.zero.offload needs train.zero.stage=1 or more"),
            (t.zero.offload != "none" and not w.gpu, "train.zero.offload is for GPUs: set workers.gpu=true"),
            (t.precision not in PRECISIONS, f"train.precision={t.precision}: take {', '.join(PRECISIONS)}"),
            (t.liger and not w.gpu, "train.liger is for NVIDIA GPUs: set workers.gpu=true or train.liger=false"),
            (
                not (t.tune_llm or t.tune_projector or t.tune_vision or t.lora.r),
                "nothing would learn: set train.tune_llm, train.tune_projector or train.tune_vision to true",
            ),
            (
                t.lora.r > 0 and not t.tune_llm,
                "train.tune_llm=false, but train.lora.r adapts the language model: set train.lora.r=0, or"
                " train.tune_llm=true",
            ),
            (
                t.lora.r > 0 and t.tune_vision,
                "train.tune_vision=true does nothing beside train.lora.r: set train.tune_vision=false, or"
                " train.lora.r=0",
            ),
            (min(t.optim.batch, t.micro_batch) < 1, "train.optim.batch and train.micro_batch: take 1 or more"),
            (t.optim.lr <= 0, f"train.optim.lr={t.optim.lr}: take a positive rate"),
            (not 0 <= t.optim.warmup < 1, f"train.optim.warmup={t.optim.warmup}: take a share, 0 to below 1"),
            (len(t.optim.betas) != 2, "train.optim.betas: take two numbers"),
            (t.optim.steps is None and t.optim.epochs <= 0, f"train.optim.epochs={t.optim.epochs}: take more than 0"),
            (t.optim.steps is not None and t.optim.steps < 1, f"train.optim.steps={t.optim.steps}: take 1 or more"),
            (
                min(t.save_every, t.eval_every, t.keep, t.loaders) < 1,
                "save_every, eval_every, keep, loaders: from 1",
            ),
            (w.kind not in ("ray", "local"), f"workers.kind={w.kind}: take ray or local"),
            (w.kind == "local" and w.count != 1, "workers.kind=local is one process: set workers.count=1"),
            (w.count < 1, f"workers.count={w.count}: take 1 or more"),
            (not set(config.trackers) <= set(TRACKERS), f"trackers: take of {', '.join(TRACKERS)}"),
            (
                t.template not in TEMPLATES and "{" not in t.template,
                f"train.template={t.template}: take {', '.join(TEMPLATES)}, or Jinja text",
            ),
            (t.template == "plain" and t.tune_llm, "train.template=plain is stage 1's: set train.tune_llm=false"),
        )
        if wrong
    ]
    if faults:
        raise ValueError("\n".join(faults))
