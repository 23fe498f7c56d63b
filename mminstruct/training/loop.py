"""One worker's part of a training run. The caller has initialized ``torch.distributed``.

A step's loss is the mean over all learned tokens of its batch, over all workers and micro-batches, so it does not
depend on how many of either there are. (Upstream averages the means of micro-batches, which weighs short answers more.)
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mminstruct.stage import Halt
from mminstruct.store.tables import Store
from mminstruct.training import checkpoint, deepspeed, llava, tracking
from mminstruct.training.config import Base, Train
from mminstruct.training.data import Batch, Collator, Records
from mminstruct.training.objective import rate, summed_loss
from mminstruct.training.plan import Plan, shares
from mminstruct.training.rank import Rank

HALT, DONE, MODEL, MANIFEST = "halt.json", "done.json", "model", "manifest.json"
RECORDS, HELD_OUT = "records.arrow", "held_out.arrow"
_MAX_BROKEN = 100
"""Rows that may be broken before the run stops. A few are normal; more means a wrong folder."""
_MAX_ANSWER = 64
"""Tokens of an answer to a probe question."""

Hook = Callable[[int], None]
_LOG = logging.getLogger(__name__)


def fit(config: Train, after_step: Hook | None = None) -> None:
    """Train from the newest intact checkpoint to the end, and save the model to ``OUT/train/model``.

    Args:
        after_step: called on every worker with the number of completed steps; tests kill a worker there.

    Raises:
        Halt: the loss is not finite, or too many rows are broken; a retry would fail in the same way.
    """
    run = _Run(config)
    run.train(after_step)


class _Run:
    def __init__(self, config: Train) -> None:
        import torch

        self.config, self.t = config, config.train
        self.rank = Rank.here()
        self.gpu = config.workers.gpu
        self.device = torch.device(f"cuda:{self.rank.local}" if self.gpu else "cpu")
        if self.gpu:
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = True
        elif config.workers.threads:
            torch.set_num_threads(config.workers.threads)
        self.store = Store(config.out + "/train")
        self.manifest = json.loads(self.store.read(MANIFEST) or b"{}")
        self.scratch = Path(tempfile.mkdtemp(prefix="mminstruct-"))
        self.records = Records(self._here(RECORDS))
        self.held_out = Records(self._here(HELD_OUT)) if self._has(HELD_OUT) else None
        self.plan = Plan(self.records, self.t, config.seed)
        world = self.rank.world
        self.accumulation = -(-self.t.optim.batch // (world * self.t.micro_batch))
        self.newest = checkpoint.newest(self.store, self.rank)
        self._begin()
        facts = self.manifest["data"]
        tokens = llava.image_tokens(self.model)
        self.collate = Collator(self.processor, self.t, facts["train"]["images"], tokens)
        eval_images = facts["eval"]["images"] if self.held_out else ""
        self.collate_held_out = Collator(self.processor, self.t, eval_images, tokens) if self.held_out else None
        self.curve = (
            tracking.Curve(self.store, config.trackers, self.step, self.manifest) if self.rank.index == 0 else None
        )
        self.pool = ThreadPoolExecutor(self.t.loaders)
        self.broken: set[str] = set()
        self.flops, self.peak = tracking.flops_per_token(self.model), tracking.peak_flops(self.gpu)

    def _has(self, name: str) -> bool:
        return self.store.exists(name)

    def _here(self, name: str) -> str:
        """A local path of a file of the store."""
        if self.store.local:
            return self.store.path(name)
        self.store.fs.get_file(self.store.path(name), str(self.scratch / name))
        return str(self.scratch / name)

    def _begin(self) -> None:
        """Load the model and the engine, and the newest checkpoint if there is one."""
        import torch

        deepspeed.setup(gpu=self.gpu)
        from transformers.integrations import HfDeepSpeedConfig

        universal = self.newest is not None and self.newest.needs_conversion(self.rank.world)
        made = deepspeed.settings(self.config, self.accumulation, gpu=self.gpu, universal=universal)
        # while this object exists, transformers partitions weights as it loads them
        self.hf_config = HfDeepSpeedConfig(made) if self.t.zero.stage == 3 else None
        dtype = torch.bfloat16 if deepspeed.half(self.config, gpu=self.gpu) else torch.float32
        torch.manual_seed(self.config.seed)
        base = Base(model=self._base(), revision=self.config.base.revision)
        self.config.base = base
        self.model, self.processor = llava.load(base, self.config, dtype)
        if self.t.zero.stage < 3:
            self.model.to(self.device)
        groups = llava.groups(self.model, self.config)
        self.rates = [group["lr"] for group in groups]
        self.engine = deepspeed.start(self.model, groups, made)
        self.step = checkpoint.load(self.engine, self.newest, self.rank) if self.newest else 0
        if self.newest and self.rank.index == 0:
            for name, why in self.newest.lost.items():
                _LOG.warning("checkpoint %s is damaged (%s): training resumes from step %d", name, why, self.step)

    def _base(self) -> str:
        """The base model; one that the driver built from parts is copied from the store."""
        if self.config.base.model:
            return self.config.base.model
        if self.store.local:
            return self.store.path("base")
        folder = Path(self.rank.agree(str(self.scratch / "base")))
        if self.rank.local == 0:
            self.store.fs.get(self.store.path("base") + "/", str(folder) + "/", recursive=True)
        self.rank.barrier()
        return str(folder)

    def train(self, after_step: Hook | None) -> None:
        start, begun = self.step, time.monotonic()
        batches = self._batches(start)
        spent = 0.0
        try:
            while self.step < self.plan.steps:
                clock = time.monotonic()
                row = self._learn(next(batches))
                self.step += 1
                seconds = time.monotonic() - clock
                spent += seconds
                left = (self.plan.steps - self.step) * spent / (self.step - start)
                self._record(row, seconds, left)
                last = self.step == self.plan.steps
                if last or self.step % self.t.eval_every == 0:
                    self._evaluate()
                if last or self.step % self.t.save_every == 0:
                    if self.curve:
                        self.curve.flush()
                    checkpoint.save(self.engine, self.store, self.step, keep=self.t.keep, rank=self.rank)
                if after_step:
                    after_step(self.step)
            self._finish(time.monotonic() - begun)
        finally:
            self.pool.shutdown(cancel_futures=True)
            if self.curve:
                self.curve.close()
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _batches(self, start: int) -> Iterator[list[Batch]]:
        """Micro-batches of each step from *start* on, prepared while the previous step is computed."""
        ahead: list[list[Future[Batch]]] = []
        todo = iter(range(start, self.plan.steps))
        for step in itertools.islice(todo, 1):
            ahead.append(self._prepare(step))
        while ahead:
            ahead += [self._prepare(step) for step in itertools.islice(todo, 1)]
            yield [future.result() for future in ahead.pop(0)]

    def _prepare(self, step: int) -> list[Future[Batch]]:
        mine = shares(self.plan.step(step), self.rank.index, self.rank.world, self.t.micro_batch, self.t.optim.batch)
        return [self.pool.submit(self._make, rows) for rows in mine]

    def _make(self, rows: list[int]) -> Batch:
        return self.collate([self.records[row] for row in rows])

    def _learn(self, micros: list[Batch]) -> dict[str, Any]:
        """Do one step; its metrics.

        Raises:
            Halt: the loss or gradient is not finite; the weights are not updated then.
        """
        import torch
        import torch.distributed as dist

        # dropout depends on step and worker alone, so that a resumed run draws the same
        torch.manual_seed(_mix(self.config.seed, self.step, self.rank.index))
        sums_of = [sum(getattr(b, name) for b in micros) for name in ("learned", "tokens", "images", "cut")]
        sums_of.append(sum(len(b.broken) for b in micros))
        counts = torch.tensor(sums_of, device=self.device, dtype=torch.float64)
        dist.all_reduce(counts)
        learned, tokens, images, cut, broken = (int(count) for count in counts.tolist())
        factor = rate(self.step, self.plan.steps, self.t.optim.warmup)
        for group, peak in zip(self.engine.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = peak * factor
        self.engine.train()
        # DeepSpeed averages over workers and micro-batches; this factor makes it an average over tokens
        share = self.rank.world * len(micros) / max(learned, 1)
        sums = []
        for number, batch in enumerate(micros):
            loss = self._loss(batch)
            sums.append(loss.detach())
            self.engine.backward(loss * share)
            if number == len(micros) - 1:
                total = torch.stack(sums).sum().double()
                dist.all_reduce(total)
                if not math.isfinite(total.item()):
                    self._diverged(micros, sums, "loss")
            self.engine.step()
        norm = self.engine.get_global_grad_norm()
        norm = float(norm) if norm is not None else None
        if norm is not None and not math.isfinite(norm):
            self._diverged(micros, sums, "gradient")
        if broken:
            self._note_broken(micros)
        return {
            "loss": total.item() / max(learned, 1), "lr": self.t.optim.lr * factor, "grad_norm": norm,
            "tokens": tokens, "learned": learned, "images": images, "cut": cut, "broken": broken,
        }  # fmt: skip

    def _loss(self, batch: Batch) -> Any:
        return summed_loss(self.engine, batch, self.device, next(self.model.parameters()).dtype)

    def _diverged(self, micros: list[Batch], sums: list[Any], what: str) -> None:
        mine = [n for b, s in zip(micros, sums, strict=True) if not math.isfinite(s.item()) for n in b.names]
        bad = [name for names in self.rank.gather(mine) for name in names]
        all_of_it = [name for names in self.rank.gather([n for b in micros for n in b.names]) for name in names]
        kept = [one.step for one in checkpoint.completed(self.store)[0]]
        since = f"the checkpoint of step {kept[0]} is kept" if kept else "there is no checkpoint yet"
        raise Halt(
            f"the {what} of step {self.step + 1} is not finite; rows: {', '.join(bad or all_of_it)}; {since}."
            " Check these rows, or lower train.optim.lr"
        )

    def _note_broken(self, micros: list[Batch]) -> None:
        self.broken |= {name for names in self.rank.gather([n for b in micros for n in b.broken]) for name in names}
        if len(self.broken) > _MAX_BROKEN:
            some = ", ".join(sorted(self.broken)[:5])
            said = f"{len(self.broken)} rows cannot be used, such as {some}"
            raise Halt(f"{said}: their images cannot be opened (check data.images), or the chat template refuses them")

    def _record(self, row: dict[str, Any], seconds: float, left: float) -> None:
        if self.curve is None:
            return
        if row["broken"]:
            row["broken_ids"] = sorted(self.broken)
        flops = row["tokens"] * self.flops / seconds / self.rank.world
        row |= {
            "tokens_per_second": row["tokens"] / seconds,
            "images_per_second": row["images"] / seconds,
            "mfu": flops / self.peak if self.peak else None,
            "memory_gb": tracking.memory_gb(self.gpu),
            "seconds": seconds,
            "eta_seconds": left,
        }
        rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}
        epoch = self.step / self.plan.per_epoch
        self.curve.add(
            {"step": self.step, "of": self.plan.steps, "epoch": round(epoch, 4), **rounded, "loss": row["loss"]}
        )

    def _evaluate(self) -> None:
        """Compute the loss on the held-out rows, and answers to the probe questions."""
        if self.held_out is None or self.collate_held_out is None:
            return
        import torch
        import torch.distributed as dist

        self.engine.eval()
        width = self.rank.world * self.t.micro_batch
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for at in range(0, len(self.held_out), width):
                rows = range(at, min(at + width, len(self.held_out)))[self.rank.index :: self.rank.world]
                batch = self.collate_held_out([self.held_out[row] for row in rows])
                sums += torch.tensor([self._loss(batch).item(), batch.learned], device=self.device)
            dist.all_reduce(sums)
            answers = self._answers()
        self.engine.train()
        if self.curve:
            self.curve.add({"step": self.step, "eval_loss": sums[0].item() / max(sums[1].item(), 1.0)})
            self.curve.add_samples([{"step": self.step, **answer} for answer in answers])

    def _answers(self) -> list[dict[str, str]]:
        """Answers to the probe questions; the workers share them out where each can hold all weights."""
        assert self.held_out is not None
        count = min(self.config.data.probe, len(self.held_out))
        if not count:
            return []
        with deepspeed.whole(self.engine, self.t.zero.stage) as held:
            mine = range(self.rank.index, count, self.rank.world) if held else range(count)
            answers = {row: self._answer(self.held_out[row], apart=held) for row in mine}
        for others in self.rank.gather(answers):
            answers |= others
        return [answers[row] for row in range(count)]

    def _answer(self, record: dict[str, Any], *, apart: bool) -> dict[str, str]:
        """The model's answer to a record's first question; unless workers answer *apart*, all must call it together."""
        import torch

        assert self.collate_held_out is not None
        asked = self.collate_held_out.question(record)
        made = self.engine.module.generate(
            input_ids=asked.ids.to(self.device),
            pixel_values=asked.pixels.to(self.device, next(self.model.parameters()).dtype) if asked.images else None,
            attention_mask=torch.ones_like(asked.ids).to(self.device),
            max_new_tokens=_MAX_ANSWER,
            do_sample=False,
            synced_gpus=self.rank.world > 1 and not apart,
        )
        text = self.processor.tokenizer.decode(made[0, asked.ids.shape[1] :], skip_special_tokens=True).strip()
        first, wanted = record["conversations"][:2]
        return {"id": record["id"], "question": first["value"], "answer": text, "wanted": wanted["value"]}

    def _finish(self, seconds: float) -> None:
        """Save the whole model."""
        weights = deepspeed.gathered(self.engine, self.t.zero.stage, learned_only=self.t.lora.r > 0)
        if self.rank.index == 0:
            new = Path(self.store.path(f".{MODEL}.new")) if self.store.local else self.scratch / MODEL
            shutil.rmtree(new, ignore_errors=True)
            llava.save(self.model, self.processor, weights, self.config, new)
            if self.store.local:
                old = Path(self.store.path(MODEL))
                shutil.rmtree(old, ignore_errors=True)
                new.rename(old)
            else:
                self.store.fs.put(f"{new}/", self.store.path(MODEL) + "/", recursive=True)
            facts = {"steps": self.step, "workers": self.rank.world, "seconds": round(seconds, 1)}
            self.store.write(json.dumps(facts, indent=1).encode(), DONE)
        self.rank.barrier()


def _mix(seed: int, step: int, rank: int) -> int:
    return random.Random(f"{seed}/{step}/{rank}").getrandbits(31)
