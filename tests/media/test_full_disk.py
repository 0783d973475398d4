"""A disk that is full, or a result larger than it may be, is named at once: nothing is encoded a second time for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from native import errors
from native.media import cut, engine, source
from native.media.edit import Edit
from tests import clips

ROOT = Path(__file__).resolve().parents[2]
# Renders under a limit on the size of files, and says how it ended and how many outputs were begun.
CHILD = """
import json, resource, sys
from pathlib import Path
from native import errors
from native.media import cut, engine, source
from native.media.edit import Edit

clip, room, limit, mode, container = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
begun, run = [], cut.Job.run
cut.Job.run = lambda job: (begun.append(job.plan.copies), run(job))[1]
edit = Edit.model_validate({"segments": [{"start": "0.3", "end": "4.5"}], "mode": mode, "output": {"container": container}})
try:
    engine.render(edit, [source.FileSource(clip)], Path(room), lambda *_: None)
    code = "succeeded"
except errors.Problem as problem:
    code = problem.code
print(json.dumps([code, begun]))
"""


@pytest.mark.parametrize("limit", [20, 2_000, 100_000])
@pytest.mark.parametrize(("mode", "container"), [("exact", "mp4"), ("exact", "mkv"), ("encode", "mp4")])
def test_a_full_disk_is_too_heavy_at_once(limit: int, mode: str, container: str, folder: Path, tmp_path: Path) -> None:
    """Whether the header, the packets or the trailer no longer fits: too heavy, after one attempt."""
    clip = clips.make(clips.H264["gop30"], folder)
    words = [sys.executable, "-c", CHILD, str(clip), str(tmp_path), str(limit), mode, container]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["too_heavy", [mode == "exact"]]


def test_our_own_mistake_is_not_the_containers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ValueError of the engine's own comes out as it is, and nothing is encoded to get around it."""
    begun: list[bool] = []
    run = cut.Job.run

    def counted(job: cut.Job) -> object:
        begun.append(job.plan.copies)
        return run(job)

    def mistaken(*_: object) -> None:
        raise ValueError("zip() argument 2 is shorter")

    monkeypatch.setattr(cut.Job, "run", counted)
    monkeypatch.setattr(cut.Stitch, "pictures", mistaken)
    clip = clips.make(clips.H264["gop30"], folder)
    with pytest.raises(ValueError, match="shorter"):
        engine.render(Edit.model_validate({"segments": [{"start": "1", "end": "2"}]}), [source.FileSource(clip)], tmp_path, lambda *_: None)
    assert begun == [True]


def test_what_a_container_refuses_is_encoded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that the container will not take is still a reason to encode, and for an encode the end."""
    clip = clips.make(clips.H264["gop30"], folder)
    edit = Edit.model_validate({"segments": [{"start": "1", "end": "2"}]})

    def refused(*_: object, **__: object) -> None:
        raise cut.mux.Refused("mp4 format does not support it")

    real = cut.mux.copied
    monkeypatch.setattr(cut.mux, "copied", lambda *a, **k: refused() if "opaque" in k else real(*a, **k))
    made = engine.render(edit, [source.FileSource(clip)], tmp_path, lambda *_: None)
    assert (made.copied_frames, made.encoded_frames) == (0, 30)
    assert "refused the copied stream" in made.warnings[0]
    monkeypatch.setattr(cut.mux, "encoded", refused)
    with pytest.raises(errors.Problem) as caught:
        engine.render(edit, [source.FileSource(clip)], tmp_path, lambda *_: None)
    assert caught.value.kind is errors.OUTPUT_REFUSED
