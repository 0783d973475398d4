"""The set-up behind `nve`: makes `.venv` from the lock files, whole or not at all. Standard library only: it runs before anything is there.

`python -I install.py no|yes` (yes: with the packages of the tests). The new environment grows under a name of its own, is marked with
the lock files it was made from, and only then takes the place of the old one. Everything is said on standard error.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import filecmp
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
LOCK, TEST_LOCK, SETUP_LOCK = (ROOT / name for name in ("requirements.lock", "requirements-test.lock", "requirements-setup.lock"))
# The environment and what is unpacked on the way to it.
NEEDED_BYTES = 1_200_000_000
# What pip is told, in uv's words. Lists are separated by blanks in the one and by commas in the other.
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
NETWORK = re.compile(
    r"(?i)dns error|error sending request|connect(ion)? (error|refused|reset|aborted)|unreachable|timed? ?out|failed to fetch|"
    r"could not connect|NewConnectionError|name resolution|certificate|proxy|No route|tunnel|no matching distribution|"
    r"not found in the package registry"
)
DISK = re.compile(r"(?i)no space left|disk quota|os error 28")


class Refusal(Exception):
    """The set-up cannot go on. The text is one sentence that says how to mend it."""


def main() -> int:
    tests = sys.argv[1:] == ["yes"]
    try:
        with alone():
            if not up_to_date(tests):  # somebody else may have done it while we waited
                set_up(tests)
    except Refusal as refusal:
        say(str(refusal))
        return 1
    except KeyboardInterrupt:
        say("interrupted; nothing is half done: the next use starts over.")
        return 130
    return 0


def set_up(tests: bool) -> None:
    began = time.monotonic()
    clear_away()
    check_room()
    fresh = not made_from(LOCK, "nve.lock")
    with tempfile.TemporaryDirectory(prefix=".venv.new-", dir=ROOT, ignore_cleanup_errors=True) as room:
        Path(room, ".gitignore").write_text("*\n")
        uv = find_uv(Path(room))
        target = Path(room, "venv") if fresh else VENV
        python = target / "bin/python"
        if fresh:
            step(2, f"making .venv with Python {sys.version.split()[0]} ({sys.executable})")
            run(uv, "venv", "--quiet", "--relocatable", "--no-project", "--python", sys.executable, str(target))
        if fresh:
            step(3, f"installing {count(LOCK)} packages, about 600 MB (a minute on a slow line; only this once)")
            # Compiled now: functions start cold, and some users cannot write beside what they run.
            install(uv, python, LOCK, "--compile-bytecode")
            shutil.copyfile(LOCK, target / "nve.lock")
        if tests:
            step(3, f"installing the packages of the tests ({count(TEST_LOCK) - count(LOCK)} more)")
            install(uv, python, TEST_LOCK)
            # Beside, then into place: the mark is what says that all of it is there.
            shutil.copyfile(TEST_LOCK, target / "nve-test.new")
            (target / "nve-test.new").rename(target / "nve-test.lock")
        if fresh:
            if VENV.exists() or VENV.is_symlink():
                VENV.rename(Path(room, "old"))
            target.rename(VENV)
    say(f"set up in {time.monotonic() - began:.0f} s")


def install(uv: Path, python: Path, lock: Path, *options: str) -> None:
    safe = ("--require-hashes", "--only-binary", ":all:")
    run(uv, "pip", "install", "--python", str(python), *safe, *options, "-r", str(lock))


# whether there is anything to do


def made_from(lock: Path, mark: str) -> bool:
    with contextlib.suppress(OSError):
        return os.access(VENV / "bin/python", os.X_OK) and filecmp.cmp(lock, VENV / mark, shallow=False)
    return False


def up_to_date(tests: bool) -> bool:
    return made_from(LOCK, "nve.lock") and (not tests or made_from(TEST_LOCK, "nve-test.lock"))


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One set-up at a time per checkout. The lock is on the directory itself, and goes with the process, however that ends."""
    directory = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another nve is setting up this checkout; waiting for it …")
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def clear_away() -> None:
    """Remove what a killed set-up left. We are alone: none of it is anybody's."""
    for left in ROOT.glob(".venv.new-*"):
        shutil.rmtree(left, ignore_errors=True)


def check_room() -> None:
    if not os.access(ROOT, os.W_OK):
        raise Refusal(
            f"{ROOT} is not yours to write to, and the set-up goes into it: copy it to a directory of your own, "
            "or ask its owner to run ./nve once."
        )
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES:
        raise Refusal(
            f"the set-up needs {NEEDED_BYTES / 1e9:.1f} GB of disk and {ROOT} has {free / 1e9:.1f} GB: free some space, "
            "or move the checkout to a larger disk."
        )


# uv


