"""DeepSpeed's configuration, made from ours, and its engine. Imports of ``deepspeed`` below are the package's."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

from mminstruct.training.config import Train

_ROOM = 0.8
"""Share of a GPU's free memory that gathered weights may take; the rest is for activations and the cache."""


def setup(*, gpu: bool) -> None:
    """Import DeepSpeed without its log output, and join the process group.

    On CPU its operators are switched off, since compiling one takes 40 s.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if _gpu() else "cpu")
    os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "error")
    # DeepSpeed's own calls cause one in each step
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if not _gpu():
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # gloo is used instead
    deepspeed.init_distributed(dist_backend="nccl" if gpu else "gloo", verbose=False)


def shutdown() -> None:
    """Destroy the process group, also in DeepSpeed, which would else keep using it after a new one is created."""
    import deepspeed.comm.comm
    import torch.distributed as dist

    if deepspeed.comm.comm.cdb is None:
        dist.destroy_process_group()
    else:
        deepspeed.comm.comm.destroy_process_group()
        deepspeed.comm.comm.cdb = None


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def settings(config: Train, accumulation: int, *, gpu: bool, universal: bool = False) -> dict[str, Any]:
    """DeepSpeed's configuration.

    It has no ``train_batch_size``: transformers may partition the weights before DeepSpeed knows the number of workers,
    and DeepSpeed would then check the product against one worker.
    """
    t, optim = config.train, config.train.optim
    zero: dict[str, Any] = {"stage": t.zero.stage}
    if t.zero.stage >= 1:
        zero |= {"contiguous_gradients": True, "overlap_comm": gpu}
    if t.zero.stage == 3:
        # LLaVA's zero3.json
        zero |= {
            "stage3_gather_16bit_weights_on_model_save": True,
            "sub_group_size": 1e9,
            "stage3_max_live_parameters": 1e9,
            "stage3_max_reuse_distance": 1e9,
        }
    if t.zero.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if t.zero.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    adam: dict[str, Any] = {
        "lr": optim.lr,
        "betas": list(optim.betas),
        "eps": 1e-8,
        "weight_decay": optim.weight_decay,
        "torch_adam": t.zero.offload == "none",  # PyTorch's needs no compiler; offloaded states need DeepSpeed's
    }
    if gpu and t.zero.offload == "none":
        adam["fused"] = True
    ours: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": t.micro_batch,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": optim.clip,
        "bf16": {"enabled": half(config, gpu=gpu)},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "optimizer": {"type": "AdamW", "params": adam},
        "checkpoint": {"load_universal": universal},
        "steps_per_print": 10**9,
    }
    return _merge(ours, t.zero.options)


def half(config: Train, *, gpu: bool) -> bool:
    """Whether weights are bf16; optimizer states are always fp32."""
    return config.train.precision == "bf16" or (config.train.precision == "auto" and gpu)


def _merge(ours: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """*more* laid over *ours*, recursively."""
    both = {key: ours[key] for key in ours.keys() & more.keys()}
    merged = {key: _merge(old, dict(more[key])) for key, old in both.items() if isinstance(old, dict)}
    return {**ours, **more, **merged}


def start(model: Any, groups: list[dict[str, Any]], configuration: dict[str, Any]) -> Any:
    """The engine that trains the parameters *groups* of *model*.

    Raises:
        ValueError: DeepSpeed refuses the configuration.
    """
    import deepspeed

    engine, *_ = deepspeed.initialize(model=model, model_parameters=groups, config=configuration)
    return engine


def gathered(engine: Any, stage: int, *, learned_only: bool) -> dict[str, Any] | None:
    """All weights on worker 0, with partitions gathered, and None on the others; every worker must call it."""
    import torch.distributed as dist

    if stage == 3:
        found: dict[str, Any] | None = engine._zero3_consolidated_16bit_state_dict(
            exclude_frozen_parameters=learned_only
        )
        return found if dist.get_rank() == 0 else None
    return dict(engine.module.state_dict()) if dist.get_rank() == 0 else None


@contextlib.contextmanager
def whole(engine: Any, stage: int) -> Iterator[bool]:
    """Gather all weights once for many calls of ``engine.module``; every worker must enter.

    ZeRO-3 else gathers each layer in each call, which for a reply is once per token. Yields whether the weights are
    whole on every worker: False if they do not fit into some worker's GPU, where calls gather as usual.
    """
    if stage < 3:
        yield True
        return
    import torch
    import torch.distributed as dist
    from deepspeed.runtime.zero import unwrap_model_for_generation

    fits = torch.ones(1, device=engine.device)
    if engine.device.type == "cuda":
        needed = sum(p.ds_numel * p.element_size() for p in engine.module.parameters())
        kept = torch.cuda.memory_reserved(engine.device) - torch.cuda.memory_allocated(engine.device)
        free = torch.cuda.mem_get_info(engine.device)[0] + kept
        fits[0] = needed < free * _ROOM
    dist.all_reduce(fits, op=dist.ReduceOp.MIN)
    if not fits.item():
        yield False
        return
    with unwrap_model_for_generation(engine):
        yield True
