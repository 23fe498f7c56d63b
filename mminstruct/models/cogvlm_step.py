"""CogVLM's decoding with a cache of fixed size, and by a CUDA graph where there is a GPU.

Without a graph the GPU waits for Python. An H200 took 70 ms a token for 32 rows of CogVLM, and takes 12 with one;
reading the weights and the cache needs 8.5. Nothing is captured on a CPU.
"""

from __future__ import annotations

from typing import Any

from mminstruct.models.cogvlm_net import Cache, Net


class Step:
    """Decodes token after token in tensors of fixed shape and address, so that a CUDA graph can repeat it.

    Args:
        net: The network.
        cache: Filled by ``Net.begin``, with room for every token to come.
        real_BT: Mask of the prompts' tokens, from ``begin``.
        next_B1: Rotary position of the next token, from ``begin``.
        graph: Capture a step as a CUDA graph, and repeat that.
    """

    def __init__(self, net: Net, cache: Cache, real_BT: Any, next_B1: Any, *, graph: bool = False) -> None:
        import torch

        self._net, self._cache = net, cache
        rows, device = len(next_B1), next_B1.device
        self._mask = torch.zeros(rows, 1, 1, cache.room, dtype=torch.bool, device=device)
        self._mask[:, 0, 0, : cache.end] = True if real_BT is None else real_BT
        self._next, self._token = next_B1.clone(), torch.zeros_like(next_B1)
        self._place = cache.place_1 = torch.tensor([cache.end], device=device)
        self._graph = self._captured() if graph else None

    def __call__(self, token_B1: Any) -> Any:
        """Logits ``(B, vocabulary)`` after *token_B1*; with a graph, the next call overwrites them."""
        self._token.copy_(token_B1)
        if self._graph is None:
            return self._run()
        self._graph.replay()
        return self._logits

    def _run(self) -> Any:
        self._mask.index_fill_(3, self._place, True)
        logits_BV = self._net.logits(self._net.embed(self._token), self._next, self._cache, mask=self._mask)
        self._place.add_(1)
        self._next.add_(1)
        return logits_BV

    def _captured(self) -> Any:
        import torch

        state = (self._mask, self._next, self._place)
        before = [tensor.clone() for tensor in state]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._run()  # libraries allocate their buffers in a first call, which a capture must not
        torch.cuda.current_stream().wait_stream(side)
        for tensor, old in zip(state, before, strict=True):
            tensor.copy_(old)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may allocate meanwhile
            self._logits = self._run()
        return graph
