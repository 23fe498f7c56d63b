"""Counts the requests that a build sends to an object store, by kind, for each unit.

    python -m benchmarks.object_store [--parts 10] [--engines local ray]

A run of five stages that do nothing is built on moto's S3 server, on loopback, and the same command is given again. The
server counts, so requests of every process are in. Ray has two workers, and all stages in one actor.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
from collections import Counter

from benchmarks.engine import chain
from mminstruct.engine.config import EngineConfig, Pool
from mminstruct.engine.data import Ray, connect
from mminstruct.engine.local import Local
from mminstruct.run import Engine, Run, claim, execute
from mminstruct.store.tables import Store

SHARDS = 2
_SAID = re.compile(r'"(?:\x1b\[[\d;]*m)*(\w+) (\S+) HTTP')  # the server colours some lines


class Counted(logging.Handler):
    """Counts the lines that the server logs, one for each request."""

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        if (said := _SAID.search(record.getMessage())) is not None:
            listing = said[1] == "GET" and "list-type" in said[2]
            self.of["LIST" if listing else said[1]] += 1


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--parts", type=int, default=10, help="number of parts of each of two shards")
    asked.add_argument("--engines", nargs="+", default=["local", "ray"], choices=("local", "ray"))
    given = asked.parse_args()
    from moto.server import ThreadedMotoServer

    counted, log = Counted(), logging.getLogger("werkzeug")
    log.setLevel(logging.INFO)
    log.handlers, log.propagate = [counted], False
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": f"http://{host}:{port}"}}
    os.environ["FSSPEC_S3"] = json.dumps(options)  # for the workers
    import fsspec

    fsspec.config.conf["s3"] = options
    fsspec.filesystem("s3").mkdir("runs")
    units = SHARDS + 4 * SHARDS * given.parts
    for kind in given.engines:
        url = f"s3://runs/{kind}"
        if kind == "ray":
            connect(EngineConfig())
        for what in ("first build", "again"):
            counted.of.clear()
            run = Run(url=url, recipe=chain(SHARDS, given.parts, rows=8))
            engine: Engine = (
                Local() if kind == "local" else Ray(EngineConfig(fused=True, pool=Pool(workers=2, cpus=0.5)))
            )
            claim(run)
            execute(run, engine)
            found = counted.of.copy()
            done = sum(len(Store(url).table(name).receipts()) for name in run.stages)
            assert done == units, f"{done} of {units} units"
            each = ", ".join(f"{name} {count / units:.2f}" for name, count in sorted(found.items()))
            print(
                f"{kind:<6} {what:<12} {units} units: {found.total() / units:.2f} requests a unit ({each})", flush=True
            )
    server.stop()


if __name__ == "__main__":
    main()
