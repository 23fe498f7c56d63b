"""Compares greedy replies of one model to the same prompts through four backends, word for word.

    python -m benchmarks.agreement [--prompts 200] [--model micro:llm]

The backends: transformers in this process, vLLM in a separate process, vLLM's server over HTTP, and ``mminstruct
serve`` over HTTP.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from mminstruct.models.model import Model, Reply
from mminstruct.prompts import Message

OUT = 48


def prompts(count: int) -> list[list[Message]]:
    colours, things = ("red", "blue", "green", "grey", "pink"), ("robot", "tree", "lamp", "boat", "cat", "car", "bird")
    verbs, places = ("waves", "sleeps", "jumps", "glows"), ("on a beach", "in a kitchen", "at a harbour", "in the snow")
    tasks = ("Describe the scene.", "Write a title for it.", "How many things are there?", "Tell a short story.")
    rows: list[list[Message]] = []
    for i in range(count):
        one = f"A {colours[i % 5]} {things[i % 7]} {verbs[i % 4]} {places[(i // 4) % 4]}."
        two = f"Beside it stand {2 + i % 3} {colours[(i + 2) % 5]} {things[(i + 3) % 7]}s."
        rows.append([{"role": "user", "content": f"Instruction: {tasks[i % 4]}\nDescription: {one} {two}"}])
    return rows


def chat(model: Model, count: int) -> list[Reply]:
    rows = prompts(count)
    return model.chat().chat(rows, seeds=[0] * len(rows))


def in_process(name: str, count: int) -> list[Reply]:
    words = [sys.executable, "-m", "benchmarks.agreement", "--prompts", str(count), "--model", name, "--vllm"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return [Reply(**facts) for facts in json.loads(done.stdout.splitlines()[-1])]


def vllm(name: str) -> Model:
    options = {"max_model_len": 512, "max_num_seqs": 32}
    return Model(name=name, backend="vllm", max_tokens=OUT, options=options)


def over_http(name: str, url: str, count: int) -> list[Reply]:
    replies = chat(Model(name=name, backend="openai", url=url, max_tokens=OUT), count)
    return [dataclasses.replace(reply, text=reply.text.strip()) for reply in replies]  # as the in-process engines do


@contextmanager
def server(words: list[str], port: int) -> Iterator[float]:
    """Start a server in a separate process and wait until it answers; yields the seconds that took."""
    with tempfile.TemporaryFile() as log:
        environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
        began = time.monotonic()
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).read()
                    break
                except OSError:
                    if process.poll() is not None:
                        log.seek(0)
                        raise RuntimeError(log.read()[-3000:].decode("utf-8", "replace")) from None
                    time.sleep(0.5)
            yield time.monotonic() - began
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--model", default="micro:llm", help="an embedded model or a local folder")
    parser.add_argument("--vllm", action="store_true", help="only vLLM in this process, as JSON")
    args = parser.parse_args()
    count, name = args.prompts, args.model
    if args.vllm:
        print(json.dumps([dataclasses.asdict(reply) for reply in chat(vllm(name), count)]))
        return
    first = chat(Model(name=name, max_tokens=OUT, options={"threads": 1}), count)
    print(f"transformers: {len({reply.text for reply in first})} different replies to {count} prompts", flush=True)

    def compare(road: str, replies: list[Reply], more: str = "") -> None:
        same = sum(a == b for a, b in zip(first, replies, strict=True))
        print(f"{road:32}{same} of {count} equal, tokens and reason to finish included{more}", flush=True)
        for a, b in [(a, b) for a, b in zip(first, replies, strict=True) if a != b][:3]:
            print(f"    {a}\n    {b}")

    compare("vLLM in process", in_process(name, count))
    folder, at = vllm(name).location(), port()
    # the module that `vllm serve` runs; the command itself requires a package named vllm, so vllm-cpu is not enough
    words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder]
    words += ["--host", "127.0.0.1", "--port", str(at)]
    words += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "32"]
    words += ["--served-model-name", name, "--generation-config", "vllm"]
    with server(words, at) as seconds:
        compare("vLLM's own server", over_http(name, f"http://127.0.0.1:{at}/v1", count), f"; up in {seconds:.0f} s")
    at = port()
    words = [sys.executable, "-m", "mminstruct.cli", "serve", f"port={at}", f"models.answerer.name={name}"]
    words += ["models.answerer.backend=vllm"]
    words += [f"+models.answerer.options.{option}={value}" for option, value in vllm(name).options.items()]
    with server(words, at) as seconds:
        compare("mminstruct serve", over_http(name, f"http://127.0.0.1:{at}/v1", count), f"; up in {seconds:.0f} s")


if __name__ == "__main__":
    main()
