"""Language and vision-language models by vLLM in this process: one engine with one continuous batch for all callers.

One thread owns the engine and takes new requests from a queue between two steps, so concurrent units share a batch and
none waits for the slowest row of another. This works with the engine core in this process (CPU) and in its own process
(GPU). Callers tokenise and prepare images in their own threads.

Batch composition depends on timing, and float arithmetic depends on batch composition. With a seed per row, replies are
therefore nearly always the same, but this is not guaranteed. On a GPU, ``VLLM_BATCH_INVARIANT=1`` guarantees it for the
models that vLLM supports there.

Use it only in a process that does nothing else: on CPU, vLLM binds the threads and memory of the whole process.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from mminstruct.models.model import Model, Reply, Sampling
from mminstruct.models.transcript import Transcripts, count_usage, error_reply, picture, source
from mminstruct.prompts import Message
from mminstruct.stage import WorkerFault
from mminstruct.unit import UNIT, Unit, asked


class EngineDead(WorkerFault):
    """vLLM's engine died and cannot be restarted in this process; the worker must be replaced."""


log = logging.getLogger(__name__)

_OWN_OPTIONS = ("chat_template", "threads")
"""Options that are not passed to vLLM's engine: the first is handled here, the second is for other backends."""


_COMPLETE = ("stop", "length")
"""Finish reasons of a reply; others are abort, error, and reasons of later versions."""


@dataclass(slots=True, eq=False)
class _Request:
    prompt: Any
    params: Any
    answer: Future[Any] = field(default_factory=Future)
    unit: Unit | None = field(default_factory=UNIT.get)

    def end(self, output: Any) -> None:
        """Give the caller *output*, or why there is none; its unit counts it before the caller goes on."""
        if self.unit is not None:
            self.unit.count(1, *_tokens(output))
        self.answer.set_result(output)


class Chatter:
    """``Chat`` by a vLLM engine.

    Options are vLLM's engine arguments (``max_model_len``, ``tensor_parallel_size``, ``quantization``,
    ``gpu_memory_utilization``, ``max_num_seqs``, ``enforce_eager``...), and ``chat_template`` (text or path).
    Our defaults: safetensors only, no remote code, no image cache (each image comes once), one image per prompt; 1024
    sequences on a GPU, 32 on CPU; on CPU float32, eager, the engine core in this process, 1 GiB of KV cache
    (``VLLM_CPU_KVCACHE_SPACE``).
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._inbox: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._dead: BaseException | None = None
        self._closed = False
        self._preparing = threading.Lock()
        ready: Future[Any] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name=f"vllm {model.name}", daemon=True)
        self._thread.start()
        began = time.monotonic()
        engine = ready.result()
        log.info("the vLLM engine of %s is up after %.1f s", model.name, time.monotonic() - began)
        self._engine = engine
        self._sees = bool(engine.model_config.is_multimodal_model)
        images = int(model.options.get("limit_mm_per_prompt", {}).get("image", 1))
        self._transcripts = Transcripts(
            engine.get_tokenizer(), template=self._template(), parts=self._sees, images=images
        )
        # limits prepared, unanswered requests: enough to keep the engine busy, few enough to bound memory
        self._slots = threading.BoundedSemaphore(2 * engine.vllm_config.scheduler_config.max_num_seqs)
        atexit.register(self.close)

    def chat(
        self,
        messages: list[list[Message]],
        *,
        seeds: list[int],
        schema: dict[str, Any] | None = None,
        sampling: Sampling | None = None,
    ) -> list[Reply]:
        """See ``Chat``.

        Raises:
            EngineDead: if the engine is dead.
        """
        from vllm.exceptions import VLLMClientError

        asked(len(messages))
        drawn = sampling or self._model.sampling
        waiting: list[Reply | Future[Any]] = []
        for transcript, seed in zip(messages, seeds, strict=True):
            self._slots.acquire()
            try:
                request = _Request(self._prepare(transcript), self._params(seed, schema, drawn))
            except (ValueError, VLLMClientError) as error:  # our own, or for a prompt longer than the context
                self._slots.release()
                waiting += count_usage([error_reply(error)])
                continue
            except BaseException:
                self._slots.release()
                raise
            request.answer.add_done_callback(lambda _: self._slots.release())
            self._inbox.put(request)
            waiting.append(request.answer)
            if self._dead is not None:
                self._fail_inbox()
        return [item if isinstance(item, Reply) else self._reply(item.result()) for item in waiting]

    def close(self) -> None:
        """End the engine; requests in flight fail. Safe to call twice."""
        if not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self._inbox.put(None)
            self._thread.join(timeout=60)

    def _template(self) -> str | None:
        template = self._model.options.get("chat_template")
        if template is None and self._sees:
            import transformers

            template = transformers.AutoProcessor.from_pretrained(**source(self._model)).chat_template
        return template

    def _prepare(self, transcript: list[Message]) -> Any:
        """The engine's input, token ids and pixels, made in the caller's thread."""
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        text, images = self._transcripts.read(transcript)
        if images:
            prompt: dict[str, Any] = {"prompt": text, "multi_modal_data": {"image": [picture(data) for data in images]}}
        else:
            prompt = {"prompt": text}
        renderer = self._engine.renderer
        with self._preparing:
            parsed = parse_model_prompt(self._engine.model_config, prompt)
            # the template has written the bos token
            settings = renderer.default_cmpl_tok_params.with_kwargs(add_special_tokens=False)
            (made,) = renderer.render_cmpl([parsed], settings)
        return made

    def _params(self, seed: int, schema: dict[str, Any] | None, drawn: Sampling) -> Any:
        from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

        return SamplingParams(
            temperature=drawn.temperature,
            top_p=drawn.top_p,
            max_tokens=drawn.max_tokens,
            seed=seed,
            structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
            output_kind=RequestOutputKind.FINAL_ONLY,
            detokenize=False,  # vLLM omits an incomplete last character; all backends detokenise alike
        )

    def _reply(self, output: Any) -> Reply:
        if isinstance(output, Exception):
            return error_reply(output)
        made, (tokens_in, tokens_out) = output.outputs[0], _tokens(output)
        if made.finish_reason not in _COMPLETE:
            return Reply("", "error", tokens_in, error=f"vLLM ended the request: {made.finish_reason}")
        return Reply(self._transcripts.text(made.token_ids), made.finish_reason, tokens_in, tokens_out)

    def _run(self, ready: Future[Any]) -> None:
        """The engine's thread; it does all work of the engine except preparing prompts."""
        try:
            engine = _engine(self._model)
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(engine)
        running: dict[str, _Request] = {}
        numbers = itertools.count()
        try:
            while self._take(engine, running, numbers):
                for output in engine.step() if running else ():
                    if output.finished and (request := running.pop(_own(output.request_id), None)):
                        request.end(output)
        except BaseException as error:
            self._dead = error
        else:
            self._dead = RuntimeError("the engine was closed")
        for request in running.values():
            request.answer.set_exception(self._death())
        self._fail_inbox()
        engine.engine_core.shutdown()

    def _take(self, engine: Any, running: dict[str, _Request], numbers: itertools.count[int]) -> bool:
        """Add new requests to the engine, and wait for one while it is idle; returns False to end."""
        from vllm.exceptions import VLLMServerError

        while True:
            try:
                request = self._inbox.get(block=not running)
            except queue.Empty:
                return True
            if request is None:
                return False
            name = str(next(numbers))
            try:
                engine.add_request(name, request.prompt, request.params)
            except VLLMServerError:
                running[name] = request
                raise
            except Exception as error:  # concerns this row only, such as a schema without a grammar
                request.end(error)
            else:
                running[name] = request

    def _fail_inbox(self) -> None:
        """Fail all requests in the inbox of a dead engine."""
        while True:
            try:
                request = self._inbox.get(block=False)
            except queue.Empty:
                return
            if request is not None:
                request.answer.set_exception(self._death())

    def _death(self) -> EngineDead:
        return EngineDead(f"the vLLM engine of {self._model.name} died: {type(self._dead).__name__}: {self._dead}")


