"""`nve` sets itself up: once, whole or not at all, in words."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]

# What stands in for the command line: it says how it was called and that the packages are there.
CLI = """
import json, os, sys
import av, boto3, psycopg
print(json.dumps({"arguments": sys.argv[1:], "directory": os.getcwd(), "packages": os.path.dirname(av.__file__)}))
"""
# A lock without packages: setting up takes no network, and all else is as it is.
EMPTY = "# nothing\n"

Result = subprocess.CompletedProcess[str]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `nve` needs of a fresh clone, in a directory with a blank in its name, with locks that name nothing."""
    room = tmp_path / "fresh clone"
    for name in ("nve", "deployments/local/install.py", "requirements-setup.lock"):
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, room / name)
    for name in ("requirements.lock", "requirements-test.lock"):
        (room / name).write_text(EMPTY)
    (room / "cli").mkdir()
    (room / "cli/__main__.py").write_text(CLI.replace("import av, boto3, psycopg", "av = os"))
    return room


@pytest.fixture
def uv(tmp_path: Path) -> Path:
    """A directory with a `uv` in it that makes environments and installs nothing: our own Python's venv."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "uv").write_text(
        "#!/bin/sh\n"
        'echo "$@" >>"$0.calls"\n'
        'case "$1" in\n'
        '  --version) echo "uv 9.9.9" ;;\n'
        "  cache) echo /tmp ;;\n"
        f'  venv) shift; for last; do :; done; exec "{sys.executable}" -m venv --without-pip "$last" ;;\n'
        f'  pip) if [ -e "$0.fail" ]; then cat "$0.fail" >&2; exit 2; fi; [ ! -e "$0.slow" ] || sleep 30 ;;\n'
        "esac\n"
    )
    (programs / "uv").chmod(0o755)
    return programs


def nve(checkout: Path, *arguments: str, path: Sequence[Path] = (), cwd: Path | None = None, **environment: str) -> Result:
    """Call `nve` as a user would."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NVE_", "PYTHON", "VIRTUAL_ENV", "UV_"))}
    return subprocess.run(
        [str(checkout / "nve"), *arguments],
        cwd=cwd or checkout.parent,
        env={**kept, "NVE_PYTHON": sys.executable, "PATH": os.pathsep.join([*map(str, path), kept["PATH"]]), **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def sentences(result: Result) -> list[str]:
    return [line.removeprefix("nve: ") for line in result.stderr.splitlines()]


def leftovers(checkout: Path) -> list[str]:
    return sorted(path.name for path in checkout.iterdir() if path.name.startswith(".venv"))


def test_first_and_later_uses(checkout: Path, uv: Path) -> None:
    """The first use says its steps on standard error only and hands over; the second one says nothing and starts nothing else."""
    first = nve(checkout, "trim", "a b", "*", path=[uv])

    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["arguments"] == ["trim", "a b", "*"]
    assert [line[:3] for line in sentences(first)[:3]] == ["1/3", "2/3", "3/3"]
    assert leftovers(checkout) == [".venv"]
    calls = (uv / "uv.calls").read_text()

    second = nve(checkout, "trim", path=[uv])

    assert (second.returncode, second.stderr) == (0, "")
    assert (uv / "uv.calls").read_text() == calls


def test_from_anywhere(checkout: Path, uv: Path, tmp_path: Path) -> None:
    """Called through a chain of relative links from another directory it runs in that directory and takes no module from it."""
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "json.py").write_text("raise SystemExit('a stranger in the way')\n")
    (elsewhere / "first").symlink_to(Path("..") / checkout.name / "nve")
    (elsewhere / "second").symlink_to("first")
    nve(checkout, path=[uv])

    done = subprocess.run([elsewhere / "second", "x"], cwd=elsewhere, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["directory"] == str(elsewhere)


def test_packages_come_by_hash_and_as_wheels(checkout: Path, uv: Path) -> None:
    """Every package must have the lock file's hash, and nothing is built from source."""
    nve(checkout, "test", path=[uv])

    installs = [line for line in (uv / "uv.calls").read_text().splitlines() if line.startswith("pip install")]
    assert len(installs) == 2
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in installs)


def test_the_tests_packages_come_with_the_first_test(checkout: Path, uv: Path) -> None:
    """`nve test` adds what the tests need, once; other commands never ask for it."""
    nve(checkout, "up", path=[uv])
    assert not (checkout / ".venv/nve-test.lock").exists()

    first, second = nve(checkout, "test", path=[uv]), nve(checkout, "test", path=[uv])

    assert "packages of the tests" in first.stderr
    assert second.stderr == ""
    assert (checkout / ".venv/nve-test.lock").read_text() == EMPTY


@pytest.mark.parametrize("change", ["another lock", "an unmarked environment", "a dead link", "half an environment"])
def test_what_does_not_fit_is_made_anew(checkout: Path, uv: Path, change: str) -> None:
    """An environment of other locks, of unknown origin, without its Python or half done is replaced."""
    nve(checkout, path=[uv])
    (checkout / ".venv/old").touch()
    if change == "another lock":
        (checkout / "requirements.lock").write_text(EMPTY * 2)
    if change == "an unmarked environment":
        (checkout / ".venv/nve.lock").unlink()
    if change == "a dead link":
        for link in (checkout / ".venv/bin").glob("python*"):
            link.unlink()
            link.symlink_to("/nowhere/python")
    if change == "half an environment":
        (checkout / ".venv.new-killed/venv/bin").mkdir(parents=True)
        (checkout / ".venv/nve.lock").write_text("half")

    again = nve(checkout, path=[uv])

    assert again.returncode == 0, again.stderr
    assert not (checkout / ".venv/old").exists()
    assert leftovers(checkout) == [".venv"]


def test_two_at_once(checkout: Path, uv: Path) -> None:
    """Of two first uses at the same time one sets up, the other one waits for it; both then run."""
    environment = {**os.environ, "NVE_PYTHON": sys.executable, "PATH": f"{uv}:{os.environ['PATH']}"}
    both = [
        subprocess.Popen([checkout / "nve", str(number)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert len([line for line in (uv / "uv.calls").read_text().splitlines() if line.startswith("venv")]) == 1
    assert leftovers(checkout) == [".venv"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle(checkout: Path, uv: Path, number: signal.Signals) -> None:
    """After a kill or a Ctrl-C in the middle of the installation nothing counts as done, and the next use does all of it."""
    (uv / "uv.slow").touch()
    environment = {**os.environ, "NVE_PYTHON": sys.executable, "PATH": f"{uv}:{os.environ['PATH']}"}
    with subprocess.Popen([checkout / "nve"], env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while "pip install" not in ((uv / "uv.calls").read_text() if (uv / "uv.calls").exists() else ""):
            assert time.monotonic() < deadline, "the installation never began"
            time.sleep(0.02)
        os.killpg(process.pid, number)
        said = process.communicate(timeout=30)[1]
    assert process.returncode != 0
    assert number == signal.SIGKILL or "interrupted" in said
    assert not (checkout / ".venv").exists()

    (uv / "uv.slow").unlink()
    again = nve(checkout, path=[uv])

    assert again.returncode == 0, again.stderr
    assert leftovers(checkout) == [".venv"]


def refused(result: Result) -> str:
    """The one sentence that a refusal is; everything before it must be steps."""
    assert result.returncode == 1, result
    assert result.stdout == ""
    steps, last = sentences(result)[:-1], sentences(result)[-1]
    assert all(re.match(r"[123]/3 ", line) for line in steps), result.stderr
    assert "Traceback" not in result.stderr
    return last


def test_no_python_that_suits(checkout: Path, tmp_path: Path) -> None:
    """With only an old Python on the PATH the sentence says which was found, what is needed and how to get it."""
    programs = tmp_path / "old"
    programs.mkdir()
    for name in ("readlink", "dirname", "cmp"):
        (programs / name).symlink_to(str(shutil.which(name)))
    (programs / "python3").write_text('#!/bin/sh\ncase "$3" in *sys.exit*) exit 1 ;; *) echo 3.9 ;; esac\n')
    (programs / "python3").chmod(0o755)

    sentence = refused(nve(checkout, PATH=str(programs), NVE_PYTHON=""))

    assert "Python 3.11 to 3.14 is needed" in sentence
    assert "python3 is 3.9" in sentence
    assert "NVE_PYTHON" in sentence


def test_a_named_python_that_does_not_suit(checkout: Path) -> None:
    """A wrong NVE_PYTHON is named, and nothing else is tried instead."""
    assert "NVE_PYTHON names /bin/false" in refused(nve(checkout, NVE_PYTHON="/bin/false"))


def test_no_network(checkout: Path, tmp_path: Path) -> None:
    """When the index cannot be reached, the sentence says so and how to set another way; nothing is left behind."""
    shutil.copy(ROOT / "requirements.lock", checkout)
    # An address of this machine where nobody listens, and no answers from a cache.
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_FIND_LINKS": "", "HOME": str(tmp_path)}
    sentence = refused(nve(checkout, PIP_CONFIG_FILE=os.devnull, UV_CACHE_DIR=str(tmp_path / "cache"), UV_HTTP_RETRIES="0", **nowhere))

    assert sentence.startswith("the packages cannot be downloaded (")
    assert "PIP_INDEX_URL" in sentence
    assert leftovers(checkout) == []


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("error: Failed to fetch\n  Caused by: dns error: failed to lookup address", "cannot be downloaded"),
        ("error: failed to copy\n  Caused by: No space left on device (os error 28)", "the disk is full"),
        ("error: Hash mismatch for `av==18.1.0`", "is not the one that the lock file names"),
        ("error: the moon is in the way", "for the reason above"),
    ],
)
def test_what_an_installer_says_becomes_a_sentence(checkout: Path, uv: Path, said: str, sentence: str) -> None:
    """Each kind of failure has its own sentence; only of an unknown one are the installer's own lines shown."""
    (uv / "uv.fail").write_text(said + "\n")

    done = nve(checkout, path=[uv])

    assert done.returncode == 1
    assert sentence in sentences(done)[-1]
    assert ("  " + said in done.stderr) == ("moon" in said)
    assert leftovers(checkout) == []


@pytest.fixture
def install(checkout: Path) -> ModuleType:
    """The set-up as a module, for what this machine has too much of."""
    spec = importlib.util.spec_from_file_location("install", checkout / "deployments/local/install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_disk(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too little disk nothing is begun, and the sentence says how much is needed and how much there is."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 10**10, 3 * 10**8))  # type: ignore[attr-defined]

    with pytest.raises(install.Refusal, match=r"needs 1\.2 GB of disk and .*fresh clone has 0\.3 GB"):
        install.set_up(False)


def test_python_without_pip(install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Python that can install nothing, as Debian's may be, is named together with the package that mends it."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(install.Refusal, match=r"has no pip and no ensurepip.*python3-venv"):
        install.find_uv(tmp_path)


def test_pip_is_heard(install: ModuleType, uv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the user told pip about the network holds for uv too."""
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "http://127.0.0.1:8/a http://127.0.0.1:8/b",
        "PIP_FIND_LINKS": f"{tmp_path} /not/there",
        "PIP_CERT": "/a.pem",
        "PIP_DEFAULT_TIMEOUT": "77",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    heard: Callable[[Path], dict[str, str]] = install.uv_environment

    assert {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_INDEX": "http://127.0.0.1:8/a,http://127.0.0.1:8/b",
        "UV_FIND_LINKS": str(tmp_path),
        "SSL_CERT_FILE": "/a.pem",
        "UV_HTTP_TIMEOUT": "77",
    }.items() <= heard(uv / "uv").items()


def test_a_checkout_of_somebody_else(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout that may not be written to is named, with the way out; asked as any user, because root may write anywhere."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)

    with pytest.raises(install.Refusal, match="fresh clone is not yours to write to"):
        install.set_up(False)


def test_the_tests_lock_holds_the_products_pins() -> None:
    """What the tests run on is what the product runs on: every pin and hash of requirements.lock is in requirements-test.lock."""

    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==[^\s;]+", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements.lock") <= pins("requirements-test.lock")
    assert all("--hash=sha256:" in block for name in ("requirements.lock", "requirements-setup.lock") for block in blocks(ROOT / name))


def blocks(lock: Path) -> list[str]:
    return re.split(r"^(?=\w)", lock.read_text(), flags=re.MULTILINE)[1:]


@pytest.mark.slow
def test_a_real_set_up(checkout: Path) -> None:
    """With the real lock files and no uv on the PATH a fresh clone comes up within the minutes, and the second start in half a second."""
    for name in ("requirements.lock", "requirements-test.lock"):
        shutil.copy(ROOT / name, checkout)
    (checkout / "cli/__main__.py").write_text(CLI)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not Path(part, "uv").exists())

    first = nve(checkout, "hello", PATH=path)

    if first.returncode == 1 and "cannot be downloaded" in first.stderr:
        pytest.skip("there is no network here")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["packages"].startswith(str(checkout / ".venv"))
    began = time.monotonic()
    second = nve(checkout, "hello", PATH=path)
    # With the import of three large packages by the stand-in; the hand-over itself takes 20 ms.
    assert time.monotonic() - began < 1.5
    assert (second.returncode, second.stderr) == (0, "")
