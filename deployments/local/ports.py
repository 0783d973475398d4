"""Ports of one data directory: chosen once, free when chosen, and never those of another data directory of this user.

Ports come in blocks of sixteen. A block is claimed by a file in a directory of the user's, so that two data directories differ even
when only one of them runs. All of it lies below the range the kernel takes ports for outgoing connections from (32768 on Linux).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from . import child
from .trouble import Trouble

BIND = "127.0.0.1"

# `weed` listens for gRPC at each of its ports + 10000. First ports of 10240-20223 make second ones of 20240-30223: never above 65535,
# never among the first ones, and never in the kernel's own range.
FIRST, LAST, BLOCK, SECOND = 10240, 20223, 16, 10000

# The place of each listener in its block.
PLACES = {
    "gateway": 0,
    "gateway_metrics": 1,
    "postgres": 2,
    "valkey": 3,
    "s3": 4,
    "weed_master": 5,
    "weed_volume": 6,
    "weed_filer": 7,
    "weed_admin": 8,
    "weed_metrics": 9,
}
WITH_SECOND = {"s3", "weed_master", "weed_volume", "weed_filer", "weed_admin"}

# What people expect to type, given to the first data directory that asks.
WELL_KNOWN = {"gateway": 8080, "gateway_metrics": 8082}

# A directory that claimed ports and has not written them down within this time has died on the way.
CLAIM_SECONDS = 60


def listeners(name: str, port: int) -> list[int]:
    return [port, port + SECOND] if name in WITH_SECOND else [port]


def free(port: int) -> bool:
    """Whether one could listen there now. SO_REUSEADDR: what closed a moment ago does not count, what listens does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((BIND, port))
        except OSError as exc:
            if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return False
    return True


def choose(home: Path, *, well_known: bool = True) -> dict[str, int]:
    """Ports for a data directory that has none, claimed for it. Raises `Trouble` when none are left."""
    # Another user's claims cannot be seen: starting from a place of one's own makes meeting them unlikely.
    blocks = (LAST + 1 - FIRST) // BLOCK
    start = int.from_bytes(hashlib.sha256(f"{os.getuid()}:{home}".encode()).digest()[:4]) % blocks
    with _claims() as claims:
        for step in range(blocks):
            base = FIRST + (start + step) % blocks * BLOCK
            chosen = {name: base + place for name, place in PLACES.items()}
            if all(free(number) for name, port in chosen.items() for number in listeners(name, port)) and _claim(claims, base, home):
                break
        else:
            raise Trouble(f"No free ports are left between {FIRST} and {LAST}: stop some programs, or remove old claims in {claims}.")
        if well_known and all(free(port) for port in WELL_KNOWN.values()) and _claim(claims, WELL_KNOWN["gateway"], home):
            chosen |= WELL_KNOWN
    return chosen


def keep(home: Path, chosen: Mapping[str, int]) -> bool:
    """Renew the claim of a data directory on its ports. False when another one holds them: this one was copied or moved."""
    wanted = {chosen["postgres"] - PLACES["postgres"]}
    if chosen["gateway"] == WELL_KNOWN["gateway"]:
        wanted.add(chosen["gateway"])
    with _claims() as claims:
        return all(_claim(claims, number, home) for number in wanted)


def release(home: Path, chosen: Mapping[str, int]) -> None:
    """Give up the claim of a data directory that is about to be removed."""
    with _claims() as claims:
        for number in (chosen["postgres"] - PLACES["postgres"], WELL_KNOWN["gateway"]):
            if _holder(claims / str(number), number) == home:
                (claims / str(number)).unlink()


def taken(chosen: Mapping[str, int], names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """The listeners among `names` whose ports somebody else holds."""
    for name in names:
        for port in listeners(name, chosen[name]):
            if not free(port):
                yield name, port


def _claims_directory() -> Path:
    """Where this user's claims are: in the state directory, or below /tmp for a user without a home."""
    state = os.environ.get("XDG_STATE_HOME")
    try:
        base = Path(state) if state else Path.home() / ".local/state"
        directory = base / "nve/ports"
        directory.mkdir(parents=True, exist_ok=True)
        if os.access(directory, os.W_OK):
            return directory
    except (OSError, RuntimeError):
        pass
    directory = Path(f"/tmp/nve-ports-{os.getuid()}")  # noqa: S108 - checked below
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.is_symlink() or directory.stat().st_uid != os.getuid():
        raise Trouble(f"{directory} belongs to somebody else: set XDG_STATE_HOME to a directory you may write to.")
    return directory


def _claim(claims: Path, number: int, home: Path) -> bool:
    """Claim one number for `home`, under the lock. False when another data directory holds it."""
    path = claims / str(number)
    holder = _holder(path, number)
    if holder is None:
        child.replace(path, str(home))
    return holder in (None, home)


@contextlib.contextmanager
def _claims() -> Iterator[Path]:
    """The directory of the claims, locked: of two rivals one chooses after the other."""
    directory = _claims_directory()
    with (directory / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory


def _holder(path: Path, number: int) -> Path | None:
    """The data directory that holds a claim; None when it is gone, or uses other ports by now."""
    try:
        home, age = Path(path.read_text()), time.time() - path.stat().st_mtime
    except OSError:
        return None
    if not home.is_dir():
        return None
    try:
        config = json.loads((home / "config.json").read_text())
        return home if number in {port - PLACES[name] for name, port in config["ports"].items() if name in PLACES} else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return home if age < CLAIM_SECONDS else None


def holder_of(port: int) -> str:
    """Who listens at a port, in words, as far as this user may know: "python3, process 4711"; empty when unknown."""
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return ""
    inodes = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(link) in inodes for link in (entry / "fd").iterdir()):
                return f"{(entry / 'comm').read_text().strip()}, process {entry.name}"
    return ""


def save(path: Path, chosen: Mapping[str, int], home: Path) -> None:
    child.replace(path, json.dumps({"home": str(home), "ports": dict(chosen)}, indent=2) + "\n", mode=0o644)