def _tokens(output: Any) -> tuple[int, int]:
    """Tokens in and out of one request's output; none of an error."""
    if isinstance(output, Exception):
        return 0, 0
    made = output.outputs[0]
    return len(output.prompt_token_ids or ()), len(made.token_ids) if made.finish_reason in _COMPLETE else 0


def _own(request_id: str) -> str:
    """Our number in a request id, to which vLLM may append random digits."""
    return request_id.partition("-")[0]


def _cores(ranks: int) -> str:
    """This process's cores, divided among ranks: ``0,1|2,3`` for two."""
    cores = sorted(os.sched_getaffinity(0))
    return "|".join(",".join(map(str, cores[rank::ranks] or cores)) for rank in range(ranks))


def _engine(model: Model) -> Any:
    """Start vLLM with our defaults, overridden by the model's options."""
    import torch

    # across nodes the ranks are separate Ray workers, and this process may have no GPU
    gpu = torch.cuda.is_available() or model.options.get("distributed_executor_backend") == "ray"
    ranks = int(model.options.get("tensor_parallel_size", 1))
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if not gpu:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        if ranks > 1:  # vLLM would use one memory node per rank, and most machines have only one
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", _cores(ranks))
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine

    where = source(model)
    settings: dict[str, Any] = {
        "model": where["pretrained_model_name_or_path"],
        "revision": where["revision"],
        "trust_remote_code": where["trust_remote_code"],
        "load_format": "safetensors",
        "max_num_seqs": 1024 if gpu else 32,
        "enforce_eager": not gpu,
        "enable_prefix_caching": True,
        "mm_processor_cache_gb": 0,
        "limit_mm_per_prompt": {"image": 1},
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        "disable_log_stats": True,
        "seed": 0,
    }
    if not gpu:
        settings["dtype"] = "float32"
    settings |= {name: value for name, value in model.options.items() if name not in _OWN_OPTIONS}
    if ranks > 1:
        settings.setdefault("distributed_executor_backend", "mp")  # inside Ray, vLLM would choose Ray by itself
    # as LLM() does; otherwise vLLM uses the small batches of a server (2048 tokens per step)
    return LLMEngine.from_engine_args(EngineArgs(**settings), usage_context=UsageContext.LLM_CLASS)
