"""The gateway's own settings. Variables are read like every other (see native.settings); each limit has its unit in its name."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from native import settings

KIB, MIB = settings.KIB, settings.MIB


def _most_replicas() -> int:
    # An encode keeps about one core busy; even one core runs two, so that a short call passes a long one.
    return max(2, os.cpu_count() or 1)


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)

    # where it listens, and what it serves
    bind: str = "127.0.0.1"
    gateway_port: int = Field(default=8080, ge=0, le=65535)
    gateway_metrics_port: int = Field(default=8082, ge=0, le=65535)
    stack_file: Path = Path("stack.yml")
    logs_dir: Path = Path("logs")
    redis_url: SecretStr = Field(description="where the async route keeps its messages")
    gateway_password: SecretStr | None = Field(default=None, description="Basic auth of /system/*, user admin; unset: always 401")
    gateway_cors_origins: str = Field(default="", description="origins whose pages may call, separated by commas")

    # what one call may be
    gateway_max_body_bytes: int = MIB
    gateway_max_async_body_bytes: int = 256 * KIB
    gateway_body_seconds: float = 30.0
    gateway_busy_seconds: float = 5.0

    # functions' processes
    gateway_max_replicas: int = Field(default_factory=_most_replicas, description="of one function, whatever its scale.max says")
    gateway_start_seconds: float = 20.0
    gateway_kill_seconds: float = Field(default=10.0, gt=0, description="between SIGTERM and SIGKILL of a function")
    gateway_settle_seconds: float = Field(default=2.0, gt=0, description="for what is left to settle once the functions have stopped")
    gateway_log_bytes: int = 10 * MIB

    # the queue
    queue_prefix: str = "nve"
    queue_max_messages: int = Field(default=10_000, description="waiting for one function")
    queue_max_deliveries: int = 10
    queue_beat_seconds: float = 5.0
    queue_idle_seconds: float = Field(default=30.0, description="a message without a beat for so long is taken over")
    queue_backoff_seconds: float = 0.5
    queue_max_backoff_seconds: float = 30.0

    # callbacks
    gateway_callback_private: bool = False
    gateway_callback_seconds: float = 10.0

    # websockets
    ws_max_subscriptions: int = 32
    ws_beat_seconds: float = 15.0

    @property
    def stop_seconds(self) -> float:
        """The longest that the gateway takes to stop; whoever kills it should wait a little longer."""
        return self.gateway_kill_seconds + self.gateway_settle_seconds

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(origin.strip() for origin in self.gateway_cors_origins.split(",") if origin.strip())


def load() -> Settings:
    """The gateway's settings. Raises `settings.Unset` with one sentence per wrong variable."""
    return settings.read(Settings, "gateway settings")
