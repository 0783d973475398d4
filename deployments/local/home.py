"""The data directory of one local stack: its ports, its secrets, its settings. Everything the stack keeps is below it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import child, ports
from .trouble import Trouble

# The repository: where stack.yml, functions/ and gateway/ are.
ROOT = Path(__file__).resolve().parents[2]

# A server whose variable is set when the stack comes up is somebody else's: it is used, and ours is not started.
EXTERNAL = {
    "postgres": ("DATABASE_URL",),
    "valkey": ("REDIS_URL",),
    "seaweed": ("S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY"),
}
ALSO = {"seaweed": ("S3_PUBLIC_ENDPOINT", "S3_REGION", "S3_MEDIA_BUCKET", "S3_OUTPUTS_BUCKET")}

ROOMS = {"secrets": 0o700, "valkey": 0o700, "objects": 0o700, "work": 0o700, "logs": 0o700, "run": 0o700}


class Home:
    """One data directory. Making this value writes nothing; `prepare` does."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().resolve()

    def prepare(self, port: int | None = None, *, well_known: bool = True) -> None:
        """Make the directory with its rooms and its ports; `port` moves the gateway. Idempotent.

        Raises `Trouble` when it cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for room, mode in ROOMS.items():
                (self.path / room).mkdir(mode=mode, exist_ok=True)
                (self.path / room).chmod(mode)
            config = self._config()
            chosen = config.get("ports")
            if not chosen or (not ports.keep(self.path, chosen) and config.get("home") != str(self.path)):
                # New, or a copy of a data directory that is still there: it keeps its ports, we get others.
                chosen = ports.choose(self.path, well_known=well_known)
            wanted = {**chosen, "gateway": port} if port else chosen
            if config.get("home") != str(self.path) or wanted != config.get("ports"):
                ports.save(self.path / "config.json", wanted, self.path)
        except OSError as exc:
            raise Trouble(f"The data directory {self.path} cannot be used ({exc.strerror}): choose another one with --data DIR.") from exc
        self.forget()

    def forget(self) -> None:
        """Read the ports anew: a start may have moved them."""
        self.__dict__.pop("ports", None)

    @functools.cached_property
    def ports(self) -> Mapping[str, int]:
        """Where everything listens. Raises `Trouble` for a directory that was never prepared."""
        chosen = self._config().get("ports")
        if not chosen:
            raise Trouble(f"{self.path} is not the data directory of a stack yet: `nve up` makes it one.")
        return chosen

    def _config(self) -> dict[str, Any]:
        try:
            config = json.loads((self.path / "config.json").read_text())
            return config if isinstance(config, dict) and set(ports.PLACES) <= set(config.get("ports", {})) else {}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as exc:
            raise Trouble(f"{self.path / 'config.json'} cannot be read: remove it, and new ports will be chosen.") from exc

    # secrets

    def secret(self, name: str) -> str:
        """A secret of this stack, made on its first use, in a file only its user may read."""
        return self.secret_from(name, lambda: secrets.token_hex(32 if name.startswith("weed") else 20))

    def secret_from(self, name: str, make: Callable[[], str]) -> str:
        """The same, made by `make` on its first use."""
        path = self.path / "secrets" / name
        with contextlib.suppress(FileNotFoundError):
            return path.read_text().strip()
        new = path.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}")  # threads of one start may want it at once
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(make() + "\n")
        with contextlib.suppress(FileExistsError):  # a rival was faster: its value is the one
            os.link(new, path)
        new.unlink()
        return path.read_text().strip()

    @property
    def key(self) -> str | None:
        """The user's own `nve_…` key; None before the first start."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / "secrets/key").read_text().strip()
        return None

    # settings

    @property
    def url(self) -> str:
        return f"http://{ports.BIND}:{self.ports['gateway']}"

    def external(self) -> dict[str, str]:
        """The settings of servers that are not ours, as they were given at the last start."""
        try:
            return json.loads((self.path / "secrets/external.json").read_text())
        except (OSError, ValueError):
            return {}

    def take_external(self, given: Mapping[str, str]) -> None:
        """Remember which servers the environment gives us. Raises `Trouble` for half of one."""
        kept: dict[str, str] = {}
        for server, needed in EXTERNAL.items():
            if not given.get(needed[0]):
                continue
            missing = [name for name in needed if not given.get(name)]
            if missing:
                raise Trouble(f"{needed[0]} is set but {' and '.join(missing)} is not: set all of {', '.join(needed)}, or none.")
            kept |= {name: given[name] for name in (*needed, *ALSO.get(server, ())) if given.get(name)}
        child.replace(self.path / "secrets/external.json", json.dumps(kept))

    def is_external(self, server: str) -> bool:
        return EXTERNAL[server][0] in self.external()

    def environment(self) -> dict[str, str]:
        """Every setting that the functions and the gateway need to find their servers."""
        at = self.ports
        return {
            "DATABASE_URL": f"postgresql://nve:{quote(self.secret('postgres'))}@{ports.BIND}:{at['postgres']}/nve",
            "REDIS_URL": f"redis://:{quote(self.secret('valkey'))}@{ports.BIND}:{at['valkey']}/0",
            "S3_ENDPOINT": f"http://{ports.BIND}:{at['s3']}",
            "S3_ACCESS_KEY": self.secret("s3-access"),
            "S3_SECRET_KEY": self.secret("s3-secret"),
            "S3_REGION": "us-east-1",
            "S3_MEDIA_BUCKET": "media",
            "S3_OUTPUTS_BUCKET": "outputs",
            "GATEWAY_URL": self.url,
            "WORKSPACE_DIR": str(self.path / "work"),
            **self.external(),
        }
