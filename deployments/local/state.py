"""What the supervisor tells others about the stack: one small file, replaced whole."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

from . import child
from .home import Home

Status = Literal["waiting", "starting", "ready", "restarting", "stopping", "stopped", "external"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Component:
    """One process of the stack as it stands."""

    name: str
    status: Status
    pid: int | None = None
    port: int | None = None
    #: when its process started, in seconds since 1970
    since: float | None = None
    #: how often it died and was started again
    restarts: int = 0
    #: why it died the last time, in one sentence
    reason: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """The whole stack as it stands."""

    status: Status
    supervisor: child.Identity
    url: str
    #: it ends when nobody borrows it any more
    transient: bool
    components: tuple[Component, ...]

    def save(self, home: Home) -> None:
        child.replace(_path(home), json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def load(cls, home: Home) -> State | None:
        """The state of a stack that runs; None when its supervisor is gone."""
        try:
            raw = json.loads(_path(home).read_text())
            state = cls(
                **raw
                | {
                    "supervisor": child.Identity(**raw["supervisor"]),
                    "components": tuple(Component(**component) for component in raw["components"]),
                }
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return state if state.supervisor.alive() else None


def _path(home: Home) -> Path:
    return home.path / "run/state.json"
