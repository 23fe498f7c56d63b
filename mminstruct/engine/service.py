"""Configuration of ``mminstruct serve``."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field

from mminstruct.engine.config import Pool


@dataclass(kw_only=True)
class Service:
    """How a model is served."""

    name: str | None = None
    """The model's name for clients; None takes the model's own name."""
    host: str = "127.0.0.1"
    """Address to listen on; one that other machines can reach needs token_env."""
    port: int = 8000
    token_env: str | None = None
    """NAME of the environment variable with the token that clients must send (``Authorization: Bearer ...``)."""
    requests: int = 256
    """Concurrent requests of each replica; as many again wait, further ones are refused with 429."""
    batch: int = 32
    """Requests in one batch at most, for backends without continuous batching."""
    address: str | None = None
    """Of a running Ray cluster; None joins the one that RAY_ADDRESS names, or starts one here."""
    pool: Pool = field(default_factory=Pool)
    """The replicas; ``in_flight`` is not used."""

    def check(self) -> None:
        """Raise ValueError if this cannot work, or other machines could use the endpoint without a token."""
        if self.requests < 1 or self.batch < 1 or self.pool.workers < 1:
            raise ValueError("requests, batch and pool.workers must be 1 or more")
        if self.token_env is not None and not token(self.token_env):
            raise ValueError(f"token_env: the environment variable {self.token_env} is not set")
        if self.token_env is None and not _local(self.host):
            raise ValueError(
                f"host={self.host} can be reached from other machines: set token_env to the name of a variable that"
                " holds a token, or use host=127.0.0.1 and an SSH tunnel"
            )


def token(name: str) -> str:
    """The value of the environment variable *name*; empty if it is not set."""
    return os.environ.get(name, "").strip()


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
