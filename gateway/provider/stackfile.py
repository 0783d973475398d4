"""stack.yml, read as faas-cli reads it: which functions there are and what each one asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")

SCALE = "com.openfaas.scale."
EVERY = "com.native-video-editor.every"


class Malformed(Exception):
    """stack.yml cannot be used. The text is one sentence that says where and why."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function of stack.yml. Durations are seconds."""

    name: str
    folder: Path
    index: Path
    root: Path
    image: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    read_only: bool = False
    min_replicas: int = 0
    max_replicas: int = 1
    idle_seconds: float = 300.0
    max_inflight: int = 8
    timeout_seconds: float = 60.0
    every_seconds: float | None = None
    schedule: str | None = None


def seconds(text: str | int | float) -> float:
    """A Go duration ("1h1m", "90s", "500ms") or a number of seconds. Raises ValueError."""
    text = str(text).strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    found = DURATION.fullmatch(text)
    if not text or not found or not any(found.groups()):
        raise ValueError(f"{text!r} is not a duration such as 90s or 1h1m")
    hours, minutes, secs, millis = (float(part) if part else 0.0 for part in found.groups())
    return hours * 3600 + minutes * 60 + secs + millis / 1000


def load(path: Path, most_replicas: int) -> dict[str, Function]:
    """The functions of a stack file. `most_replicas` bounds what a label may ask for on this machine. Raises `Malformed`."""
    try:
        text = path.read_text()
    except OSError as exc:
        raise Malformed(f"STACK_FILE names {path}, which cannot be read: {exc.strerror}") from exc
    try:
        document = yaml.safe_load(VARIABLE.sub(_from_environment, text))
    except yaml.YAMLError as exc:
        raise Malformed(f"{path.name} is not valid YAML: {' '.join(str(exc).split())}") from exc
    functions = document.get("functions") if isinstance(document, dict) else None
    if not isinstance(functions, dict) or not functions:
        raise Malformed(f"{path.name} has no functions")
    return {str(name): _function(str(name), given, path.resolve().parent, most_replicas) for name, given in functions.items()}


def _from_environment(found: re.Match[str]) -> str:
    # faas-cli substitutes ${NAME} and ${NAME:-default} before it parses.
    return os.environ.get(found[1]) or found[2] or ""


def _texts(value: Any) -> dict[str, str]:
    """A mapping as OpenFaaS sends it: names and values are text, true is "true"."""
    return {str(k): str(v).lower() if isinstance(v, bool) else str(v) for k, v in (value or {}).items()}


def _function(name: str, given: Any, root: Path, most_replicas: int) -> Function:
    if not NAME.fullmatch(name) or len(name) > 63:
        raise Malformed(f"function {name!r}: a name is small letters, digits and dashes")
    try:
        environment, labels, annotations = _texts(given.get("environment")), _texts(given.get("labels")), _texts(given.get("annotations"))
        known = {key.lower(): value for key, value in environment.items()}
        # OpenFaaS keeps one replica unless scale.zero is asked for; here a function costs nothing until its first call.
        lowest = int(labels.get(f"{SCALE}min", "0" if labels.get(f"{SCALE}zero", "true") == "true" else "1"))
        highest = int(labels.get(f"{SCALE}max", most_replicas))
        index = root / "template" / str(given["lang"]) / "index.py"
        folder = root / str(given["handler"])
        every = annotations.get(EVERY)
        scheduled = annotations.get("schedule") if annotations.get("topic") == "cron-function" and not every else None
        function = Function(
            name=name,
            folder=folder,
            index=index,
            root=root,
            image=str(given.get("image", "")),
            environment=environment,
            labels=labels,
            annotations=annotations,
            limits=_texts(given.get("limits")),
            requests=_texts(given.get("requests")),
            secrets=tuple(map(str, given.get("secrets") or ())),
            read_only=bool(given.get("readonly_root_filesystem", False)),
            min_replicas=max(0, min(lowest, most_replicas)),
            max_replicas=max(1, lowest, min(highest, most_replicas)),
            idle_seconds=seconds(labels.get(f"{SCALE}zero-duration", "5m")),
            max_inflight=int(known.get("max_inflight", 8)),
            timeout_seconds=seconds(known.get("write_timeout", "60s")),
            every_seconds=seconds(every) if every else None,
            schedule=scheduled,
        )
    except KeyError as exc:
        raise Malformed(f"function {name}: {exc.args[0]} is missing") from exc
    except (AttributeError, TypeError, ValueError) as exc:
        raise Malformed(f"function {name}: {exc}") from exc
    for needed in (index, folder):
        if not needed.exists():
            raise Malformed(f"function {name}: {needed} does not exist")
    return function