def find_uv(room: Path) -> Path:
    """The uv on the PATH, else one of our own that is thrown away afterwards."""
    if found := shutil.which("uv"):
        asked = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        version = re.match(r"uv (\d+)\.(\d+)", asked.stdout)
        if version and (int(version[1]), int(version[2])) >= (0, 5):
            step(1, f"using {asked.stdout.strip()} ({found})")
            return Path(found)
    step(1, "getting uv, which installs the rest")
    if importlib.util.find_spec("pip"):
        run_pip([sys.executable, "-m", "pip"], room, "--target", str(room / "uv"))
        return room / "uv/bin/uv"
    if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv"):
        made = subprocess.run([sys.executable, "-m", "venv", str(room / "pip")], capture_output=True, text=True, check=False)
        if made.returncode == 0:
            run_pip([str(room / "pip/bin/python"), "-m", "pip"], room)
            return room / "pip/bin/uv"
        if DISK.search(made.stdout + made.stderr):
            raise Refusal(f"the disk of {ROOT} is full: free 1.2 GB, and run nve again.")
    raise Refusal(
        f"{sys.executable} has no pip and no ensurepip, so nothing can be installed with it: add one of them "
        "(Debian, Ubuntu: apt install python3-venv), or put uv on the PATH, or name another Python with NVE_PYTHON."
    )


def run_pip(pip: Sequence[str], room: Path, *options: str) -> None:
    # Where a user wants packages to go is no matter here: this one goes with the room.
    places = ("PIP_REQUIRE_VIRTUALENV", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in places}
    command = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--no-warn-script-location", *options, "-r", str(SETUP_LOCK)]
    done = subprocess.run(command, env=environment, cwd=room, capture_output=True, text=True, check=False)
    if done.returncode:
        explain(done.stdout + done.stderr)


def run(uv: Path, *arguments: str) -> None:
    """Run uv: with its own progress bar on a terminal, else quietly until something is wrong. Raises Refusal."""
    environment = uv_environment(uv)
    command = [str(uv), *arguments]
    if sys.stderr.isatty():
        if subprocess.run(command, env=environment, check=False).returncode == 0:
            return
        say("that did not work; once more …")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode and "certificate" in (done.stdout + done.stderr).lower():
        # The network has a certificate authority of its own, which the system knows.
        environment |= {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        explain(done.stdout + done.stderr)


def uv_environment(uv: Path) -> dict[str, str]:
    misleading = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if name not in misleading}
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    for option, value in pip_settings().items():
        words = value.split() if option in ("find-links", "extra-index-url", "trusted-host") else [value]
        if option == "find-links":  # pip passes over a directory that is not there, uv does not
            words = [word for word in words if "://" in word or Path(word).exists()]
        if option in PIP_TO_UV and any(words):
            environment.setdefault(PIP_TO_UV[option], ",".join(words))
    cache = subprocess.run([str(uv), "cache", "dir"], env=environment, capture_output=True, text=True, check=False).stdout.strip()
    parent = next((path for path in (Path(cache), *Path(cache).parents) if path.exists()), Path("/"))
    if not os.access(parent, os.W_OK):
        environment["UV_NO_CACHE"] = "1"
    elif parent.stat().st_dev != ROOT.stat().st_dev:
        environment.setdefault("UV_LINK_MODE", "copy")
    return environment


def pip_settings() -> dict[str, str]:
    """What pip is told, by its variables and, when there is a pip, by its files: {"index-url": …}."""
    settings: dict[str, str] = {}
    if importlib.util.find_spec("pip"):
        listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            where, _, option = name.rpartition(".")
            if where in ("global", "install"):
                with contextlib.suppress(ValueError, SyntaxError):
                    settings[option] = str(ast.literal_eval(value))
    for name, value in os.environ.items():
        if name.startswith("PIP_"):
            settings[name.removeprefix("PIP_").removeprefix("DEFAULT_").lower().replace("_", "-")] = value
    return settings


# words


def explain(output: str) -> NoReturn:
    """Turn what an installer said into one sentence. Raises Refusal."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = next(
        (line for line in reversed(lines) if re.search(r"(?i)error|caused by|cause:", line)), lines[-1] if lines else "no reason"
    )
    if DISK.search(output):
        raise Refusal("the disk is full: free 1.2 GB, here and where uv keeps its cache, and run nve again.")
    if re.search(r"(?i)hash mismatch|do not match the hashes|hashes are required", output):
        raise Refusal(
            f"a package that came over the network is not the one that the lock file names ({telling}): "
            "check the index you use (PIP_INDEX_URL)."
        )
    if NETWORK.search(output):
        raise Refusal(
            f"the packages cannot be downloaded ({telling}): check the network, or say how to reach them "
            "with pip's variables (HTTPS_PROXY, PIP_INDEX_URL, PIP_CERT), and run nve again."
        )
    sys.stderr.write("".join(f"  {line}\n" for line in lines[-15:]))
    raise Refusal("the set-up did not succeed, for the reason above; nothing is half done, and the next use tries again.")


def count(lock: Path) -> int:
    return sum(1 for line in lock.read_text().splitlines() if re.match(r"\w", line))


def step(number: int, text: str) -> None:
    say(f"{number}/3 {text}")


def say(text: str) -> None:
    sys.stderr.write(f"nve: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
