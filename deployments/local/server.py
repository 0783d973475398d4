"""What all servers of the stack have in common: start, ready, stop, and why one died."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from . import child
from .home import Home
from .trouble import Trouble


class Server:
    """One process of the stack. `start` from the main thread; `ready` and `stop` from any."""

    name: ClassVar[str]
    ports: ClassVar[tuple[str, ...]]
    # What asks it to stop, and how long that may take before it is killed. All of them are safe to kill.
    polite: ClassVar[signal.Signals] = signal.SIGTERM
    patience_seconds: ClassVar[float] = 3.0
    # What in its log says why it died.
    reason: ClassVar[re.Pattern[str]] = re.compile(r"(?i)fatal|panic|error")

    def __init__(self, home: Home) -> None:
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    # what each one says for itself

    def prepare(self) -> None:
        """What must exist before it starts. Idempotent. Raises `Trouble`."""

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def user(self) -> tuple[int, int] | None:
        """The uid and gid to run as, when not ours."""
        return None

    def answers(self) -> bool:
        """Whether it does its work now: one real request, not longer than about a second."""
        raise NotImplementedError

    def swept(self) -> None:
        """Remove what it leaves outside of the data directory."""

    # the same for all

    @property
    def log(self) -> Path:
        return self.home.path / "logs" / f"{self.name}.log"

    @property
    def directory(self) -> Path:
        """Where it runs."""
        return self.home.path

    @property
    def record(self) -> Path:
        return self.home.path / "run" / f"{self.name}.json"

    def start(self) -> None:
        """Spawn it. Raises `Trouble` when that is impossible; whether it lives is for `ready` to say."""
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        self.prepare()
        env = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")}
        command = self.command()
        try:
            self.process = child.spawn(
                command,
                log=self.log,
                env={**env, child.MARK: str(self.home.path), **self.environment()},
                cwd=self.directory,
                death_signal=self.polite,
                user=self.user(),
            )
        except OSError as exc:
            raise Trouble(f"{self.name} cannot be started ({command[0]}: {exc.strerror}): remove .venv to set up again.") from exc
        identity = child.Identity.of(self.process.pid)
        if identity:
            identity.save(self.record)

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ready(self, seconds: float = 30.0) -> None:
        """Wait until it answers. Raises `Trouble` when it dies first, or takes longer."""
        deadline = time.monotonic() + seconds
        while not self.answers():
            if not self.running():
                raise Trouble(self.obituary())
            if time.monotonic() > deadline:
                raise Trouble(f"{self.name} did not answer within {seconds:.0f} s: see {self.log}.")
            time.sleep(0.03)

    def stop(self, seconds: float | None = None) -> None:
        """Stop it in its own polite way, and kill it when that takes too long. Idempotent."""
        if self.process is not None:
            child.finish(self.process, self.polite, self.patience_seconds if seconds is None else seconds)
        self.record.unlink(missing_ok=True)
        self.swept()

    def end_leftover(self) -> None:
        """End what a killed supervisor left behind, when its record proves that it is the very same process."""
        identity = child.Identity.load(self.record)
        if identity is not None:
            identity.signal(self.polite)
            if not identity.wait(self.patience_seconds):
                identity.signal(signal.SIGKILL)
                identity.wait(self.patience_seconds)
        self.record.unlink(missing_ok=True)
        self.swept()

    def obituary(self) -> str:
        """Why it died: its own last words, in one sentence."""
        code = self.process.returncode if self.process else None
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with code {code}"
        return f"{self.name} {how}: {self.last_words() or 'it said nothing'} (the whole log: {self.log})."

    def last_words(self) -> str:
        try:
            with self.log.open("rb") as file:
                file.seek(self._log_from)
                lines = file.read()[-65536:].decode(errors="replace").splitlines()
        except OSError:
            return ""
        telling = [line.strip() for line in lines if self.reason.search(line)] or [line.strip() for line in lines if line.strip()]
        return telling[-1][-300:].rstrip(".") if telling else ""
