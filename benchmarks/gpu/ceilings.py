"""The device's limits: products, memory, transfers. Other sections compare themselves with these."""

from __future__ import annotations

import os

from benchmarks.gpu.section import Section


def measure(section: Section) -> None:
    import torch

    if section.cuda:
        free, whole = torch.cuda.mem_get_info()
        section.add("device", torch.cuda.get_device_name(), note=f"{free / 2**30:.0f} of {whole / 2**30:.0f} GiB free")
    section.add("cores", len(os.sched_getaffinity(0)))
    side = 256 if section.smoke else 8192
    for name, dtype, tf32 in (
        ("bf16", torch.bfloat16, False), ("tf32", torch.float32, True), ("fp32", torch.float32, False)
    ):  # fmt: skip
        with section.part(name):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            a, b = (torch.randn(side, side, device=section.device, dtype=dtype) for _ in range(2))
            seconds = section.seconds_of(lambda a=a, b=b: a @ b, 10)  # type: ignore[misc]
            section.add(name, 2 * side**3 / seconds / 1e12, "TFLOP/s")
    with section.part("memory"):
        some = torch.empty(2**20 if section.smoke else 2**30, device=section.device)
        other = torch.empty_like(some)
        section.add("memory", 2 * some.nbytes / section.seconds_of(lambda: other.copy_(some)) / 1e12, "TB/s")
    with section.part("host to device"):
        host = torch.ones(2**18 if section.smoke else 2**27)
        there = torch.empty_like(host, device=section.device)
        pageable = host.nbytes / section.seconds_of(lambda: there.copy_(host)) / 1e9
        pinned = host.pin_memory() if section.cuda else host
        seconds = section.seconds_of(lambda: there.copy_(pinned))
        section.add("host to device", host.nbytes / seconds / 1e9, "GB/s", before=pageable, note="before: not pinned")
